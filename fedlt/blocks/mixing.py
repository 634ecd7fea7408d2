"""Mixed samples and their soft targets.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018.
Yun, Han, Oh, Chun, Choe, Yoo: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features.
ICCV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch


@dataclass(frozen=True)
class Mixed:
    """A batch of convex combinations of two samples each.

    Attributes:
        x: [B, ...] mixed inputs.
        y, other: [B] targets of the two samples of each.
        share: the first one's, in [0, 1].
    """

    x: Tensor
    y: Tensor
    other: Tensor
    share: float

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy with the soft target share * y + (1 - share) * other."""
        mine, other = F.cross_entropy(logits, self.y), F.cross_entropy(logits, self.other)
        return self.share * mine + (1 - self.share) * other


@dataclass(frozen=True)
class Blended(Mixed):
    """Convex combinations of samples.

    Attributes:
        order: [B] each sample's partner in the batch.
    """

    order: Tensor

    def blend(self, values: Tensor) -> Tensor:
        """[B, ...] values of the samples, mixed like the samples themselves."""
        return self.share * values + (1 - self.share) * values[self.order]


def mixup(batch: Batch, rng: np.random.Generator, alpha: float) -> Blended:
    """Each sample mixed with another one of the batch; one share for the batch, drawn from Beta(alpha, alpha).

    Args:
        batch: B samples.
        rng: of the share and of the pairs.
        alpha: of Beta(alpha, alpha); the smaller, the nearer to one of the two.
    """
    share = float(rng.beta(alpha, alpha))
    order = torch.from_numpy(rng.permutation(len(batch))).to(batch.y.device, non_blocking=True)
    return Blended(share * batch.x + (1 - share) * batch.x[order], batch.y, batch.y[order], share, order)


def pasted(batch: Batch, others: Batch, rng: np.random.Generator, beta: float) -> Mixed:
    """Images [B, C, H, W] into which a box of another image each is pasted, one box for the batch (`box`).

    About s of an image is left, with s from Beta(beta, beta); the share is what is left indeed.

    Args:
        batch: images that lose a box.
        others: images that give it.
        rng: of the box.
        beta: of Beta(beta, beta).
    """
    height, width = batch.x.shape[-2:]
    rows, columns = box(height, width, float(rng.beta(beta, beta)), rng)

    x = batch.x.clone()
    x[..., rows, columns] = others.x[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed(x, batch.y, others.y, 1 - area / (height * width))


def pairs_alike(y: NDArray[np.int64], wanted: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[2, M] positions of two samples each of the wanted class, drawn with replacement.

    Args:
        y: [n] classes of the samples.
        wanted: [M] classes, of each of which there is one sample at least.
        rng: of the draws.
    """
    held = {int(c): np.flatnonzero(y == c) for c in np.unique(wanted)}
    drawn = [[rng.choice(held[int(c)]) for c in wanted] for _ in range(2)]
    return np.array(drawn, np.int64).reshape(2, len(wanted))


def blended_pairs(one: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
    """[B, C, H, W] mixtures of two images each, by shares of their own that are uniform in [0, 1]."""
    share = torch.from_numpy(rng.random((len(one), 1, 1, 1))).to(one)
    return share * one + (1 - share) * other


def boxed_pairs(one: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
    """[B, C, H, W] the first images, each with a box of its own (`box`) that shows the second."""
    found = one.clone()
    height, width = one.shape[-2:]
    for image, shown in zip(found, other, strict=True):
        rows, columns = box(height, width, float(rng.random()), rng)
        image[:, rows, columns] = shown[:, rows, columns]
    return found


def box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a box whose sides are sqrt(1 - share) of an image's, so that about `share` of it is left.

    It lies around a uniform centre and ends where the image does.

    Args:
        height, width: of an image, in pixels.
        share: what shall be left of it, in [0, 1].
        rng: of the centre.
    """
    side = float(np.sqrt(1 - share))
    return _span(height, side, rng), _span(width, side, rng)


def _span(length: int, side: float, rng: np.random.Generator) -> slice:
    """A part of 0..length-1 that is about `side` of it long, where the edges do not cut it off.

    Args:
        length: of the axis, in pixels.
        side: the part's, as a share of it.
        rng: of its centre.
    """
    half, centre = int(length * side) // 2, int(rng.integers(length))
    return slice(max(0, centre - half), min(length, centre + half))
