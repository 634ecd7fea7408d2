"""Tables of interactions (who took which item when): each row becomes a history of items and the next one.

The rows that count are brought into the order of each user's time. A user's latest rows are the test set, the others
but the first are for training: the inputs are the items before (`fedlt.data.inputs.histories`), the target is the item.
Test rows whose item is no training target are left out, since nothing could recommend it; the catalogue has all items.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedlt.data import book_loans
from fedlt.data.coding import ordered, refuse
from fedlt.data.digests import stamp
from fedlt.data.inputs import Given
from fedlt.data.inputs.catalogue import NOTHING, Catalogue
from fedlt.data.kind_of import built_in, chosen
from fedlt.data.raw import Columns, RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share
from fedlt.data.tables import columns_of
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from fedlt.config.sections import Data

KEY = "data.interactions"
BETWEEN = "|"
"""What stands between the values of an item that has several of one category."""


class Part(NamedTuple):
    """One split: histories with their mask [n, L], targets [n], and its group columns."""

    given: Given
    y: NDArray[np.int64]
    groups: Columns


class Rows(NamedTuple):
    """Which rows of the table are samples.

    Attributes:
        at: [n] rows of the table.
        past: rows of the table that histories are made of, user by user in the order of time.
        until: [n] where in `past` the history of each ends.
        place: [n] how many rows of `past` its user has before.
    """

    at: NDArray[np.int64]
    past: NDArray[np.int64]
    until: NDArray[np.int64]
    place: NDArray[np.int64]


@dataclass(frozen=True)
class Interactions:
    """A data set in one table of interactions.

    Attributes:
        path: of the table; None: the built-in one.
    """

    config: Data
    path: Path | None = None

    @property
    def name(self) -> str:
        return self.config.name if self.path is None else self.path.stem

    def identity(self) -> list[Any]:
        """What decides the arrays: the file and the columns."""
        file = Path(book_loans.__file__) if self.path is None else self.path
        return [stamp([file]), columns_of(self.config), json.dumps(asdict(self.config.interactions))]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        train, test, _ = self._parts
        return checked(self.read_labels(), train.given, test.given, self.config, place)

    def read_labels(self) -> RawLabels:
        """Items and group columns."""
        train, test, names = self._parts
        usual = "items" if self.config.interactions.rows == "next" else "liked"
        kind = chosen(self.config) or built_in(usual)
        if kind.name in ("items", "liked") and kind.name != usual:
            rows = self.config.interactions.rows
            raise refuse(f"{kind.name} has no meaning with data.interactions.rows={rows}; use {usual}", "data.targets")
        return checked_labels(self.name, train.y, test.y, train.groups, test.groups, names, kind)

    @cached_property
    def _parts(self) -> tuple[Part, Part, tuple[str, ...]]:
        """Both splits, and the names of the classes."""
        asked = self.config.interactions
        if asked.user is None:
            raise refuse(f"{self.name} is a table of interactions; name its columns: {book_loans.KEYS}", KEY)
        for key in ("input_column", "target_column", "category_columns", "tokenizer"):
            if getattr(self.config, key):
                raise refuse("has no effect on interactions, whose columns data.interactions names", f"data.{key}")
        for key in ("train_split", "test_split"):
            if getattr(self.config, key) != key.removesuffix("_split"):
                raise refuse("interactions are split by time (data.interactions.tested); remove it", f"data.{key}")
        check_share(self.config.test_share, self.name, "test", found=True)

        table = book_loans.table() if self.path is None else read_table(self.path)
        groups = dict.fromkeys((asked.user, *self.config.group_columns))
        wanted = {"user": asked.user, "item": asked.item, "time": asked.time, "rating": asked.rating}
        self._refuse_missing(table, wanted)
        liked = self._liked(table)
        user, item = (self._named(table, key, wanted[key]) for key in ("user", "item"))
        order = np.lexsort((np.arange(len(table)), self._times(table), user.cat.codes))
        owners, texts = user.cat.codes.to_numpy(), np.asarray(item.astype(str))
        made = self._next if asked.rows == "next" else self._ratings
        numbers, rows, names, told = made(owners, texts, order, liked)

        if not all(len(each.at) for each in rows):
            what = f"{len(table)} rows, of which {liked.sum()} count, by {len(np.unique(owners))} users"
            remedy = "lower data.interactions.least or tested, or give users with more rows"
            raise refuse(f"{self.name}: no interactions are left to train and test on ({what}); {remedy}", KEY)
        items = np.array([numbers[text] for text in texts])
        catalogue = self._catalogue(table, items, told)

        def part(some: Rows) -> Part:
            x, mask = histories(items[some.past], some.until, some.place, asked.history)
            if catalogue.asked:
                first = items[some.at][:, None]
                x, mask = np.concatenate([first, x], 1), np.concatenate([np.ones_like(first, bool), mask], 1)
            given = Given(x, mask, vocabulary=len(numbers), catalogue=catalogue)
            y = liked[some.at].astype(np.int64) if catalogue.asked else items[some.at]
            return Part(given, y, {name: _values(table[name], some.at) for name in groups})

        train, test = map(part, rows)
        return train, test, names

    def _next(
        self, owners: NDArray[Any], texts: NDArray[Any], order: NDArray[np.int64], liked: NDArray[np.bool_]
    ) -> tuple[dict[str, int], tuple[Rows, Rows], tuple[str, ...], tuple[str, ...]]:
        """Numbers of the items by name, rows for training and test, names of the classes, and what was left out.

        Args:
            owners: [N] users of the table's rows.
            texts: [N] their items.
            order: [N] rows in the order of users and times.
            liked: [N] which rows count.
        """
        order = order[liked[order]]
        place, left = _places(owners[order])
        tested = self.config.interactions.tested
        trained, asked = ((place > 0) & part for part in (left > tested, left <= tested))
        known = ordered(texts[order][trained]) if trained.any() else []
        numbers = {text: code for code, text in enumerate([*known, *ordered(np.setdiff1d(texts, known))])}

        unknown = asked & ~np.isin(texts[order], known)
        told = f"{unknown.sum()} of {asked.sum()} test rows are left out: nobody takes their items in the training rows"
        parts = [np.flatnonzero(part) for part in (trained, asked & ~unknown)]
        rows = [Rows(order[at], order, at, place[at]) for at in parts]
        return numbers, (rows[0], rows[1]), tuple(known), (told,) if unknown.any() else ()

    def _ratings(
        self, owners: NDArray[Any], texts: NDArray[Any], order: NDArray[np.int64], liked: NDArray[np.bool_]
    ) -> tuple[dict[str, int], tuple[Rows, Rows], tuple[str, ...], tuple[str, ...]]:
        """As `_next`, of all rated items behind a first liked one; classes are whether the item is liked."""
        _, left = _places(owners[order])
        until: NDArray[np.int64] = np.cumsum(liked[order]) - liked[order]  # liked rows of all users before each row
        starts = until[np.searchsorted(owners[order], owners[order])]
        place, tested = until - starts, left <= self.config.interactions.tested
        parts = [np.flatnonzero((place > 0) & part) for part in (~tested, tested)]
        rows = [Rows(order[at], order[liked[order]], until[at], place[at]) for at in parts]
        numbers = {text: code for code, text in enumerate(ordered(texts))}
        return numbers, (rows[0], rows[1]), ("passed over", "liked"), ()

    def _refuse_missing(self, table: DataFrame, wanted: dict[str, str | None]) -> None:
        """Refuse columns that the table has not got."""
        named = [(f"{KEY}.{key}", column) for key, column in wanted.items() if column is not None]
        named += [(f"{KEY}.features", column) for column in self.config.interactions.features]
        named += [("data.group_columns", column) for column in self.config.group_columns]
        for key, column in named:
            if column not in table:
                there = ", ".join(map(str, table.columns))
                raise refuse(f"{self.name} has no column {column!r}; it has: {there}", key)

    def _named(self, table: DataFrame, key: str, column: str | None) -> Series[Any]:
        """A column whose values name something, as categories; none may be missing."""
        values = table[column]
        if values.isna().any():
            row = int(np.flatnonzero(values.isna())[0])
            raise refuse(f"{self.name}: row {row} has no {column!r}; take such rows out", f"{KEY}.{key}")
        return values.map(_text).astype("category")

    def _times(self, table: DataFrame) -> NDArray[Any]:
        """[N] numbers that grow with time."""
        import pandas as pd

        column = self.config.interactions.time
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any():
            dates = pd.to_datetime(table[column], format="ISO8601", errors="coerce", utc=True)
            if dates.isna().any():
                neither = dates.isna() if numbers.isna().all() else numbers.isna()
                row = int(np.flatnonzero(neither)[0])
                what = f"{self.name}: row {row} has {table[column].iloc[row]!r} as {column!r}"
                raise refuse(
                    f"{what}, no number and no date such as 2020-01-31; mend it, or name the column of times",
                    f"{KEY}.time",
                )
            numbers = dates.astype("int64")
        return np.asarray(numbers)

    def _liked(self, table: DataFrame) -> NDArray[np.bool_]:
        """[N] which rows count."""
        import pandas as pd

        asked = self.config.interactions
        if asked.rating is None:
            return np.ones(len(table), bool)
        given = pd.to_numeric(table[asked.rating], errors="coerce")
        lowest, highest = asked.scale or (-np.inf, np.inf)
        odd = np.flatnonzero(~given.between(lowest, highest))
        if len(odd):
            what = f"{self.name}: row {odd[0]} has the rating {table[asked.rating].iloc[odd[0]]}"
            beyond = f", and ratings go from {lowest:g} to {highest:g}" if asked.scale else ", which is no number"
            raise refuse(f"{what}{beyond}; mend {counted(len(odd), 'such row')}, or set data.interactions.scale",
                         f"{KEY}.rating")  # fmt: skip
        least = -np.inf if asked.least is None else asked.least
        return np.asarray(given >= least)

    def _catalogue(self, table: DataFrame, items: NDArray[np.int64], told: tuple[str, ...]) -> Catalogue:
        """Categories of all items, as the first row of each has them."""
        _, first = np.unique(items, return_index=True)
        columns, starts, code = [np.arange(len(first), dtype=np.int32)[:, None]], [0, 1], len(first)

        # A block of columns for each feature, whose texts have codes of their own behind those before it.
        for name in self.config.interactions.features:
            held = [_split(value) for value in table[name].iloc[first]]
            known = {
                text: code + place for place, text in enumerate(sorted({text for texts in held for text in texts}))
            }
            if not known:
                raise refuse(f"{self.name}: the column {name!r} is empty; remove it", f"{KEY}.features")

            block = np.full((len(first), max(map(len, held))), NOTHING, np.int32)
            for row, texts in zip(block, held, strict=True):
                row[: len(texts)] = [known[text] for text in texts]
            columns.append(block)
            starts.append(starts[-1] + block.shape[1])
            code += len(known)

        fields = (self.config.interactions.item, *self.config.interactions.features)
        asked = self.config.interactions.rows == "liked"
        return Catalogue(fields, tuple(starts), np.concatenate(columns, axis=1), told, asked)


def _places(owners: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N] rows of the same user before each row, and from it on; users stand side by side in `owners` [N]."""
    starts = np.searchsorted(owners, owners)
    place = np.arange(len(owners)) - starts
    return place, np.searchsorted(owners, owners, side="right") - starts - place


def histories(
    sequence: NDArray[np.int64], until: NDArray[np.int64], place: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The items before each of some rows, the oldest first, and which of them are there: [n, L] both.

    Args:
        sequence: items, user by user in the order of time.
        until: [n] where in `sequence` each history ends.
        place: [n] items of the same user before.
        length: L, of the history at most.
    """
    held = np.minimum(place, length)[:, None]
    step = np.arange(length)
    mask = step < held
    return np.where(mask, sequence[np.clip(until[:, None] - held + step, 0, len(sequence) - 1)], 0), mask


def read_table(path: Path) -> DataFrame:
    """A CSV, TSV, JSON lines or Parquet file. Raises `ScenarioError`."""
    import pandas as pd

    ending = path.suffix.lower()
    try:
        if ending in (".csv", ".tsv"):
            return pd.read_csv(path, sep="\t" if ending == ".tsv" else ",")
        if ending in (".jsonl", ".ndjson"):
            return pd.read_json(path, lines=True)
        if ending == ".parquet":
            return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # those of pandas and pyarrow are of these kinds
        raise refuse(f"{path} is not readable as a table: {' '.join(str(error).split())}") from error
    raise refuse(f"interactions are read from one .csv, .tsv, .jsonl or .parquet file, and data.name is {path}")


def _text(value: Any) -> str:
    """A name as text: whole numbers alike whatever their type."""
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _split(value: Any) -> Sequence[str]:
    """The values of one cell, each once, in their order; none where it is empty."""
    if value is None or value != value:
        return ()
    return tuple(dict.fromkeys(part.strip() for part in _text(value).split(BETWEEN) if part.strip()))


def _values(column: Series[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """A group column's values: whole numbers as they are, others as texts."""
    values = np.asarray(column)[order]
    return values if values.dtype.kind in "iu" else np.array([_text(value) for value in values.tolist()], np.str_)
