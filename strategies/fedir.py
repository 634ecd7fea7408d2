"""FedIR: a client's samples are weighted by how much rarer their class is here than over all clients.

Hsu, Qi, Brown: Federated Visual Classification with Real-World Data Distribution. ECCV 2020. With importance weights
q(y) / p_k(y) every client minimises, over the classes that it has, the loss of the global distribution q. There is no
official repository. The weights of a batch are normalised to mean 1, as PyTorch's weighted cross-entropy does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedIR(Strategy):
    """Cross-entropy with weights proportional to n_c / n_kc: the global over the client's count of the class."""

    needs: ClassVar[tuple[str, ...]] = ("class_prior", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    def loss(self, client: Client, batch: Batch) -> Tensor:
        everywhere = torch.from_numpy(client.task.class_counts).to(client.class_counts, non_blocking=True)
        ratio = everywhere / client.class_counts.clamp(min=1)  # a class that the client lacks has no sample to weigh
        return F.cross_entropy(client.model(batch.x), batch.y, weight=ratio)
