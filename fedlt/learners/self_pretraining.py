"""Self-pre-training: every model first learns to fill in hidden parts of the task's own inputs, then the labels.

Amos, Berant, Gupta: Never Train from Scratch: Fair Comparison of Long-Sequence Models Requires Data-Driven Priors. ICLR
2024: architectures that are far apart from random weights are close after denoising the training inputs themselves, so
that a comparison from scratch tells of priors more than of architectures. Half of the pixels, steps or numbers are
hidden and told by L1, 15 % of tokens by cross-entropy. Differs from the official code: both stages share one budget of
rounds (the code adds the first), hidden numbers are read as their mean (there, as a token), and hidden tokens are those
of BERT (`word_pretraining`), of which some are replaced or stay. Encoders without a state of each row tell the whole
sample from its features. Under a federated strategy both stages are federated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from fedlt.blocks.hidden_inputs import filler, filling_loss
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net


@dataclass(frozen=True)
class SelfPretraining(CrossEntropy):
    """Stages: inputs (no labels), then labels; `init: scratch` is labels alone, for as many rounds."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    vectorizable: ClassVar[bool] = False

    init: Literal["self", "scratch"] = "self"  # what labels begin with: the task's own inputs, or random weights
    share: Annotated[float, "> 0", "< 1"] = 0.5  # of the run's rounds, without labels
    hidden: Annotated[float, "> 0", "< 1"] | None = None  # share of what is told; null: 0.5, and 0.15 of tokens

    def build(self, model: Net, task: Task) -> None:
        if self.init == "self":
            model.filling = filler("self_pretraining", model, task)

    def stages(self) -> tuple[Stage, ...]:
        if self.init == "scratch":
            return super().stages()
        inputs = Stage("inputs", self.share, ("backbone.*", "filling.*"))
        return inputs, Stage("labels", 1 - self.share, ("backbone.*", "head.*"))

    def begin(self, site: Site) -> None:
        super().begin(site)
        if site.stage.name == "inputs" and site.unlabelled:
            site.data = site.data.joined(site.unlabelled)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name != "inputs":
            return super().loss(site, batch)
        return filling_loss(site, batch, site.model.part("filling"), self.hidden)
