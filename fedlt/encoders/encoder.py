"""The contract of encoders: what turns pictures into features, once, before anything is trained.

An encoder is one frozen dataclass in a file, and its fields are its keys:

    data.encoder={name: efficientnet_lite0, size: 128, views: 4}
    data.encoder=./mine.py:Mine

`data.encoder` passes every picture of the data set through it once and keeps the features (`fedlt.data.encoded`). What
decides them must be in the fields, in the file or in `weights()`: features are made anew when one of these changes.

    @dataclass(frozen=True)
    class Mine(Encoder):
        def build(self):
            network = torch.jit.load("/models/mine.pt").eval()
            return lambda x: network(x / 255)

        def weights(self):
            return (Path("/models/mine.pt"),)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from torch import Tensor

Encode = Callable[["Tensor"], "Tensor"]
"""From pictures, float32 [B, 3, S, S] of values 0..255, channels last in memory, to features [B, D]."""


@dataclass(frozen=True)
class Encoder(ABC):
    """Base of the encoders."""

    size: Annotated[int, ">= 8"] = 96  # S, pixels to which pictures are brought in height and width
    views: Annotated[int, ">= 0"] = 0  # augmented views of a training picture beside it, for local.augment=views

    @abstractmethod
    def build(self) -> Encode:
        """The encoder, ready: in evaluation mode, on the CPU. Gradients are off when it is called.

        It must give a picture the same features whatever else is in the batch.
        """

    def weights(self) -> tuple[Path, ...]:
        """The files that the encoder's weights come from; their content is part of what the features are known by.

        Raises ValueError, with the command that installs what is missing, where the encoder cannot be built here.
        """
        return ()
