"""LG-FedAvg: every client keeps a body of its own, and the head on top of all of them is averaged.

Liang, Liu, Ziyin, Allen, Auerbach, Brent, Salakhutdinov, Morency: Think Locally, Act Globally: Federated Learning with
Local and Global Representations. 2019 (arXiv 2001.01523). The reverse of FedPer. As in the official code clients count
alike in the mean, and every client, sampled or not, is tested beneath the new head. Differences from the code: what is
shared is the head, where it counts one to three layers from the top; it begins with a trained FedAvg model, which here
is `init_from`; and its figures are each client's best round on test data, here the last one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class LGFedAvg(Strategy):
    """FedAvg of the head alone, with equal weights. Without a common body there is no generic model."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    private: ClassVar[tuple[str, ...]] = ("backbone.*",)
    scope: ClassVar[str] = "personal"

    def weight(self, client: Client) -> float:
        return 1.0
