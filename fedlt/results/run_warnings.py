"""What a finished run says when something is off, and what to try. A good run says nothing.

    at chance  the generic model's mean recall, or the clients' mean accuracy, is within two standard errors of 1 / C
    one class  95 % of all predictions are of one class, which holds at most 80 % of the test samples
    variant    the headline is ten points and three standard errors below one of its own variants
    loss       the training loss ended above where it began, or lost half of what it had gained (`loss_has_risen`)

Errors are those of the test set: binomial, with the number of its samples. None of these rules chooses anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.callback import Callback, RunState
from fedlt.measures.confusion import Confusions
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.metrics import Confusion

if TYPE_CHECKING:
    from fedlt.results.record import RunWriter

CHANCE_ERRORS = 2.0
"""Standard errors above 1 / C up to which a model is said to be at chance."""

ONE_CLASS, HELD_AT_MOST = 0.95, 0.8
"""Share of the predictions that makes a class the only one, and the share of the test samples that would excuse it."""

GAP, GAP_ERRORS = 0.1, 3.0
"""How far a variant is above the headline, at least: as a difference of accuracies, and in standard errors of it."""

RISE = 1.2
"""Last training loss over the first, from which on it has risen."""

GAINED, LOST_AGAIN = 0.5, 0.5
"""Share of the first loss that training must have gained, and share of that gain which is lost at the end."""


class LastLook(Callback):
    """Looks at the last evaluation of a run, after everybody who may stop it.

    Attributes:
        writer: knows the losses of all rounds.
        stage_share: see `run_warnings`.
        warnings: what was found.
    """

    def __init__(self, writer: RunWriter, stage_share: float) -> None:
        self.writer, self.stage_share = writer, stage_share
        self.warnings: list[str] = []

    def on_evaluation(self, run: RunState) -> None:
        if run.stopped is None and run.round < run.total_rounds:
            return
        assert run.evaluation is not None
        names, lr = run.federation.class_names, run.scenario.local.lr
        self.warnings = run_warnings(run.evaluation, names, self.writer.losses(), lr, self.stage_share)


def run_warnings(
    evaluation: Evaluation, class_names: Sequence[str], losses: Sequence[float], lr: float, stage_share: float = 1.0
) -> list[str]:
    """Sentences about a finished run, each with what to try.

    Args:
        evaluation: the last one.
        losses: the mean training loss of each round.
        lr: the run's `local.lr`.
        stage_share: share of the rounds that the learner's last stage takes.
    """
    smaller = f"try a smaller step, such as local.lr={lr / 3:.1g}"
    warnings = []
    for kind, variants in _variants(evaluation).items():
        tested = variants[""]
        problem = one_class(tested, class_names) or at_chance(kind, tested)
        if problem:
            warnings.append(f"{kind}: {problem}; {smaller}, or more rounds")

        problem = below_variant(kind, variants)
        if problem:
            warnings.append(f"{kind}: {problem}; look at all of them: fedlt compare RUN --variants '*'")

    problem = loss_has_risen(losses[len(losses) - max(1, round(len(losses) * stage_share)) :] if losses else [])
    if problem:
        warnings.append(f"{problem}; {smaller}")
    return warnings


def at_chance(kind: str, tested: Sequence[Confusion]) -> str:
    """What is to be said where the models know no more of the classes than a guess; "" where they do.

    The generic model's figure is its mean recall over the classes: 1 / C for whoever looks at no input, whatever the
    test set's mix. Under label skew no such figure is equal for all clients; theirs is the mean accuracy.

    Args:
        tested: one matrix of the generic model, or one of each client.
    """
    pooled = Confusion.merge(tested)
    support = pooled.support[pooled.support > 0]
    if len(support) < 2:
        return ""
    if kind == "generic":
        what, value, sizes = "mean recall", pooled.balanced_accuracy, support
    else:
        sizes = np.array([one.total for one in tested if one.total])
        what, value = "mean accuracy", _mean_accuracy(tested)
    chance = 1 / len(support)
    if value > chance + CHANCE_ERRORS * _error(chance, sizes):
        return ""
    return f"{what} {_percent(value)} is at chance ({_percent(chance)} with {len(support)} classes)"


def one_class(tested: Sequence[Confusion], class_names: Sequence[str]) -> str:
    """What is to be said where nearly everything is taken for one class; "" where it is not, or rightly so."""
    pooled = Confusion.merge(tested)
    if not pooled.total:
        return ""
    chosen = int(pooled.predicted.argmax())
    share, held = pooled.predicted[chosen] / pooled.total, pooled.support[chosen] / pooled.total
    if share < ONE_CLASS or held > HELD_AT_MOST:
        return ""
    name = class_names[chosen]
    return f"{_percent(share)} of the test samples are taken for class {name!r}, which holds {_percent(held)} of them"


def below_variant(kind: str, variants: Mapping[str, Sequence[Confusion]]) -> str:
    """What is to be said where a variant is far better than the headline; "" where none is.

    The error is that of two independent tests: too large rather than too small, since all variants are tested on the
    same samples.

    Args:
        variants: matrices by variant, as in `at_chance`; that of "" is the headline.
    """
    mean = {name: _mean_accuracy(variants[name]) for name in sorted(variants)}
    own = mean.pop("")
    if not mean:
        return ""

    best = max(mean, key=lambda name: mean[name])
    sizes = np.array([one.total for one in variants[""] if one.total])
    error = float(np.hypot(_error(own, sizes), _error(mean[best], sizes)))
    gap = mean[best] - own

    # Also where the gap is NaN.
    if not gap >= max(GAP, GAP_ERRORS * error):
        return ""
    return (
        f"accuracy {_percent(own)} is {100 * gap:.1f} points below that of the variant {kind}[{best}], "
        f"{_percent(mean[best])}"
    )


def loss_has_risen(losses: Sequence[float]) -> str:
    """What is to be said where training made the loss larger in the end; "" where it did not.

    The means of the first, the last and the lowest tenth of the rounds are compared, since the rounds' cohorts differ.
    A loss may grow by design (a ramp, a term that comes in later, a decaying step size with which clients no longer fit
    their own few classes within a round), and a small one may double and mean nothing. So only what undoes half of a
    large gain counts.

    Args:
        losses: by round, NaN where nobody trained; those of one stage of the learner.
    """
    known = np.array([loss for loss in losses if np.isfinite(loss)])
    size = max(2, len(known) // 10)
    if len(known) < 2 * size:
        return ""
    means = np.convolve(known, np.ones(size) / size, mode="valid")
    first, lowest, last = float(means[0]), float(means.min()), float(means[-1])

    above_start = last > first + (RISE - 1) * abs(first)
    learnt = first - lowest >= GAINED * abs(first)
    if not above_start and not (learnt and last - lowest >= LOST_AGAIN * (first - lowest)):
        return ""
    return (
        f"the training loss rose: {first:.3g} in the first {size} rounds, {lowest:.3g} at its lowest, "
        f"{last:.3g} in the last {size}"
    )


def _variants(evaluation: Evaluation) -> dict[str, dict[str, Sequence[Confusion]]]:
    """kind -> variant -> matrices, of the kinds of models that were tested on anything; "" is the headline.

    None where the task has no confusion matrices.
    """
    kinds: dict[str, dict[str, Sequence[Confusion]]] = {}
    for kind in ("generic", "personal"):
        statistics = evaluation.of("confusion", kind)
        matrices = {v: list(one.by_client().values()) for v, one in statistics.items() if isinstance(one, Confusions)}
        if any(matrices.get("", ())):
            kinds[kind] = dict(matrices)
    return kinds


def _mean_accuracy(tested: Sequence[Confusion]) -> float:
    return float(np.mean([one.accuracy for one in tested if one.total]))


def _error(share: float, sizes: NDArray[np.int64]) -> float:
    """Standard error of the unweighted mean over tests of so many samples, each of which is right by this chance."""
    return float(np.sqrt(share * (1 - share) * (1 / sizes).sum()) / len(sizes))


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
