"""FedNTD: the received model teaches a client its shares among all classes but the true one.

Lee, Jeong, Shin, Bae, Yun: Preservation of the Global Knowledge by Not-True Distillation in Federated Learning. NeurIPS
2022. Local training forgets the classes that a client lacks; what the received model says of them is kept, while the
true class is learnt from the label alone. As in the official code the divergence is a mean over the batch times the
squared temperature. Its configuration has temperature 1, which is the default here; its class has 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.teacher import Teacher
from fedlt.data.site import Batch
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedNTD(Strategy):
    """CE + beta tau^2 KL(softmax(g without y / tau) | softmax(z without y / tau)), g being the received logits."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    beta: Annotated[float, ">= 0"] = 1.0  # weight of the distillation; 0 is FedAvg
    tau: Annotated[float, "> 0"] = 1.0  # temperature

    def fit(self, client: Client) -> None:
        """Local work with distillation from the received model on the classes that are not the sample's."""
        if not self.beta:
            client.train(self.loss)
            return
        received = Teacher(client)

        def loss(client: Client, batch: Batch) -> Tensor:
            logits = client.model(batch.x)
            preserved = self.divergence(logits, received.ask(Net.forward, batch.x), batch.y)
            return F.cross_entropy(logits, batch.y) + self.beta * preserved

        client.train(loss)

    def divergence(self, logits: Tensor, received: Tensor, y: Tensor) -> Tensor:
        """tau^2 times the mean divergence over the batch, of logits [B, C] of the two models.

        Args:
            logits: [B, C] of the model in training.
            received: [B, C] of the received one.
            y: [B] classes, which are left out.
        """
        true = F.one_hot(y, logits.shape[1]).bool()
        own, taught = (part.float()[~true].view(len(y), -1).div(self.tau).log_softmax(1) for part in (logits, received))
        return self.tau**2 * F.kl_div(own, taught, reduction="batchmean", log_target=True)
