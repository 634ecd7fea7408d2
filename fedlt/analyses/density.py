"""Whether a kernel density of a run's features means anything for its rare classes: which samples it rests on.

Biroli, Mezard: Kernel Density Estimators in Large Dimensions. arXiv 2408.05807, 2024. Of n = exp(alpha d) samples in d
dimensions, the estimate at a point is a sum that obeys the central limit theorem for a bandwidth above h_CLT, is
heavy-tailed below it, and rests on a few samples below h_G: it then tells the distance to the nearest of them. For
Gaussian data of variance 1 and the Gaussian kernel both follow from

    F(h, l) = log(1 + l / h^2) / 2 - l h^2 / (2 (h^2 + l)^2),    F(h_G, 1) = F(h_CLT, 2) = alpha

(the random energy model). The participation ratio Y2 = sum_i w_i^2 of the kernels' shares w_i in the sum shows it: near
1 for a single sample, 1 / n for all alike. A common bandwidth suits the classes that have many samples, and leaves the
rare ones below their h_G, since alpha = log n / d is smaller: `density_table` says of which classes.

Features have no variance 1 in every direction, so that they are whitened by the covariance within the classes, and kept
in as many of its directions as take part in it: d = (sum of eigenvalues)^2 / (sum of their squares), rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KernelDensity

from fedlt.data.groups import SHOTS, Grouping
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.areas import auroc
from fedlt.process.files import replace_file
from fedlt.process.threads import one_thread

if TYPE_CHECKING:
    from fedlt.results.runs import Run

Array = NDArray[np.float64]
KEY = "--density"
REGIMES = ("few samples", "heavy-tailed", "many samples")
"""What a density rests on below h_G, between both bounds, and above h_CLT."""
LIMIT = 20_000
"""Training samples at most: distances between those of a class are computed."""
JUDGED = 1000
"""Samples of a class, at most, that are judged by the others of it."""
WIDEST = (0.02, 50.0)
"""Bandwidths that are looked at, in standard deviations."""


def thresholds(samples: int, dim: float) -> tuple[float, float]:
    """The bandwidths that bound the three regimes: h_G and h_CLT, in standard deviations.

    Args:
        samples: n, of the class or of the whole set.
        dim: d, directions that take part.

    Returns:
        Both, h_G first; NaN for fewer than two samples.
    """
    if samples < 2:
        return float("nan"), float("nan")
    alpha = np.log(samples) / dim

    def excess(h: float, power: int) -> float:
        square = h * h
        return float(np.log1p(power / square) / 2 - power * square / (2 * (square + power) ** 2) - alpha)

    found = [brentq(excess, 1e-12, 1e6, args=(power,)) for power in (1, 2)]
    return float(found[0]), float(found[1])


def squared_distances(queries: Array, samples: Array) -> Array:
    """Squared Euclidean distances, computed on one thread so that they are the same on any number of cores.

    Args:
        queries: [m, d].
        samples: [n, d].

    Returns:
        [m, n].
    """
    with one_thread():
        found: Array = pairwise_distances(queries, samples, metric="sqeuclidean")
    return found


def participation(squared: Array, bandwidth: float) -> Array:
    """Y2 of each query: 1 where a single sample makes up its density, 1 / n where all samples do alike.

    Args:
        squared: [m, n] squared distances of the queries to the samples; infinite ones take no part.
        bandwidth: h, in the unit of the distances.

    Returns:
        [m].
    """
    shares = softmax(-squared / (2 * bandwidth**2), axis=1)
    return np.asarray((shares**2).sum(axis=1), np.float64)


def log_density(squared: Array, bandwidth: float, dim: int, samples: int) -> Array:
    """Logarithm of the kernel density at each query.

    Args:
        squared: [m, n], as in `participation`.
        bandwidth: h, in the unit of the distances.
        dim: d of the space, for the kernel's constant.
        samples: how many the kernels are divided by: fewer than n where some distances are infinite.

    Returns:
        [m]; -inf where all distances are infinite.
    """
    constant = np.log(samples) + dim / 2 * np.log(2 * np.pi * bandwidth**2)
    return np.asarray(logsumexp(-squared / (2 * bandwidth**2), axis=1) - constant, np.float64)


def to_others(x: Array, queries: int | None = None) -> Array:
    """Squared distances of samples to all others of their class; infinite to themselves.

    Args:
        x: [n, d].
        queries: m, how many of them, from the first on, are looked from; None: all.

    Returns:
        [m, n].
    """
    squared = squared_distances(x[:queries], x)
    np.fill_diagonal(squared, np.inf)
    return squared


def likeliest(parts: list[Array], dim: int) -> float:
    """The bandwidth under which samples are likeliest, each under the others of its class.

    Args:
        parts: of each class, as `to_others` gives them, with two samples at least.
    """

    def loss(log_h: float) -> float:
        h = float(np.exp(log_h))
        found = np.concatenate([log_density(squared, h, dim, squared.shape[1] - 1) for squared in parts])
        return -float(np.maximum(found, -1e6).mean())

    narrowest, widest = np.log(WIDEST)
    grid = np.linspace(narrowest, widest, 17)
    best = int(np.argmin([loss(each) for each in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-3}).x))


@dataclass
class ClassDensities:
    """Kernel densities of classes with one bandwidth, on whitened features. What ends in `_` is there after `fit`.

    Attributes:
        bandwidth: in standard deviations; the likeliest unless given.
        dim_: d, directions that are kept.
        bandwidth_: that of the kernels.
        classes_: [C] the labels that there are.
        counts_: int64 [C] samples of each.
        thresholds_: [C, 2] h_G and h_CLT of each; NaN for a class of one sample.
        participation_: [C] the mean of Y2 over the samples of a class, each under the others of its class.
    """

    bandwidth: float | None = None
    dim_: int = field(default=0, init=False)
    bandwidth_: float = field(default=float("nan"), init=False)

    def fit(self, features: Array, labels: NDArray[np.int64]) -> Self:
        """Whiten features by the covariance within the classes, choose the bandwidth, and measure what each class rests
        on.

        Args:
            features: [n, D].
            labels: [n], of any numbers.

        Raises:
            ValueError: where no class has two samples that differ.
        """
        x, y = np.asarray(features, np.float64), np.asarray(labels)
        self.classes_, index, self.counts_ = np.unique(y, return_inverse=True, return_counts=True)
        means = np.stack([x[index == place].mean(axis=0) for place in range(len(self.classes_))])
        self._whiten(x - means[index], x.mean(axis=0))

        z = self.whitened(x)
        groups = [z[index == place] for place in range(len(self.classes_))]
        parts = [to_others(mine, JUDGED) if len(mine) > 1 else None for mine in groups]
        held = [part for part in parts if part is not None]
        self.bandwidth_ = likeliest(held, self.dim_) if self.bandwidth is None else self.bandwidth

        ratios = [np.nan if part is None else participation(part, self.bandwidth_).mean() for part in parts]
        self.participation_ = np.array(ratios)
        self.thresholds_ = np.array([thresholds(int(count), self.dim_) for count in self.counts_])
        self._whole = KernelDensity(bandwidth=self.bandwidth_).fit(z)
        self._each = [KernelDensity(bandwidth=self.bandwidth_).fit(mine) for mine in groups]
        return self

    def _whiten(self, within: Array, centre: Array) -> None:
        """Find the directions within the classes that count, and their scales."""
        values, vectors = np.linalg.eigh(within.T @ within / len(within))
        values = np.maximum(values[::-1], 0)
        if values[0] <= 0:
            raise ValueError("no class has two samples that differ, so that there is no density of one")
        self.dim_ = max(1, round(float(values.sum() ** 2 / (values**2).sum())))
        self._centre, self._scale = centre, vectors[:, ::-1][:, : self.dim_] / np.sqrt(values[: self.dim_])

    def whitened(self, features: Array) -> Array:
        """[n, d] of features [n, D]."""
        return np.asarray((np.asarray(features, np.float64) - self._centre) @ self._scale)

    @property
    def regimes(self) -> list[str]:
        """Of each class, one of `REGIMES`; "-" for one that has a single sample."""
        places = (self.bandwidth_ >= self.thresholds_).sum(axis=1)
        alone = np.isnan(self.thresholds_[:, 0])
        return ["-" if single else REGIMES[place] for single, place in zip(alone, places, strict=True)]

    def score(self, features: Array) -> Array:
        """[n] log density under all training samples: low where there is hardly any, of a tail or of something else."""
        return np.asarray(self._whole.score_samples(self.whitened(features)))

    def class_scores(self, features: Array) -> Array:
        """[n, C] log density under each class. Where a class rests on few samples it tells the distance to one."""
        z = self.whitened(features)
        return np.stack([each.score_samples(z) for each in self._each], axis=1)


@dataclass(frozen=True, eq=False)
class Densities:
    """What the densities of a run's features rest on.

    Attributes:
        fitted: on the training samples.
        classes: a row for each class: class, name, group, samples, alpha, h_g, h_clt, participation, regime.
        samples: a row for each test sample: row, label, group, right, density.
    """

    fitted: ClassDensities
    classes: pd.DataFrame
    samples: pd.DataFrame

    def by_group(self) -> pd.DataFrame:
        """A row for head, medium and tail each, without those that have no class.

        Columns:

        - of: the group. - classes: how many. - samples, alpha, participation: means over the classes. - few: share of
        the classes that rest on few samples. - density: mean log density of the test samples. - below: share of these
        that is less dense than all but 5 % of the head's.
        """
        first = self.samples["group"].iloc[0] if not (self.samples["group"] == SHOTS[0]).any() else SHOTS[0]
        bound = self.samples.loc[self.samples["group"] == first, "density"].quantile(0.05)
        rows = []
        for shot in SHOTS:
            mine, tested = (table[table["group"] == shot] for table in (self.classes, self.samples))
            if not len(mine):
                continue
            means = mine[["samples", "alpha", "participation"]].mean()
            few = float((mine["regime"] == REGIMES[0]).mean())
            density, below = float(tested["density"].mean()), float((tested["density"] < bound).mean())
            rows.append({"of": shot, "classes": len(mine), **means, "few": few, "density": density, "below": below})
        return pd.DataFrame(rows)

    def failures(self) -> float:
        """How well a low density tells wrong predictions of test samples: the area under the ROC curve; NaN: none."""
        return auroc(-self.samples["density"].to_numpy(), ~self.samples["right"].to_numpy())

    def warning(self) -> str:
        """What is to be said of the bandwidth; "" where every class has enough samples for it."""
        few = int((self.classes["regime"] == REGIMES[0]).sum())
        if not few:
            return ""
        told = f"bandwidth {self.fitted.bandwidth_:.2f} is below h_G of {few} of {len(self.classes)} classes"
        return f"{told}: their densities rest on a few samples, and tell the distance to the nearest of them"


def densities(run: Run, bandwidth: float | None = None) -> Densities:
    """Densities of the classes of a finished run, on features of its generic model.

    Writes `density.parquet` (of test samples), `density_classes.parquet` and `density.png` into the run folder.

    Args:
        bandwidth: in standard deviations within classes; the likeliest unless given.

    Raises:
        ScenarioError: for a run that has none.
    """
    kept = run.features()
    if kept.train.labels.ndim > 1:
        raise ScenarioError(Problem(KEY, "is of samples with one class, and here they have several"))
    if not 2 <= len(kept.train) <= LIMIT:
        raise ScenarioError(Problem(KEY, f"takes 2 to {LIMIT:,} training samples, and there are {len(kept.train):,}"))
    try:
        fitted = ClassDensities(bandwidth).fit(np.asarray(kept.train.features), np.asarray(kept.train.labels))
    except ValueError as error:
        raise ScenarioError(Problem(KEY, str(error))) from error

    groups = np.array(SHOTS)[Grouping.of_run(run.scenario)(kept.class_counts)]
    names = np.array(kept.class_names)[fitted.classes_]
    h = fitted.thresholds_
    classes = pd.DataFrame({
        "class": fitted.classes_, "name": names, "group": groups[fitted.classes_], "samples": fitted.counts_,
        "alpha": np.log(fitted.counts_) / fitted.dim_, "h_g": h[:, 0], "h_clt": h[:, 1],
        "participation": fitted.participation_, "regime": fitted.regimes,
    })  # fmt: skip

    test = kept.test
    labels, right = np.asarray(test.labels), np.asarray(test.logits).argmax(1) == np.asarray(test.labels)
    columns = {"row": np.asarray(test.rows), "label": labels, "group": groups[labels], "right": right}
    columns["density"] = fitted.score(np.asarray(test.features))
    found = Densities(fitted, classes, pd.DataFrame(columns))

    for name, table in (("density", found.samples), ("density_classes", classes)):
        replace_file(run.folder / f"{name}.parquet", partial(table.to_parquet, index=False))
    _draw(found, run.folder / "density.png")
    return found


def _draw(found: Densities, path: Path) -> None:
    from fedlt.plots.bandwidths import bandwidth_chart
    from fedlt.plots.figure import save, side_by_side
    from fedlt.plots.layout import PAGE
    from fedlt.plots.style import style

    of, fitted = found.classes, found.fitted
    chart = bandwidth_chart(
        list(of["name"]), of["samples"].to_numpy(), list(of["group"]), fitted.thresholds_, fitted.bandwidth_
    )
    with style():
        figure = side_by_side([chart], PAGE, columns=1, height=2.3)
    save(figure, path)
