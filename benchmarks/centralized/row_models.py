"""Encoders that read an image row by row and have a state for each row, for `benchmarks.centralized.from_scratch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fedlt.nn.model import ImageModel
from fedlt.nn.text.transformer import FullAttention, TransformerEncoder


class Rows(nn.Module):
    """[B, C, H, W] images to features [B, D], the mean of the states of their rows."""

    def __init__(self, state_dim: int) -> None:
        super().__init__()
        self.state_dim = state_dim

    def states(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C * H, D] a state of each row."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x).mean(1)


class Attended(Rows):
    """Rows that attend to all rows."""

    def __init__(self, pixels: int, rows: int, width: int, heads: int, depth: int) -> None:
        super().__init__(width)
        self.into = nn.Linear(pixels, width)
        self.encoder = TransformerEncoder(
            nn.Identity(), lambda _: FullAttention(width, heads), width, depth, 0.0, rows, scale=1.0
        )

    def states(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = self.into(x.flatten(1, 2))
        return self.encoder.states(rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=x.device))


class Passed(Rows):
    """Rows that are read one after the other, from above and from below."""

    def __init__(self, pixels: int, width: int, depth: int) -> None:
        super().__init__(width)
        self.encoder = nn.GRU(pixels, width // 2, depth, batch_first=True, bidirectional=True)

    def states(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.encoder(x.flatten(1, 2))[0]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Transformer(ImageModel):
    """A transformer over the rows."""

    width: Annotated[int, ">= 1"] = 48  # of a row's state
    heads: Annotated[int, ">= 1"] = 4  # of the attention
    depth: Annotated[int, ">= 1"] = 2  # layers

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        channels, height, pixels = self.image_shape(input_shape)
        return Attended(pixels, channels * height, self.width, self.heads, self.depth), self.width


@dataclass(frozen=True)
class Recurrent(ImageModel):
    """Gated recurrent units over the rows, in both directions."""

    width: Annotated[int, ">= 2"] = 48  # of a row's state, half of it for each direction
    depth: Annotated[int, ">= 1"] = 2  # layers

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Passed(self.image_shape(input_shape)[2], self.width, self.depth), self.width
