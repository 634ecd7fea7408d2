"""Which column of a table holds the texts that `data.tokenizer` makes tokens of, and its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse

if TYPE_CHECKING:
    from datasets import Dataset

    from fedlt.config.sections import Data

NAMES = ("text", "sentence")  # of columns of texts, likeliest first
REMEDY = "data.tokenizer=hashing makes tokens of texts"
KEY = "data.input_column"
MOST_CATEGORIES = 100  # values of which a category has a column each: `fedlt.data.inputs.tabular`


def is_text(feature: Any) -> bool:
    """Whether a column holds texts, by its type."""
    return str(getattr(feature, "dtype", "")) in ("string", "large_string")


def text_column(name: str, features: Any, targets: Sequence[str], config: Data) -> str:
    """The column of texts: as the scenario says, else `text` or `sentence`, else the only one that there is.

    Raises `ScenarioError`.
    """
    if config.category_columns:
        raise refuse(f"{name}: texts by data.tokenizer are the only inputs; remove it", "data.category_columns")
    given = config.input_column
    if given is not None:
        column = given if isinstance(given, str) else given[0] if len(given) == 1 else None
        if column is None:
            raise refuse(f"{name}: data.tokenizer reads one column of texts; name one", KEY)
        if column in targets:
            raise refuse(f"{name}: {column!r} is the label, and no input; remove it", KEY)
        if column not in features:
            raise refuse(f"{name} has no column {column!r}; it has: {', '.join(features)}", KEY)
        if not is_text(features[column]):
            raise refuse(f"{name}: {column!r} holds no texts; name another column, or remove data.tokenizer", KEY)
        return column

    used = {*targets, *config.group_columns}
    found = [column for column, feature in features.items() if column not in used and is_text(feature)]
    named = [column for column in NAMES if column in found]
    if not named and len(found) != 1:
        several = f"which of {', '.join(found)} holds the texts? Name it, as in {KEY}={found[0]}" if found else ""
        told = several or f"no column holds texts; it has: {', '.join(features)}"
        raise refuse(f"{name}: {told}", KEY)
    return (named or found)[0]


def texts_in(name: str, table: Dataset, column: str) -> NDArray[Any]:
    """The cells of a column, [N] objects: texts, and None where there is none."""
    cells = table.select_columns([column]).with_format("arrow")[:].column(column)
    texts = np.empty(len(cells), object)
    try:
        texts[:] = cells.to_pylist()
    except UnicodeDecodeError as error:
        raise refuse(f"{name}: column {column!r} holds bytes that are not UTF-8 ({error}); write it anew") from error
    return texts


def refuse_as_category(name: str, table: Dataset, columns: Sequence[str], config: Data) -> None:
    """Refuse one column of texts as the only input where hardly two rows are alike: no category tells anything then."""
    column = columns[0]
    if len(columns) != 1 or not is_text(table.features[column]) or column in config.category_columns:
        return
    distinct = len(set(texts_in(name, table, column)))
    if column in NAMES or distinct > max(MOST_CATEGORIES, len(table) / 2):
        told = f"{name}: the only input, {column!r}, holds texts ({distinct:,} different ones in {len(table):,} rows)"
        raise refuse(f"{told}; {REMEDY}, data.category_columns=[{column}] takes them as a category", KEY)
