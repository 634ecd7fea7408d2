"""Samples that exchange a part: the lower half of an image, the later half of a sequence, some of its features.

Liu, Wang, Ren, Hu, Luo, Hou, Sun: Balanced Representation Learning for Long-tailed Skeleton-based Action Recognition.
Machine Intelligence Research, 2024: there, the lower body of one person under the upper body of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.errors import Problem, ScenarioError

Axis = Literal["height", "width", "time", "features"]
"""Along what a sample is cut: an image's height or width, a sequence's time, or the features of rows and sequences."""

PLACES: dict[str, dict[int, int]] = {
    "height": {3: -2},
    "width": {3: -1},
    "time": {2: -2},
    "features": {1: -1, 2: -1},
}
"""Axis -> number of dimensions of a sample that has it -> where it stands in its shape."""


def own_part(shape: tuple[int, ...], axis: Axis, keep: float, columns: Sequence[int]) -> Tensor:
    """Which entries of a sample stay its own: bool, of a shape that broadcasts to the sample's.

    Args:
        shape: of one sample, as the model gets it.
        axis: along which it is cut.
        keep: share of the axis that stays, from its start.
        columns: the features that are exchanged, whatever `keep` says; none: the last ones.

    Raises:
        ScenarioError: for an axis that the samples do not have, for features that they do not have, and where all or
            nothing would be exchanged.
    """
    if len(shape) not in PLACES[axis]:
        fit = [name for name, places in PLACES.items() if len(shape) in places]
        raise _problem("parts", f"samples of shape {shape} have no {axis}; take {' or '.join(fit)}")
    length = shape[place := PLACES[axis][len(shape)]]
    if columns and axis != "features":
        raise _problem(
            "columns", f"they are of features, and the samples are cut along their {axis}; say parts=features"
        )
    if columns and not all(0 <= column < length for column in columns):
        raise _problem("columns", f"expected numbers in 0..{length - 1}, of what the model gets, got {list(columns)}")

    own = torch.arange(length) < round(keep * length)
    if columns:
        own = torch.ones(length, dtype=torch.bool)
        own[list(columns)] = False
    if own.all() or not own.any():
        key = "columns" if columns else "keep"
        raise _problem(key, f"of {length} along the {axis}, all or nothing would be exchanged; name a part of them")
    return own[:, None] if place == -2 else own


@dataclass(frozen=True)
class PartMixed:
    """A batch in which some samples have a part of another one.

    Attributes:
        x: [B, ...] inputs.
        y, other: [B] targets of the sample and of the one that has given the part.
        share: [B] of the first target, in [0, 1]; 1 for a sample that is as it was.
    """

    x: Tensor
    y: Tensor
    other: Tensor
    share: Tensor

    def cross_entropy(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean of -log p with the soft target share * y + (1 - share) * other.

        Args:
            logits: [B, C].
            weights: [C] of the classes; the mean is weighted by them then.
        """
        logs = F.log_softmax(logits, 1)
        weights = logs.new_ones(logs.shape[1]) if weights is None else weights
        target = torch.zeros_like(logs).scatter_add_(1, self.y[:, None], self.share[:, None])
        target = target.scatter_add(1, self.other[:, None], 1 - self.share[:, None]) * weights
        return -(target * logs).sum() / target.sum()


def exchanged(
    batch: Batch, own: Tensor, counts: Tensor, rng: np.random.Generator, chance: float, ratio: float | None
) -> PartMixed:
    """Samples of a batch with a part of another one, each for itself, by chance.

    Args:
        batch: B samples.
        own: which entries of a sample stay its own (`own_part`).
        counts: [C] samples of each class, which say whose label counts.
        rng: of the choice and of the pairs.
        chance: of a sample, to get a part of another one.
        ratio: where one of the two classes has more than this many times the other's samples, the label is the rarer
            one's; None: labels always go by the parts.
    """
    device = batch.y.device
    order = torch.from_numpy(rng.permutation(len(batch))).to(device)
    chosen = torch.from_numpy(rng.random(len(batch)) < chance).to(device)
    other = torch.where(chosen, batch.y[order], batch.y)

    taken = chosen.view(-1, *[1] * (batch.x.ndim - 1)) & ~own.to(device)
    share = torch.where(chosen, own.float().mean().to(device), 1.0)
    if ratio is not None:
        mine, theirs = counts[batch.y], counts[other]
        share = torch.where(mine > ratio * theirs, 0.0, torch.where(theirs > ratio * mine, 1.0, share))
    return PartMixed(torch.where(taken, batch.x[order], batch.x), batch.y, other, share)


@dataclass(frozen=True)
class Patched(PartMixed):
    """A batch of images in which cells of a grid show another image.

    Attributes:
        order: [B] position of the other image in the batch.
        covered: bool [B, 1, G, G], the cells that show it.
    """

    order: Tensor
    covered: Tensor


def patched(batch: Batch, rng: np.random.Generator, chance: float, grid: int) -> Patched:
    """Images whose cells show, each by chance, the same cell of another image of the batch.

    Args:
        batch: B images [B, C, H, W].
        rng: of the pairs and of the cells.
        chance: of a cell, to show the other image.
        grid: G, cells of the height and of the width.
    """
    device = batch.y.device
    order = torch.from_numpy(rng.permutation(len(batch))).to(device)
    covered = torch.from_numpy(rng.random((len(batch), 1, grid, grid)) < chance).to(device)

    there = F.interpolate(covered.float(), batch.x.shape[-2:]) > 0
    share = 1 - covered.float().mean((1, 2, 3))
    return Patched(torch.where(there, batch.x[order], batch.x), batch.y, batch.y[order], share, order, covered)


def _problem(key: str, message: str) -> ScenarioError:
    return ScenarioError(Problem(f"learner.{key}", message))
