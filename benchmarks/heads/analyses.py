"""What analyses of runs promise, with figures: pass or fail, three seeds each.

    python -m benchmarks.heads.acceptance clients density pretraining scope frequency
    python -m benchmarks.heads.analyses runs/cifar100_lt_pretrained-*     the last one, of finished runs

clients          digits_lt with 20 clients, trained again without each: points by head and tail samples, and on the
                 others' samples
density          Gaussian samples in four dimensions: where the participation ratio and the distribution of the estimate
                 change, beside both bounds and those of fewer samples; the likeliest bandwidth; features of digits_lt
                 by head and tail; digits of classes that were never seen
pretraining      of benchmarks/heads/pretraining.py: what samples without labels are worth before n labelled ones
scope            documents whose class is one word, and documents whose class is the word that is most frequent
frequency        accuracy on a class by its training samples, of three methods: a line in their logarithm beside one in
                 themselves, and with the samples of another class; on the tail test set, and on all classes
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fedlt
from benchmarks.centralized.acceptance import Check
from benchmarks.heads.pretraining import pretraining
from benchmarks.heads.samples import long_tailed, spread
from fedlt.analyses.density import (
    ClassDensities,
    auroc,
    densities,
    likeliest,
    log_density,
    participation,
    squared_distances,
    thresholds,
    to_others,
)
from fedlt.analyses.frequency import frequency_table, trend
from fedlt.analyses.left_out import left_out
from fedlt.analyses.scope import scope_of
from fedlt.analyses.tail_set import tail_table
from fedlt.plots.measured import by_name, recalls, split_of

if TYPE_CHECKING:
    from fedlt.results.runs import Run

Documents = tuple[NDArray[np.int64], NDArray[np.int64]]
WORDS = 200
"""Of generated documents."""


def clients() -> Iterator[Check]:
    """Which samples a federation has right only because of the client that holds them."""
    points: dict[str, list[float]] = {"head": [], "medium": [], "tail": []}
    own, others = [], []
    with TemporaryDirectory() as folder:
        for seed in range(3):
            run = fedlt.run("digits_lt", seed=seed, out=Path(folder))
            table = left_out(run).table().set_index("of")
            for shot, values in points.items():
                values.append(float(table.loc[shot, "memorization"]))
            own.append(float(table.loc["all", "memorization"]))
            others.append(float(table["others"].mean()))

    told = ", ".join(f"{shot} {spread(values)}" for shot, values in points.items())
    yield Check(f"right only with their client: {told} (tail >= 3 times head)",
                np.mean(points["tail"]) >= 3 * np.mean(points["head"]))  # fmt: skip
    told = f"of their own samples {spread(own)}, of the others' {spread(others)} (at most a third)"
    yield Check(f"a client is worth, {told}", abs(np.mean(others)) <= np.mean(own) / 3)


def density() -> Iterator[Check]:
    """Bounds against what is seen of random samples, and what becomes of rare classes under one bandwidth."""
    for dim, samples in ((12, 4000), (20, 20_000), (30, 20_000), (40, 20_000)):
        bounds = np.array(thresholds(samples, dim))
        seen = np.array([_crossings(dim, samples, seed) for seed in range(3)]).mean(axis=0)
        off, fewer = seen / bounds - 1, seen / np.array(thresholds(round(samples**0.5), dim)) - 1
        yield Check(f"d {dim}, n {samples}: Y2 falls below .3 at {seen[0]:.3f}, h_G {bounds[0]:.3f}; the median "
                    f"reaches .95 of the mean at {seen[1]:.3f}, h_CLT {bounds[1]:.3f} (within 15 %); bounds of sqrt(n) "
                    f"samples are off by {min(abs(fewer)):.0%} or more",
                    bool((abs(off) <= 0.15).all() and (abs(fewer) > 0.15).all()))  # fmt: skip

        best = [_likeliest(dim, samples, seed) for seed in range(3)]
        inside = sum(bool(bounds[0] <= each <= bounds[1]) for each in best)
        yield Check(f"d {dim}, n {samples}: likeliest bandwidth {np.mean(best):.3f} ± {np.std(best, ddof=1):.3f}, "
                    f"between both bounds in {inside} of 3", inside == 3)  # fmt: skip

    ratios: dict[str, list[float]] = {"head": [], "tail": []}
    few, wrong = [], []
    with TemporaryDirectory() as folder:
        for seed in range(3):
            found = densities(fedlt.run("digits_lt", seed=seed, out=Path(folder)))
            table = found.by_group().set_index("of")
            for shot, values in ratios.items():
                values.append(float(table.loc[shot, "participation"]))
            few.append(float(table.loc["tail", "few"] - table.loc["head", "few"]))
            wrong.append(found.failures())
    told = f"head {np.mean(ratios['head']):.2f}, tail {np.mean(ratios['tail']):.2f}"
    yield Check(f"digits_lt, one bandwidth: Y2 {told}; {np.mean(few):.0%} more of the tail's classes are below h_G "
                "(>= 90 %)", float(np.mean(few)) >= 0.9)  # fmt: skip
    yield Check(f"digits_lt: a low density tells wrong predictions, AUROC {spread(wrong)} (>= 70 %)",
                float(np.mean(wrong)) >= 0.7)  # fmt: skip

    unknown, tail = np.array([_unknown(seed) for seed in range(3)]).T
    yield Check(f"pixels of digits 0 to 7: AUROC of 8 and 9 as unknown {spread([*unknown])} (>= 80 %); of the tail's "
                f"digits beside the head's {spread([*tail])}", float(unknown.mean()) >= 0.8)  # fmt: skip


def _crossings(dim: int, samples: int, seed: int) -> tuple[float, float]:
    """Bandwidths at which the mean of Y2 falls to .3, and the median of the estimate reaches .95 of its expectation's
    share in the mean.
    """
    rng, relative = np.random.default_rng(seed), np.linspace(0.6, 2.0, 15)
    bandwidths = thresholds(samples, dim)[0] * relative
    ratios: list[list[NDArray[np.float64]]] = [[] for _ in bandwidths]
    found: list[list[NDArray[np.float64]]] = [[] for _ in bandwidths]
    for _ in range(20):
        x, queries = rng.normal(size=(samples, dim)), rng.normal(size=(20, dim))
        squared = squared_distances(queries, x)
        for place, h in enumerate(bandwidths):
            variance = 1 + h * h
            expected = -(queries**2).sum(1) / (2 * variance) - dim / 2 * np.log(2 * np.pi * variance)
            found[place].append(np.exp(log_density(squared, h, dim, samples) - expected))
            ratios[place].append(participation(squared, h))

    few = np.array([np.concatenate(each).mean() for each in ratios])
    whole = [np.concatenate(each) for each in found]
    even = np.maximum.accumulate([np.median(each) / each.mean() for each in whole])
    return float(np.interp(-0.3, -few, bandwidths)), float(np.interp(0.95, even, bandwidths))


def _likeliest(dim: int, samples: int, seed: int) -> float:
    x = np.random.default_rng(seed).normal(size=(samples, dim))
    return likeliest([to_others(x, 300)], dim)


def _unknown(seed: int) -> tuple[float, float]:
    """Areas under the ROC curve of a low density: for digits 8 and 9, which are not trained on, and for the tail."""
    (x, y), (queries, truth) = long_tailed(seed)
    fitted = ClassDensities().fit(x[y < 8], y[y < 8])
    scores, known, tail = -fitted.score(queries), truth < 8, (truth >= 5) & (truth < 8)
    shown = known & ((truth < 3) | tail)
    return auroc(scores, ~known), auroc(scores[shown], tail[shown])


def scope() -> Iterator[Check]:
    """Cards of two generated sets of documents, under federations of five clients."""
    makers = {"needle": needle, "aggregation": aggregation}
    cards: dict[str, list[list[float]]] = {name: [] for name in makers}
    with TemporaryDirectory() as folder:
        for seed in range(3):
            for name, make in makers.items():
                rng, path = np.random.default_rng(seed), Path(folder) / f"{name}.npz"
                x, y = make(rng, 2500)
                np.savez(path, x_train=x[:2000], y_train=y[:2000], x_test=x[2000:], y_test=y[2000:], vocabulary=WORDS)
                run = fedlt.run(
                    {"data": {"name": str(path)}, "model": {"name": "hash_bag", "width": 16, "depth": 0}, "seed": seed},
                    "federation={clients: 5, participation: 1.0, rounds: 5, partition: iid}",
                    "local={epochs: 3, optimizer: adam, lr: 0.1}", out=Path(folder) / "runs",
                )  # fmt: skip
                table = scope_of(run).table().set_index("of")
                cards[name].append(table.loc["all", ["scope", "dispersion", "right"]].tolist())

    found = {name: np.mean(each, axis=0) for name, each in cards.items()}
    told = {name: f"scope {each[0]:.2f}, dispersion {each[1]:.2f}, right {each[2]:.0%}" for name, each in found.items()}
    holds = found["needle"][0] <= 0.2 and found["needle"][1] <= 0.1
    yield Check(f"needle: {told['needle']} (scope <= .2, dispersion <= .1)", bool(holds))
    holds = found["aggregation"][0] >= 0.6 and found["aggregation"][1] >= 0.5
    yield Check(f"aggregation: {told['aggregation']} (scope >= .6, dispersion >= .5)", bool(holds))


def frequency() -> Iterator[Check]:
    """Of digits_lt, which has ten classes: lines of single runs say little, those of several seeds more."""
    with TemporaryDirectory() as folder:
        for seed in range(3):
            for strategy in ("fedavg", "fedloge", "centralized"):
                fedlt.run("digits_lt", strategy=strategy, seed=seed, out=Path(folder))
        yield from judged(fedlt.load_runs(folder), "digits_lt")


def judged(runs: Sequence[Run], name: str) -> Iterator[Check]:
    """Lines of each method's runs, means over the seeds, and the tail test set."""
    table, rng = frequency_table(runs), np.random.default_rng(0)
    for row in table.itertuples():
        mine = by_name(runs)[row.method]
        each, chance = [], []
        for run in mine:
            counts, found = split_of(run).train.sum(axis=0), recalls(run)
            each.append(trend(counts, found).aic)
            chance += [trend(rng.permutation(counts), found).correlation for _ in range(20)]
        told = f"{row.slope:.1f} ± {row.std:.1f} points per decade, r {row.correlation:.2f}"
        better = sum(aic < 0 for aic in each)
        holds = row.aic < 0 and abs(np.mean(chance)) < row.correlation / 2
        yield Check(
            f"{name}, {row.method}: {told}, permuted {np.mean(chance):.2f}; AIC of the logarithm less the linear one "
            f"{row.aic:.1f} (< 0), below 0 in {better} of {len(each)} seeds",
            bool(holds),
        )

    rare, kept = tail_table(runs)
    told = ", ".join(f"{row.method} {100 * row.tail:.1f} ({100 * row.all:.1f})" for row in rare.itertuples())
    holds = bool((rare["tail"] < rare["all"]).all())
    yield Check(
        f"{name}: in % on the {len(kept.classes)} rarest classes, and on all: {told}; lower on the rarest", holds
    )


def needle(rng: np.random.Generator, n: int, classes: int = 10) -> Documents:
    """100 words, one of which is the class's own, wherever it stands."""
    y, x = rng.integers(classes, size=n), rng.integers(classes, WORDS, size=(n, 100))
    x[np.arange(n), rng.integers(100, size=n)] = y
    return x, y


def aggregation(rng: np.random.Generator, n: int, classes: int = 4) -> Documents:
    """100 words, half of them of any class's 20, and four times as often of the document's own."""
    y = rng.integers(classes, size=n)
    odds = np.where(np.arange(classes) == y[:, None], 4.0, 1.0)
    bounds = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, None, :-1]
    whose = (rng.random((n, 100, 1)) > bounds).sum(axis=2)
    words = 20 * whose + rng.integers(20, size=(n, 100))
    return np.where(rng.random((n, 100)) < 0.5, words, rng.integers(20 * classes, WORDS, size=(n, 100))), y


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "clients": clients,
    "density": density,
    "pretraining": pretraining,
    "scope": scope,
    "frequency": frequency,
}

if __name__ == "__main__":
    for check in judged(fedlt.load_runs(*sys.argv[1:]), "runs"):
        print(check)
