"""FedProx: FedAvg whose clients are held near the received model by a quadratic penalty.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks. MLSys 2020,
Algorithm 2 with equal local work. The penalty is squared as in the paper; code that adds mu/2 ||w - w0|| without the
square is another method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedProx(Strategy):
    """Local loss + mu/2 ||w - w_received||^2 over the shared trainable weights."""

    mu: Annotated[float, ">= 0"] = 0.01  # weight of the proximal term

    def loss(self, client: Client, batch: Batch) -> Tensor:
        drift = client.weights() - client.start
        return super().loss(client, batch) + self.mu / 2 * drift.square().sum()
