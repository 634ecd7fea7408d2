"""The contract of encoders of texts: what turns token ids into features, once, before anything is trained.

As an encoder of pictures (`fedlt.encoders.encoder`) it is one frozen dataclass in a file, named by `data.encoder`. It
brings the tokenizer that it was trained with, so that `data.tokenizer` is not named beside it:

    @dataclass(frozen=True)
    class Mine(TextEncoder):
        def tokenizer(self):
            return {"name": "transformers:/models/mine", "length": self.length}

        def build(self):
            network = torch.jit.load("/models/mine.pt").eval()
            return lambda ids, mask: network(ids, mask)

        def weights(self):
            return (Path("/models/mine.pt"),)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from torch import Tensor

EncodeText = Callable[["Tensor", "Tensor"], "Tensor"]
"""From ids, int64 [B, L], and their mask, bool [B, L] (True: a token), to features [B, D]."""


@dataclass(frozen=True)
class TextEncoder(ABC):
    """Base of the encoders of texts."""

    length: Annotated[int, ">= 1"] = 128  # L, tokens of a text that are read, its marks included

    @abstractmethod
    def tokenizer(self) -> dict[str, Any]:
        """The tokenizer that makes its ids: name and keys, as `data.tokenizer` would have them."""

    @abstractmethod
    def build(self) -> EncodeText:
        """The encoder, ready: in evaluation mode, on the CPU. Gradients are off when it is called.

        What is padding, where the mask is False and ids are 0, must change nothing of a text's features.
        """

    def weights(self) -> tuple[Path, ...]:
        """The files that the encoder's weights come from; their content is part of what the features are known by.

        Raises ValueError, with the command that installs what is missing, where the encoder cannot be built here.
        """
        return ()
