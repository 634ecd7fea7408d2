"""BCL: contrast in which every class counts alike, beside logit adjustment, with the head's weights as prototypes.

Zhu, Wang, Chen, Chen, Jiang: Balanced Contrastive Learning for Long-Tailed Visual Recognition. CVPR 2022. Supervised
contrast under a long tail has mostly samples of frequent classes as rivals, which are driven far apart while the rare
ones are crowded together. Here an anchor's rivals are averaged class by class, and a prototype of each class, which a
small network makes of the class's weights in the head, is in every batch, so that no class is missing. Differs from the
official code: the two small networks have no batch normalisation, which one sample does not allow, and `projection`
dimensions (there, 1,024); the adjusted view is augmented as the scenario says (there, RandAugment), and strong views
are without shifts of hue; a class that the site lacks is neither a rival nor a prototype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.contrast import add_projection, balanced_contrastive, projection
from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.cosine import CosineHead
from fedlt.nn.net import Net


@dataclass(frozen=True)
class BCL(Learner):
    """Adjusted cross-entropy of one view + contrast * balanced contrast of two further, strong views."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    contrast: Annotated[float, ">= 0"] = 0.35  # weight of the contrast
    temperature: Annotated[float, "> 0"] = 0.07  # of the similarities
    projection: Annotated[int, ">= 1"] = 128  # dimensions in which samples are contrasted
    tau: Annotated[float, ">= 0"] = 1.0  # of the logit adjustment
    scale: Annotated[float, "> 0"] = 30.0  # of the cosines

    def build(self, model: Net, task: Task) -> None:
        add_projection(model, task, self.projection)
        model.prototypes = projection(model.feature_dim, self.projection)
        model.head = CosineHead(model.feature_dim, task.num_classes, self.scale)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        strong = [site.view(batch, "strong") for _ in range(2)]
        features = site.model.encode(torch.cat([batch.x, *strong]))  # one pass, as in the official code
        plain, contrasted = features[: len(batch)], features[len(batch) :]

        logits = site.model.head(plain) + self.tau * log_prior(site.class_counts)
        z = F.normalize(site.model.part("projection")(contrasted))
        centres = F.normalize(site.model.part("prototypes")(site.model.part("head.weight")))
        apart = balanced_contrastive(z, batch.y.repeat(2), centres, site.class_counts > 0, self.temperature)
        return F.cross_entropy(logits, batch.y) + self.contrast * apart.mean()
