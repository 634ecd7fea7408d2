"""Logit adjustment: the class prior is added to the logits while training, so that the bare logits ignore it.

Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-Tail Learning via Logit Adjustment. ICLR 2021, equation 10. With
tau = 1 it is Balanced Softmax (Ren and others, NeurIPS 2020). The prior is that of the site's own data: inside a
federated strategy every client removes the prior that it sees. `posthoc_logit_adjustment` is the paper's other form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class LogitAdjustment(Learner):
    """Cross-entropy of z + tau log(n_c / n)."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)

    tau: Annotated[float, ">= 0"] = 1.0  # 0 is cross-entropy, 1 Balanced Softmax

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return F.cross_entropy(site.model(batch.x) + self.tau * log_prior(site.class_counts), batch.y)
