"""What is told of a figure: one record, read by every table, picture and page that shows it.

    Figure("tail_auc", "Area under the ROC curve, mean over the tail classes.", title="AUC of tail classes",
           unit="fraction", better="higher")

The records of the figures that every run has are in `fedlt.measures.figures`. A metric of a user's own gives its
records by `describe`; a figure without one is called by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isnan


@dataclass(frozen=True)
class Unit:
    """How values of one unit are shown.

    Attributes:
        word: written after a title, as in `accuracy, %`; empty for plain numbers.
        scale: by which a value is multiplied.
        digits: shown after the point.
    """

    word: str
    scale: float
    digits: int

    def text(self, value: float, sign: bool = False) -> str:
        """The value in this unit, without the word.

        Args:
            sign: before positive values, too; a zero is positive.
        """
        rounded = round(self.scale * value, self.digits) + 0.0
        return f"{rounded:{'+' if sign else ''}.{self.digits}f}"


UNITS = {
    "fraction": Unit("%", 100.0, 1),
    "number": Unit("", 1.0, 3),
    "count": Unit("", 1.0, 0),
    "nats": Unit("nats", 1.0, 3),
    "seconds": Unit("s", 1.0, 2),
    "MB": Unit("MB", 1.0, 2),
}
"""By their names in records. Any other name is shown as it is, after numbers of three digits."""

BETTER = ("higher", "lower", "")


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: that of a metric, `top_3`, for whichever model; `generic/few` where the model matters; or a column of a
            run's tables, `clients.nll`.
        text: what it means, in sentences.
        title: what a chart of it is called, after the model's name.
        header: heads its column where every column is a metric; the metric's name unless given.
        column: heads its column where rows are models or clients; the last part of the name unless given.
        axis: what its values are called along an axis; the last part of the name unless given.
        unit: one of `UNITS`, or a word of one's own; empty: a fraction if all values are between 0 and 1, else a
            number.
        better: `higher`, `lower`, or empty where neither is.
        headline: whether it may stand for a model as a whole, as accuracy does.
        section: of the report, in which it has a column: `confidence`, `features`; empty: none.
    """

    name: str
    text: str = ""
    title: str = ""
    header: str = ""
    column: str = ""
    axis: str = ""
    unit: str = ""
    better: str = ""
    headline: bool = False
    section: str = ""

    def __post_init__(self) -> None:
        if self.better not in BETTER:
            raise ValueError(f"better of {self.name!r}: expected one of {BETTER}, got {self.better!r}")

    @property
    def last_part(self) -> str:
        """The name without its model or table: `few` of `generic/few`."""
        return self.name.replace(".", "/").rpartition("/")[2]

    @property
    def shown(self) -> Unit:
        """How its values are shown."""
        return UNITS.get(self.unit) or Unit(self.unit, 1.0, UNITS["number"].digits)

    @property
    def label(self) -> str:
        """Along an axis: what its values are called, and their unit."""
        return _with_unit(self.axis or self.last_part, self.shown)

    @property
    def heading(self) -> str:
        """Of a column that names its unit, among columns of other units."""
        return _with_unit(self.column or self.last_part, self.shown)

    def of_values(self, values: Iterable[float]) -> Figure:
        """With a unit that fits these values, where none was told."""
        if self.unit:
            return self
        within = all(0 <= value <= 1 for value in values if not isnan(value))
        return replace(self, unit="fraction" if within else "number")


def _with_unit(text: str, unit: Unit) -> str:
    return f"{text}, {unit.word}" if unit.word else text
