"""FedPer: the body is shared and averaged, every client keeps a head of its own; both are trained together.

Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers. 2019 (arXiv 1912.00818),
Algorithms 1 and 2. The base and personalisation layers there are our backbone and head. There is no official code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlt.strategy import Strategy


@dataclass(frozen=True)
class FedPer(Strategy):
    """FedAvg of all but the head. Without a common head there is no generic model."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    private: ClassVar[tuple[str, ...]] = ("head.*",)
    scope: ClassVar[str] = "personal"
