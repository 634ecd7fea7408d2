"""The check of learners: every built-in one keeps the contract, and every kind of breach is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor, nn
from trained import skip_without_package

import fedlt
from fedlt.checks.learners import CHECKS, LearnerSuite, rounds_for
from fedlt.checks.remarks import ContractRemark
from fedlt.checks.suite import ConformanceError
from fedlt.config import catalog
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner, Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.strategy import Strategy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", catalog.names("learner"))
def test_built_in_learners_keep_the_contract(name: str) -> None:
    skip_without_package(name)
    LearnerSuite(name, {}).run()  # without looking for fields that do nothing on clients so small


def test_a_users_own_file_and_class_are_checked(own_file: Callable[[str], Path]) -> None:
    path = own_file(
        "from fedlt.learners.cross_entropy import CrossEntropy\n\n\n"
        "@dataclass(frozen=True)\nclass Mine(CrossEntropy):\n    tau: float = 1.0\n"
    )
    with pytest.warns(ContractRemark, match="mine.py:Mine: tau=2.0 and"):
        fedlt.check_learner(f"{path}:Mine", tau=2.0)
    fedlt.check_learner(CrossEntropy)


def test_as_many_rounds_as_the_stages_need() -> None:
    def stages(*shares: float) -> tuple[Stage, ...]:
        return tuple(Stage(str(place), share) for place, share in enumerate(shares))

    assert rounds_for(stages(1.0)) == rounds_for(stages(0.5, 0.5)) == 2
    assert rounds_for(stages(0.8, 0.2)) == 5  # rounds begin at 0, 0.2, 0.4, 0.6 and 0.8
    assert rounds_for(stages(0.99, 0.01)) == 12


# Breaches, one class each ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NeedsManySamples(CrossEntropy):
    def loss(self, site: Site, batch: Batch) -> Tensor:
        assert site.num_samples > 1, "one sample is not enough"
        return super().loss(site, batch)


@dataclass(frozen=True)
class AtHomeNowhere(CrossEntropy):
    def obstacle(self, strategy: Strategy) -> str | None:
        return "never"


@dataclass(frozen=True)
class NeedsAnUnknownThing(CrossEntropy):
    needs: ClassVar[tuple[str, ...]] = ("class_priors",)


@dataclass(frozen=True)
class SaysAlone(CrossEntropy):
    alone: ClassVar[bool] = True


@dataclass(frozen=True)
class StagesBeyondTheRun(CrossEntropy):
    def stages(self) -> tuple[Stage, ...]:
        return Stage("one", 0.5), Stage("two", 0.6)


@dataclass(frozen=True)
class HasAnIdleRate(CrossEntropy):
    def stages(self) -> tuple[Stage, ...]:
        return Stage("one", 0.5, rates={"head.*": 0.5}), Stage("two", 0.5, ("head.*",), rates={"backbone.*": 0.5})


@dataclass(frozen=True)
class MovesWhatMoves(CrossEntropy):
    def stages(self) -> tuple[Stage, ...]:
        return (Stage(statistics=True),)


@dataclass(frozen=True)
class SamplesBeyond(CrossEntropy):
    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        return super().sampler(site, stage) - 1


@dataclass(frozen=True)
class SamplesShares(CrossEntropy):
    def sampler(self, site: Site, stage: Stage) -> Any:
        return super().sampler(site, stage) / 1


@dataclass(frozen=True)
class LossOfEach(CrossEntropy):
    def loss(self, site: Site, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(site.model(batch.x), batch.y, reduction="none")


@dataclass(frozen=True)
class LossWithoutGradient(CrossEntropy):
    def loss(self, site: Site, batch: Batch) -> Tensor:
        return super().loss(site, batch).detach()


@dataclass(frozen=True)
class Draws(CrossEntropy):
    def loss(self, site: Site, batch: Batch) -> Tensor:
        return super().loss(site, batch) * float(site.rng.uniform(0.5, 1))


@dataclass(frozen=True)
class DrawsAndSaysSo(Draws):
    vectorizable: ClassVar[bool] = False


@dataclass(frozen=True)
class KeepsAList(CrossEntropy):
    def begin(self, site: Site) -> None:
        site.state["seen"] = [1]  # type: ignore[assignment]


DIARY: list[int] = []


@dataclass(frozen=True)
class TellsItsModule(CrossEntropy):
    def finish(self, site: Site) -> None:
        DIARY.append(site.num_samples)


@dataclass(frozen=True)
class PredictsTooFewClasses(CrossEntropy):
    def predict(self, model: Net, x: Tensor) -> Tensor:
        return model(x)[:, :9]


@dataclass(frozen=True)
class PredictsAndTrains(CrossEntropy):
    def predict(self, model: Net, x: Tensor) -> Tensor:
        model.part("head.bias").add_(1)
        return model(x)


@dataclass(frozen=True)
class PredictsAboutTheMean(CrossEntropy):
    def predict(self, model: Net, x: Tensor) -> Tensor:
        logits = model(x)
        return logits - logits.mean(0)


@dataclass(frozen=True)
class DrawsFromPython(CrossEntropy):
    def loss(self, site: Site, batch: Batch) -> Tensor:
        return super().loss(site, batch) * random.random()


@dataclass(frozen=True)
class KeepsOnTheModel(CrossEntropy):
    """Whoever trains on the same worker goes on from the one before."""

    def loss(self, site: Site, batch: Batch) -> Tensor:
        seen = getattr(site.model, "seen", 0)
        site.model.seen = seen + 1
        return super().loss(site, batch) / (1 + seen)


class _Memo:
    rounds = 0


@dataclass(frozen=True)
class HidesAnObject(CrossEntropy):
    """Steps depend on the rounds that this instance has seen."""

    def epoch(self, site: Site) -> None:
        if not hasattr(self, "memo"):
            object.__setattr__(self, "memo", _Memo())
        self.memo.rounds += 1

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return super().loss(site, batch) / self.memo.rounds  # type: ignore[attr-defined, no-any-return]


BREACHES: list[tuple[type[Learner], str]] = [
    (NeedsManySamples, "runs"),
    (AtHomeNowhere, "runs"),
    (NeedsAnUnknownThing, "words"),
    (SaysAlone, "words"),
    (StagesBeyondTheRun, "stages"),
    (HasAnIdleRate, "stages"),
    (MovesWhatMoves, "stages"),
    (SamplesBeyond, "sampler"),
    (SamplesShares, "sampler"),
    (LossOfEach, "loss"),
    (LossWithoutGradient, "loss"),
    (Draws, "vectorizable"),
    (KeepsAList, "tensors"),
    (TellsItsModule, "hidden"),
    (PredictsTooFewClasses, "logits"),
    (PredictsAndTrains, "logits"),
    (PredictsAboutTheMean, "rows"),
    (DrawsFromPython, "equal"),
    (KeepsOnTheModel, "nodes"),
    (HidesAnObject, "nodes"),
]


@pytest.mark.parametrize(("broken", "check"), BREACHES, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_learner_is_caught(broken: type[Learner], check: str) -> None:
    with pytest.raises(ConformanceError, match=f"{broken.__name__} breaks the contract of learners") as caught:
        fedlt.check_learner(broken)
    assert {found for found, _ in caught.value.problems} == {check}
    assert CHECKS[check] in str(caught.value)


def test_every_check_is_seen_to_fail() -> None:
    """But for `resumed`, which is played as for strategies."""
    assert {check for _, check in BREACHES} == set(CHECKS) - {"resumed"}


def test_a_loss_that_draws_may_say_so() -> None:
    fedlt.check_learner(DrawsAndSaysSo)


@dataclass(frozen=True)
class MultipliesByItself(CrossEntropy):
    gamma: float = 2.0
    scale: float = 1.0

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return self.scale * super().loss(site, batch) * self.gamma / self.gamma


def test_a_field_that_does_nothing_is_remarked() -> None:
    with pytest.warns(ContractRemark) as told:
        fedlt.check_learner(MultipliesByItself)
    (remark,) = told
    assert "MultipliesByItself: gamma=2.0 and gamma=4.0 and gamma=1.0 end the same" in str(remark.message)
    assert remark.filename == __file__
