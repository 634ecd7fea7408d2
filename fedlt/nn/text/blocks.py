"""Attention between blocks of a text: those nearby, some at random, and the first one.

Zaheer, Guruganesh, Dubey, Ainslie, Alberti, Ontanon, Pham, Ravula, Wang, Yang, Ahmed: Big Bird: Transformers for Longer
Sequences. NeurIPS 2020.

The tokens of a block attend to their own block, its two neighbours, the first block and `random` further ones; those of
the first block attend to the whole text. A text's further blocks are drawn from those that it has, by an order that is
the same for all models and texts, so that neither padding nor seed changes them. Only the first block is global here,
where the official code makes the last one so as well: which one is the last depends on the padding there.
The BigBird of `transformers` takes full attention for texts of at most 5 + 2 `random` blocks, which a log line alone
tells; here blocks are always taken, and they are full attention where they cover the text.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.nn.text.transformer import FullAttention, in_heads, joined
from fedlt.nn.text.window import attended, beside, in_blocks


class BlockAttention(FullAttention):
    """Attention within blocks, to neighbouring blocks, and to a few random ones.

    Attributes:
        size: tokens of a block.
        random: further blocks that each attends to.
        number: of the layer; each has its own.
    """

    def __init__(self, width: int, heads: int, size: int, random: int, number: int) -> None:
        super().__init__(width, heads)
        self.size, self.random, self.number = size, random, number

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] attention within blocks. Memory grows with the length, and not with its square."""
        whole = self.query(x), self.key(x), self.value(x)
        query, key, value = (in_blocks(part, self.size) for part in whole)
        real = in_blocks(mask, self.size)

        # The first block, the neighbours without it, and those drawn, one behind the other.
        others = real.clone()
        others[:, 0] = False
        chosen, drawn = self._drawn(real.any(2))
        further = _gathered(real, chosen) & drawn.repeat_interleave(self.size, 2)
        seen = torch.cat([_repeated(real), beside(others), further], 2)[:, :, None]
        keys, values = (torch.cat([_repeated(part), beside(part), _gathered(part, chosen)], 2) for part in (key, value))
        found = attended(query, keys, values, seen, self.heads)[:, : x.shape[1]]

        q, k, v = (in_heads(part, self.heads) for part in (whole[0][:, : self.size], whole[1], whole[2]))
        of_first = joined(F.scaled_dot_product_attention(q, k, v, mask[:, None, None]))
        return self.out(torch.cat([of_first, found[:, self.size :]], 1))  # type: ignore[no-any-return]

    def _drawn(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, R] further blocks of each block, and which of them there are;

        Args:
            real: [B, N] blocks with a token.
        """
        count = real.shape[1]
        score = torch.from_numpy(order(count, self.number)).to(real.device).expand(real.shape[0], -1, -1)
        best = score.masked_fill(~real[:, None], -1).topk(min(self.random, count), 2)
        return best.indices, best.values >= 0


def _gathered(blocks: Tensor, chosen: Tensor) -> Tensor:
    """[B, N, R size, ...] the blocks [B, N, size, ...] that each block has chosen [B, N, R], one after the other."""
    rows = torch.arange(blocks.shape[0], device=blocks.device)[:, None, None]
    return blocks[rows, chosen].flatten(2, 3)


def _repeated(blocks: Tensor) -> Tensor:
    """[B, N, size, ...] the first of the blocks [B, N, size, ...] in the place of each."""
    return blocks[:, :1].expand_as(blocks)


@lru_cache
def order(count: int, number: int) -> NDArray[np.float32]:
    """[N, N] how early a block draws another one, larger first; -1 for those that it attends to anyway.

    A pair has one place in the order, however many blocks there are.

    Args:
        number: of the layer, which is the seed.
    """
    rng = np.random.default_rng(number)
    drawn = np.zeros((count, count), np.float32)
    for last in range(count):
        drawn[last, : last + 1] = rng.random(last + 1, np.float32)
        drawn[:last, last] = rng.random(last, np.float32)
    place = np.arange(count)
    anyway = (np.abs(place[:, None] - place) <= 1) | (place == 0)
    return np.where(anyway, np.float32(-1), drawn)
