"""APFL: the personal model is a mixture of a private model and the shared one, in proportions that each client learns.

Deng, Kamani, Mahdavi: Adaptive Personalized Federated Learning. 2020 (arXiv 2003.13461), Algorithm 1 and equation 10.
The shared model is trained as in FedAvg, buffers included; the private one is trained through the mixture, which takes
the shared one as it stands at that step. The paper mixes weights, which is the default; the official code mixes the
two models' logits (`mix=logits`). Differences from the code: the share moves with every step by its exact gradient,
with no decay, where the code moves it once a round. The running statistics of a mixture are its own: they are kept with
the private model, and moved by the mixture's batches alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.learner import Logits, headline
from fedlt.nn.net import Net
from fedlt.nn.norm import running_statistics
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class APFL(Strategy):
    """Mixture: share * v + (1 - share) * w. Loss of w at w, and of v and the share at the mixture."""

    private: ClassVar[tuple[str, ...]] = ("own.*", "share")
    young: ClassVar[tuple[str, ...]] = ("mix",)

    share: Annotated[float, ">= 0", "<= 1"] = 0.5  # of the private model, at first
    adaptive: bool = True  # whether the share is learned
    mix: Literal["weights", "logits"] = "weights"  # what is mixed: the paper's Algorithm 1, or the official code's form

    def build(self, model: Net, task: Task) -> None:
        model.own = copy.deepcopy(model)
        model.register_parameter("share", nn.Parameter(torch.tensor(self.share)))

    def fit(self, client: Client) -> None:
        client.train(self.loss, without=() if self.adaptive else ("share",))
        client.model.part("share").data.clamp_(0, 1)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The loss of the shared model plus that of the mixture with the client's own model v."""
        with torch.no_grad():
            client.model.part("share").clamp_(0, 1)
        shared = super().loss(client, batch)
        client.trainer.passed(len(batch))  # the mixture's pass
        if self.mix == "logits":
            mixture: Any = _MixedLogits(client.model)
            return shared + super().loss(client.altered(model=mixture), batch)
        mixed = {name: mixture for name, (_, mixture) in _mixture(client).items()}
        mixed |= {name: own for name, (_, own) in _statistics(client.model).items()}
        return shared + client.loss_at(mixed, super().loss, batch)

    def adapt(self, client: Client) -> None:
        """The mixture with the received model takes its place."""
        if self.mix == "logits":
            return
        with torch.no_grad():
            pairs = _mixture(client) | _statistics(client.model)
            for tensor, mixture in pairs.values():
                tensor.copy_(mixture)

    def personal(self, client: Client, x: Tensor) -> Logits:
        """The mixture of both models, by the client's share: of their weights, or of their logits."""
        if self.mix == "weights":
            return super().personal(client, x)
        share, own = client.model.part("share"), client.model.part("own")
        shared = headline(client.learner.predict(client.model, x))
        return share * headline(client.learner.predict(own, x)) + (1 - share) * shared


class _MixedLogits:
    """Stands for a model whose logits are share * v(x) + (1 - share) * w(x); no gradient reaches w.

    It has logits alone: a loss that asks for features or a head does not work on it.
    """

    def __init__(self, model: Net) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Tensor:
        share, own = self.model.part("share"), self.model.part("own")
        with torch.no_grad():  # copies of the buffers: this pass must not move the shared model's running statistics
            shared = functional_call(self.model, {name: b.clone() for name, b in self.model.named_buffers()}, (x,))
        return share * own(x) + (1 - share) * shared  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"strategy.mix=logits mixes logits alone, and the learner asks for model.{name}")


def _mixture(client: Client) -> dict[str, tuple[Tensor, Tensor]]:
    """By name: the shared parameter, and its mixture with the private one; no gradient reaches the shared one."""
    share = client.model.part("share")
    pairs = {name: (w, client.model.part(f"own.{name}")) for name, w in client.shared_parameters().items()}
    return {name: (w, share * v + (1 - share) * w.detach()) for name, (w, v) in pairs.items()}


def _statistics(model: Net) -> dict[str, tuple[Tensor, Tensor]]:
    """By name: the shared model's running statistics, and those of the mixture, which the private model holds."""
    names = running_statistics(model.part("own"))
    return {name: (model.part(name), model.part(f"own.{name}")) for name in names}
