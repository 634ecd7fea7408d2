"""A recurrent network that reads a text from both ends.

Hochreiter, Schmidhuber: Long Short-Term Memory. Neural Computation 1997; Graves, Schmidhuber: Framewise Phoneme
Classification with Bidirectional LSTM and Other Neural Network Architectures. Neural Networks 2005.

Each direction reads the real tokens first, in its own order, and padding after them, which no real token then sees. So
nothing is packed, and a text's length need not be known on the CPU. A text's features are the mean of its tokens'
states, or the two states that have read all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from fedlt.nn.text.encoder import Embedding, TokenEncoder, TokenModel, masked_mean


class BiLSTMEncoder(TokenEncoder):
    """Layers of two LSTMs each, one a direction; the next layer reads what both have found.

    Attributes:
        last: whether the features are the last states instead of the mean.
    """

    vectorizable: ClassVar[bool] = False
    contextual: ClassVar[bool] = True

    def __init__(self, embedding: nn.Module, width: int, hidden: int, depth: int, dropout: float, last: bool) -> None:
        super().__init__(embedding, 2 * hidden)
        sizes = [width, *[2 * hidden] * (depth - 1)]
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for _ in range(2)) for size in sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.last = last

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """[B, L, 2 H] the states of both directions, each of which reads the real tokens first."""
        place = torch.arange(mask.shape[1], device=mask.device)
        padded = place + mask.shape[1]
        orders = [torch.where(mask, place, padded).argsort(1), torch.where(mask, -place, padded).argsort(1)]
        x = vectors
        for directions in self.layers:
            x = self.dropout(x)
            both = zip(cast(nn.ModuleList, directions), orders, strict=True)
            x = torch.cat([_taken(lstm(_taken(x, order))[0], order.argsort(1)) for lstm, order in both], 2)
        return x

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """The mean of the states, or the last one of each direction."""
        if not self.last:
            return masked_mean(states, mask)
        place = torch.arange(mask.shape[1], device=mask.device)
        ends = torch.where(mask, place, -1).amax(1), torch.where(mask, place, len(place)).amin(1)
        ahead, back = states.chunk(2, 2)
        return torch.cat([_taken(side, end[:, None])[:, 0] for side, end in zip((ahead, back), ends, strict=True)], 1)


def _taken(x: Tensor, order: Tensor) -> Tensor:
    """[B, M, S] rows of x [B, L, S] in the order [B, M] that each text has."""
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))


@dataclass(frozen=True)
class BiLSTM(TokenModel):
    """LSTMs that read a text from both ends."""

    hidden: Annotated[int, ">= 1"] = 64  # units of each direction; the features are twice as many
    depth: Annotated[int, ">= 1"] = 1  # layers
    pool: Literal["mean", "last"] = "mean"  # of the tokens' states; last: those that have read the whole text
    dropout: Annotated[float, ">= 0", "< 1"] = 0.2  # of what each layer reads

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        last = self.pool == "last"
        return BiLSTMEncoder(embedding, self.width, self.hidden, self.depth, self.dropout, last)
