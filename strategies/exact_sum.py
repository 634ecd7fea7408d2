"""Exact sum: every client sends what it has counted, once, and the server adds; nothing is trained or averaged.

The strategy of count models (`learner=counting` with `model=ss3` or `naive_bayes`). The sum of whole numbers depends on
no order and no grouping, so after every client has been asked the generic model is the one of `centralized`, bit for
bit, and one round with `federation.participation=1` is enough. With less, each client's counts enter when it is asked
for the first time, and later answers of it add nothing. The personal model counts the client's own samples `own` times
more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fedlt.errors import FedLTError
from fedlt.nn.buffers import EXACT
from fedlt.strategy import Client, Server, Strategy, Update, combine

COUNTED = "exact_sum/counted"  # [N] of the state and the outbox: whose counts the sum has


@dataclass(frozen=True)
class ExactSum(Strategy):
    """The update of a client weighs 1 or 0, so that totals are plain sums."""

    # Late counts would arrive after the client was asked once more, and be added twice.
    needs: ClassVar[tuple[str, ...]] = ("count_model", "word_counts", "class_counts", "prompt_updates")

    own: Annotated[int, ">= 0"] = 0  # times that a client's samples are counted again in its personal model

    def setup(self, server: Server) -> None:
        server.outbox[COUNTED] = torch.zeros(server.num_clients, dtype=torch.bool)

    def weight(self, client: Client) -> float:
        return float(not client.received[COUNTED][client.id])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Add the counts of the cohort, and note whose are in.

        Raises:
            FedLTError: where a count is too large for float32 to hold it exactly.
        """
        whole = combine(updates)
        summed = server.weights + whole.total
        if len(summed) and summed.max() >= EXACT:
            what = f"a word stands {EXACT} times or more in the samples of a class, and float32 would round its count"
            raise FedLTError(f"{what}; leave out the most frequent words, or share them among more tokens")
        server.weights = summed
        server.outbox[COUNTED][list(whole.clients)] = True

    def adapt(self, client: Client) -> None:
        """Add the client's own counts to the received ones, `own` times."""
        if self.own:
            received = client.vector.clone()
            client.learner.finish(client)
            client.vector = received + self.own * client.vector
