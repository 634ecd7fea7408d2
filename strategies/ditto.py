"""Ditto: beside its part in FedAvg, each client trains a whole model of its own, held near the generic one.

Li, Hu, Beirami, Smith: Ditto: Fair and Robust Federated Learning Through Personalization. ICML 2021, Algorithm 1. The
penalty is squared and pulls towards the model that the client received, whose training goes on as in FedAvg; versions
that anchor at the client's own model, or leave out the generic training, are other methods. Difference from the
official code: a client's own model starts at the first model that the client receives, instead of the initial one, and
clients count by their numbers of samples, as under FedAvg, where the code counts them alike (`equal=true`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class Ditto(Strategy):
    """Own model v: local loss + lam/2 |v - w_received|^2. It takes as much work again as the generic one."""

    young: ClassVar[tuple[str, ...]] = ("equal",)

    lam: Annotated[float, ">= 0"] = 0.1  # pull towards the generic model; 0 is `local` beside FedAvg
    own_epochs: Annotated[int, ">= 0"] | None = None  # passes that train the own model; null: local.epochs
    equal: bool = False  # clients count alike in the mean, as in the official code, instead of by their samples

    def begin(self, client: Client) -> None:
        client.state["own"] = client.vector.clone()

    def fit(self, client: Client) -> None:
        super().fit(client)
        with client.own("own"):
            client.train(self.own_loss, epochs=self.own_epochs)

    def own_loss(self, client: Client, batch: Batch) -> Tensor:
        """Scalar loss of the client's own model."""
        drift = client.weights() - client.start
        return self.loss(client, batch) + self.lam / 2 * drift.square().sum()

    def weight(self, client: Client) -> float:
        return 1.0 if self.equal else super().weight(client)

    def adapt(self, client: Client) -> None:
        client.vector = client.state["own"]
