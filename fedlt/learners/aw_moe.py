"""AW-MoE: which experts a user's history asks for should not depend on how much of it is known.

Gong and others: Attention Weighted Mixture of Experts with Contrastive Learning for Personalized Ranking in E-commerce.
ICDE 2023. Users of short histories are the tail; they are simulated by masking the histories of others, and what the
gate says of both is drawn together, away from other users. Told after the abstract; there is no public code, and its
constants are our own. The model is `behaviour_experts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.behaviour_experts import BehaviourExperts
from fedlt.nn.net import Net


@dataclass(frozen=True)
class AWMoE(Learner):
    """Cross-entropy, and the contrast of the gate on whole histories and on masked ones."""

    needs: ClassVar[tuple[str, ...]] = ("single_label", "gated_experts")
    vectorizable: ClassVar[bool] = False

    weight: Annotated[float, ">= 0"] = 0.05  # of the contrast; 0: cross-entropy alone
    mask: Annotated[float, "> 0", "< 1"] = 0.5  # chance of each item of a history to be masked
    temperature: Annotated[float, "> 0"] = 0.1  # of the gates' similarities

    def build(self, model: Net, task: Task) -> None:
        if not isinstance(model.backbone, BehaviourExperts):
            raise ValueError("aw_moe trains the gate of experts; use model=behaviour_experts")
        if self.weight and len(model.backbone.experts) < 2:
            raise ValueError("a gate needs experts to choose from; take model.experts=2 or more, or learner.weight=0")

    def loss(self, site: Site, batch: Batch) -> Tensor:
        main = F.cross_entropy(site.model(batch.x), batch.y)
        return main + self.weight * self.contrast(site, batch) if self.weight else main

    def contrast(self, site: Site, batch: Batch) -> Tensor:
        """Mean over the batch of how badly the gate of a masked history tells its whole one from those of others."""
        model = site.model
        assert model.inputs is not None
        ids, mask = model.inputs.split(batch.x)
        assert mask is not None
        backbone = model.part("backbone")
        vectors = backbone.embedded(ids, mask)
        asked, past = vectors[:, 0], vectors[:, 1:]

        gates = [backbone.gate(asked, past, seen)[0] for seen in (mask[:, 1:], self.masked(site, mask[:, 1:]))]
        whole, part = (F.normalize(gate) for gate in gates)
        return F.cross_entropy(part @ whole.T / self.temperature, torch.arange(len(ids), device=ids.device))

    def masked(self, site: Site, there: Tensor) -> Tensor:
        """bool [B, L] what is left of histories; the one item whose draw is luckiest stays in any case.

        Args:
            there: [B, L] which items are real.
        """
        drawn = torch.from_numpy(site.rng.random(there.shape)).to(there.device).masked_fill(~there, -1.0)
        lucky = torch.zeros_like(there).scatter(1, drawn.argmax(1, keepdim=True), True)
        return there & ((drawn >= self.mask) | lucky)
