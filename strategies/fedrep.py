"""FedRep: a client first fits its own head to the received body, then moves the body a little with that head fixed.

Collins, Hassani, Mokhtari, Shakkottai: Exploiting Shared Representations for Personalized Federated Learning. ICML
2021, Algorithm 1. As in the paper the head takes many passes and the body few: `head_epochs` against `local.epochs`.
Differences from the official code: one learning rate for both unless `head_lr` says otherwise, and clients that were
never sampled are tested with the initial head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedRep(Strategy):
    """Head and body take turns in each client's round; the body is averaged, the head stays."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    private: ClassVar[tuple[str, ...]] = ("head.*",)
    scope: ClassVar[str] = "personal"
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # head and backbone take turns already

    head_epochs: Annotated[int, ">= 0"] = 5  # passes that train the head, before local.epochs passes train the body
    head_lr: Annotated[float, "> 0"] | None = None  # null: local.lr

    def fit(self, client: Client) -> None:
        client.train(self.loss, only=("head.*",), epochs=self.head_epochs, lr=self.head_lr)
        client.train(self.loss, without=("head.*",))
