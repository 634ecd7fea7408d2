"""BRL, balanced representation learning: samples exchange parts, of which the rarer class's decides, and late weights.

Liu, Wang, Ren, Hu, Luo, Hou, Sun: Balanced Representation Learning for Long-tailed Skeleton-based Action Recognition.
Machine Intelligence Research, 2024. The paper's skeletons exchange the lower body; here images exchange halves, and
sequences and rows exchange times or features. Differs from the official code: each sample has its own share of its
label (there, the last one's for the whole batch), partners are as they were before mixing, and a sample is mixed by
chance. What is particular to skeletons (reversed time, differences over joints that are skipped) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.blocks.parts import Axis, exchanged, own_part
from fedlt.blocks.priors import effective_weights
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net


@dataclass(frozen=True)
class BRL(Learner):
    """Cross-entropy of partly exchanged samples; from `defer` on with weights, whose beta grows with the class."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    vectorizable: ClassVar[bool] = False

    parts: Axis = "height"  # along what samples are cut: height, width (images), time (sequences), features
    keep: Annotated[float, "> 0", "< 1"] = 0.5  # share of it, from the start, that stays the sample's own
    columns: list[Annotated[int, ">= 0"]] = field(default_factory=list)  # features that are exchanged; empty: by keep
    mixed: Annotated[float, ">= 0", "<= 1"] = 0.0625  # chance of a sample to get a part of another; 0: none does
    ratio: Annotated[float, ">= 1"] | None = 3.0  # of class sizes beyond which the rarer has the label; null: by parts
    defer: Annotated[float, ">= 0", "<= 1"] | None = 0.8333  # share of the run before class weights; null: none
    beta: Annotated[float, ">= 0", "< 1"] = 0.99  # of the smallest class's weight
    largest_beta: Annotated[float, ">= 0", "< 1"] = 0.9999  # of the largest class's weight

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("parts")
        own_part(task.input_shape, self.parts, self.keep, self.columns)

    def class_weights(self, counts: Tensor) -> Tensor:
        """[C] (1 - beta_c) / (1 - beta_c^n_c), of mean 1, with beta_c from `beta` to `largest_beta` linear in n_c."""
        held = counts.where(counts > 0, counts.max()).double()
        place = (held - held.min()) / (held.max() - held.min()).clamp(min=1)
        return effective_weights(counts, self.beta + (self.largest_beta - self.beta) * place)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        own = own_part(site.task.input_shape, self.parts, self.keep, self.columns)
        mixed = exchanged(batch, own, site.class_counts, site.rng, self.mixed, self.ratio)
        due = self.defer is not None and site.now >= self.defer
        weights = self.class_weights(site.class_counts) if due else None
        return mixed.cross_entropy(site.model(mixed.x), weights)
