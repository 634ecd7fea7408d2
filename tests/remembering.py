"""A user's strategy that keeps something in every place that there is, for tests of grids and of checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedlt import Client, Server, Strategy, Update, combine
from fedlt.learner import headline


@dataclass(frozen=True)
class Remembering(Strategy):
    """Private heads; clients and server keep something; extras, and draws from two generators; an outbox that shares
    its memory with the server's state.
    """

    private: ClassVar[tuple[str, ...]] = ("head.*",)
    decay: float = 0.5

    def begin(self, client: Client) -> None:
        client.state["memory"] = torch.rand(4)
        client.state["visits"] = torch.zeros((), dtype=torch.int64)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.state["memory"] = client.state["memory"] * self.decay + float(client.rng.random()) * torch.rand(4)
        client.state["visits"] += 1
        client.extras["memory"] = client.state["memory"] + client.received.get("mean", torch.zeros(4))

    def personal(self, client: Client, x: Tensor) -> Tensor:
        return headline(super().personal(client, x)) + client.received.get("mean", torch.zeros(4)).sum()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        whole = combine(updates)
        server.weights = whole.mean
        if "mean" not in server.state:
            server.state["mean"] = server.outbox["mean"] = torch.zeros(4)
        server.state["mean"] += whole.sums["memory"] / len(whole.clients) + float(server.rng.random())


REMEMBERING = f"{Path(__file__).resolve()}:Remembering"
"""What a scenario names it by."""
