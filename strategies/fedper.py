"""FedPer: the body is shared and averaged, every client keeps a head of its own; both are trained together.

Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers. 2019 (arXiv 1912.00818),
Algorithms 1 and 2. The base and personalisation layers there are our backbone and head. There is no official code.
Another part may be kept instead (`keep`), such as the transitions of `learner=crf`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fedlt.strategy import Strategy

if TYPE_CHECKING:
    from fedlt.data.task import Task
    from fedlt.nn.net import Net


@dataclass(frozen=True)
class FedPer(Strategy):
    """FedAvg of all but the head. Without a common head there is no generic model."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    scope: ClassVar[str] = "personal"
    young: ClassVar[tuple[str, ...]] = ("keep",)

    keep: list[str] | None = None  # patterns of the parameters that clients keep; null: the head's

    def obstacle(self, model: Net, task: Task) -> str | None:
        if self.keep == []:
            return "clients would keep nothing; name what they keep (strategy.keep), or take fedavg"
        return None

    @property
    def private(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("head.*",) if self.keep is None else tuple(self.keep)
