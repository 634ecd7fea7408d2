"""Which training samples are only right because they were seen: memorization, on the features of a finished run.

Feldman: Does Learning Require Memorization? A Short Tale about a Long Tail. STOC 2020. The estimator is that of
Feldman, Zhang: What Neural Networks Memorize and Why. NeurIPS 2020 (arXiv 2008.03703): of many learners on random
shares of the training samples,

    mem(i) = P(right on i | i was in the share) - P(right on i | i was left out)

The learner is the nearest neighbour among the share's features, so that hundreds of them take seconds: it is right on
what it holds, and mem(i) is how often the nearest other sample has another label. The features were trained on all
samples, whoever is left out afterwards: what the backbone itself remembers is not measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from fedlt.data.groups import SHOTS, Grouping
from fedlt.errors import Problem, ScenarioError
from fedlt.process.files import replace_file
from fedlt.process.threads import one_thread

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--memorization"
SHARE = 0.7
"""Of the samples that a learner holds."""
NEIGHBOURS = 64
"""Of each sample that are looked at; a share without any of them has the probability 0.3^64."""
LIMIT = 60_000
"""Samples at most: distances between all of them are computed."""


def memorized(
    features: NDArray[np.floating], labels: NDArray[np.int64], learners: int = 400, seed: int = 0
) -> NDArray[np.float64]:
    """mem of each sample: how often it is wrong when it was left out, in 0..1.

    Args:
        features: [n, D] of the run's model.
        labels: [n].
        learners: draws of a share of the samples, each a nearest-neighbour classifier; the standard error is at most
            0.5 / sqrt(0.3 learners).
        seed: of the draws.

    Returns:
        [n]; NaN for a sample that no draw could judge.
    """
    size = len(features)
    near = min(NEIGHBOURS, size - 1)
    with one_thread():
        others = NearestNeighbors(n_neighbors=near + 1).fit(features).kneighbors(features, return_distance=False)

    # A sample is among its own neighbours, and is passed over: it is judged by those that do not hold it.
    places = np.arange(size)
    rng, right, tried = np.random.default_rng(seed), np.zeros(size), np.zeros(size)
    for _ in range(learners):
        held = np.zeros(size, bool)
        held[rng.choice(size, max(1, round(SHARE * size)), replace=False)] = True
        there = held[others]
        first = others[places, there.argmax(1)]
        judged = ~held & there.any(1)
        right += judged & (labels[first] == labels)
        tried += judged
    with np.errstate(invalid="ignore"):
        return 1 - right / tried


def memorization_table(run: Run, learners: int = 400, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Samples, and their means by head, medium and tail and by client.

    Args:
        run: a finished run of one label a sample; the first table is kept in its folder as `memorization.parquet`.
        learners: as in `memorized`.
        seed: of the draws.

    Returns:
        A table of training rows (row, client, label, group, memorization), and one of groups: of (`head`, `client 3`,
            ...), samples, mean, and the share of samples whose memorization is at least one half.

    Raises:
        ScenarioError: for several labels a sample, and for fewer than 2 or more than `LIMIT` training samples.
    """
    kept = run.features()
    if kept.train.labels.ndim > 1:
        raise ScenarioError(Problem(KEY, "is of samples with one class, and here they have several"))
    if not 2 <= len(kept.train) <= LIMIT:
        raise ScenarioError(Problem(KEY, f"takes 2 to {LIMIT:,} training samples, and the run has {len(kept.train):,}"))

    labels = np.asarray(kept.train.labels)
    groups = np.array(SHOTS)[Grouping.of_run(run.scenario)(kept.class_counts)[labels]]
    columns = {"row": kept.train.rows, "client": kept.train.clients, "label": labels, "group": groups}
    found = memorized(np.asarray(kept.train.features), labels, learners, seed)
    samples = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()} | {"memorization": found})
    replace_file(run.folder / "memorization.parquet", lambda draft: samples.to_parquet(draft, index=False))

    rows = [_row(shot, samples[samples["group"] == shot]) for shot in SHOTS if (groups == shot).any()]
    rows += [_row(f"client {client}", mine) for client, mine in samples.groupby("client")]
    return samples, pd.DataFrame(rows)


def _row(name: str, samples: pd.DataFrame) -> dict[str, object]:
    values = samples["memorization"]
    return {"of": name, "samples": len(values), "mean": values.mean(), "half": (values >= 0.5).mean()}
