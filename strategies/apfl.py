"""APFL: the personal model is a mixture of a private model and the shared one, in proportions that each client learns.

Deng, Kamani, Mahdavi: Adaptive Personalized Federated Learning. 2020 (arXiv 2003.13461), Algorithm 1 and equation 10.
The shared model is trained as in FedAvg; the private one is trained through the mixture, which takes the shared one as
it stands at that step. Differences from the official code: the share moves with every step by its exact gradient, with
no decay, where the code moves it once a round; running statistics of a mixture are those of the shared model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fedlt.nn.net import Net
from fedlt.site import Batch
from fedlt.strategy import Client, Strategy
from fedlt.task import Task


@dataclass(frozen=True)
class APFL(Strategy):
    """Mixture: share * v + (1 - share) * w. Loss of w at w, and of v and the share at the mixture."""

    private: ClassVar[tuple[str, ...]] = ("own.*", "share")

    share: Annotated[float, ">= 0", "<= 1"] = 0.5  # of the private model, at first
    adaptive: bool = True  # whether the share is learned

    def build(self, model: Net, task: Task) -> None:
        model.own = copy.deepcopy(model)
        model.register_parameter("share", nn.Parameter(torch.tensor(self.share)))

    def fit(self, client: Client) -> None:
        client.train(self.loss, only=client.flat.names_beside(*(() if self.adaptive else ("share",))))
        client.model.get_parameter("share").data.clamp_(0, 1)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        with torch.no_grad():
            client.model.get_parameter("share").clamp_(0, 1)
        mixed = {name: mixture for name, (_, mixture) in _mixture(client.model, client.flat.shared_names).items()}
        return super().loss(client, batch) + client.loss_at(mixed, super().loss, batch)

    def adapt(self, client: Client) -> None:
        """The mixture with the received model takes its place."""
        with torch.no_grad():
            pairs = _mixture(client.model, client.flat.shared_names)
            for parameter, mixture in pairs.values():
                parameter.copy_(mixture)
        client.flat.stepped()


def _mixture(model: Net, names: tuple[str, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """By name: the shared parameter, and its mixture with the private one; no gradient reaches the shared one."""
    share = model.get_parameter("share")
    pairs = {name: (model.get_parameter(name), model.get_parameter(f"own.{name}")) for name in names}
    return {name: (w, share * v + (1 - share) * w.detach()) for name, (w, v) in pairs.items()}
