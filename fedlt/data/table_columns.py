"""Which columns of a table are inputs, labels and groups, and their arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs import Given
from fedlt.data.inputs.masked import padded
from fedlt.data.inputs.pictures import Fit, decoded, same_channels, stack
from fedlt.data.kind_of import built_in, chosen
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, stratum
from fedlt.data.split_share import cut
from fedlt.data.text_columns import REMEDY, is_text, refuse_as_category, text_column, texts_in

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

    from fedlt.config.sections import Data
    from fedlt.errors import ScenarioError
    from fedlt.target import Target

TARGETS = ("label", "labels", "fine_label", "target", "y", "class")  # names of label columns, likeliest first
PANDAS_INDEX = "__index_level_"  # what pandas calls the row numbers that it writes along
CHUNK = 512  # rows of pictures read at a time


def read_data(name: str, train: Dataset, test: Dataset, config: Data, place: Path | None = None) -> RawData:
    """All of a data set.

    Raises `ScenarioError`.

    Args:
        place: folder for arrays that are large; None: memory.
    """
    labels, fit = read_labels(name, train, test, config), Fit.of(config)
    columns = input_columns(name, train.features, config)
    for column in columns:
        if column not in test.features:
            raise refuse(f"{name}: the test set has no column {column!r}", "data.input_column")

    if _is_picture(train.features[columns[0]]):
        splits = {"train": train, "test": test}.items()
        x, x_test = (_pictures(name, table, columns[0], fit, place, split) for split, table in splits)
        x, x_test = same_channels(x, x_test, place)
        return checked(labels, Given(x), Given(x_test), config, place)
    if config.tokenizer is not None:
        texts, test_texts = (Given(texts_in(name, table, columns[0])) for table in (train, test))
        return checked(labels, texts, test_texts, config, place)
    refuse_as_category(name, train, columns, config)
    rows, test_rows = (_rows(name, table, columns, config.category_columns) for table in (train, test))
    return checked(labels, rows, test_rows, config, place)


def read_labels(name: str, train: Dataset, test: Dataset, config: Data) -> RawLabels:
    """The labels and group columns of a data set. Raises `ScenarioError`."""
    targets = target_columns(name, train.features, config)
    for split, table in (("training", train), ("test", test)):
        for key, columns in (("target_column", targets), ("group_columns", config.group_columns)):
            for column in columns:
                if column not in table.features:
                    known = ", ".join(table.features)
                    raise refuse(f"{name}: the {split} set has no column {column!r}; it has: {known}", f"data.{key}")
    names, other = (class_names(table.features, targets) for table in (train, test))
    if names and other and names != other:
        told = f"{name}: {targets[0]!r} codes other classes in the test set, or in another order"
        raise refuse(f"{told}: {_first(names, other)}", "data.target_column")

    groups, test_groups = ({c: np.asarray(table[c][:]) for c in config.group_columns} for table in (train, test))
    y_train, y_test = labels_in(name, train, targets), labels_in(name, test, targets)
    kind = kind_of_columns(config, targets)
    return checked_labels(name, y_train, y_test, groups, test_groups, names, kind)


def cut_table(name: str, table: Dataset, config: Data) -> tuple[Dataset, Dataset]:
    """The rows for training and those of the test set (`data.test_share`)."""
    targets = target_columns(name, table.features, config)
    for target in targets:
        if target not in table.features:
            known = ", ".join(table.features)
            raise refuse(f"{name} has no column {target!r}; it has: {known}", "data.target_column")
    assert config.test_share is not None
    kind = kind_of_columns(config, targets)
    labels = stratum(name, labels_in(name, table, targets), class_names(table.features, targets), kind)
    train, test = cut(labels, config.test_share)
    return table.select(train), table.select(test)


def target_columns(name: str, features: Any, config: Data) -> list[str]:
    """The label column: as the scenario says, else the one of class labels, else the likeliest by name.

    Several, if the scenario names them: one for each class.
    """
    if config.target_column is not None:
        columns = [config.target_column] if isinstance(config.target_column, str) else config.target_column
        if not columns:
            raise refuse(f"{name}: the list is empty; name a column for each class, or null", "data.target_column")
        return columns
    import datasets

    coded: list[str] = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    named = [column for column in TARGETS if column in features]
    if len(coded) != 1 and not named:
        message = f"{name}: no column is plainly the label; name one of {', '.join(features)}"
        raise refuse(message, "data.target_column")
    return coded[:1] if len(coded) == 1 else named[:1]


def kind_of_columns(config: Data, targets: Sequence[str]) -> Target | None:
    """The kind of targets: as the scenario says, else of several columns the one that has many; None: as they look."""
    return built_in("multilabel") if len(targets) > 1 and config.targets is None else chosen(config)


def class_names(features: Any, targets: Sequence[str]) -> list[str]:
    """Names of the classes, as the label column's type has them, or of the columns; empty where there are none."""
    if len(targets) > 1:
        return list(targets)
    feature = features[targets[0]]
    return list(getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None) or ())


def labels_in(name: str, table: Dataset, targets: Sequence[str]) -> NDArray[Any]:
    """The labels of a table: [N], lists included, or [N, C] of a column for each class; NaN where a cell is empty."""
    if len(targets) > 1:
        odd = [column for column in targets if not _is_number(table.features[column])]
        if odd:
            raise refuse(f"{name}: {odd[0]!r} holds no numbers; expected 0 and 1 for a class", "data.target_column")
        return _numbers(table, targets)
    cells = table[targets[0]][:]
    if not any(isinstance(cell, list) for cell in cells):
        return np.asarray(cells)
    lists = np.empty(len(cells), object)
    lists[:] = [cell or [] for cell in cells]
    return lists


def input_columns(name: str, features: Any, config: Data) -> list[str]:
    """The input columns: one of pictures or of feature rows, or several that hold a feature each.

    As the scenario says, else by type: the one column of pictures, else of lists of numbers, else all columns but
    labels and groups, provided that they hold decimal numbers, or are named as categories. Whole numbers and texts may
    be features, or ids, or sites, so they are taken only by name.
    """
    targets = target_columns(name, features, config)
    for column in config.category_columns:
        if column not in features or column in targets:
            message = f"{name} has no such input column {column!r}; it has: {', '.join(features)}"
            raise refuse(message, "data.category_columns")

    if config.tokenizer is not None:
        return [text_column(name, features, targets, config)]
    if config.input_column is not None:
        named = [config.input_column] if isinstance(config.input_column, str) else list(config.input_column)
        named += [column for column in config.category_columns if column not in named]
        return _named_columns(name, features, targets, named)

    for fits in (_is_picture_type, _is_binary, _is_list):
        found: list[str] = [column for column, feature in features.items() if fits(feature)]
        if len(found) == 1:
            return found
        if found:
            message = f"{name}: {len(found)} columns may be the inputs; name one of {', '.join(found)}"
            raise refuse(message, "data.input_column")

    # Numbers and categories in several columns.
    used = {*targets, *config.group_columns}
    rest = [column for column in features if column not in used and not column.startswith(PANDAS_INDEX)]
    decimal = [column for column in rest if str(getattr(features[column], "dtype", "")).startswith("float")]
    unclear = [column for column in rest if column not in decimal and column not in config.category_columns]
    if rest and not unclear:
        return rest
    raise _unclear_columns(name, features, rest, unclear)


def _named_columns(name: str, features: Any, targets: Sequence[str], chosen: list[str]) -> list[str]:
    """The columns that the scenario names, as they are.

    Args:
        targets: the columns of labels.

    Raises:
        ScenarioError: where one is not there or is a label, and for several that are no numbers and texts.
    """
    for column in chosen:
        if column in targets:
            raise refuse(f"{name}: {column!r} is the label, and no input; remove it", "data.input_column")
        if column not in features:
            message = f"{name} has no column {column!r}; it has: {', '.join(features)}"
            raise refuse(message, "data.input_column")

    wide = [column for column in chosen if not _is_number(features[column]) and not is_text(features[column])]
    if not chosen or (wide and len(chosen) > 1):
        what = f"{wide[0]!r} holds neither" if wide else "the list is empty"
        raise refuse(f"{name}: expected one column, or columns of numbers and texts; {what}", "data.input_column")
    return chosen


def _unclear_columns(name: str, features: Any, rest: list[str], unclear: list[str]) -> ScenarioError:
    """That the input columns must be named.

    Args:
        rest: columns that are neither labels nor groups.
        unclear: those of them that may be something else than inputs.
    """
    message = f"{name}: which columns are the inputs? Name them, as in data.input_column=[{','.join(rest[:2])}]"
    if unclear:
        message += f"; {', '.join(map(repr, unclear[:3]))} could be features, ids or groups "
        message += "(data.group_columns)"
    if any(is_text(features[column]) for column in unclear):
        message += f"; {REMEDY}"
    return refuse(message, "data.input_column")


def _is_picture(feature: Any) -> bool:
    return _is_picture_type(feature) or _is_binary(feature)


def _is_picture_type(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _is_binary(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("binary", "large_binary")


def _is_list(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.List | datasets.LargeList) and _is_number(feature.feature)


def _is_number(feature: Any) -> bool:
    import datasets

    plain = isinstance(feature, datasets.Value)
    return plain and str(feature.dtype).startswith(("float", "int", "uint", "bool"))


def _first(names: Sequence[str], other: Sequence[str]) -> str:
    """Where two lists of class names first differ."""
    place = next((i for i, pair in enumerate(zip(names, other, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return f"{len(names)} and {len(other)} classes"
    return f"class {place} is {names[place]!r} in the training set, {other[place]!r} in the test set"


def _pictures(name: str, table: Dataset, column: str, fit: Fit, place: Path | None, file: str) -> NDArray[np.uint8]:
    import datasets

    as_bytes = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def images() -> Iterator[Image]:
        for start in range(0, len(as_bytes), CHUNK):
            for place, cell in enumerate(as_bytes[start : start + CHUNK][column], start):
                where = f"{name}: the picture in row {place} of {column!r}"
                yield decoded(_content(cell, where), where)

    return stack(name, images(), len(as_bytes), fit, place, file)


def _content(cell: dict[str, Any] | None, where: str) -> Path | bytes:
    """The encoded picture, or the file that holds it."""
    content = cell and (cell["bytes"] or cell["path"])
    if not content:
        raise refuse(f"{where} is missing")
    return content if isinstance(content, bytes) else Path(content)


def _rows(name: str, table: Dataset, columns: Sequence[str], categories: Sequence[str]) -> Given:
    """A column of lists, or a column for each number and each category; what is missing is NaN or None."""
    numbers = [c for c in columns if _is_number(table.features[c]) and c not in categories]
    named = [c for c in columns if c not in numbers and (c in categories or is_text(table.features[c]))]
    if not numbers and not named:
        return _lists(name, table, columns[0])

    values = _numbers(table, numbers)
    if not named:
        return Given(values, names=tuple(numbers))

    arrow = table.select_columns(named).with_format("arrow")[:]
    texts = np.empty((len(table), len(named)), object)
    for place, column in enumerate(named):
        texts[:, place] = arrow.column(column).to_pylist()
    return Given(values, categories=texts, names=(*numbers, *named))


def _numbers(table: Dataset, columns: Sequence[str]) -> NDArray[np.float64]:
    """[N, F] of a column for each; NaN where a cell is empty."""
    values = np.empty((len(table), len(columns)))
    if columns:
        arrow = table.select_columns(list(columns)).with_format("arrow")[:]
        for place, column in enumerate(columns):
            values[:, place] = arrow.column(column).cast("float64", safe=False).to_numpy()
    return values


def _lists(name: str, table: Dataset, column: str) -> Given:
    """A column of lists: feature rows [N, F], where a missing number is NaN, or token ids [N, L] of any lengths."""
    import pyarrow as pa
    from pyarrow import compute

    cells = table.select_columns([column]).with_format("arrow")[:].column(column).combine_chunks()
    ragged = f"{name}: column {column!r} holds neither pictures nor feature rows of one length"
    lists = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    if not any(is_list(cells.type) for is_list in lists):
        raise refuse(ragged, "data.input_column")
    lengths = compute.list_value_length(cells).to_numpy(zero_copy_only=False)
    if cells.null_count or np.isnan(lengths).any():
        raise refuse(ragged)

    inner = compute.list_flatten(cells)
    if pa.types.is_integer(inner.type):
        if inner.null_count:
            what = f"column {column!r} has {inner.null_count} missing token ids"
            raise refuse(f"{name}: {what}; take them out of the lists")
        return Given(*padded(inner.to_numpy(zero_copy_only=False).astype(np.int64), lengths))
    if len(np.unique(lengths)) != 1:
        raise refuse(ragged)
    if pa.types.is_nested(inner.type):
        try:
            return Given(np.asarray(table[column][:]))
        except ValueError as error:
            raise refuse(ragged) from error
    return Given(inner.to_numpy(zero_copy_only=False).reshape(len(cells), -1))
