"""GLMC: one head learns from mixtures as they are and one from mixtures whose labels are weighted, which takes over.

Du, Yang, Jia, Nan, Chen, Yang: Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual
Recognitions. CVPR 2023. Each batch is mixed twice with one that is drawn more evenly: as a whole (mixup) and by a box
(CutMix). Both mixtures are of the same two samples, so their representations should agree (SimSiam). The weight moves
from the first head's loss to the second's, in which a label counts n_c^-label_power; the second head alone predicts.
As in the code the share of a label is that of the mixture, not the area of the box. Differs from it: shares are from
Beta(alpha, alpha) (there, of 1 whatever is asked for), the loss's weight follows the steps, not the epochs, class
weights are of the site's own counts, the last round counts, and there is no warm-up of the learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.mixing import box
from fedlt.blocks.priors import power_weights
from fedlt.data.samplers import draw, followed, power_shares
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net


@dataclass(frozen=True)
class GLMC(Learner):
    """a L(head 1) + (1 - a) L_weighted(head 2), over both mixtures, + consistency * their negative cosines."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    consistency: Annotated[float, ">= 0"] = 4.0  # weight of the agreement of both mixtures
    label_power: Annotated[float, ">= 0"] = 1.2  # of the class weights n_c^-label_power, for the second head
    draw_power: Annotated[float, ">= 0"] = 0.2  # partners are drawn with weight n_c^-draw_power a sample; 0 as they are
    alpha: Annotated[float, "> 0"] = 1.0  # the share of a mixture is drawn from Beta(alpha, alpha)
    projection: Annotated[int, ">= 1"] = 128  # dimensions in which the mixtures are compared

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("views")
        model.first_head = nn.Linear(model.feature_dim, task.num_classes)
        model.projection = nn.Linear(model.feature_dim, self.projection)
        model.predictor = nn.Linear(self.projection, self.projection)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        share = float(site.rng.beta(self.alpha, self.alpha))
        shares = power_shares(followed(site)[1], 1 - self.draw_power)
        partners = site.batch(draw(site, shares, len(batch)))
        pairs = batch.y, partners.y

        # A further crop of each for the box; it takes the place of the first, so that no more samples pass the model.
        cut, patch = (site.trainer.batch(site, part.rows).x for part in (batch, partners))
        height, width = cut.shape[-2:]
        rows, columns = box(height, width, share, site.rng)
        cut[..., rows, columns] = patch[..., rows, columns]

        model, weight = site.model, self.first_weight(site.now)
        mixtures = [model.encode(x) for x in (share * batch.x + (1 - share) * partners.x, cut)]
        apart = disagreement([model.part("projection")(each) for each in mixtures], model.part("predictor"))

        class_weights = power_weights(site.class_counts, -self.label_power)
        first = torch.stack([mixed_loss(model.part("first_head")(each), pairs, share) for each in mixtures])
        second = torch.stack([mixed_loss(model.head(each), pairs, share, class_weights) for each in mixtures])
        return weight * first.sum() + (1 - weight) * second.sum() + self.consistency * apart

    def first_weight(self, now: float) -> float:
        """Weight of the first head's loss when this share of the run is done."""
        return 1 - now**2


def mixed_loss(logits: Tensor, pairs: tuple[Tensor, Tensor], share: float, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits [B, C] for labels of which `share` is the first [B] and the rest the second [B].

    Args:
        weights: [C] by which each part of a label is multiplied.
    """
    logs = F.log_softmax(logits, 1)
    mine, other = (F.nll_loss(logs, y, weights, reduction="sum") for y in pairs)
    return (share * mine + (1 - share) * other) / len(logits)


def disagreement(representations: list[Tensor], predictor: nn.Module) -> Tensor:
    """Sum of the negative mean cosines of what is predicted from one representation [B, D] and the other, a constant.

    Chen, He: Exploring Simple Siamese Representation Learning. CVPR 2021.
    """
    one, other = representations
    near = (F.cosine_similarity(predictor(a), b.detach()).mean() for a, b in ((one, other), (other, one)))
    return -torch.stack(list(near)).sum()
