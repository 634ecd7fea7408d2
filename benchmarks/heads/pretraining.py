"""What samples without labels are worth before n labelled ones, where the truth is known.

    python -m benchmarks.heads.acceptance pretraining

Ge, Tang, Fan, Jin: On the Provable Advantage of Unsupervised Pretraining. ICLR 2024 (arXiv 2303.01566). A latent
variable z makes x and y; its model is learnt from m samples x, and a head on it from n labelled ones:

    excess risk = O(sqrt(C_latent / m) + sqrt(C_head / n))    against    O(sqrt(C_both / n)) of labels alone

factors     x = z B + noise in 200 dimensions, 4 factors, y = z w + noise: principal components, then least squares. The
            term in m falls as 1 / m here, which is faster than the bound
mixture     24 Gaussians with weights like 1 / rank (Zipf), and a class for each three of them: expectation
            maximisation, then each component's majority among n labels; a component's error against its frequency
contrast    pairs (x, x') that share z, under noise that is stronger than z in other directions: the linear encoder
            whose agreement within pairs is largest, then logistic regression

Of linear encoders, InfoNCE of Gaussian pairs is least for the canonical directions of both: those of cov(x, x') after
cov(x) is whitened. They are found in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.mixture import GaussianMixture

from benchmarks.centralized.acceptance import Check
from benchmarks.heads.samples import spread

Array = NDArray[np.float64]
SEEDS, REPEATS = 3, 15
DIM, RANK, TESTED = 200, 4, 2000
COMPONENTS = 24
TRUTH = 0
"""In the place of m: the factors are known."""
PENALTIES = (0.1, 1.0, 10.0, 100.0)


def pretraining() -> Iterator[Check]:
    """The three cases, one after the other."""
    yield from factors()
    yield from mixture()
    yield from contrast()


def factors() -> Iterator[Check]:
    """Excess risks of least squares on principal components, by n and m, beside least squares and ridge on x."""
    labelled, free = (20, 50, 100), (300, 1000, 3000)
    risks: dict[tuple[int, object], list[float]] = {}
    for seed in range(SEEDS * REPEATS):
        rng = np.random.default_rng(seed)
        loadings, weights = rng.normal(0, 4 / np.sqrt(DIM), (RANK, DIM)), rng.normal(0, 0.5, RANK)
        tested, _, truth = _factors(rng, TESTED, loadings, weights)
        best = np.linalg.solve(loadings.T @ loadings + np.eye(DIM), loadings.T @ weights)
        least = float(((tested @ best - truth) ** 2).mean())
        components = {m: _principal(_factors(rng, m, loadings, weights)[0]) for m in (*labelled, *free)}
        components[TRUTH] = np.linalg.qr(loadings.T)[0]

        for n in (*labelled, 1000):
            x, y, _ = _factors(rng, n, loadings, weights)
            found: dict[object, Array] = {}
            for m, basis in components.items():
                found[m] = LinearRegression(fit_intercept=False).fit(x @ basis, y).predict(tested @ basis)
            for name, head in (("labels", LinearRegression(fit_intercept=False)),
                               ("ridge", RidgeCV(PENALTIES, fit_intercept=False))):  # fmt: skip
                found[name] = head.fit(x, y).predict(tested)
            for name, predicted in found.items():
                risks.setdefault((n, name), []).append(float(((predicted - truth) ** 2).mean()) - least)

    for n in labelled:
        means = {name: np.mean(risks[n, name]) for name in ("labels", "ridge", n, *free)}
        told = ", ".join(f"{name if isinstance(name, str) else f'm {name}'} {mean:.3f}" for name, mean in means.items())
        falls = means[n] > means[300] and means[300] > means[3000]
        wins = all(
            _always_below(risks[n, m], risks[n, name]) for m in free if m >= 10 * n for name in ("labels", "ridge")
        )
        yield Check(
            f"factors, n {n}, excess risk: {told}; falls with m, and for m >= 10 n is below labels alone",
            falls and wins,
        )
    for n in (100, 1000):
        term = [np.mean(risks[n, m]) - np.mean(risks[n, TRUTH]) for m in free]
        slope = float(np.polyfit(np.log(free), np.log(term), 1)[0])
        yield Check(f"factors, n {n}: slope of the term in m {slope:.2f} (-0.7 to -1.3)", -1.3 <= slope <= -0.7)


def mixture() -> Iterator[Check]:
    """Errors of a component's majority of labels, by m, beside logistic regression; and of rare components."""
    n, free = 200, (200, 2000, 8000)
    errors: dict[object, list[float]] = {}
    ranks, rare = [], {"labels": [], str(free[-1]): []}  # type: dict[str, list[float]]
    shares = 1 / np.arange(1, COMPONENTS + 1)
    shares /= shares.sum()
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        centres = rng.normal(0, 1, (COMPONENTS, 20)) * 1.1
        classes = rng.permutation(COMPONENTS) % (COMPONENTS // 3)
        held = rng.choice(COMPONENTS, n, p=shares)
        x, y = centres[held] + rng.normal(size=(n, 20)), classes[held]
        owner = np.repeat(np.arange(COMPONENTS), 200)
        tested = centres[owner] + rng.normal(size=(len(owner), 20))

        wrong = {"labels": LogisticRegression(max_iter=2000).fit(x, y).predict(tested) != classes[owner]}
        for m in free:
            more = centres[rng.choice(COMPONENTS, m, p=shares)] + rng.normal(size=(m, 20))
            model = GaussianMixture(COMPONENTS, covariance_type="spherical", n_init=3, random_state=seed).fit(more)
            wrong[str(m)] = _majority(model.predict_proba(x), y, model.predict_proba(tested)) != classes[owner]
        for name, each in wrong.items():
            by_component = each.reshape(COMPONENTS, -1).mean(axis=1)
            errors.setdefault(name, []).append(float(by_component @ shares))
            if name in rare:
                rare[name].append(float(by_component[COMPONENTS // 2 :].mean()))
        ranks.append(float(spearmanr(shares, wrong[str(free[-1])].reshape(COMPONENTS, -1).mean(axis=1)).statistic))

    told = ", ".join(f"{name if name == 'labels' else f'm {name}'} {spread(values)}" for name, values in errors.items())
    last = str(free[-1])
    yield Check(
        f"mixture, n {n}, error: {told}; m {last} below labels alone in every seed, and below m {n}",
        bool((np.array(errors[last]) < errors["labels"]).all()) and np.mean(errors[last]) < np.mean(errors[str(n)]),
    )
    yield Check(
        f"mixture: rank correlation of a component's error and its frequency {np.mean(ranks):.2f} (<= -0.3); "
        f"rarer half {spread(rare[last])}, of labels alone {spread(rare['labels'])}",
        np.mean(ranks) <= -0.3,
    )


def contrast() -> Iterator[Check]:
    """Errors of logistic regression on the encoder of pairs, by m, beside pairs that do not belong together."""
    n, free = 50, (50, 500, 1000, 4000)
    errors: dict[str, list[float]] = {}
    for seed in range(SEEDS * REPEATS):
        rng = np.random.default_rng(seed)
        mixing, weights = rng.normal(0, 2 / np.sqrt(DIM), (RANK, DIM)), rng.normal(0, 2, RANK)
        strong = rng.normal(0, 6 / np.sqrt(DIM), (2 * RANK, DIM))

        def view(z: Array, rng: np.random.Generator = rng, mixing: Array = mixing, strong: Array = strong) -> Array:
            noise = rng.normal(size=(len(z), len(strong))) @ strong
            return z @ mixing + noise + rng.normal(0, 0.3, (len(z), DIM))

        z, y = _labelled(rng, n, weights)
        latent, truth = _labelled(rng, TESTED, weights)
        x, tested = view(z), view(latent)
        wrong = {"labels": LogisticRegression(max_iter=1000).fit(x, y).predict(tested) != truth}
        for m in free:
            shared = rng.normal(size=(m, RANK))
            one, other = view(shared), view(shared)
            encoders = {f"m {m}": _canonical(one, other)}
            if m == free[-1]:
                encoders |= {"shuffled pairs": _canonical(one, rng.permutation(other)), "components": _principal(one)}
            for name, basis in encoders.items():
                head = LogisticRegression(max_iter=1000).fit(x @ basis, y)
                wrong[name] = head.predict(tested @ basis) != truth
        for name, each in wrong.items():
            errors.setdefault(name, []).append(float(each.mean()))

    told = ", ".join(f"{name} {100 * np.mean(values):.1f}" for name, values in errors.items())
    wins = all(_always_below(errors[f"m {m}"], errors["labels"]) for m in free if m >= 10 * n)
    last = f"m {free[-1]}"
    key = all(_always_below(errors[last], errors[name]) for name in ("shuffled pairs", "components"))
    yield Check(
        f"contrast, n {n}, error in %: {told}; for m >= 10 n below labels alone, and below both controls", wins and key
    )


def _factors(rng: np.random.Generator, n: int, loadings: Array, weights: Array) -> tuple[Array, Array, Array]:
    """x [n, d], y [n], and y without its noise."""
    z = rng.normal(size=(n, RANK))
    return z @ loadings + rng.normal(size=(n, DIM)), z @ weights + rng.normal(0, 0.3, n), z @ weights


def _labelled(rng: np.random.Generator, n: int, weights: Array) -> tuple[Array, NDArray[np.int64]]:
    """z [n, r], and labels 0 and 1 that follow from it by chance."""
    z = rng.normal(size=(n, RANK))
    return z, (rng.random(n) < 1 / (1 + np.exp(-z @ weights))).astype(np.int64)


def _principal(x: Array) -> Array:
    """[d, r] first principal directions."""
    return np.asarray(np.linalg.svd(x, full_matrices=False)[2][:RANK].T)


def _canonical(one: Array, other: Array) -> Array:
    """[d, r] the encoder whose features agree most between the two of a pair, for their variance."""
    both = np.concatenate([one, other])
    values, vectors = np.linalg.eigh(both.T @ both / len(both) + 0.01 * np.eye(one.shape[1]))
    whitening = vectors / np.sqrt(values)
    shared = whitening.T @ (one.T @ other + other.T @ one) @ whitening
    return np.asarray(whitening @ np.linalg.eigh(shared)[1][:, -RANK:])


def _majority(of_labelled: Array, labels: NDArray[np.int64], of_others: Array) -> NDArray[np.int64]:
    """Classes of the others by the labels that the components' labelled samples have, each weighted by its share."""
    votes = of_labelled.T @ np.eye(int(labels.max()) + 1)[labels]
    known = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray((of_others @ known).argmax(axis=1))


def _always_below(one: list[float], other: list[float]) -> bool:
    """Whether the mean over a seed's repeats is smaller, for every seed."""
    return bool(np.less(*(np.reshape(each, (SEEDS, REPEATS)).mean(axis=1) for each in (one, other))).all())
