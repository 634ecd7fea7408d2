"""ASL: of several labels a sample, easy negatives count less than easy positives, and the easiest not at all.

Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter, Zelnik-Manor: Asymmetric Loss for Multi-Label Classification. ICCV
2021. As in the official code no gradient passes the focusing powers. Differs in that the loss is a mean over the
batch's samples (there, their sum), and that unknown labels are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.blocks.asymmetric import asymmetric_terms
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class AsymmetricLoss(Learner):
    """Sum over the classes of -(1 - p)^gamma_pos log p and -q^gamma_neg log(1 - q), with q = max(p - shift, 0)."""

    needs: ClassVar[tuple[str, ...]] = ("several_labels",)

    gamma_pos: Annotated[float, ">= 0"] = 0.0  # of positives; 0: all count alike
    gamma_neg: Annotated[float, ">= 0"] = 4.0  # of negatives; with both and `shift` 0 it is binary cross-entropy
    shift: Annotated[float, ">= 0", "< 1"] = 0.05  # probability below which a negative does not count

    def loss(self, site: Site, batch: Batch) -> Tensor:
        terms = asymmetric_terms(site.model(batch.x), batch.y, self.gamma_pos, self.gamma_neg, self.shift)
        return terms.sum(1).mean()
