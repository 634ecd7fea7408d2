"""What a comparison of runs consists of: figures of methods over seeds, and their differences to a reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.comparing.methods import row_name
from fedlt.results.record import LAST

if TYPE_CHECKING:
    import pandas as pd

    from fedlt.comparing.select import Selection
    from fedlt.results.runs import Run

ACCURACIES = (
    "generic/accuracy", "generic/many", "generic/medium", "generic/few", "personal/accuracy",
    "personal_masked/accuracy", "personal/worst_decile",
)  # fmt: skip
BALANCED = "generic/balanced_accuracy"
COSTS = ("cost/seconds", "cost/mb_up", "cost/mb_down")
"""Seconds per round; megabytes (10^6 bytes) per client and round."""
WHEN = {"last": "last evaluation", "last_five": "mean of the last five evaluations"}


def accuracies(runs: Iterable[Run]) -> tuple[str, ...]:
    """What a comparison shows unless told: `ACCURACIES` and, where a run's test set is not balanced, balanced accuracy
    beside the generic model's accuracy."""
    if all(run.balanced for run in runs):
        return ACCURACIES
    return (ACCURACIES[0], BALANCED, *ACCURACIES[1:])


@dataclass(frozen=True)
class Paired:
    """Mean difference to the reference over the seeds that both have, with its confidence interval.

    n: pairs. low, high: bounds of Student's interval of the mean of the n differences; NaN for n = 1.
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
    """One figure of one method. n: seeds for which it is defined. std: sample standard deviation, NaN for n = 1."""

    mean: float
    std: float
    n: int
    paired: Paired | None = None


@dataclass(frozen=True)
class Row:
    """One method. labels: values of the keys `by`. variant: of its models, "" for the headline.

    cells: `last` or `last_five` -> metric -> figure. needs: what its strategy and its learner have
    beyond the model. setting: the one chosen on validation data; tried: how many it was chosen from. Empty and 0 where
    nothing was chosen.
    """

    labels: tuple[str, ...]
    variant: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    needs: tuple[str, ...] = ()
    setting: str = ""
    tried: int = 0

    @property
    def name(self) -> str:
        """The labels in one text, as `--reference` takes it."""
        return row_name(self.labels, self.variant)


@dataclass(frozen=True)
class Comparison:
    """A table of methods. excluded: what was left out because it is not finished, with its state.

    unknown: folders of runs that hold no digests of the files that they were made of, and whose scenarios name some.
    untested: what is to be said of classes without a test sample, for each partition that has some.
    averaged: evaluations that the mean of the last five is over at least; fewer than five in short runs. selection: how
    each method's setting was chosen on validation data; None where rows are all that was run.
    """

    by: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str = ""
    level: float = 0.95
    title: str = ""
    excluded: tuple[str, ...] = ()
    averaged: int = LAST
    selection: Selection | None = None
    unknown: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Long form: a line per method, evaluation and metric, with mean, std, n and the paired difference."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """The lines of `frame` as dictionaries. Accuracies are fractions."""
        lines = []
        for row in self.rows:
            choice = {"chosen": row.setting, "tried": row.tried} if self.selection else {}
            for when, cells in row.cells.items():
                for metric, cell in cells.items():
                    pair = cell.paired or Paired(math.nan, math.nan, math.nan, 0)
                    lines.append({
                        "setting": self.title, **dict(zip(self.by, row.labels, strict=True)),
                        "variant": row.variant, **choice, "evaluation": when,
                        "metric": metric, "mean": cell.mean, "std": cell.std, "n": cell.n, "difference": pair.mean,
                        "low": pair.low, "high": pair.high, "pairs": pair.n, "mark": pair.mark,
                    })  # fmt: skip
        return lines

    def __str__(self) -> str:
        from fedlt.comparing.table import render

        return render([self], "text")

    def _repr_markdown_(self) -> str:
        from fedlt.comparing.table import render

        return render([self], "markdown")


def paired(differences: Sequence[float], level: float = 0.95) -> Paired:
    """Student's confidence interval of the mean of n differences: mean ± t(n - 1) * std / sqrt(n)."""
    # Equal runs may differ by the rounding of a mean, which is no difference at whatever confidence.
    d = np.round(np.asarray(differences, dtype=np.float64), 12)
    n = len(d)
    if n < 2:
        return Paired(float(d[0]) if n else math.nan, math.nan, math.nan, n)
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(d.std(ddof=1)) / math.sqrt(n)
    mean = float(d.mean())
    return Paired(mean, mean - half, mean + half, n)
