"""Self-supervised learning for items: two views of an item, which see different categories of it, are drawn together.

Yao, Yi, Cheng, Yu, Chen, Menon, Hong, Chi, Tjoa, Kang, Ettinger: Self-supervised Learning for Large-scale Item
Recommendations. CIKM 2021. There is no official code. The main loss is a softmax over the items of the batch; beside it
items of the whole catalogue, drawn alike, are contrasted, so that rare ones are learnt without anybody taking them.
Categories that tell most of each other are masked together (CFM), or the first view could be read off the second one;
random halves are RFM. Differs from the paper: half of the categories is rounded up (there, one and the k / 2 that it
tells most of), and equal items of a batch are not each other's negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.masked_fields import masked_fields, mutual_information
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net
from fedlt.nn.two_towers import ItemTower


@dataclass(frozen=True)
class ItemSSL(Learner):
    """A softmax over the batch's items, and the contrast of two views of items that masks make."""

    needs: ClassVar[tuple[str, ...]] = ("single_label", "head", "item_tower")
    vectorizable: ClassVar[bool] = False

    correction: bool = True  # scores in the softmax less the log of how often the site shows an item
    alpha: Annotated[float, ">= 0"] = 0.1  # weight of the contrast; 0: the main loss alone
    mask: Literal["correlated", "random"] = "correlated"  # which categories a view does not see: CFM or RFM
    items: Literal["uniform", "stream"] = "uniform"  # which items are contrasted: of the catalogue, or of the batch
    dropout: Annotated[float, ">= 0", "< 1"] = 0.2  # chance of each value where a category may have several
    temperature: Annotated[float, "> 0"] = 0.1  # of the views' similarities

    def build(self, model: Net, task: Task) -> None:
        if not isinstance(model.head, ItemTower):
            raise ValueError("item_ssl trains a tower of items; use model=two_towers")
        if self.alpha and len(model.head.kind.fields) < 2:
            raise ValueError("two views of an item need a category beside its number; name data.interactions.features")

    def loss(self, site: Site, batch: Batch) -> Tensor:
        scores = site.model.part("head").scores(site.model.encode(batch.x), batch.y)
        if self.correction:
            scores = scores - site.class_counts[batch.y].clamp(min=1).log()
        main = batch_softmax(scores, batch.y)
        return main + self.alpha * self.contrast(site, batch) if self.alpha else main

    def contrast(self, site: Site, batch: Batch) -> Tensor:
        """Mean over items of how badly the one view tells the item's other view from those of all others."""
        tower, items = site.model.part("head"), batch.y
        if self.items == "uniform":
            items = torch.from_numpy(site.rng.integers(len(tower.kind.codes), size=len(batch))).to(items.device)

        site.trainer.passed(2 * len(items))
        related = mutual_information(tower.kind) if self.mask == "correlated" else None
        masked = masked_fields(len(tower.kind.fields), site.rng, related).to(items.device)
        views = [tower.vectors(items, hidden, self.kept(site, tower, len(items))) for hidden in (masked, ~masked)]
        return batch_softmax(views[0] @ views[1].T / self.temperature, items)

    def kept(self, site: Site, tower: ItemTower, count: int) -> Tensor:
        """bool [B, M] which values a view sees: all of a category that has one an item, a share of the others."""
        starts = torch.tensor(tower.kind.starts)
        several = (starts.diff() > 1).repeat_interleave(starts.diff())
        drawn = torch.from_numpy(site.rng.random((count, len(several)))) >= self.dropout
        return (drawn | ~several).to(tower.missing.device)


def batch_softmax(scores: Tensor, items: Tensor) -> Tensor:
    """Mean of -log(exp(s_ii) / sum_j exp(s_ij)) over the rows, other rows of the same item being left out.

    Args:
        scores: [B, B] of each row with the item of each row.
        items: [B] of the rows.
    """
    itself = torch.eye(len(items), dtype=torch.bool, device=items.device)
    left_out = (items[:, None] == items) & ~itself
    return F.cross_entropy(scores.masked_fill(left_out, -torch.inf), torch.arange(len(items), device=items.device))
