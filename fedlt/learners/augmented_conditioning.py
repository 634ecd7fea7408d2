"""Augmented conditioning: images of rare classes, made from noise and from two real images of the class.

Chen, Zhang, Romero-Soriano: Augmented Conditioning Is Enough For Effective Training Image Generation. 2025,
arXiv:2502.04475. A generator that is told a class makes images too much alike; told an augmented real image as well (a
mixture of two, one with a box of another, or features of which some are left out), its images vary as the data do.
Differs from the paper, of which no code is public: there, a latent diffusion model trained on the web is used as it is,
told by text and by CLIP's features; here each site trains a small one on its own images, told by the class and by
features of the classifier's backbone. Made images stand in the places of real ones in a batch, and all stages share one
budget of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.diffusion import Denoiser
from fedlt.blocks.mixing import blended_pairs, boxed_pairs, pairs_alike
from fedlt.data.samplers import Power
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net

LEARNT = "augmented_conditioning/learnt"  # state: the site has trained its generator
IMAGES, CLASSES = "augmented_conditioning/images", "augmented_conditioning/classes"  # state: [M, C, H, W], [M]
CHUNK = 256  # images that are made at once

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class AugmentedConditioning(CrossEntropy):
    """Stages: representation (real images), generator (which stays at the site), classifier (real and made images)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    private: ClassVar[tuple[str, ...]] = ("generator.*",)
    vectorizable: ClassVar[bool] = False

    condition: Literal["mixup", "cutmix", "dropout", "image", "class"] = "mixup"  # image: as it is; class: no image
    pretrain: Annotated[float, "> 0", "< 1"] = 0.2  # share of the run's rounds with real images, before the generator
    generator: Annotated[float, "> 0", "< 1"] = 0.5  # share that trains the generator; the rest is the classifier's
    fill: Annotated[float, "> 0", "<= 1"] = 0.2  # rare classes are filled up to this share of the site's largest
    width: Annotated[int, ">= 4"] = 16  # channels of the generator, a multiple of 4
    levels: Annotated[int, ">= 2"] = 200  # of noise in training
    steps: Annotated[int, ">= 1"] = 20  # in which an image is made
    dropped: Annotated[float, ">= 0", "< 1"] = 0.5  # share of the features that dropout leaves out

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("pasting")
        if self.pretrain + self.generator >= 1:
            raise ValueError("learner.pretrain and learner.generator leave no rounds for the classifier; lower one")
        model.generator = Denoiser(task.input_shape[0], task.num_classes, model.feature_dim, self.width, self.levels)

    def stages(self) -> tuple[Stage, ...]:
        classifier, left = ("backbone.*", "head.*"), 1 - self.pretrain - self.generator
        return (
            Stage("representation", self.pretrain, classifier),
            Stage("generator", self.generator, ("generator.*",), Power(0.5)),
            Stage("classifier", left, classifier),
        )

    def begin(self, site: Site) -> None:
        if site.stage.name == "generator":
            site.state[LEARNT] = torch.ones(1)
        if site.stage.name == "classifier" and LEARNT in site.state and IMAGES not in site.state:
            counts = site.class_counts.cpu().numpy()
            lacking = np.maximum(0, np.round(self.fill * counts.max()).astype(np.int64) - counts) * (counts > 0)
            classes = np.repeat(np.arange(len(counts)), lacking)
            first, second = pairs_alike(site.data.y.cpu().numpy(), classes, site.rng)
            parts = [slice(at, at + CHUNK) for at in range(0, len(classes), CHUNK)]
            images = [self.made(site, first[part], second[part], classes[part]) for part in parts]
            empty = torch.zeros(0, *site.task.input_shape, device=site.data.index.device)
            site.state |= {IMAGES: torch.cat([empty, *images]), CLASSES: torch.from_numpy(classes).to(empty.device)}

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name == "generator":
            return self.generator_loss(site, batch)
        if site.stage.name == "representation" or not len(site.state.get(CLASSES, ())):
            return super().loss(site, batch)

        # A made image stands in each place of the batch with the share that made images have of all.
        images, classes = site.state[IMAGES], site.state[CLASSES]
        taken = site.rng.random(len(batch)) < len(classes) / (len(classes) + len(site.data))
        drawn = site.rng.integers(len(classes), size=len(batch))
        swap, place = (torch.from_numpy(each).to(batch.y.device, non_blocking=True) for each in (taken, drawn))
        x = torch.where(swap[:, None, None, None], images[place].to(batch.x.dtype), batch.x)
        return F.cross_entropy(site.model(x), torch.where(swap, classes[place], batch.y))

    def generator_loss(self, site: Site, batch: Batch) -> Tensor:
        """What the generator gets wrong of real images with noise, at random levels."""
        level = torch.from_numpy(site.rng.integers(self.levels, size=len(batch))).to(batch.x.device)
        noise, told = gaussian(site, batch.x), self.features(site, batch.x)
        error: Tensor = site.model.part("generator").error(batch.x, level, noise, batch.y, told)
        return error

    def features(self, site: Site, x: Tensor) -> Tensor:
        """[B, D] what the generator is told of images: features with a mean square of 1; zeros with `class`."""
        if self.condition == "class":
            return torch.zeros(len(x), site.model.feature_dim, device=x.device)
        with torch.no_grad():
            found = site.model.encode(x)
            return found / found.square().mean(1, keepdim=True).clamp(min=1e-12).sqrt()

    def made(self, site: Site, first: Positions, second: Positions, classes: Positions) -> Tensor:
        """[B, C, H, W] new images, from noise and the features of augmented real ones.

        Args:
            first, second: [B] positions of the real images in the site's data.
            classes: [B] theirs.
        """
        site.model.eval()
        site.trainer.work.forward_samples += len(classes)
        device = site.data.index.device
        one, other = (site.data.batch(torch.from_numpy(each).to(device)).x for each in (first, second))
        mixed = {"mixup": blended_pairs, "cutmix": boxed_pairs}
        x = mixed[self.condition](one, other, site.rng) if self.condition in mixed else one
        told = self.features(site, x)
        if self.condition == "dropout":
            kept = torch.from_numpy(site.rng.random(told.shape) >= self.dropped).to(device)
            told = told * kept / (1 - self.dropped)

        y = torch.from_numpy(classes).to(device)
        found: Tensor = site.model.part("generator").images(gaussian(site, one), y, told, self.steps)
        return found.clamp(one.min(), one.max())


def gaussian(site: Site, like: Tensor) -> Tensor:
    """Noise of unit variance in the shape of other values, by the site's generator."""
    return torch.from_numpy(site.rng.standard_normal(like.shape).astype(np.float32)).to(like)
