"""What heads promise, with figures: pass or fail, each with its key part off.

    python -m benchmarks.heads.acceptance normalised_gd singular_kernel t_process loki memorization presto

normalised_gd    iterations on the paper's worst case; on pairs of digits, 8 samples against all of the other class
singular_kernel  deep networks with the optimal dual vote like the Hilbert kernel; on a long tail of digits, the prior
                 that is taken off gives the tail more than the nearest neighbour
t_process        draws of a wide network are t-distributed; log densities of diabetes, clean and with 5 % outliers
loki             digits rotated by 0 to 165 degrees, twelve ordered classes, an imbalance of 30: the tail's squared
                 distance, with the path's metric and with a permuted one; classes that were never seen
memorization     digits under an imbalance of 30, a twentieth of the labels wrong: by head and tail, of wrong labels;
                 and what the most memorised samples are worth to the test
presto           the paper's sparse design, a last class of 1 %: the error of its probability beside logistic regression
                 on that class alone and proportional odds
and those of benchmarks/heads/analyses.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import kstest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import scale

from benchmarks.centralized.acceptance import Check
from benchmarks.heads import analyses
from benchmarks.heads.samples import digits, long_tailed, on_sphere, rotated, spread
from benchmarks.rows import read_rows, write_rows
from fedlt.analyses.memorization import memorized
from fedlt.heads.loki import Loki, path_distances
from fedlt.heads.normalised_gd import NormalisedGD
from fedlt.heads.presto import PRESTO
from fedlt.heads.singular_kernel import InfiniteNetwork, SingularKernel
from fedlt.heads.t_process import TProcessRegressor


def normalised_gd() -> Iterator[Check]:
    """The five numbers of the paper's table, and how often normalising needs fewer iterations."""
    x, y = np.array([[0.5, -1.0]] + [[-0.5, -1.0]] * 999), np.array([1] + [0] * 999)
    found = [NormalisedGD(step, True, fit_intercept=False).fit(x, y).n_iter_ for step in (100, 10, 1, 0.1)]
    found.append(NormalisedGD(100, False, fit_intercept=False).fit(x, y).n_iter_)
    yield Check(f"worst case, iterations 2, 2, 16, 157 and 308 without: {found}", found == [2, 2, 16, 157, 308])

    images, labels = digits()
    pairs = list(combinations(range(10), 2))
    for step in (1, 100):
        wins, ties = 0, 0
        for one, other in pairs:
            few = np.flatnonzero(labels == one)[:8]
            rows = np.concatenate([few, np.flatnonzero(labels == other)])
            counts = [NormalisedGD(step, each, 5000).fit(images[rows], labels[rows]).n_iter_ for each in (True, False)]
            wins, ties = wins + (counts[0] < counts[1]), ties + (counts[0] == counts[1])
        share = wins / len(pairs)
        told = f"fewer iterations in {share:.0%} of {len(pairs)} imbalanced pairs (>= 80 %), as many in {ties}"
        yield Check(f"step {step}: {told}", share >= 0.8)


def singular_kernel() -> Iterator[Check]:
    """Agreement with the limit for each dimension, and what the prior is worth on a tail."""
    for dim in (2, 3, 5, 9):
        same, wrong = [], []
        for seed in range(3):
            (x, y), (queries, _) = on_sphere(600, dim, seed), on_sphere(600, dim, seed + 100)
            deep = InfiniteNetwork(depth=100).fit(x, y).predict(queries)
            same.append((deep == SingularKernel(prior_corrected=False).fit(x, y).predict(queries)).mean())
            other = SingularKernel(3.0 * dim, prior_corrected=False).fit(x, y).predict(queries)
            wrong.append((deep == other).mean())
        told = f"{spread(same)} of votes equal (>= 98 %), of another order {spread(wrong)}"
        yield Check(f"inputs [{dim}], depth 100: {told}", float(np.mean(same)) >= 0.98)

    tails: dict[str, list[float]] = {"corrected": [], "not corrected": [], "nearest": []}
    for seed in range(3):
        (x, y), (queries, truth) = long_tailed(seed)
        heads = {
            "corrected": SingularKernel(8.0), "not corrected": SingularKernel(8.0, prior_corrected=False),
            "nearest": KNeighborsClassifier(1),
        }  # fmt: skip
        for name, head in heads.items():
            right = head.fit(x, y).predict(queries) == truth
            tails[name].append(right[truth >= 7].mean())
    told = ", ".join(f"{name} {spread(values)}" for name, values in tails.items())
    yield Check(f"digits, imbalance 30, order 8: tail {told}", np.mean(tails["corrected"]) >= np.mean(tails["nearest"]))


def t_process() -> Iterator[Check]:
    """The distribution of a finite network's output, and densities of held-out targets on ten splits."""
    rng = np.random.default_rng(0)
    x, draws = np.array([0.6, -0.8]), []
    for _ in range(2000):
        hidden = np.maximum(rng.normal(0, 1, (2000, 2)) @ x, 0)
        variance = 1 / rng.gamma(2, 1 / 2)  # inverse gamma of shape 2 and scale 2
        draws.append(rng.normal(0, np.sqrt(2 * variance / 2000), 2000) @ hidden)
    standard = np.array(draws)  # the kernel of the input with itself is 1
    as_t, as_normal = kstest(standard, "t", args=(4,)).pvalue, kstest(standard / standard.std(), "norm").pvalue
    yield Check(
        f"width 2000, 2000 draws: KS against t(4) p = {as_t:.3f} (> .01), a normal {as_normal:.1e}", as_t > 0.01
    )

    data = load_diabetes()
    for share, claim in ((0.0, "clean"), (0.05, "5 % outliers")):
        found: dict[bool, list[float]] = {True: [], False: []}
        shapes = []
        for seed in range(10):
            target = scale(data.target)
            rng = np.random.default_rng(seed)
            if share:
                far = rng.choice(len(target), int(share * len(target)), replace=False)
                target[far] += 5 * rng.choice([-1, 1], len(far))
            parts = train_test_split(scale(data.data), target, test_size=0.2, random_state=seed)
            for mixture, values in found.items():
                head = TProcessRegressor(mixture=mixture).fit(parts[0], parts[2])
                values.append(-head.log_density(parts[1], parts[3]).mean())
                shapes += [head.chosen_["a"]] if mixture else []
        wins = int((np.array(found[True]) < np.array(found[False])).sum())
        means = f"{np.mean(found[True]):.3f}, Gaussian {np.mean(found[False]):.3f}"
        yield Check(
            f"diabetes, {claim}: negative log density {means}, lower in {wins} of 10 splits "
            f"(>= 8); a is {np.median(shapes):.3g} in the median",
            wins >= 8,
        )


def loki() -> Iterator[Check]:
    """Squared distances on rotated digits, with all classes under a long tail and with three of twelve."""
    tails: dict[str, list[float]] = {"argmax": [], "loki": [], "permuted": []}
    unseen: dict[str, list[float]] = {"argmax": [], "loki": []}
    named, same = [], True
    for seed in range(3):
        rng = np.random.default_rng(seed)
        (x, y), (queries, truth) = rotated(seed)
        kept = np.concatenate([np.flatnonzero(y == label)[: round(180 * 30 ** (-label / 11))] for label in range(12)])
        path, order = path_distances(12), rng.permutation(12)
        found = LogisticRegression(max_iter=500).fit(x[kept], y[kept]).predict_proba(queries)
        by_argmax, tail = found.argmax(1), truth >= 8
        decoders = {"loki": path, "permuted": path[order][:, order]}
        each = {"argmax": by_argmax} | {name: Loki(metric).predict(found) for name, metric in decoders.items()}
        for name, predicted in each.items():
            tails[name].append(float(((predicted - truth) ** 2)[tail].mean()))
        same &= bool((Loki(1 - np.eye(12)).predict(found) == by_argmax).all())

        observed = np.array([0, 5, 11])
        three = np.isin(y, observed)
        found = LogisticRegression(max_iter=500).fit(x[three], y[three]).predict_proba(queries)
        predicted = Loki(path, observed).predict(found)
        unseen["argmax"].append(float(((observed[found.argmax(1)] - truth) ** 2).mean()))
        unseen["loki"].append(float(((predicted - truth) ** 2).mean()))
        named.append(len(np.unique(predicted)))

    told = ", ".join(f"{name} {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for name, values in tails.items())
    fall = 1 - np.mean(tails["loki"]) / np.mean(tails["argmax"])
    yield Check(f"long-tailed, squared distance of the tail: {told}; falls by {fall:.0%} (>= 25 %)", fall >= 0.25)
    control = 1 - np.mean(tails["permuted"]) / np.mean(tails["argmax"])
    yield Check(f"a permuted metric changes it by {-control:+.0%}, and equal distances are argmax: {same}",
                control < fall / 2 and same)  # fmt: skip
    told = ", ".join(f"{name} {np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for name, values in unseen.items())
    yield Check(f"three of twelve observed: {told}; {min(named)} labels or more are predicted", min(named) > 3)


def memorization() -> Iterator[Check]:
    """Who is memorised, and what becomes of the test where the most memorised or random samples are taken out."""
    head, tail, wrong, losses, chance = [], [], [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        (x, y), (queries, truth) = long_tailed(seed)
        flipped = rng.random(len(y)) < 0.05
        given = np.where(flipped, (y + rng.integers(1, 10, len(y))) % 10, y)
        found = memorized(x, given, 400, seed)
        head.append(found[~flipped & (y < 3)].mean())
        tail.append(found[~flipped & (y >= 7)].mean())
        wrong.append(found[flipped].mean())

        clean = memorized(x, y, 400, seed)
        every = _balanced(x, y, queries, truth)
        most = np.argsort(-clean, kind="stable")[40:]
        losses.append(every - _balanced(x[most], y[most], queries, truth))
        rest = [rng.permutation(len(y))[40:] for _ in range(5)]
        chance.append(every - np.mean([_balanced(x[kept], y[kept], queries, truth) for kept in rest]))

    told = f"head {spread(head)}, tail {spread(tail)} (>= 3 times)"
    yield Check(f"memorization of clean samples: {told}", np.mean(tail) >= 3 * np.mean(head))
    yield Check(f"of wrong labels {spread(wrong)} (>= 50 %)", float(np.mean(wrong)) >= 0.5)
    told = f"40 most memorised {spread(losses)}, 40 random {spread(chance)} of balanced accuracy (2 points more)"
    yield Check(f"without the {told}", np.mean(losses) >= np.mean(chance) + 0.02)


def presto() -> Iterator[Check]:
    """Mean squared errors of the rare class's probability over twelve simulations."""
    errors: dict[str, list[float]] = {"presto": [], "logistic": [], "proportional odds": []}
    shares = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        first = 0.5 * (rng.random(10) < 1 / 3)
        moves = 0.5 * rng.choice([-1, 1], (2, 10)) * (rng.random((2, 10)) < 1 / 3)
        slopes = np.cumsum(np.vstack([first, moves]), 0)
        levels = {}
        for name in ("train", "test"):
            x = rng.uniform(-1, 1, (2500, 10))
            levels[name] = x, np.maximum.accumulate(expit(x @ slopes.T + [0, 3, 5]), axis=1)
        x, at_most = levels["train"]
        y = (rng.random(len(x))[:, None] > at_most).sum(1)
        shares.append((y == 3).mean())
        queries, truth = levels["test"][0], 1 - levels["test"][1][:, -1]

        found = {
            "presto": PRESTO(folds=5).fit(x, y).predict_proba(queries)[:, -1],
            "logistic": LogisticRegression(C=1e9, max_iter=2000).fit(x, y == 3).predict_proba(queries)[:, 1],
            "proportional odds": PRESTO(lam=1e6, first=False).fit(x, y).predict_proba(queries)[:, -1],
        }
        for name, p in found.items():
            errors[name].append(1e5 * float(((p - truth) ** 2).mean()))

    told = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in errors.items())
    for rival in ("logistic", "proportional odds"):
        wins = int((np.array(errors["presto"]) < np.array(errors[rival])).sum())
        claim = f"better than {rival} in {wins} of 12 (>= 10)"
        yield Check(f"rare class {np.mean(shares):.2%}, squared error x 1e5: {told}; {claim}", wins >= 10)


def _balanced(x: NDArray[np.float64], y: NDArray[np.int64], queries: NDArray[np.float64],
              truth: NDArray[np.int64]) -> float:  # fmt: skip
    """Mean over classes of the nearest neighbour's accuracy."""
    return float(balanced_accuracy_score(truth, KNeighborsClassifier(1).fit(x, y).predict(queries)))


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "normalised_gd": normalised_gd,
    "singular_kernel": singular_kernel,
    "t_process": t_process,
    "loki": loki,
    "memorization": memorization,
    "presto": presto,
    **analyses.CHECKS,
}


def main() -> None:
    """Print and keep the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", nargs="*", default=[*CHECKS], help="all unless given")
    parser.add_argument("--table", type=Path, help="CSV of what was seen; rows of other checks stay")
    given = parser.parse_args()
    unknown = [name for name in given.heads if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check of {', '.join(unknown)}; there are {', '.join(CHECKS)}")

    lines = []
    for name in given.heads:
        for check in CHECKS[name]():
            print(f"{name}: {check}", flush=True)
            lines.append({"head": name, "holds": "yes" if check.holds else "no", "claim": check.claim})
    if given.table:
        others = [row for row in read_rows(given.table) if row["head"] not in given.heads]
        order = [*CHECKS]
        write_rows(given.table, sorted([*others, *lines], key=lambda row: order.index(row["head"])))


if __name__ == "__main__":
    main()
