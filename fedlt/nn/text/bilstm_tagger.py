"""A recurrent network that gives each step of a sequence features of its own, for targets of kind `tags`.

Graves, Schmidhuber: Framewise Phoneme Classification with Bidirectional LSTM and Other Neural Network Architectures.
Neural Networks 2005. The layers are those of `fedlt.nn.text.bilstm`, whose states are kept instead of being pooled.
Steps are token ids, or vectors such as those of a note's sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn

from fedlt.data.inputs.sequences import SequenceKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.nn.model import Model
from fedlt.nn.text.bilstm import BiLSTMEncoder
from fedlt.nn.text.encoder import Embedding

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind


class StepEncoder(nn.Module):
    """[B, L, D] the states of all steps; 0 where a sequence has ended, and as long as the longest of the data set."""

    def __init__(self, layers: BiLSTMEncoder, length: int) -> None:
        super().__init__()
        self.layers, self.length = layers, length

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states = self.layers.states(self.layers.embedding(x), mask).masked_fill(~mask[:, :, None], 0)
        return nn.functional.pad(states, (0, 0, 0, self.length - states.shape[1]))


@dataclass(frozen=True)
class BiLSTMTagger(Model):
    """LSTMs that read a sequence from both ends, and a class for each step."""

    hidden: Annotated[int, ">= 1"] = 64  # units of each direction; the features are twice as many
    depth: Annotated[int, ">= 1"] = 1  # layers
    dropout: Annotated[float, ">= 0", "< 1"] = 0.2  # of what each layer reads
    width: Annotated[int, ">= 1"] = 64  # numbers of a token's embedding; vectors are read as they are
    buckets: Annotated[int, ">= 1"] | None = None  # rows of embeddings; an id takes row id mod buckets; null: all

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        """Both directions over tokens or vectors, a state for each step.

        Raises:
            ValueError: for other inputs.
        """
        embedding: nn.Module
        if isinstance(inputs, TokenKind):
            embedding, width = Embedding(inputs.vocabulary, self.width, self.buckets), self.width
        elif isinstance(inputs, SequenceKind):
            embedding, width = nn.Identity(), inputs.shape[1]
        else:
            raise ValueError(f"bilstm_tagger reads sequences of tokens or vectors, and the inputs are {inputs}")
        layers = BiLSTMEncoder(embedding, width, self.hidden, self.depth, self.dropout, last=False)
        return StepEncoder(layers, inputs.length), layers.dim


def steps_of(inputs: InputKind, x: Tensor) -> Tensor:
    """bool [B, L] which steps of a batch are real, L being the longest sequence of the data set."""
    mask = inputs.split(x)[1]
    assert mask is not None
    length = inputs.shape[0]
    return torch.nn.functional.pad(mask, (0, length - mask.shape[1]))
