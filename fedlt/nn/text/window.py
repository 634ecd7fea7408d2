"""Attention inside a window that moves with the token, and one token that sees and is seen by all.

Beltagy, Peters, Cohan: Longformer: The Long-Document Transformer. 2020 (arXiv 2004.05150).

A token attends to `window / 2` tokens on either side and to the first one of its text. The first one attends to all, by
projections of its own, which start as copies of the others (as Longformer starts from a trained model). It is computed
in blocks of half a window, each beside its two neighbours, so that time and memory grow with a text's length and not
with its square. Longformer's code pads texts to a multiple of the window; here that changes no figure.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.text.transformer import FullAttention, in_heads, joined


class WindowAttention(FullAttention):
    """Attention to the tokens nearby.

    Attributes:
        window: tokens that each attends to beside itself, half of them on either side.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width, heads)
        self.side = window // 2
        self.global_query, self.global_key, self.global_value = (nn.Linear(width, width) for _ in range(3))
        for own, of_all in zip(self._global(), (self.query, self.key, self.value), strict=True):
            own.load_state_dict(of_all.state_dict())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        place = torch.arange(mask.shape[1], device=mask.device)
        is_first = place == mask.int().argmax(1, keepdim=True)
        found = torch.where(is_first[:, :, None], self._of_first(x, mask, is_first), self._of_all(x, mask, is_first))
        return self.out(found)  # type: ignore[no-any-return]

    def _of_all(self, x: Tensor, mask: Tensor, is_first: Tensor) -> Tensor:
        """[B, L, D] what tokens find in their windows and at the first token;

        Args:
            is_first: [B, L].
        """
        whole = self.query(x), self.key(x), self.value(x)
        query, *near = (in_blocks(part, self.side) for part in whole)
        first = (first_of(part, is_first)[:, None].expand(-1, query.shape[1], -1, -1) for part in whole[1:])
        keys, values = (torch.cat([beside(part), one], 2) for part, one in zip(near, first, strict=True))

        # The first token stands behind the others, and is left out where a window reaches it.
        steps = torch.arange(3 * self.side, device=x.device) - self.side
        within = (steps - torch.arange(self.side, device=x.device)[:, None]).abs() <= self.side
        seen = beside(in_blocks(mask & ~is_first, self.side))[:, :, None] & within
        return attended(query, keys, values, F.pad(seen, (0, 1), value=True), self.heads)[:, : x.shape[1]]

    def _of_first(self, x: Tensor, mask: Tensor, is_first: Tensor) -> Tensor:
        """[B, 1, D] what the first token finds in the whole text."""
        query, key, value = self._global()
        q, k, v = (in_heads(part, self.heads) for part in (query(first_of(x, is_first)), key(x), value(x)))
        return joined(F.scaled_dot_product_attention(q, k, v, mask[:, None, None]))

    def _global(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.global_query, self.global_key, self.global_value


def in_blocks(x: Tensor, size: int) -> Tensor:
    """[B, N, size, ...] blocks of x [B, L, ...], the last one filled up with zeros."""
    more = -x.shape[1] % size
    padded = torch.cat([x, x.new_zeros((x.shape[0], more, *x.shape[2:]))], 1)
    return padded.unflatten(1, (-1, size))


def beside(blocks: Tensor) -> Tensor:
    """[B, N, 3 size, ...] each block [B, N, size, ...] between its neighbours; zeros beyond the ends."""
    edge = torch.zeros_like(blocks[:, :1])
    around = torch.cat([edge, blocks, edge], 1)
    return torch.cat([around[:, :-2], blocks, around[:, 2:]], 2)


def first_of(x: Tensor, is_first: Tensor) -> Tensor:
    """[B, 1, D] the rows of x [B, L, D] that are marked, one a text."""
    at = is_first.int().argmax(1)[:, None, None]
    return x.gather(1, at.expand(-1, -1, x.shape[2]))


def attended(query: Tensor, keys: Tensor, values: Tensor, seen: Tensor, heads: int) -> Tensor:
    """[B, N size, D] attention block by block.

    Args:
        query: [B, N, size, D].
        keys, values: [B, N, K, D], what each block may attend to.
        seen: [B, N, 1 or size, K].
    """
    q, k, v = (in_heads(part.flatten(0, 1), heads) for part in (query, keys, values))
    found = F.scaled_dot_product_attention(q, k, v, seen.flatten(0, 1)[:, None])
    return joined(found).unflatten(0, query.shape[:2]).flatten(1, 2)
