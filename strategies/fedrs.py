"""FedRS: the logits of classes that a client lacks are scaled down in its training, so that it moves them less.

Li, Zhan: FedRS: Federated Learning with Restricted Softmax for Label Distribution Non-IID Data. KDD 2021. A class
without samples is pushed away by every step of the client; scaled by alpha, its row of the head moves by alpha of that.
This is the form for which the method is named and known. The official code scales in proportion to the client's counts
instead, alpha + (1 - alpha) n_c / max n, and leaves the head's bias out, which is `strategy=fedlf` with `floor=alpha`
and `bias=official`. Here the whole logit is scaled, bias included, as re-implementations do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedRS(Strategy):
    """Cross-entropy of the logits, those of absent classes times alpha; predictions take them as they are."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    alpha: Annotated[float, ">= 0", "<= 1"] = 0.5  # scale of a class that the client lacks; 1 is FedAvg

    def loss(self, client: Client, batch: Batch) -> Tensor:
        scale = torch.where(client.class_counts > 0, 1.0, self.alpha)
        return F.cross_entropy(client.model(batch.x) * scale, batch.y)
