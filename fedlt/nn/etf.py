"""Fixed classifiers: the simplex equiangular tight frame (ETF), and the sparse one of FedLoGe (its SSE-C).

Zikai Xiao et al.: FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data. ICLR 2024. A random mask
sets most entries of a simplex to zero; the others are then optimised until every class vector has the norm asked for
and is as far as can be from the nearest other one. Both are functions of their arguments alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from fedlt.nn.realign import scaled_rows
from fedlt.process.cache import kept_array
from fedlt.process.threads import one_thread

Recipe = Literal["fast", "official"]

STEPS: dict[Recipe, int] = {"fast": 500, "official": 10_000}
LARGEST_COSINE = 0.99999
"""Cosines are cut off here, so that the angle keeps a slope (FedLoGe code)."""


def simplex_etf(num_classes: int, feature_dim: int, seed: int = 0) -> Tensor:
    """float32 [C, d]: unit rows whose pairwise cosines are all -1 / (C - 1), randomly oriented by the seed.

    Papyan, Han, Donoho: Prevalence of Neural Collapse. PNAS 2020, definition 1.

    Raises:
        ValueError: for d < C or C < 2.
    """
    with one_thread():
        return _simplex(num_classes, feature_dim, np.random.default_rng(seed)).float()


def sparse_etf(
    num_classes: int,
    feature_dim: int,
    sparsity: float = 0.6,
    norm: float = 0.1,
    seed: int = 0,
    recipe: Recipe = "fast",
) -> Tensor:
    """float32 [C, d]: exactly floor(sparsity * d * C) zeros, rows of the norm asked for, far apart from each other.

    Without sparsity it is the dense simplex. The result is kept in this process and in the cache's folder.

    Args:
        num_classes: C.
        feature_dim: d.
        sparsity: share of the entries that are zero, in [0, 1).
        norm: of each row.
        seed: of orientation and zeros.
        recipe: `official` takes 10,000 steps from the masked simplex, and its norms come out up to 1 % too large;
            `fast` scales the rows to the norm, which the official code spends most of its steps on, takes 500 and
            scales again.

    Raises:
        ValueError: for d < C, and where the mask leaves a class without an entry.
    """
    if not sparsity:
        return norm * simplex_etf(num_classes, feature_dim, seed)
    return _cached(num_classes, feature_dim, sparsity, norm, seed, recipe).clone()


def nearest_cosines(weight: Tensor) -> Tensor:
    """[C] the largest cosine between each row of [C, d] and another row."""
    unit = normalize(weight, dim=1)
    return (unit @ unit.T - 2 * torch.eye(len(unit), dtype=unit.dtype)).max(1).values


def objective(weight: Tensor, norm: float) -> Tensor:
    """What the kept entries minimise: sum_c (|w_c| - norm)^2 - mean_c (angle from w_c to the nearest other row)."""
    angles = nearest_cosines(weight).clamp(-LARGEST_COSINE, LARGEST_COSINE).arccos()
    return (weight.norm(dim=1) - norm).square().sum() - angles.mean()


def _simplex(num_classes: int, feature_dim: int, rng: np.random.Generator) -> Tensor:
    """float64 [C, d], from the QR decomposition of uniform numbers, as in the FedLoGe code."""
    if num_classes < 2:
        raise ValueError(f"a simplex needs at least 2 classes, got {num_classes}")
    if feature_dim < num_classes:
        raise ValueError(
            f"a simplex of {num_classes} classes needs as many features, and the backbone has {feature_dim}; "
            f"take a wider model (resnet: model.features={num_classes}; cnn, mlp: model.width; "
            "texts: model.width, hidden or maps)"
        )
    orthonormal, _ = torch.linalg.qr(torch.from_numpy(rng.random((feature_dim, num_classes))))
    centred = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    return (math.sqrt(num_classes / (num_classes - 1)) * orthonormal @ centred).T.contiguous()


def _sparse(
    num_classes: int, feature_dim: int, sparsity: float, norm: float, seed: int, recipe: Recipe, steps: int
) -> Tensor:
    """float64 [C, d] after so many steps of the recipe."""
    rng = np.random.default_rng(seed)
    weight = _simplex(num_classes, feature_dim, rng)
    mask = torch.ones(weight.numel(), dtype=torch.float64)
    mask[torch.from_numpy(rng.permutation(weight.numel())[: int(sparsity * weight.numel())])] = 0.0
    mask = mask.view_as(weight)
    empty = (mask.sum(1) == 0).nonzero()

    if len(empty):
        raise ValueError(
            f"the sparse simplex would leave class {int(empty[0])} without an entry: {feature_dim} features are few "
            f"for a sparsity of {sparsity:g}; take a smaller sparsity or a wider model"
        )

    weight *= mask
    if recipe == "official":
        return _adam(weight, mask, norm, 1e-4, steps)
    start = scaled_rows(weight, norm)

    return scaled_rows(_adam(start, mask, norm, 1e-3 * norm, steps), norm)  # the official step at a norm of 0.1


def _adam(weight: Tensor, mask: Tensor, norm: float, lr: float, steps: int) -> Tensor:
    """Adam (Kingma and Ba, ICLR 2015) with its usual constants on the kept entries; the others stay exactly zero.

    Written out, because importing torch's optimisers takes seconds.
    """
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            weight.requires_grad_(True)
            (gradient,) = torch.autograd.grad(objective(weight, norm), weight)
        weight = weight.detach()
        gradient *= mask
        mean.lerp_(gradient, 0.1)
        square.lerp_(gradient.square(), 0.001)
        change = (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        weight -= lr * change
    return weight


@lru_cache(maxsize=16)
def _cached(num_classes: int, feature_dim: int, sparsity: float, norm: float, seed: int, recipe: Recipe) -> Tensor:
    """The sparse simplex from the cache, else made and put there: 1.7 s for 100 classes and 512 features, 31 s by the
    official recipe, 85 s for 1,000 classes (one core).
    """

    def make() -> NDArray[np.float32]:
        with one_thread():
            weight = _sparse(num_classes, feature_dim, sparsity, norm, seed, recipe, STEPS[recipe])
        return _single(weight).numpy()

    name = f"sparse-etf-2-c{num_classes}-d{feature_dim}-b{sparsity!r}-n{norm!r}-s{seed}-{recipe}"  # 2: version
    return torch.from_numpy(kept_array(name, make))


def _single(weight: Tensor) -> Tensor:
    """float32 in which only the mask's entries are zero: 10,000 steps drive a few others below its smallest number."""
    tiny = torch.finfo(torch.float32).tiny
    return (weight.sign() * weight.abs().clamp(min=tiny)).float()


class EtfHead(nn.Module):
    """A projection D -> d, unit length, and the cosines to the rows of a dense simplex [C, d], times a scale.

    A strategy says which of `projection`, `prototypes` and `scale` are trained.
    """

    def __init__(self, feature_dim: int, num_classes: int, dim: int, scale: float) -> None:
        super().__init__()
        self.projection = nn.Linear(feature_dim, dim)
        self.prototypes = nn.Parameter(simplex_etf(num_classes, dim, int(torch.randint(2**31, ()))))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        """[B, C] logits of features [B, D]."""
        return self.scale * (normalize(self.projection(features), dim=1) @ self.prototypes.T)
