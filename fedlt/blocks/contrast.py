"""Two views of each sample, and losses that draw together what belongs together on the unit sphere.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020.
Khosla and others: Supervised Contrastive Learning. NeurIPS 2020.
Zhu, Wang, Chen, Chen, Jiang: Balanced Contrastive Learning for Long-Tailed Visual Recognition. CVPR 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.learner import Stage

if TYPE_CHECKING:
    from fedlt.data.site import Batch, Site
    from fedlt.data.task import Task
    from fedlt.nn.net import Net

TRAINED = "backbone.*", "projection.*"


def add_projection(model: Net, task: Task, dim: int) -> None:
    """Add `model.projection`, D -> D -> dim with ReLU between, which contrastive losses see and no prediction does.

    Args:
        model: gets the projection.
        task: whose inputs must have views.
        dim: of the projection's outputs.

    Raises:
        ValueError: for inputs that have no second view.
    """
    task.inputs.require("views")
    model.projection = projection(model.feature_dim, dim)


def projection(features: int, dim: int) -> nn.Module:
    """Two layers, [B, D] to [B, dim], that keep the width until the last."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, dim))


def contrastive_stage(share: float) -> Stage:
    """Backbone and projection on two views. A sample costs two views, forward and backward."""
    return Stage("contrastive", share, TRAINED, augment="strong")


def projected(model: Net, x: Tensor) -> Tensor:
    """[B, dim] unit vectors."""
    return F.normalize(model.part("projection")(model.encode(x)))


def two_views(site: Site, batch: Batch) -> Tensor:
    """[2 B, dim] unit vectors of the batch, then those of another view of it, in one pass of the model."""
    return projected(site.model, torch.cat([batch.x, site.view(batch)]))


def own_view(count: int, device: torch.device) -> Tensor:
    """[2 B, 2 B] whether two rows are the two views of one sample;

    Args:
        count: 2 B.
    """
    return torch.eye(count, dtype=torch.bool, device=device).roll(count // 2, 0)


def alike(labels: Tensor) -> Tensor:
    """[N, N] whether two rows have the same label."""
    return labels[:, None] == labels


def contrastive(z: Tensor, positives: Tensor, temperature: float | Tensor, rivals: Tensor | None = None) -> Tensor:
    """[N] minus the mean over an anchor's positives p of log(exp(z z_p / T) / sum over its rivals a of exp(z z_a / T)).

    Args:
        z: [N, D] unit vectors.
        positives, rivals: [N, N] bool, the positives being among the rivals; never the anchor itself.
        rivals: all unless given.
        temperature: one, or [N] that of each anchor. 0 for an anchor without positives.
    """
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    heat = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    scores = z @ z.T / heat
    left_out = itself if rivals is None else itself | ~rivals
    logs = scores - scores.masked_fill(left_out, -torch.inf).logsumexp(1, keepdim=True)
    drawn = positives & ~itself
    return -torch.where(drawn, logs, 0.0).sum(1) / drawn.sum(1).clamp(min=1)


def balanced_contrastive(z: Tensor, y: Tensor, prototypes: Tensor, there: Tensor, temperature: float) -> Tensor:
    """[N] minus the mean over an anchor's positives p of log(exp(z z_p / T) / sum over classes of mean exp(z z_a / T)).

    The mean is over the members a of a class, without the anchor; positives are those of its own class, so that there
    is always one. In batches of any mixture all classes count alike.

    Args:
        z: [N, D] unit vectors of classes y [N].
        prototypes: [C, D] unit vectors, one more member of each class.
        there: [C] bool, the classes that take part.
    """
    members = torch.cat([z, prototypes])
    classes = torch.cat([y, torch.arange(len(prototypes), device=y.device)])
    itself = torch.eye(len(z), len(members), dtype=torch.bool, device=z.device)
    positives = (y[:, None] == classes) & ~itself
    sizes = classes.bincount(minlength=len(prototypes))[classes] - positives.int()  # the anchor is no member

    scores = z @ members.T / temperature
    left_out = itself | ~there[classes]
    total = (scores - sizes.to(scores).log()).masked_fill(left_out, -torch.inf).logsumexp(1, keepdim=True)
    return -torch.where(positives, scores - total, 0.0).sum(1) / positives.sum(1)
