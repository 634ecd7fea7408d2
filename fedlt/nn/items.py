"""Embeddings of items by what a catalogue says of them, which several models share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.inputs.histories import HistoryKind, codes_on


def fields_of(kind: HistoryKind) -> list[tuple[int, int]]:
    """First and last but one column of each field in the catalogue."""
    return list(zip(kind.starts, kind.starts[1:], strict=False))


def item_vectors(kind: HistoryKind, table: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """[B, L, width] the sum over fields of the mean of an item's values; 0 where padded.

    Args:
        kind: whose catalogue it is.
        table: [values, width].
        ids: [B, L] items, in 0..V-1 also where padded.
        mask: [B, L] which are real.
    """
    codes = codes_on(kind, ids.device)[ids].flatten(0, 1)
    there = (codes >= 0) & mask.flatten()[:, None]
    weights = torch.zeros(codes.shape, device=ids.device, dtype=table.dtype)
    for start, stop in fields_of(kind):
        own = there[:, start:stop]
        weights[:, start:stop] = own / own.sum(1, keepdim=True).clamp(min=1)

    # Of most fields few of the columns are filled, so bags have lengths of their own.
    sizes = there.sum(1)
    bags = F.embedding_bag(codes[there], table, sizes.cumsum(0) - sizes, per_sample_weights=weights[there], mode="sum")
    return bags.unflatten(0, ids.shape)
