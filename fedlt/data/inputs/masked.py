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
    """Which steps of a split's inputs are real.

    Args:
        name: of the data set, for messages.
        split: `training` or `test`, likewise.
        given: inputs x [N, L, ...], and their mask or None.

    Returns:
        bool [N, L]; all True where no mask is given.

    Raises:
        ScenarioError: for a mask of another shape, and for one that leaves a sample without a step.
    """
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
    """Rows of different lengths as rows of one length.

    Args:
        ids: [sum of the lengths] the rows, one after the other.
        lengths: [N] of the rows.

    Returns:
        [N, L], 0 behind a row's end, and the mask [N, L] of what is real.
    """
    mask = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    x = np.zeros(mask.shape, ids.dtype)
    x[mask] = ids
    return x, mask


def used_length(*masks: NDArray[np.bool_]) -> int:
    """Steps up to the last one that is real in any row of any split."""
    return max(int(np.flatnonzero(mask.any(axis=0))[-1]) + 1 for mask in masks)


def resized(x: NDArray[Any], length: int, padding: Any) -> NDArray[Any]:
    """Sequences of another length: cut, or padded at the end.

    Args:
        x: [N, L, ...].
        length: that they are to have.
        padding: what fills the end.
    """
    if x.shape[1] >= length:
        return np.ascontiguousarray(x[:, :length])
    more = np.full((len(x), length - x.shape[1], *x.shape[2:]), padding, x.dtype)
    return np.concatenate([x, more], axis=1)


def fitted(x: NDArray[Any], mask: NDArray[np.bool_], length: int, shorter: bool, padding: Any) -> NDArray[Any]:
    """New samples as a kind stores them whose sequences are of one length.

    Args:
        x: [N, L, ...].
        mask: [N, L].
        length: that of the kind.
        shorter: whether the kind knows shorter ones.
        padding: what the kind has where a sequence has ended.

    Returns:
        [N, length, ...].

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
