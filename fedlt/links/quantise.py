"""Each client's change travels in few bits a number, as whole multiples of a step.

Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding. NIPS
2017, section 3, with buckets scaled by their largest magnitude as in its experiments (section 5), and a fixed length
in place of Elias codes. For a bucket v, s = 2^(bits - 1) - 1 levels on either side of zero and a step a = max |v| / s:

    stochastic   a * floor(v / a + u), u uniform in [0, 1): the mean over draws is v
    nearest      a * round(v / a): the error is at most a / 2, and does not vanish in the mean

A number costs `bits` bits, a bucket 4 bytes for its step. After `top_k` only the numbers that travel are rounded.
Buffers, and what a strategy sends beside its weights, travel whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedlt.links.link import FLOAT, Link, Sending, Setting


@dataclass(frozen=True)
class Quantise(Link):
    """bits of a number with its sign. Draws are of the seed, the round and the client."""

    bits: Annotated[int, ">= 2", "<= 8"] = 8  # of each number on its way
    rounding: Literal["stochastic", "nearest"] = "stochastic"  # stochastic: right in the mean
    bucket: Annotated[int, ">= 1"] = 512  # numbers with one scale, their largest magnitude

    def obstacle(self, setting: Setting) -> str | None:
        return super().obstacle(setting) or setting.untrained

    def send(self, sending: Sending) -> None:
        """Round the change to few levels, at random up or down so that the mean is right, or to the nearest one."""
        change = sending.change
        values = change if sending.positions is None else change[sending.positions]
        noise = None
        if self.rounding == "stochastic":
            draws = sending.rng("quantise").random(len(values), dtype="float32")
            noise = torch.from_numpy(draws).to(values.device)

        rounded = quantised(values, self.bits, self.bucket, noise)
        if sending.positions is not None:
            rounded = torch.zeros_like(change).index_copy_(0, sending.positions, rounded)
        sending.replace(rounded)
        sending.bits = min(sending.bits, self.bits)
        sending.overhead += -(-len(values) // self.bucket) * FLOAT // 8


def quantised(values: Tensor, bits: int, bucket: int, noise: Tensor | None) -> Tensor:
    """[N] values as whole multiples of their bucket's step.

    Args:
        values: [N] a client's change.
        bits: of each number, with its sign.
        bucket: numbers that share a step; the last bucket may have fewer.
        noise: [N] in [0, 1); None: to the nearest.
    """
    levels = 2 ** (bits - 1) - 1
    buckets = pad(values, (0, -len(values) % bucket)).view(-1, bucket)
    step = buckets.abs().amax(dim=1, keepdim=True) / levels
    scaled = torch.where(step > 0, buckets / step, 0.0)
    moved = (
        scaled.round() if noise is None else (scaled + pad(noise, (0, -len(noise) % bucket)).view_as(scaled)).floor()
    )
    return (moved.clamp(-levels, levels) * step).view(-1)[: len(values)]
