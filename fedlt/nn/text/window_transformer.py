"""The small transformer for long texts: its cost grows with their length, not with its square.

Windows are those of Longformer (`fedlt.nn.text.window`), blocks those of Big Bird (`fedlt.nn.text.blocks`); all else is
`fedlt.nn.text.transformer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from fedlt.nn.text.blocks import BlockAttention
from fedlt.nn.text.encoder import Embedding, TokenEncoder
from fedlt.nn.text.transformer import Transformer
from fedlt.nn.text.window import WindowAttention


@dataclass(frozen=True)
class WindowTransformer(Transformer):
    """A small transformer for long texts, whose tokens attend to those nearby and to a few of all."""

    attention: Literal["window", "blocks"] = "window"  # Longformer's, with a global first token, or Big Bird's
    window: Annotated[int, ">= 2"] = 128  # window: tokens that each attends to, half of them on either side
    block: Annotated[int, ">= 1"] = 64  # blocks: tokens of a block; each attends to its own and the two beside it
    random: Annotated[int, ">= 0"] = 2  # blocks: further blocks that each attends to, and to the first one

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        if self.window % 2:
            raise ValueError(f"model.window={self.window} is odd, and half of it is on each side; take an even number")
        return super().tokens(embedding, length)

    def attend(self, number: int) -> nn.Module:
        if self.attention == "window":
            return WindowAttention(self.width, self.heads, self.window)
        return BlockAttention(self.width, self.heads, self.block, self.random, number)
