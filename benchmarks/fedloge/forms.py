"""FedLoGe whose psi and phi read the features in other forms than the product's: what heads.csv compares.

fedlt run digits_lt strategy='{name: benchmarks/fedloge/forms.py:Forms, form: batch}'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.nn.standardised import StandardisedHead
from fedlt.strategy import Client
from strategies.fedloge import FedLoGe


class Batchwise(StandardisedHead):
    """The batch's own mean and variance in training, the running ones in tests: batch normalisation."""

    def standardise(self, features: Tensor) -> Tensor:
        found = super().standardise(features)
        if not self.training or len(features) == 1:
            return found
        variance = features.var(0, correction=0)
        return (features - features.mean(0)) / (variance + self.floor * variance.mean() + 1e-12).sqrt()


class OneScale(StandardisedHead):
    """Less the running mean, over the root of the mean variance of all features."""

    def standardise(self, features: Tensor) -> Tensor:
        super().standardise(features)
        variance = (self.square - self.mean.square()).clamp(min=0).mean()
        return (features - self.mean) / (variance + 1e-12).sqrt()


class NotCentred(StandardisedHead):
    """Over the root of the mean square of all features."""

    def standardise(self, features: Tensor) -> Tensor:
        super().standardise(features)
        return features / (self.square.mean() + 1e-12).sqrt()


class Centred(StandardisedHead):
    """Less the running mean, at the features' own scale."""

    def standardise(self, features: Tensor) -> Tensor:
        super().standardise(features)
        return features - self.mean


class PerSample(StandardisedHead):
    """Each sample's features at the norm that standardised ones have."""

    def standardise(self, features: Tensor) -> Tensor:
        return normalize(features, dim=1) * features.shape[1] ** 0.5


class SmallStep(StandardisedHead):
    """The features as they are; `Forms` divides the heads' step size by their mean squared norm."""

    def standardise(self, features: Tensor) -> Tensor:
        super().standardise(features)
        return features


class Slower(StandardisedHead):
    """A batch moves the statistics by three hundredths."""

    momentum: ClassVar[float] = 0.03


class Faster(StandardisedHead):
    """A batch moves the statistics by three tenths."""

    momentum: ClassVar[float] = 0.3


class LowFloor(StandardisedHead):
    """A thousandth of the mean variance is added."""

    floor: ClassVar[float] = 0.001


class HighFloor(StandardisedHead):
    """A tenth of the mean variance is added."""

    floor: ClassVar[float] = 0.1


FORMS = {
    "batch": Batchwise,
    "one_scale": OneScale,
    "not_centred": NotCentred,
    "centred": Centred,
    "per_sample": PerSample,
    "small_step": SmallStep,
    "slower": Slower,
    "faster": Faster,
    "low_floor": LowFloor,
    "high_floor": HighFloor,
}


@dataclass(frozen=True)
class Forms(FedLoGe):
    """See the module."""

    form: Literal[
        "batch",
        "one_scale",
        "not_centred",
        "centred",
        "per_sample",
        "small_step",
        "slower",
        "faster",
        "low_floor",
        "high_floor",
    ] = "batch"

    def build(self, model: Net, task: Task) -> None:
        head = model.head
        super().build(model, task)
        model.head = FORMS[self.form](head)  # type: ignore[arg-type]

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """A loss divided by something has gradients, so steps, divided by it."""
        if self.form != "small_step":
            return super().loss(client, batch)
        model, y = client.model, batch.y
        features = model.encode(batch.x)
        head, own, simplex = (model.get_submodule(name) for name in ("head", "local_head", "simplex"))
        assert isinstance(head, StandardisedHead)
        inputs = head.standardise(features.detach())
        heads = cross_entropy(linear(inputs, head.weight, head.bias), y) + cross_entropy(own(inputs), y)
        return cross_entropy(simplex(features), y) + heads / head.square.sum().clamp(min=1)
