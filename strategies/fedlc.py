"""FedLC: each client calibrates its logits by its own class counts before the softmax.

Zhang, Li, Li, Xu, Wu, Ding, Wu: Federated Learning with Label Distribution Skew via Logits Calibration. ICML 2022.
A rare class gets a larger margin, and a class that the client lacks takes no part in its loss, so that local training
cannot push it down. There is no official code. As in PFLlib and FL-bench the calibrated logits go through the usual
softmax, with the true class in the denominator; some re-implementations sum over the other classes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedLC(Strategy):
    """Cross-entropy of the logits minus tau n_c^(-1/4), n_c being the client's own samples of class c."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    tau: Annotated[float, "> 0"] = 1.0  # strength of the calibration

    def loss(self, client: Client, batch: Batch) -> Tensor:
        margin = self.tau * client.class_counts.float().pow(-0.25)  # infinite for a class that the client lacks
        return F.cross_entropy(client.model(batch.x) - margin, batch.y)
