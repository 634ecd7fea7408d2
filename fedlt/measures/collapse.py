"""Geometry of a generic model's features and head: neural collapse, head norms, alignment of clients' features.

Everything follows from moments of the features of the global test set, which the evaluation has at hand. Parts of a
test set are added up in a fixed order, since these are floating-point sums.

Papyan, Han, Donoho: Prevalence of neural collapse during the terminal phase of deep learning training. PNAS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlt.measures.side import attempt

Matrix = NDArray[np.float64]
PAIRS = 2**24
"""Pairs of rows whose cosines are computed at a time."""

NAMES = ("count", "total", "gram", "clients", "client_total", "client_classes")


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of features [N, D] with classes in 0..C-1.

    All are floats, so that they travel alike.

    Attributes:
        count: [C] samples of each class.
        total: [C, D] sums of their features.
        gram: [D, D] sum of h h^T.
        clients: [K] ids, ascending, of the clients whose test rows are summed in client_total [K, D] (a row counts once
            for each client that has it).
        client_classes: [K, C] how many of each class those are.
    """

    count: Matrix
    total: Matrix
    gram: Matrix
    clients: Matrix
    client_total: Matrix
    client_classes: Matrix

    @classmethod
    def merge(cls, parts: Sequence[Moments]) -> Moments:
        """The sum of parts that name the same clients, in the order given. Needs at least one part."""
        first = parts[0]
        if any(part.clients.tolist() != first.clients.tolist() for part in parts):
            raise ValueError("expected parts that name the same clients")
        sums = {name: sum((getattr(p, name) for p in parts[1:]), getattr(first, name)) for name in NAMES}
        return cls(**(sums | {"clients": first.clients}))

    @property
    def class_means(self) -> Matrix:
        """[C, D], NaN for classes without a sample."""
        with np.errstate(invalid="ignore"):
            return self.total / self.count[:, None]

    @property
    def centred_means(self) -> Matrix:
        """[C, D] class means less their mean over the classes that have samples (the balanced global mean)."""
        means = self.class_means
        return means - means[self.count > 0].mean(axis=0)

    def within(self) -> Matrix:
        """[D, D] covariance of the features around their class means, over all samples."""
        held = self.count > 0
        between = (self.total[held] / self.count[held, None]).T @ self.total[held]
        return (self.gram - between) / self.count.sum()


def collapse_figures(moments: Moments, head: Matrix | None, told: list[str] | None = None) -> dict[str, float]:
    """`nc1`, `nc2_norms`, `nc2_angles`, `nc3` and, of the head's rows [C, D], `head_norms` and `head_angles`; where
    clients' rows were summed, also their mean `alignment`.

    All but the last are 0 in a collapsed model. NaN where fewer than two classes have samples, or without such a head.

    Args:
        told: gets a line for each figure that cannot be computed.
    """
    lines: list[str] = [] if told is None else told
    nan = float("nan")
    held = moments.count > 0
    figures = dict.fromkeys(("nc1", "nc2_norms", "nc2_angles", "nc3", "head_norms", "head_angles"), float("nan"))

    if held.sum() > 1:
        means = moments.centred_means[held]
        figures["nc1"] = attempt("generic/nc1", lambda: _variability(moments.within(), means), nan, lines)
        figures["nc2_norms"], figures["nc2_angles"] = _unevenness(means)
        if head is not None:
            figures["nc3"] = float(np.linalg.norm(_unit(head[held]) - _unit(means)))

    if head is not None and len(head) > 1:
        figures["head_norms"], figures["head_angles"] = _unevenness(head)
    aligned = client_alignment(moments)
    aligned = aligned[~np.isnan(aligned)]
    if len(aligned):
        figures["alignment"] = float(aligned.mean())

    return figures


def class_columns(moments: Moments, head: Matrix | None) -> dict[str, Matrix]:
    """[C] each: `feature_norm` |mu_c - mu|, `head_norm` |w_c|, and `duality`, the cosine between the two vectors."""
    means = moments.centred_means
    nothing = np.full(len(means), np.nan)
    return {
        "feature_norm": np.linalg.norm(means, axis=1),
        "head_norm": nothing if head is None else np.linalg.norm(head, axis=1),
        "duality": nothing if head is None else _cosines(head, means),
    }


def client_alignment(moments: Moments) -> Matrix:
    """[K] cosine between a client's mean feature and the mean that its test classes would give, both less the
    balanced global mean: 1 where the client's samples of a class look like everyone's.
    """
    held = moments.count > 0
    means, samples = moments.class_means, moments.client_classes.sum(axis=1, keepdims=True)
    centre = means[held].mean(axis=0)
    with np.errstate(invalid="ignore"):  # no test sample: 0 / 0
        found = moments.client_total / samples
        expected = moments.client_classes @ np.nan_to_num(means) / samples
    return _cosines(found - centre, expected - centre)


def _variability(within: Matrix, means: Matrix) -> float:
    """trace(S_W S_B^+) / C of centred means [C, D], where S_B = M^T M / C.

    Directions in which the means differ by less than the rounding of float32 features are left out, as the
    pseudo-inverse leaves out those of zero.
    """
    _, scales, directions = np.linalg.svd(means, full_matrices=False)
    kept = scales > 1e-6 * scales.max()
    if not kept.any():
        return float("nan")
    spread = np.einsum("jd,de,je->j", directions[kept], within, directions[kept], optimize=True)
    return float((spread / scales[kept] ** 2).sum())


def _unevenness(rows: Matrix) -> tuple[float, float]:
    """Of [n, D] vectors: standard deviation of the norms over their mean, and the mean distance of the cosines of all
    pairs from -1 / (n - 1), that of a simplex.
    """
    norms = np.linalg.norm(rows, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = float(norms.std() / norms.mean())
        if len(rows) ** 2 <= PAIRS:
            cosines = ((rows @ rows.T) / np.outer(norms, norms))[np.triu_indices(len(rows), 1)]
            return spread, float(np.abs(cosines + 1 / (len(rows) - 1)).mean())
        return spread, _mean_distance(rows / norms[:, None])


def _mean_distance(unit: Matrix) -> float:
    """Mean of |cosine + 1 / (n - 1)| over all pairs of n unit rows, without an array of all pairs."""
    number, total = len(unit), 0.0
    step = max(1, PAIRS // number)
    for start in range(0, number, step):
        # Pairs with later rows alone: those of the block itself above its diagonal, and all that follow it.
        block = unit[start : start + step]
        away = np.abs(block @ unit[start:].T + 1 / (number - 1))
        total += float(np.triu(away, 1).sum())
    return total / (number * (number - 1) / 2)


def _cosines(a: Matrix, b: Matrix) -> Matrix:
    """[n] cosines between the rows of [n, D]; NaN where one of them is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def _unit(matrix: Matrix) -> Matrix:
    """Scaled to a Frobenius norm of one."""
    with np.errstate(invalid="ignore"):
        return np.asarray(matrix / np.linalg.norm(matrix))
