"""FedBN: every client keeps its own normalisation layers, statistics included; all else is averaged.

Li, Jiang, Zhang, Kamp, Dou: FedBN: Federated Learning on Non-IID Features via Local Batch Normalization. ICLR 2021.
Where clients see the same classes through different sensors, their feature statistics are what must not be mixed.
Difference from the official code: layers are found by their type, shortcuts included, and there by `bn` in their names;
and clients count by their numbers of samples, there alike (`equal=true`). There is no generic model: it would need
normalisation layers of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlt.nn.norm import NORMALISATION
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedBN(Strategy):
    """FedAvg of all but the normalisation layers. Needs a model that has them: resnet8, for example."""

    private: ClassVar[tuple[str, ...]] = (NORMALISATION,)
    scope: ClassVar[str] = "personal"
    young: ClassVar[tuple[str, ...]] = ("equal",)

    equal: bool = False  # clients count alike in the mean, as in the official code, instead of by their samples

    def weight(self, client: Client) -> float:
        return 1.0 if self.equal else super().weight(client)
