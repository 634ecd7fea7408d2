"""How a method's accuracy on a class follows from the class's training samples: points per decade.

Udandarao et al.: No "Zero-Shot" Without Exponential Data. NeurIPS 2024 (arXiv 2404.04125), where accuracy on a
concept grows with the logarithm of how often it was seen. Here x are the training samples of a class over all clients,
y is the generic model's accuracy on it at the last evaluation, and each run has a line

    y = a + b log10(x)

whose slope b says how long-tailed the model is: 0 where rare classes are recognised as well as frequent ones. A line in
x itself stands beside it, by Akaike's criterion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError
from fedlt.plots.measured import Runs, by_name, recalls, split_of

FEWEST = 5
"""Classes that a line is fitted to, at least."""


@dataclass(frozen=True)
class Trend:
    """A line through the classes of one run.

    Attributes:
        slope: points per tenfold number of samples.
        at_ten: the line at 10 samples, in per cent.
        correlation: of accuracy and log10 of the samples.
        aic: Akaike's criterion of this line less that of a line in the samples; below 0: this one is better.
    """

    slope: float
    at_ten: float
    correlation: float
    aic: float


def trend(counts: NDArray[np.int64], recalls: NDArray[np.float64]) -> Trend:
    """The line through classes that have training and test samples.

    Args:
        counts: int64 [C] training samples.
        recalls: [C] in 0..1; NaN: untested.

    Raises:
        ValueError: for fewer than `FEWEST` such classes, and where all have equally many samples.
    """
    known = (counts > 0) & ~np.isnan(recalls)
    samples, accuracy = counts[known].astype(float), 100 * recalls[known]
    if len(samples) < FEWEST or samples.min() == samples.max():
        raise ValueError(f"a line takes {FEWEST} classes that differ in their samples, and there are {len(samples)}")

    logs = np.log10(samples)
    slope, start = np.polyfit(logs, accuracy, 1)
    errors = []
    for x in (logs, samples):
        line = np.polyval(np.polyfit(x, accuracy, 1), x)
        errors.append(max(float(((accuracy - line) ** 2).sum()), 1e-12))
    spread = accuracy.std()
    correlation = float(np.corrcoef(logs, accuracy)[0, 1]) if spread > 0 else 0.0
    return Trend(float(slope), float(start + slope), correlation, len(samples) * float(np.log(errors[0] / errors[1])))


def frequency_table(runs: Runs, by: str | None = None, model: str = "generic") -> pd.DataFrame:
    """A row for each method, flattest first: means over its seeds, and the slope's standard deviation.

    Methods without such a model have no row.

    Args:
        runs: as pictures take them.
        by: keys that name the methods, as in `compare`.
        model: `generic`, a variant of it (`generic[psi]`), or `personal`, pooled over the clients.

    Raises:
        ScenarioError: where no method has a line.
    """
    rows, reason = [], "no method has such a model"
    for name, mine in by_name(runs, by).items():
        try:
            found = [trend(split_of(run).train.sum(axis=0), recalls(run, model)) for run in mine]
        except ValueError as error:
            reason = f"{name}: {error}"
            continue
        rows.append({"method": name, "seeds": len(found), **_means(found)})
    if not rows:
        raise ScenarioError(Problem("--frequency", f"{model}: {reason}"))
    return pd.DataFrame(rows).sort_values("slope", kind="stable", ignore_index=True)


def _means(found: Sequence[Trend]) -> dict[str, float]:
    slopes = [each.slope for each in found]
    return {
        "slope": float(np.mean(slopes)),
        "std": float(np.std(slopes, ddof=1)) if len(slopes) > 1 else float("nan"),
        **{name: float(np.mean([getattr(each, name) for each in found])) for name in ("at_ten", "correlation", "aic")},
    }
