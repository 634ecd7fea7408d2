"""Sets of classes that hold the true one in nine cases of ten: conformal prediction on a finished run.

Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World. Springer, 2005; sets by class and by client are their
Mondrian categories. A score says how little a class fits a row; with the scores s_1..s_n of validation rows and their
own classes, a set takes in every class y with

    (1 + number of s_i >= s(x, y)) / (n + 1) > 1 - coverage

    lac   s = 1 - p_y                     Sadinle, Lei, Wasserman, JASA 2019: the smallest sets
    aps   s = sum of p > p_y, and u p_y   Romano, Sesia, Candes, NeurIPS 2020: sets as large as a row is hard; u uniform

A category of fewer than 1 / (1 - coverage) - 1 rows promises nothing unless it is always taken in, and it is. p-values
come from crepes (Bostrom, COPA 2022), which takes scores as they are.

`marginal`: one threshold. It holds for rows that are drawn as the validation rows were, and only over all of them.
`reweighted`: one threshold for classes of equal weight, whatever their share of the validation rows (Podkopaev and
Ramdas, UAI 2021): for a balanced test set. `class-wise`: a threshold for each class, from its own rows: it holds for
each class, whatever the shares. `by client`: a threshold for each client, under its personal model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from fedlt.analyses.judged import Floats, Judged, Labels, Rows, judged, keep
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--conformal"
INSTALL = "needs the package crepes: pip install 'fedlt[conformal]'"
CLOSE = 1e-9
"""By which a p-value must exceed 1 - coverage, which is not exact in binary."""
MARGINAL, REWEIGHTED, CLASS_WISE, BY_CLIENT = "marginal", "reweighted", "class-wise", "by client"


def lac(probabilities: Floats, uniform: Floats) -> Floats:
    """Scores of the least ambiguous sets: one less the probability of the class.

    Args:
        probabilities: [n, C].
        uniform: [n], which this score has no use for; `aps` has.

    Returns:
        [n, C] in 0..1: the larger, the less a class conforms.
    """
    return 1 - probabilities


def aps(probabilities: Floats, uniform: Floats) -> Floats:
    """Scores of adaptive sets: what all likelier classes have together, and a share of the class's own probability.

    Args:
        probabilities: [n, C].
        uniform: [n] the share that is taken of the own one, in 0..1; drawn for each row, it makes coverage exact.

    Returns:
        [n, C] in 0..1: the larger, the less a class conforms.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, 1)
    found = np.empty_like(ranked)
    np.put_along_axis(found, order, np.cumsum(ranked, 1) - ranked + uniform[:, None] * ranked, 1)
    return found


SCORES: Mapping[str, Callable[[Floats, Floats], Floats]] = {"lac": lac, "aps": aps}


def thresholds(scores: Floats, groups: Labels, number: int, coverage: float) -> Floats:
    """[number] the largest score that sets take in, for each group; infinite for one that has too few scores.

    Args:
        scores: [n] of validation rows and their own classes.
        groups: [n] in 0..number-1.
        number: of groups.
        coverage: asked, in (0, 1).

    Raises:
        ScenarioError: where crepes is not installed.
    """
    # P-values fall in steps at the scores themselves, so that the threshold is the last of them that is taken in.
    asked = np.append(scores, np.full(number, np.inf))
    of = np.append(groups, np.arange(number))
    p = _classifier()().fit(scores, bins=groups).predict_p(asked, bins=of, smoothing=False)
    taken = p > 1 - coverage + CLOSE
    found = np.full(number, -np.inf)
    np.maximum.at(found, of[taken], asked[taken])
    return found


def reweighted_thresholds(scores: Floats, labels: Labels, classes: int, coverage: float) -> Floats:
    """Thresholds as those of `thresholds`, of one group in which all classes together weigh the same.

    The row that is to be answered weighs as much as its class does, hence a threshold for each class.

    Args:
        scores: [n] of the true classes of the validation rows.
        labels: int64 [n] these classes.
        classes: C, those without validation rows included.
        coverage: share of the rows whose set is to hold the true class, in 0..1.

    Returns:
        [C]; infinite for a class without validation rows, which is then in every set.
    """
    counts = np.bincount(labels, minlength=classes)
    with np.errstate(divide="ignore"):
        weights = 1 / counts

    # The weight of all scores that are as large, largest first.
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    total = np.cumsum(weights[labels[order]])
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # equal scores count together
    above = total[last]

    found = np.full(classes, np.inf)
    for label in np.flatnonzero(counts):
        own = weights[label]
        if own / (total[-1] + own) <= 1 - coverage + CLOSE:
            found[label] = ranked[(above + own) / (total[-1] + own) > 1 - coverage + CLOSE].max()
    return found


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of classes for test rows.

    Attributes:
        held: bool [n, C].
        limits: [n, C] the threshold of each class.
        error: the standard error of the coverage over the rows of a mask [n].
    """

    held: NDArray[np.bool_]
    limits: Floats
    error: Callable[[NDArray[np.bool_]], float]


def conformal_sets(found: Judged, kind: str, score: str = "lac", coverage: float = 0.9, seed: int = 0) -> Sets:
    """Sets for the test rows of `judged`, from its validation rows.

    Args:
        kind: `marginal`, `reweighted`, `class-wise` or `by client`.
        score: `lac` or `aps`.
        coverage: asked, in (0, 1).
        seed: of the uniform numbers of `aps`.
    """
    validation, test, classes = found.validation, found.test, found.validation.logits.shape[1]
    known = _scores(validation, score, seed, 0)[np.arange(len(validation)), validation.labels]
    asked = _scores(test, score, seed, 1)

    # Thresholds, the category of each test row, and how many validation rows each category has.
    if kind == REWEIGHTED:
        limits = reweighted_thresholds(known, validation.labels, classes, coverage)[None]
        weights = 1 / np.bincount(validation.labels, minlength=classes)[validation.labels]
        size = int(weights.sum() ** 2 / (weights**2).sum())  # rows of equal weight that would say as much
        category, sizes = np.zeros(len(test), np.int64), np.array([size])
    else:
        pairs = {CLASS_WISE: (validation.labels, test.labels), BY_CLIENT: (validation.clients, test.clients)}
        none = np.zeros(len(validation), np.int64), np.zeros(len(test), np.int64)
        mine, category = pairs.get(kind, none)
        number = classes if kind == CLASS_WISE else int(category.max()) + 1
        each = thresholds(known, mine, number, coverage)
        limits = each[None] if kind == CLASS_WISE else each[category][:, None]
        sizes = np.bincount(mine, minlength=number)

    def error(mask: NDArray[np.bool_]) -> float:
        shares = np.bincount(category[mask], minlength=len(sizes)) / mask.sum()
        of_thresholds = (shares**2 / (sizes + 2)).sum()
        return float(np.sqrt(coverage * (1 - coverage) * (of_thresholds + 1 / mask.sum())))

    return Sets(asked <= limits, np.broadcast_to(limits, asked.shape), error)


def conformal_table(
    run: Run,
    coverage: float = 0.9,
    score: str = "lac",
    client: int | str | None = None,
    variant: str = "",
) -> pd.DataFrame:
    """Coverage and size of sets on the test rows, from thresholds of the validation rows.

    Args:
        coverage: asked, above 0 and below 1.
        score: `lac` or `aps`.
        client: whose personal model and rows, or `all`, each client's rows under its own; the generic one's unless
            given.
        variant: of the logits; the headline unless given.

    Columns: sets (`marginal`, `reweighted`, `class-wise`; of all clients, `by client`), score, asked, of (`all`,
    `head`, `medium`, `tail`, `client 3`), samples, coverage, error (its standard error, from the numbers of validation
    and test rows), size (mean), empty (share of sets without a class), unknown (share of rows whose own class is in the
    set because it has too few validation rows). Kept as `conformal-generic.parquet` and `.png` in the run folder.

    Raises:
        ScenarioError: for what there is not.
    """
    from fedlt.plots.uncertainty import coverage_figure

    if not 0 < coverage < 1:
        raise ScenarioError(
            Problem("--coverage", f"expected a share above 0 and below 1, such as 0.9, got {coverage:g}")
        )
    if score not in SCORES:
        raise ScenarioError(Problem("--score", f"expected {' or '.join(SCORES)}, got {score!r}"))
    _classifier()
    found = judged(run, KEY, client, variant)
    table = sets_table(found, coverage, score)
    keep(run, f"conformal-{found.name}", table, coverage_figure(table))
    return table


def sets_table(found: Judged, coverage: float = 0.9, score: str = "lac", seed: int = 0) -> pd.DataFrame:
    """The table of `conformal_table`, of any rows.

    Args:
        found: logits and labels of validation and test rows; with several clients, sets by client are in the table too.
        coverage: share of the rows whose set is to hold the true class, in 0..1.
        score: a name of `SCORES`.
        seed: of the draws of `uniform`.
    """
    kinds = [MARGINAL, REWEIGHTED, CLASS_WISE] + ([BY_CLIENT] if len(found.clients) > 1 else [])
    test, places, lines = found.test, np.arange(len(found.test)), []
    for kind in kinds:
        sets = conformal_sets(found, kind, score, coverage, seed)
        hit, sizes = sets.held[places, test.labels], sets.held.sum(1)
        unknown = np.isinf(sets.limits[places, test.labels])
        for of, mask in found.parts().items():
            lines.append({
                "sets": kind, "score": score, "asked": coverage, "of": of, "samples": int(mask.sum()),
                "coverage": hit[mask].mean(), "error": sets.error(mask), "size": sizes[mask].mean(),
                "empty": (sizes[mask] == 0).mean(), "unknown": unknown[mask].mean(),
            })  # fmt: skip
    return pd.DataFrame(lines)


def _scores(rows: Rows, score: str, seed: int, split: int) -> Floats:
    uniform = generator(seed, "conformal", split).random(len(rows))
    return SCORES[score](softmax(rows.logits, axis=1), uniform)


def _classifier() -> Any:
    """The class of crepes; `ScenarioError` where the package is not installed."""
    try:
        with warnings.catch_warnings():  # it changes the filters of the whole process
            from crepes import ConformalClassifier  # an optional package
    except ImportError as error:
        raise ScenarioError(Problem(KEY, INSTALL)) from error
    return ConformalClassifier
