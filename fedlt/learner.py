"""Contract 2: how one site learns from its long-tailed data. Contract 1 is `fedlt.strategy`.

A site is a client, or the one place that holds all data in centralized training. A method is written once, and can be
compared in three settings:

- `strategy=centralized learner=X`: one site holds the union of all data
- `strategy=fedavg learner=X`: every client learns that way, and the server averages
- `strategy=local learner=X`: every client learns that way, without a server

The shortest example overrides the loss alone:

    @dataclass(frozen=True)
    class Focal(Learner):
        gamma: float = 1.0

        def loss(self, site, batch):
            nll = cross_entropy(site.model(batch.x), batch.y, reduction="none")
            return ((1 - (-nll).exp()) ** self.gamma * nll).mean()

What prediction needs beyond the model's parameters (a class prior, prototypes) belongs in buffers of the model. They
travel, are averaged and are saved, as the running statistics of normalisation layers are; `fedlt.nn.buffers` says what
becomes of those that hold whole numbers. What stays at a site between rounds belongs in `site.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data.samplers import Sampler, shuffled

if TYPE_CHECKING:
    from fedlt.data.site import Batch, Site
    from fedlt.data.task import Task
    from fedlt.nn.net import Net
    from fedlt.strategy import Strategy


@dataclass(frozen=True)
class Prediction:
    """Logits with an uncertainty and further columns: what a learner may return in place of logits.

    Attributes:
        logits: [B, C], of B samples and C classes.
        uncertainty: [B], larger is less certain; None: one minus the largest probability.
        extra: further columns [B, ...] by name, for statistics that read them. An example is `experts`: how many
            experts each sample took.
    """

    logits: Tensor
    uncertainty: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.extra, Mapping):
            raise TypeError("further columns of a Prediction have names: extra={'experts': ...}")


Logits = Tensor | Prediction | dict[str, Tensor] | dict[str, Prediction]
"""What a model predicts: logits [B, C], a `Prediction`, or several variants of either by name.

The first variant is the headline, whose figures stand without a variant's name: `generic` beside `generic[NAME]`.
"""


def headline(predicted: Logits) -> Tensor:
    """The logits [B, C] of a prediction, or of the first of its variants."""
    first: Any = next(iter(predicted.values())) if isinstance(predicted, dict) else predicted
    logits: Tensor = first.logits if isinstance(first, Prediction) else first
    return logits


def overrides(part: object, hook: Callable[..., object]) -> bool:
    """Whether a strategy, learner or link has a hook of its own, as in `overrides(strategy, Strategy.adapt)`.

    A strategy around another one (`fedlt.wrapping`) has the hooks of that one, too.
    """
    from fedlt.wrapping import answering  # here, since that module imports strategies, and they this one

    return getattr(type(answering(part, hook.__name__)), hook.__name__) is not hook


@dataclass(frozen=True)
class Stage:
    """Consecutive rounds with settings of their own: representation first and classifier after it, for example.

    Attributes:
        name: what error messages call it.
        share: its part of the run's rounds. The shares of a learner's stages sum to 1; the schedule of the learning
            rate starts anew in each stage.
        only: patterns of the names of parameters that are trained in it, such as `head.*`. A backbone that is left out
            keeps its running statistics, too, unless `statistics` is set.
        sampler: gives one pass over the site's data, unless the learner overrides `Learner.sampler`.
        augment: the augmentation, a word of `local.augment`; empty: the scenario's.
        encoded: whether features stand for the inputs in `batch.x`: the backbone computes them once a round, without
            augmentation (`Site.encoded`).
        rates: factors of the learning rate, by pattern of parameters' names; the first pattern that matches counts.
        statistics: whether the running statistics of a backbone that is left out follow the stage's samples.

    Raises:
        ValueError: for rates that are not above 0, and for `statistics` together with `encoded`.
    """

    name: str = "all"
    share: float = 1.0
    only: tuple[str, ...] = ("*",)
    sampler: Sampler = shuffled
    augment: str = ""
    encoded: bool = False
    rates: Mapping[str, float] = field(default_factory=dict)
    statistics: bool = False

    def __post_init__(self) -> None:
        if not all(rate > 0 for rate in self.rates.values()):
            raise ValueError(f"the stage {self.name!r} has rates {dict(self.rates)}; expected numbers above 0")
        if self.statistics and self.encoded:
            raise ValueError(f"the stage {self.name!r} is on encoded samples, which move no running statistics")

    def rate(self, parameter: str) -> float:
        """What the learning rate of the parameter of that name is multiplied by."""
        return next((rate for pattern, rate in self.rates.items() if fnmatchcase(parameter, pattern)), 1.0)


def within(share: float, stages: Iterable[Stage], parts: tuple[str, ...] = ("*",)) -> tuple[Stage, ...]:
    """Another learner's stages, rescaled to a share of the run; those whose share is 0 are left out.

    Args:
        share: of the run that they fill together.
        stages: as the other learner gives them.
        parts: patterns of parameters, in place of the stages' own `only` where that is all of them, `("*",)`.
    """
    return tuple(
        replace(stage, share=share * stage.share, only=parts if stage.only == ("*",) else stage.only)
        for stage in stages
        if stage.share
    )


@dataclass(frozen=True)
class Learner:
    """Base of every local or centralized method. Override the smallest thing that differs."""

    # What it must be given beyond its site's data (`class_prior`), and what must hold of the model (`linear_head`):
    # words of `fedlt.config.declarations`.
    needs: ClassVar[tuple[str, ...]] = ()

    # Parameters that a site keeps between rounds, as the strategy's are (`Strategy.private`): patterns of what `build`
    # adds to the model, and no prediction of the generic model uses.
    private: ClassVar[tuple[str, ...]] = ()

    # Fields that were added after runs of the method had been published: at their defaults they stay out of the
    # scenario's hash, so that old hashes stay.
    young: ClassVar[tuple[str, ...]] = ()

    # Whether several clients may train at once (`local.together`). Set False where the loss draws random numbers or
    # looks at more than one batch. A `begin`, `epoch`, `finish` or `gradient` of its own rules it out by itself.
    vectorizable: ClassVar[bool] = True

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the method makes no sense inside this strategy, as a sentence; None where it does."""
        return None

    def build(self, model: Net, task: Task) -> None:
        """Add experts, projection heads, prototypes or buffers to the model.

        Runs at the server and in each worker, with the same random numbers.
        """

    def stages(self) -> tuple[Stage, ...]:
        """The stages of the run, in order; their shares sum to 1."""
        return (Stage(),)

    def begin(self, site: Site) -> None:
        """At the start of each round's work at a site, on the model that it received."""

    def epoch(self, site: Site) -> None:
        """At the start of each local epoch: recluster, set thresholds or temperatures."""

    def finish(self, site: Site) -> None:
        """At the end of each round's work at a site, before anything is sent: class means of features, for example."""

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        """One pass over the site's data: positions in 0..n-1, in the order of use. May repeat or leave out."""
        return stage.sampler(site)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        """Scalar loss of one batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def gradient(self, site: Site, loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Leave the gradient of one step in the parameters, and return the batch's loss. The trainer takes the step.

        Methods that take several passes a step, such as sharpness-aware minimisation, override it.

        Args:
            site: whose model is trained.
            loss: what to differentiate: the learner's own loss, or the strategy's around it (a proximal term, say).
            batch: some samples of the site.
        """
        value = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def predict(self, model: Net, x: Tensor) -> Logits:
        """Logits [B, C] of the trained model; post-hoc corrections, fusion of experts and uncertainty go here.

        Args:
            model: to predict by.
            x: [B, ...] inputs, or their features; `model.encode(x)` gives features of either.
        """
        return model(x)
