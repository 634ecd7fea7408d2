"""Per-FedAvg: the server's model is trained for what it becomes after one step on a client's data. First order.

Fallah, Mokhtari, Ozdaglar: Personalized Federated Learning with Theoretical Guarantees: A Model-Agnostic Meta-Learning
Approach. NeurIPS 2020, Algorithm 1 with the approximation FO: second derivatives are left out. A batch gives the step,
another one the gradient after it. The code that was read is that of pFedMe's authors. Differences from it: the two
rates of a step are both the scenario's unless given, where its second is an option of 1; the batch of the inner step is
drawn beside the pass over the data, where PFLlib halves one batch of double size and trains twice a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data.site import Batch, Site
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class PerFedAvg(Strategy):
    """w <- w - lr g2(w - inner_lr g1(w)), g1 and g2 being gradients on two batches. The generic model is w itself."""

    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # all parameters are trained together

    inner_lr: Annotated[float, ">= 0"] | None = None  # alpha, of the step that is looked beyond; null: local.lr
    tune: Literal["batch", "epoch"] = "batch"  # what the personal model is tuned on: one batch (official), or all data

    def fit(self, client: Client) -> None:
        client.train(self.adapted_loss if self.rate(client) else self.loss)

    def rate(self, client: Client) -> float:
        """Of the inner step."""
        return client.trainer.local.lr if self.inner_lr is None else self.inner_lr

    def adapted_loss(self, client: Client, batch: Batch) -> Tensor:
        """The batch's loss after the step on another batch; its gradient reaches the weights before that step."""
        weights = client.shared_parameters()
        other = client.batch(client.rng.permutation(client.num_samples)[: len(batch)])
        value = client.loss_at(weights, self.loss, other)
        gradients = torch.autograd.grad(value, list(weights.values()), allow_unused=True)

        moved = {
            name: weight if gradient is None else weight - self.rate(client) * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
        return client.loss_at(moved | dict(client.model.named_buffers()), self.loss, batch)

    def adapt(self, client: Client) -> None:
        if rate := self.rate(client):
            client.train(self.loss, epochs=1, lr=rate, sampler=_one_batch if self.tune == "batch" else None)


def _one_batch(site: Site) -> NDArray[np.int64]:
    """A pass of one random batch."""
    return site.rng.permutation(site.num_samples)[: site.trainer.local.batch_size]
