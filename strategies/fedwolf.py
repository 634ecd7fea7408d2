"""FedWolf: every client keeps a model; each round the models are sorted by merit, and the others move towards the best.

Juncheng Pu, Xiaodong Fu, Hai Dong, Pengcheng Zhang, Li Liu: Dynamic Adaptive Federated Learning on Local Long-Tailed
Data. IEEE TSC 2024. A round's best model leads and stays, two seconds go half the way to it, and each of the rest takes
the mean of itself, of the rest's mean and of the first three's. How a client's rank changes from round to round is a
Markov chain, and what this says of leading in the long run is the client's share in the generic model. Differences from
the official code: that sorts by macro-F1 on the *test* set, here it is on the server's validation data, which are
needed; its shares are not normalised, and may all be 0, where clients here count alike; the generic model is made in
every round, there once; a cohort has any size, there ten clients. The code's rate falls to a tenth at round 50.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlt.blocks.judged import expect_validation, judged
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update

SECONDS = 2  # models that follow the first one
BEGINNING = (0.5, 0.4, 0.1)  # of the Markov chain: leading, second, among the rest
STEPS = 100  # of the chain
LEAST = 1e-9  # of a share; below it a client has lost all, but for rounding


@dataclass(frozen=True)
class FedWolf(Strategy):
    """Shares: the first entry of (.5, .4, .1) M^100, over all clients' sum; M has a client's changes of rank."""

    needs: ClassVar[tuple[str, ...]] = ("server_validation", "single_label")
    foldable: ClassVar[bool] = False  # models are judged one by one

    def setup(self, server: Server) -> None:
        """No client is ranked yet. Raises `ScenarioError` without validation data, by which models are sorted."""
        expect_validation(server, "fedwolf sorts the clients' models")
        device = server.weights.device
        server.state["rank"] = torch.full((server.num_clients,), -1, device=device)
        server.state["changes"] = torch.zeros(server.num_clients, 3, 3, device=device)

    def fit(self, client: Client) -> None:
        self.adapt(client)
        client.train(self.loss)

    def adapt(self, client: Client) -> None:
        """The client's own model, where it has been sampled."""
        if "model" in client.received:
            client.vector = client.received["model"]

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Sort the clients' models by validation, and move the others towards the best; each client gets its own."""
        cohort = list(updates)
        clients = [update.clients[0] for update in cohort]
        with one_thread():
            models = torch.stack([update.mean for update in cohort])
            order = judged(server, list(models)).argsort(descending=True, stable=True)
            models[order] = moved(models[order])
            for client, model in zip(clients, models, strict=True):
                server.letters[client] = {"model": model.clone()}

            rank, changes = server.state["rank"], server.state["changes"]
            for place, index in enumerate(order.tolist()):
                client, now = clients[index], min(2, -(-place // SECONDS))
                if rank[client] >= 0:
                    changes[client, rank[client], now] += 1
                rank[client] = now

            known = sorted(server.letters)
            shares = contributions(changes[known])
            server.weights = sum(
                (share * server.letters[client]["model"] for share, client in zip(shares, known, strict=True)),
                torch.zeros_like(server.weights),
            )


def moved(models: Tensor) -> Tensor:
    """[n, S] where the models go, given from the best to the worst."""
    new = models.clone()
    new[1 : 1 + SECONDS] = (models[1 : 1 + SECONDS] + models[0]) / 2
    rest = models[1 + SECONDS :]
    if len(rest):
        new[1 + SECONDS :] = (rest + rest.mean(0) + new[: 1 + SECONDS].mean(0)) / 3
    return new


def contributions(changes: Tensor) -> Tensor:
    """[n] each client's share, which sum to 1.

    What comes to a rank that was never left is lost, as in the official code; where all is, clients count alike.

    Args:
        changes: [n, 3, 3] how often a rank came after another.
    """
    chains = (changes / changes.sum(2, keepdim=True).clamp(min=1)).double()
    beginning = chains.new_tensor(BEGINNING).expand(len(chains), 1, 3)
    leading = (beginning @ torch.linalg.matrix_power(chains, STEPS))[:, 0, 0]
    leading = torch.where(leading > LEAST, leading, 0.0)
    total = leading.sum()
    return (leading / total if total > 0 else torch.full_like(leading, 1 / len(leading))).to(changes)
