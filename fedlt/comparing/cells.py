"""One figure of one method over its seeds, and its difference to the same figure of a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedlt.measures.figure import Figure


@dataclass(frozen=True)
class Paired:
    """Mean difference to the reference over the seeds that both have, with its confidence interval.

    Attributes:
        low, high: bounds of Student's interval of the mean of the n differences; NaN for n = 1.
        n: pairs.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def mark(self) -> int:
        """1 or -1 where the interval excludes zero: above or below the reference. 0 elsewhere."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Cell:
    """One figure of one method.

    Attributes:
        mean: over the seeds for which it is defined; NaN where there are none.
        std: sample standard deviation, NaN for n = 1.
        n: seeds for which it is defined.
        paired: its difference to the reference; None where there is none.
    """

    mean: float
    std: float
    n: int
    paired: Paired | None = None


def paired(differences: Sequence[float], level: float = 0.95) -> Paired:
    """Student's confidence interval of the mean of n differences: mean ± t(n - 1) * std / sqrt(n).

    Args:
        differences: n, one for each seed that both have.
        level: of confidence, in (0, 1).

    Returns:
        NaN bounds for fewer than two differences, and a NaN mean for none.
    """
    # Equal runs may differ by the rounding of a mean, which is no difference at whatever confidence.
    d = np.round(np.asarray(differences, dtype=np.float64), 12)
    n = len(d)
    if n < 2:
        return Paired(float(d[0]) if n else math.nan, math.nan, math.nan, n)
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(d.std(ddof=1)) / math.sqrt(n)
    mean = float(d.mean())
    return Paired(mean, mean - half, mean + half, n)


MARKS = {1: " ↑", -1: " ↓", 0: ""}


def mean_text(cell: Cell, figure: Figure, defined: str = "") -> str:
    """`61.0 ± 2.4 ↑` in the figure's unit; `-` where it is not defined.

    Args:
        defined: what is said of the number of seeds, between the two.
    """
    if math.isnan(cell.mean):
        return "-"
    text = figure.shown.text(cell.mean)
    if not math.isnan(cell.std) and figure.unit != "MB":  # traffic hardly depends on the seed
        text += f" ± {figure.shown.text(cell.std)}"
    return text + defined + MARKS[cell.paired.mark if cell.paired else 0]


def difference_text(pair: Paired | None, figure: Figure) -> str:
    """`+5.0 [+1.6, +8.4] ↑`: in points for a fraction, else in the figure's unit."""
    if pair is None or math.isnan(pair.mean):
        return "-"
    text = figure.shown.text(pair.mean, sign=True)
    if not math.isnan(pair.low):
        text += f" [{figure.shown.text(pair.low, sign=True)}, {figure.shown.text(pair.high, sign=True)}]"
    return text + MARKS[pair.mark]
