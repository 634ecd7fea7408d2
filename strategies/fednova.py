"""FedNova: every client's change is divided by how far its steps could carry it, before the changes are averaged.

Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization.
NeurIPS 2020, equations 9 and 10. Under FedAvg a client with more local steps counts more; here it does not. What the
paper calls |a_k| (times the step size) is the client's `travel`, momentum included. In place of its weights a client
sends w - (w - w_k) / travel, so that one number more than FedAvg's travels. Difference from the official code:
momentum on the server, which is a method of its own, is left out. Buffers are averaged as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedNova(Strategy):
    """w <- w - (sum of p_k travel_k) * sum of p_k (w - w_k) / travel_k, with p_k = n_k / n over the cohort."""

    needs: ClassVar[tuple[str, ...]] = ("sgd",)

    def fit(self, client: Client) -> None:
        """Local work whose change is divided by the summed step size, so that no client counts for its many steps."""
        super().fit(client)
        shared, count = client.vector.clone(), len(client.start)
        shared[:count] = client.start - (client.start - shared[:count]) / client.travel
        client.vector = shared
        client.extras["travel"] = client.start.new_tensor([client.num_samples * client.travel])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean of the normalised changes, times the mean of the summed step sizes."""
        whole = combine(updates)
        old, new = server.weights, whole.mean
        trainable = server.trainable
        travel: Tensor = whole.sums["travel"] / whole.weight
        new[trainable] = old[trainable] + travel * (new[trainable] - old[trainable])
        server.weights = new
