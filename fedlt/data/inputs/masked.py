"""What token sequences and float sequences share: a mask that says which steps are real, and how padding is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.kind import Given
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    from torch import Tensor


def checked_mask(name: str, split: str, given: Given) -> NDArray[np.bool_]:
    """[N, L] which steps of x [N, L, ...] are real; all of them where no mask is given. Raises `ScenarioError`."""
    shape = given.x.shape[:2]
    if given.mask is None:
        return np.ones(shape, np.bool_)
    mask = given.mask
    if mask.shape != shape:
        raise refuse(
            f"{name}: the mask of the {split} set has shape {list(mask.shape)}, and its inputs {list(given.x.shape)}; "
            f"give it the shape {list(shape)}, 1 where a step is real"
        )
    if mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
        raise refuse(f"{name}: the mask of the {split} set must hold 0 and 1 (or true and false), got {mask.dtype}")

    mask = mask.astype(np.bool_)
    empty = np.flatnonzero(~mask.any(axis=1))
    if len(empty):
        what = f"{len(empty)} rows of the {split} set, row {empty[0]} first, have no real step"
        raise refuse(f"{name}: {what} by the mask; take them out, or give each a step that stands for nothing")
    return mask


def padded(ids: NDArray[Any], lengths: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Rows of different lengths, one after the other in `ids`, as rows of one length [N, L] and a mask."""
    mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    x = np.zeros(mask.shape, ids.dtype)
    x[mask] = ids
    return x, mask


def used_length(*masks: NDArray[np.bool_]) -> int:
    """Steps up to the last one that is real in any row of any split."""
    return max(int(np.flatnonzero(mask.any(axis=0))[-1]) + 1 for mask in masks)


def resized(x: NDArray[Any], length: int, padding: Any) -> NDArray[Any]:
    """[N, length, ...]: cut, or padded at the end."""
    if x.shape[1] >= length:
        return np.ascontiguousarray(x[:, :length])
    more = np.full((len(x), length - x.shape[1], *x.shape[2:]), padding, x.dtype)
    return np.concatenate([x, more], axis=1)


def fitted(x: NDArray[Any], mask: NDArray[np.bool_], length: int, shorter: bool, padding: Any) -> NDArray[Any]:
    """New samples [N, length, ...] of a kind whose sequences are of this length;

    Args:
        mask: [N, L].
        shorter: whether the kind knows shorter ones.

    Raises:
        FedLTError: for samples that it does not know.
    """
    if not mask.any(axis=1).all() or mask[:, length:].any():
        raise FedLTError(f"expected sequences of 1 to {length} steps, and some have none or more; cut them")
    x = resized(x, length, padding)
    if not shorter and not (mask.shape[1] >= length and mask[:, :length].all()):
        raise FedLTError(f"expected sequences of {length} steps, and some are shorter, which the model has never met")
    return x


def longest(mask: Tensor) -> int:
    """Steps up to the last one that is real in any row of a batch;

    All of them where the code is traced, whose steps must not follow from what the batch holds.

    Args:
        mask: [B, L].
    """
    import torch

    if torch.compiler.is_exporting():
        return mask.shape[1]
    return int(mask.any(0).nonzero().max()) + 1
