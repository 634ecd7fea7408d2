"""What strategies have in common that re-train a head apart from the one that the clients train and average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.nn.softmax import logits
from fedlt.strategy import Client, Server, Strategy


@dataclass(frozen=True)
class RetrainedHead(Strategy):
    """`outbox["head"]`, [C, D + 1] with the bias last, is tested beside the averaged head, and is the headline.

    Until there is one, the averaged head stands for both. Subclasses make it in `aggregate`.
    """

    variant: ClassVar[str] = "retrained"  # what its figures are called

    def build(self, model: Net, task: Task) -> None:
        """Refuse heads that cannot be trained this way.

        Raises:
            ValueError: for heads that are not one matrix and a bias.
        """
        if not isinstance(model.head, nn.Linear) or model.head.bias is None:
            raise ValueError("re-training needs a linear head with a bias, and this model has another head")

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The generic model's variants."""
        return self._both(client.model, client.received, x)

    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        """Two heads on one pass through the backbone."""
        return self._both(server.model, server.outbox, x)

    def _both(self, model: Net, box: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        features = model.encode(x)
        averaged = model.head(features)
        return {self.variant: logits(features, box["head"]) if "head" in box else averaged, "averaged": averaged}
