"""Class-balanced loss: a class weighs by the inverse of its effective number of samples.

Cui, Jia, Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019. The softmax form,
optionally focal. Weights have the mean 1 over the classes that the site holds, and the loss is divided by the batch,
not by the batch's sum of weights, as in the paper's equation 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import effective_weights
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class ClassBalanced(Learner):
    """Cross-entropy with weights (1 - beta) / (1 - beta^n_c) of the site's own counts."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)

    beta: Annotated[float, ">= 0", "< 1"] = 0.9999  # 0 weighs all classes alike; near 1 by the inverse count
    gamma: Annotated[float, ">= 0"] = 0.0  # of the focal factor; 0: without it

    def loss(self, site: Site, batch: Batch) -> Tensor:
        nll = F.cross_entropy(site.model(batch.x), batch.y, reduction="none")
        weights = effective_weights(site.class_counts, self.beta)[batch.y]
        return (weights * (1 - (-nll).exp()) ** self.gamma * nll).mean()
