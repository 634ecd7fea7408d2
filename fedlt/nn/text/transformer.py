"""A small transformer encoder.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin: Attention Is All You Need. NeurIPS 2017;
normalisation before each part: Xiong et al.: On Layer Normalization in the Transformer Architecture. ICML 2020.

Real tokens are numbered from 0, and attend to real tokens alone. A text's features are the mean of its tokens' states.
Dropout is on embeddings and on what attention and perceptron add, not on the attention's weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.text.encoder import Embedding, TokenEncoder, TokenModel

Positions = Literal["learned", "sinusoidal"]
SCALE = 0.02
"""Standard deviation of embeddings at their start, as in BERT: layers normalise what they read."""


class FullAttention(nn.Module):
    """Every token attends to every real one.

    Takes features [B, L, D] and the mask [B, L] of the real tokens, and gives features [B, L, D].
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (in_heads(part(x), self.heads) for part in (self.query, self.key, self.value))
        found = F.scaled_dot_product_attention(query, key, value, mask[:, None, None, :])
        return self.out(joined(found))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, then a perceptron on each token; each reads what is normalised, and is added to what it has read."""

    def __init__(self, attention: nn.Module, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.perceptron(self.norm2(x)))  # type: ignore[no-any-return]


class Places(nn.Embedding):
    """Learned vectors of the places in a text.

    Attributes:
        scale: of their numbers at the start.
    """

    def __init__(self, length: int, width: int, scale: float) -> None:
        self.scale = scale  # before the table is drawn
        super().__init__(length, width)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.scale)


class TransformerEncoder(TokenEncoder):
    """Embeddings and places, layers, and a normalisation of what they give.

    Attributes:
        attention: makes that of a layer, from the layer's number.
        length: tokens of the longest text, for learned places; None: sinusoids.
        scale: of embeddings and places at their start.
    """

    vectorizable: ClassVar[bool] = False
    contextual: ClassVar[bool] = True

    def __init__(
        self,
        embedding: nn.Module,
        attention: Callable[[int], nn.Module],
        width: int,
        depth: int,
        dropout: float,
        length: int | None,
        scale: float = SCALE,
    ) -> None:
        super().__init__(embedding, width)
        self.places = None if length is None else Places(length, width, scale)
        self.scale = scale

        # Only those of tokens and places: tables that an attention brings are initialised by itself.
        for table in self.modules():
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=scale)

        self.layers = nn.ModuleList(Layer(attention(number), width, 4 * width, dropout) for number in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] the layers' states. Places count real tokens, wherever the padding is."""
        place = (mask.cumsum(1) - 1).clamp(min=0)
        x = vectors + (self.scale * sinusoids(place, self.dim) if self.places is None else self.places(place))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)  # type: ignore[no-any-return]


def in_heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, D] to [B, H, L, D / H]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """[B, H, L, D / H] to [B, L, D]."""
    return x.transpose(1, 2).flatten(2)


def sinusoids(place: Tensor, width: int) -> Tensor:
    """[B, L, width] sines, then cosines, of places [B, L] at wavelengths from 2 pi to 20,000 pi."""
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half, device=place.device) * (-math.log(10000) / half))
    angles = place[:, :, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 2)[:, :, :width]


def expect_heads(width: int, heads: int) -> None:
    """Raise ValueError where the heads cannot share the width."""
    if width % heads:
        raise ValueError(f"model.width={width} cannot be shared by model.heads={heads}; take a multiple of it")


@dataclass(frozen=True)
class Transformer(TokenModel):
    """A small transformer whose tokens attend to all others; its cost grows with the square of a text's length."""

    heads: Annotated[int, ">= 1"] = 4  # of the attention; each has width / heads numbers
    depth: Annotated[int, ">= 1"] = 2  # layers
    positions: Positions = "learned"  # numbers of each place in a text; sinusoidal: sines that are not trained
    dropout: Annotated[float, ">= 0", "< 1"] = 0.1  # of embeddings, and of what each layer adds

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        expect_heads(self.width, self.heads)
        places = length if self.positions == "learned" else None
        return TransformerEncoder(embedding, self.attend, self.width, self.depth, self.dropout, places)

    def attend(self, number: int) -> nn.Module:
        """The attention of the layer of that number."""
        return FullAttention(self.width, self.heads)
