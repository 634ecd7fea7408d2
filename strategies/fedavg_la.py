"""FedAvg with logit adjustment in training, by the class prior of the whole federation.

Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-tail learning via logit adjustment. ICLR 2021, equation 10; for
tau = 1 the balanced softmax of Ren et al. (NeurIPS 2020), with global counts. Every client needs the class counts of
the federation, which the server can sum once from the clients': the simplest long-tail method there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.strategy import Client
from strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedAvgLA(FedAvg):
    """Local loss: cross-entropy of logits + tau log(N_c / N). Predictions leave the prior out."""

    needs: ClassVar[tuple[str, ...]] = ("class_prior", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    tau: Annotated[float, "> 0"] = 1.0  # strength of the adjustment

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return cross_entropy(client.model(batch.x) + self.tau * log_prior(global_counts(client.task, batch.x)), batch.y)

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The generic model is the headline; `own_prior` adds the log of the client's own class frequencies."""
        generic = client.model(x)
        return {"generic": generic, "own_prior": generic + (client.class_counts / client.num_samples).log()}


def global_counts(task: Task, like: Tensor) -> Tensor:
    """[C] training samples of each class over all clients, on the device of `like`."""
    return torch.from_numpy(task.class_counts).to(like.device, non_blocking=True)
