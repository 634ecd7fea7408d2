"""Batches of sequences of like lengths, so that little of a batch is padding.

Khomenko, Shyshkov, Radyvonenko, Bokhan: Accelerating Recurrent Neural Network Training Using Sequence Bucketing and
Multi-GPU Data Parallelization. DSMP 2016.

The order of a pass is drawn as ever. Every `POOL` batches of it are sorted by length and cut into batches, whose order
is drawn: who stands beside whom follows length, which batch comes when does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind, Inputs

POOL = 50  # batches whose samples are sorted together
PIECE = 32  # samples that are encoded together in a pass without training
READ = 1024  # samples whose lengths are read at a time


def lengths_of(inputs: Inputs, rows: Tensor, kind: InputKind) -> NDArray[np.int64]:
    """Steps of samples up to their last real one.

    Args:
        inputs: of the data set, read in pieces so that little of it is in memory.
        rows: [n] which samples.
        kind: tells real steps from padding.

    Returns:
        [n].
    """
    parts = [_lengths(inputs.take(part), kind) for part in rows.split(READ)]
    return torch.cat(parts).cpu().numpy()  # type: ignore[no-any-return]


def bucketed(
    order: NDArray[np.int64], lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The positions of a pass, put in such an order that each `size` of them are of like lengths.

    A pass that is no multiple of `size` ends in a shorter batch, as ever, whose place among the lengths is drawn.

    Args:
        order: as the sampler gives them.
        lengths: [n] of the site's samples.
        size: samples of a batch.
        rng: draws the place of the shorter batch and the order of the batches.
    """
    found = []
    for start in range(0, len(order), POOL * size):
        part = order[start : start + POOL * size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches, rest = divmod(len(part), size)
        first = size * int(rng.integers(batches + 1)) if rest else len(part)
        whole = np.delete(part, slice(first, first + rest)).reshape(batches, size)
        found += [whole[rng.permutation(batches)].ravel(), part[first : first + rest]]
    return np.concatenate(found) if found else order


def encoded_by_length(encode: Callable[[Tensor], Tensor], x: Tensor, kind: InputKind) -> Tensor:
    """Features of inputs, of which those of like lengths are encoded together, so that little is padding.

    Args:
        encode: [b, ...] -> [b, D], each sample on its own.
        x: [B, ...].
        kind: tells real steps from padding.

    Returns:
        [B, D], in the order given.
    """
    order = _lengths(x, kind).argsort(stable=True)
    found = torch.cat([encode(x[piece]) for piece in order.split(PIECE)])
    return found[order.argsort()]


def _lengths(x: Tensor, kind: InputKind) -> Tensor:
    """[B] steps up to the last real one."""
    _, mask = kind.split(x)
    assert mask is not None
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1)
