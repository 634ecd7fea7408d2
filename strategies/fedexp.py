"""FedExP: the server steps beyond the clients' mean, the further the more their changes point different ways.

Jhunjhunwala, Wang, Joshi: FedExP: Speeding up Federated Averaging via Extrapolation. ICLR 2023. As in the official code
clients count by their numbers of samples, epsilon is multiplied by the size of the cohort, and the model that is tested
is the mean of the last two; here only the last round's is, and clients go on from the iterates themselves. Difference:
in the code epsilon shrinks by 0.4 % a round, as the square of its rate does. Buffers are averaged as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedExP(Strategy):
    """w <- w + s * mean of d_k, s = max(1, mean of |d_k|^2 / (2 (|mean of d_k|^2 + M epsilon))), d_k = w_k - w."""

    epsilon: Annotated[float, "> 0"] = 1e-3  # of the step; large: FedAvg, but for `average`
    average: bool = True  # whether the last round leaves the mean of the last two models

    def fit(self, client: Client) -> None:
        super().fit(client)
        change = client.vector[: len(client.start)] - client.start
        client.extras["squares"] = self.weight(client) * change.square().sum()[None]

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """A step beyond the mean by the factor of the paper, which grows as the clients' changes disagree."""
        whole, trainable = combine(updates), server.trainable
        old, new = server.weights.clone(), whole.mean
        change = new[trainable] - old[trainable]
        squares = whole.sums["squares"] / whole.weight
        new[trainable] += (self.step(squares, change, len(whole.clients)) - 1) * change

        if self.average and 1 < server.round == server.task.rounds:
            new[trainable] = (old[trainable] + new[trainable]) / 2
        server.weights = new

    def step(self, squares: Tensor, change: Tensor, clients: int) -> Tensor:
        """[1] the server's step, for the mean squared norm of the clients' changes [1] and their mean change [T].

        Args:
            squares: [1] mean squared norm of the clients' changes.
            change: [T] their mean.
            clients: of the cohort.
        """
        below = 2 * (change.square().sum() + clients * self.epsilon)
        return (squares / below).clamp(min=1.0)
