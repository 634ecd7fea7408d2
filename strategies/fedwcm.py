"""FedWCM: FedCM whose clients count by how rare their classes are, and whose own share follows the cohort's imbalance.

Li, Huang, Jiang, Xie, Liu, Du, Wang, Wu: FedWCM: Unleashing the Potential of Momentum-based Federated Learning in
Long-Tailed Scenarios. ICPP 2025. The paper says that momentum leads astray under a long tail, and that weights and
share are adapted by what is known of all clients' classes and of the round's. Its formulas were not at hand and its
repository holds no code: both rules here are derived from that sentence, and are not the paper's own. A client's score
is the mean, over its samples, of what their class lacks to an equal share; scores are scaled to lie between -1 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fedlt.strategy import Client, Server, Update, combine
from strategies.fedcm import FedCM


@dataclass(frozen=True)
class FedWCM(FedCM):
    """weight: e^(score / temperature); alpha: from `alpha` to 1 by the distance of the cohort's classes from equal."""

    # The classes of a round's clients make the share of the next.
    needs: ClassVar[tuple[str, ...]] = ("sgd", "prompt_updates", "class_prior", "class_counts")

    temperature: Annotated[float, "> 0"] = 1.0  # of the scores; infinite: clients count alike

    def setup(self, server: Server) -> None:
        super().setup(server)
        server.outbox["alpha"] = server.weights.new_tensor([self.alpha])

    def own_share(self, client: Client) -> float:
        return float(client.received["alpha"])

    def weight(self, client: Client) -> float:
        """exp(score / temperature), with the score high for clients that hold what the federation lacks."""
        known = torch.from_numpy(client.task.class_counts).to(client.start)
        lacking = 1 / len(known) - known / known.sum()
        largest = float(lacking.abs().max())
        if not largest:
            return 1.0
        score = float(lacking @ client.class_counts.to(lacking)) / client.num_samples / largest
        return math.exp(score / self.temperature)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.extras["counts"] = client.class_counts.float()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The next share of a client's own gradient is the larger, the farther the cohort's classes are from equal."""
        whole = combine(updates)
        counts = whole.sums["counts"]
        distance = (counts / counts.sum() - 1 / len(counts)).abs().sum() / 2
        server.outbox["alpha"] = (self.alpha + (1 - self.alpha) * distance)[None]
        super().aggregate(server, [whole])
