"""After M3I pre-training: one stage learns from labels and from images themselves, whatever tells of what is hidden.

Su, Zhu, Tao, Lu, Li, Huang, Qiao, Wang, Zhou, Dai: Towards All-in-one Pre-training via Maximizing Multi-modal Mutual
Information. CVPR 2023. A representation shall tell as much as it can of each of its targets: of what a slow copy of the
encoder makes of another view, of the label, and of pixels that are covered. Mutual information is a prediction term and
the entropy of the targets, without which all fall onto one point. No code is public. Differs from the paper: images and
labels alone, inputs are mixed by cells of a grid, features are global, and the head is trained on them afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fedlt.blocks.contrast import add_projection, projected
from fedlt.blocks.parts import Patched, patched
from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.errors import Problem, ScenarioError
from fedlt.learner import Learner, Stage
from fedlt.nn.net import LossModule, Net
from fedlt.nn.norm import still_statistics

SLOW = "m3i/slow"  # state: [S] shared weights and buffers of the slow copy
GRID = 8  # cells of an image's height and width


@dataclass(frozen=True)
class M3I(Learner):
    """Stages: joint (all targets, on mixed images), classifier (the head, on features as they are)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    image: Annotated[float, ">= 0"] = 1.0  # weight of the target that is another view's embedding
    label: Annotated[float, ">= 0"] = 1.0  # weight of the target that is the label
    pixels: Annotated[float, ">= 0"] = 0.5  # weight of the target that is what other images cover
    entropy: Annotated[float, ">= 0"] = 1.0  # weight of the embeddings' entropy; 0: they collapse
    mix: Annotated[float, ">= 0", "< 1"] = 0.25  # chance of a cell to show another image; 0: images are whole
    temperature: Annotated[float, "> 0"] = 0.2  # of the similarities
    momentum: Annotated[float, ">= 0", "< 1"] = 0.99  # of the slow copy
    projection: Annotated[int, ">= 1"] = 64  # dimensions of embeddings
    tau: Annotated[float, ">= 0"] = 0.0  # of the logit adjustment, wherever labels are learnt
    classifier_share: Annotated[float, "> 0", "< 1"] = 0.2  # of the run's rounds

    def build(self, model: Net, task: Task) -> None:
        if not self.image + self.label + self.pixels:
            raise ScenarioError(Problem("learner.label", "there is no target; give image, label or pixels a weight"))
        if self.pixels and not self.mix:
            raise ScenarioError(Problem("learner.pixels", "with mix=0 no pixel is covered; say pixels=0"))
        add_projection(model, task, self.projection)
        if self.pixels:
            model.pixels = nn.Linear(model.feature_dim, task.input_shape[0] * GRID**2)

    def stages(self) -> tuple[Stage, ...]:
        parts = ("backbone.*", "projection.*", "pixels.*", "head.*")
        joint = Stage("joint", 1 - self.classifier_share, parts, augment="strong")
        return joint, Stage("classifier", self.classifier_share, ("head.*",), encoded=True)

    def begin(self, site: Site) -> None:
        if site.stage.name != "joint":
            site.state.pop(SLOW, None)
        elif SLOW not in site.state or not site.continuous:  # a client's begins with the model that it is sent
            site.state[SLOW] = site.shared.clone()

    def loss(self, site: Site, batch: Batch) -> Tensor:
        model = site.model
        if site.stage.name == "classifier":
            return F.cross_entropy(model(batch.x) + self.tau * log_prior(site.class_counts), batch.y)

        mixed = patched(batch, site.rng, self.mix, GRID)
        features = model.encode(mixed.x)
        value = features.new_zeros(())
        if self.label:
            adjusted = model.head(features) + self.tau * log_prior(site.class_counts)
            value = value + self.label * mixed.cross_entropy(adjusted)
        if self.image:
            z = F.normalize(model.part("projection")(features))
            value = value + self.image * self.apart(z, self.slow(site, batch), mixed).mean()
        if self.pixels:
            told = model.part("pixels")(features).view(len(batch), -1, GRID, GRID)
            value = value + self.pixels * covered_error(told, batch.x, mixed.covered)
        return value

    def apart(self, z: Tensor, targets: Tensor, mixed: Patched) -> Tensor:
        """[B] -(s z t_a + (1 - s) z t_b) / T + entropy * log sum over all targets of exp(z t / T): InfoNCE at 1.

        Args:
            z, targets: [B, D] unit vectors of mixed images, and of other views of the whole ones.
        """
        scores = z @ targets.T / self.temperature
        own, other = scores.diagonal(), scores.gather(1, mixed.order[:, None])[:, 0]
        near = mixed.share * own + (1 - mixed.share) * other
        return self.entropy * scores.logsumexp(1) - near

    def slow(self, site: Site, batch: Batch) -> Tensor:
        """[B, D] what the slow copy makes of another view of the batch; then it moves a step towards the model."""
        x = site.trainer.batch(site, batch.rows).x
        site.trainer.work.forward_samples += len(batch)
        vector = site.state.get(SLOW, site.shared)
        tensors = {f"model.{name}": tensor for name, tensor in site.tensors(vector).items()}
        with torch.no_grad(), still_statistics(site.model):
            found: Tensor = functional_call(LossModule(site.model, projected), tensors, (site.model, x))
            if SLOW in site.state and site.model.training:
                site.state[SLOW].lerp_(site.shared, 1 - self.momentum)
        return found


def covered_error(told: Tensor, x: Tensor, covered: Tensor) -> Tensor:
    """Mean squared error of the cells of images that others cover; 0 where none is.

    Args:
        told: [B, C, G, G] the predicted mean of each cell.
        x: [B, C, H, W] the images.
        covered: [B, 1, G, G] bool.
    """
    error = (told - F.adaptive_avg_pool2d(x, told.shape[-1])).square().mean(1, keepdim=True)
    return (error * covered).sum() / covered.sum().clamp(min=1)
