"""Contract 2: how one site learns from skewed data, whoever the site is. Read this file second.

A method is written once, and compared in three ways:

- `strategy=centralized learner=X`: one site holds the union of all data
- `strategy=fedavg learner=X`: every client learns that way, and the server averages
- `strategy=local learner=X`: every client learns that way, without a server

    @dataclass(frozen=True)
    class Focal(Learner):
        gamma: float = 1.0

        def loss(self, site, batch):
            nll = cross_entropy(site.model(batch.x), batch.y, reduction="none")
            return ((1 - (-nll).exp()) ** self.gamma * nll).mean()

What prediction needs beyond the model's parameters (a class prior, prototypes) is a buffer of the model: it then
travels, is averaged and is saved like running statistics, also where it holds no floats (`fedlt.nn.buffers` has the
rule). What stays at a site between rounds is in `site.state`.
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
    """Logits with more to say: what a learner may return in place of logits.

    Attributes:
        logits: [B, C].
        uncertainty: [B], larger is less certain; None: one minus the largest probability.
        extra: further columns [B, ...] by name, for statistics that read them: `experts`, say, how many were asked for
            each sample.
    """

    logits: Tensor
    uncertainty: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.extra, Mapping):
            raise TypeError("further columns of a Prediction have names: extra={'experts': ...}")


Logits = Tensor | Prediction | dict[str, Tensor] | dict[str, Prediction]
"""What predicts: logits [B, C], or more than that, or several variants by name, of which the first is the headline."""


def headline(predicted: Logits) -> Tensor:
    """[B, C] the logits of a prediction, or of the first of its variants."""
    first: Any = next(iter(predicted.values())) if isinstance(predicted, dict) else predicted
    logits: Tensor = first.logits if isinstance(first, Prediction) else first
    return logits


def overrides(part: object, hook: Callable[..., object]) -> bool:
    """Whether a strategy, learner or link has a hook of its own, as in `overrides(strategy, Strategy.adapt)`."""
    from fedlt.wrapping import answering  # late: a wrapping is a strategy

    return getattr(type(answering(part, hook.__name__)), hook.__name__) is not hook


@dataclass(frozen=True)
class Stage:
    """A part of the run, and a training of its own: representation first and classifier after it, for example.

    Attributes:
        share: its part of the run's rounds; the shares of a learner's stages sum to 1, and the schedule of the learning
            rate runs anew in each.
        only: patterns of the parameters that are trained in it; a backbone that is left out keeps its running
            statistics too.
        sampler: one pass over the site's data.
        augment: instead of the scenario's.
        encoded: the backbone's features of the data are computed once a round, without augmentation, and `batch.x`
            stands for them (`Site.encoded`).
        rates: by pattern of parameters, what their learning rate is multiplied by; the first pattern that matches
            counts.
        statistics: a backbone that is left out is in training mode all the same, so that its running statistics follow
            the stage's samples.

    Raises:
        ValueError: for rates that are not above 0, and for statistics of samples whose features are at hand.
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
    """Stages that fill this share of the run instead of all of it, those of no length being left out.

    Args:
        parts: what stands for "all parameters" in them.
    """
    return tuple(
        replace(stage, share=share * stage.share, only=parts if stage.only == ("*",) else stage.only)
        for stage in stages
        if stage.share
    )


@dataclass(frozen=True)
class Learner:
    """Base of every local or centralized method. Override the smallest thing that differs."""

    # What it must be given beyond its site's data, and what must hold of the model: words of `fedlt.strategy.NEEDS`.
    needs: ClassVar[tuple[str, ...]] = ()

    # Fields younger than runs of it, which scenarios leave out at their defaults, so that their hashes stay.
    young: ClassVar[tuple[str, ...]] = ()

    # Its loss draws no numbers and looks at one batch only, so several clients may train at once (`local.together`).
    vectorizable: ClassVar[bool] = True

    def obstacle(self, strategy: Strategy) -> str | None:
        """Why the method has no meaning inside this strategy, as a sentence; None where it has."""
        return None

    def build(self, model: Net, task: Task) -> None:
        """Add experts, projection heads, prototypes or buffers to the model. Runs everywhere, seeded alike."""

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the run, in order."""
        return (Stage(),)

    def begin(self, site: Site) -> None:
        """At the start of a site's work of a round, the model being what it received."""

    def epoch(self, site: Site) -> None:
        """At the start of each local epoch: recluster, set thresholds or temperatures."""

    def finish(self, site: Site) -> None:
        """At the end of a site's work of a round, before anything is sent: statistics of the trained model."""

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        """One pass over the site's data: positions in 0..n-1, in the order of use. May repeat or leave out."""
        return stage.sampler(site)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        """Scalar loss of one batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def gradient(self, site: Site, loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Leave the gradient of one step in the parameters, and return the batch's loss.

        Methods that take several passes a step, such as sharpness-aware minimisation, override it; the optimiser then
        takes the step.

        Args:
            loss: that of the strategy, which may be the learner's own.
        """
        value = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def predict(self, model: Net, x: Tensor) -> Logits:
        """Logits [B, C] of the trained model; post-hoc corrections, fusion of experts and uncertainty go here."""
        return model(x)
