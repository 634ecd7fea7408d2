"""FedAS: a client first brings the received body near to what its own one knew, and counts by its Fisher information.

Yang, Huang, Ye: FedAS: Bridging Inconsistency in Personalized Federated Learning. CVPR 2024. Class means of the
client's features under its own last body are what the received body is drawn to, before it is trained beneath the
client's own head. A client's weight in the mean is the trace of its empirical Fisher information: the squared gradients
of its batches after training. As in the official code its number of samples counts only through the number of batches,
so that a client that fits badly weighs most. Differences from the code: the head's mean is the generic model's head,
and the head of a client in its first round; a personal model is the received body after its alignment, beneath the
client's own head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy

LEAST = 1e-12  # weight of a client whose gradients are zero


@dataclass(frozen=True)
class FedAS(Strategy):
    """Alignment: sum over the batch's classes of the mean squared distance from the class's mean."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # head and backbone take turns already

    align_epochs: Annotated[int, ">= 0"] = 1  # passes of the alignment
    align_lr: Annotated[float, "> 0"] = 0.01

    def fit(self, client: Client) -> None:
        """Bring the received body near to what the client's own one knew, train it, and take the Fisher trace."""
        self.receive(client)
        client.train(self.loss)
        client.state["own"] = client.vector.clone()
        client.state["fisher"] = self.fisher(client)

    def weight(self, client: Client) -> float:
        return max(LEAST, float(client.state["fisher"]))

    def adapt(self, client: Client) -> None:
        self.receive(client)

    def receive(self, client: Client) -> None:
        """Align the received body with the client's own one, and put the client's own head on it."""
        if "own" not in client.state:
            return
        with client.own("own"):
            means = class_means(client)

        def loss(client: Client, batch: Batch) -> Tensor:
            return alignment(client.model.encode(batch.x), batch.y, means)

        if self.align_epochs:
            client.train(loss, only=("backbone.*",), epochs=self.align_epochs, lr=self.align_lr)
        own = client.named(client.state["own"])
        with torch.no_grad():
            for name, parameter in client.shared_parameters().items():
                if name.startswith("head."):
                    parameter.copy_(own[name])

    @torch.enable_grad()
    def fisher(self, client: Client) -> Tensor:
        """Sum over batches of the squared norm of the gradient of the batch's mean loss, in evaluation mode."""
        parameters = [p for p in client.shared_parameters().values() if p.requires_grad]
        trace = client.start.new_zeros(())
        for positions in torch.arange(client.num_samples).split(client.trainer.local.batch_size):
            value = self.loss(client, client.batch(positions.numpy()))
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            trace += sum(g.square().sum() for g in gradients if g is not None)
        return trace


def class_means(client: Client) -> Tensor:
    """[C, D] of the client's features under the present body; zero for a class that it lacks."""
    onehot = F.one_hot(client.data.y, client.task.num_classes).float()
    return onehot.T @ client.features() / client.class_counts.clamp(min=1)[:, None]


def alignment(features: Tensor, y: Tensor, means: Tensor) -> Tensor:
    """Sum over classes in the batch of the mean squared distance of their features [B, D] from the mean [C, D].

    Args:
        features: [B, D].
        y: [B] their classes.
        means: [C, D] of the client's classes.
    """
    distances = (features - means[y]).square().mean(1)
    return (distances / torch.bincount(y, minlength=len(means))[y]).sum()
