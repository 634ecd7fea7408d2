"""A long text in chunks: each is read by a model of short texts, and their features make the document's.

The mean, the largest, or a mean by attention: Yang, Yang, Dyer, He, Smola, Hovy: Hierarchical Attention Networks for
Document Classification. NAACL 2016. A network that reads the chunks in their order: Pappagari, Zelasko, Villalba,
Carmiel, Dehak: Hierarchical Transformers for Long Document Classification. ASRU 2019.

A document is cut every `length` tokens, not at its sentences, which token ids do not tell; the last chunk is shorter.
The chunks of all documents of a batch are read as one batch; those of padding alone are not read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from fedlt.config.reader import chosen
from fedlt.nn.model import Model
from fedlt.nn.net import reads_mask
from fedlt.nn.text.bilstm import BiLSTMEncoder
from fedlt.nn.text.encoder import TokenEncoder, expect_tokens
from fedlt.nn.text.transformer import FullAttention, TransformerEncoder
from fedlt.nn.text.window import in_blocks

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind

Pool = Literal["mean", "max", "attention", "bilstm", "transformer"]


class ChunkedEncoder(nn.Module):
    """An encoder of the chunks of a document, then one of their features.

    Attributes:
        inside: from ids [M, length] and a mask to features [M, D] of chunks.
        document: from the features [B, N, D] of a document's chunks and the mask of those that it has to its features.
    """

    vectorizable: ClassVar[bool] = False

    def __init__(self, inside: nn.Module, document: TokenEncoder, length: int) -> None:
        super().__init__()
        self.inside, self.document, self.length = inside, document, length

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, D] features.

        Args:
            ids, mask: [B, L].
        """
        chunks, real = in_blocks(ids, self.length), in_blocks(mask, self.length)
        there = real.any(2)
        found = self.inside(chunks[there], real[there])
        features = found.new_zeros(*there.shape, found.shape[1]).masked_scatter(there[:, :, None], found)
        return self.document(features, there)  # type: ignore[no-any-return]


class Pooled(TokenEncoder):
    """The mean of the features of a document's chunks, or the largest ones."""

    def __init__(self, dim: int, largest: bool) -> None:
        super().__init__(nn.Identity(), dim)
        self.largest = largest

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        return vectors

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        if self.largest:
            return states.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
        return super().pool(states, mask)


class AttentionPooled(Pooled):
    """Their mean by weights: the softmax of v . tanh(W f + b)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, largest=False)
        self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        weights = self.score(states).masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
        return (weights * states).sum(1)


@dataclass(frozen=True)
class Chunked(Model):
    """Another model of token ids reads a long text chunk by chunk, and their features make the text's."""

    inside: Annotated[Model, "model"] = "text_cnn"  # type: ignore[assignment]  # what reads a chunk: a name, or a name and its keys
    length: Annotated[int, ">= 1"] = 128  # tokens of a chunk
    pool: Pool = "mean"  # of the chunks' features; bilstm and transformer read them in their order

    def __post_init__(self) -> None:
        if isinstance(self.inside, str):
            object.__setattr__(self, "inside", chosen("model", self.inside, "inside").create())

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        """The encoder of chunks and that of documents, each a recipe of its own.

        Raises:
            ValueError: for an inner model that is no encoder, or has keys that are not read.
        """
        kind = expect_tokens("chunked", inputs)
        if type(self.inside).encoder is Model.encoder and type(self.inside).backbone is Model.backbone:
            raise ValueError("model.inside is no recipe of an encoder; take a model of `fedlt ls models`, or a recipe")
        for key in Model.young:
            if getattr(self.inside, key) is not None:
                raise ValueError(f"model.inside.{key} is not read; set model.{key}, for the model as a whole")

        inside, dim = self.inside.encoder(replace(kind, length=min(self.length, kind.length)))
        if not reads_mask(type(inside).forward):
            raise ValueError("the encoder of model.inside takes no mask, and the last chunk of a text is padded")
        encoder = ChunkedEncoder(inside, self._document(dim), self.length)
        return encoder, encoder.document.dim

    def _document(self, dim: int) -> TokenEncoder:
        """What makes a document's features of those of its chunks.

        Args:
            dim: of these.
        """
        given = nn.Identity()
        if self.pool == "bilstm":
            return BiLSTMEncoder(given, dim, -(-dim // 2), depth=1, dropout=0.0, last=False)
        if self.pool == "transformer":
            heads = gcd(4, dim)
            return TransformerEncoder(given, lambda _: FullAttention(dim, heads), dim, 1, 0.1, length=None, scale=1.0)
        return AttentionPooled(dim) if self.pool == "attention" else Pooled(dim, self.pool == "max")
