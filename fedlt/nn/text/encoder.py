"""What encoders of token ids share: the table of embeddings, features under a mask, and the recipe's common keys.

Padding never changes a text's features: what an encoder computes at padded places reaches no real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor, nn

from fedlt.data.inputs.tokens import TokenKind
from fedlt.nn.model import Model

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind


class Embedding(nn.Module):
    """Token ids [B, L] to vectors [B, L, E], by a table of V rows, or of fewer: buckets that several tokens share."""

    def __init__(self, vocabulary: int, width: int, buckets: int | None) -> None:
        super().__init__()
        if buckets is not None and buckets >= vocabulary:
            many = f"the data set has {vocabulary} tokens, and {buckets} buckets would be no fewer"
            raise ValueError(f"{many}; take a smaller model.buckets, or null for one row a token")
        self.buckets = buckets
        self.table = nn.Embedding(vocabulary if buckets is None else buckets, width)

    def rows(self, ids: Tensor) -> Tensor:
        """The rows of the table that the ids take."""
        return ids if self.buckets is None else ids % self.buckets

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(self.rows(ids))  # type: ignore[no-any-return]


class TokenEncoder(nn.Module):
    """A text's embeddings to its features: `pool(states(embedding(ids), mask), mask)`.

    Attributes:
        embedding: of the token ids; `nn.Identity()` where vectors are given in their place.
        dim: D, the number of features.
        state_dim: S, that of each token's own state.
    """

    # torch.func.vmap has rules for all that it computes, so several clients may train at once (`local.together`).
    vectorizable: ClassVar[bool] = True

    # A token's state follows from the others too, so that a hidden word can be told from it.
    contextual: ClassVar[bool] = False

    def __init__(self, embedding: nn.Module, dim: int, state_dim: int | None = None) -> None:
        super().__init__()
        self.embedding, self.dim = embedding, dim
        self.state_dim = dim if state_dim is None else state_dim

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """[B, L, S] what is known of each token; what stands at padded places does not matter.

        Args:
            vectors: [B, L, E] embeddings.
            mask: [B, L] which tokens are real.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no states")

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, D] the features of texts from the states of their tokens; their mean unless overridden."""
        return masked_mean(states, mask)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, D] features.

        Args:
            ids: [B, L] in 0..V-1, also where padded.
            mask: [B, L] which are real, one at least.
        """
        return self.pool(self.states(self.embedding(ids), mask), mask)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """The embeddings, and all that reads them, as modules of their own; the encoder goes into the second."""
        embedding, self.embedding = self.embedding, nn.Identity()
        return Embedded(embedding), ReadsEmbedded(self)


class Embedded(nn.Module):
    """[B, L, E + 1] what further parts read of token ids [B, L]: embeddings, and behind them 1 for a real token."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([self.embedding(ids), mask[:, :, None]], 2)


class ReadsEmbedded(nn.Module):
    """[B, D] features of what `Embedded` gives, by an encoder without embeddings of its own."""

    def __init__(self, encoder: TokenEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, embedded: Tensor) -> Tensor:
        return self.encoder(embedded[:, :, :-1], embedded[:, :, -1] > 0)  # type: ignore[no-any-return]


def cleared(vectors: Tensor, mask: Tensor) -> Tensor:
    """[B, L, E] vectors that are 0 where mask [B, L] has no token, and finite everywhere.

    A product takes a fifth of the time of `masked_fill`, which looks the mask up for each of the E numbers.
    """
    return vectors * mask[:, :, None]


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """[B, S] mean of states [B, L, S] over the real tokens of mask [B, L]."""
    return states.masked_fill(~mask[:, :, None], 0).sum(1) / mask.sum(1, keepdim=True)


def expect_tokens(name: str, inputs: InputKind) -> TokenKind:
    """The inputs, which are token ids.

    Raises:
        ValueError: where they are not.
    """
    if isinstance(inputs, TokenKind):
        return inputs
    remedy = inputs.remedy if len(inputs.shape) < 3 else "use model=cnn"
    raise ValueError(f"{name} needs token ids, and the inputs are {inputs}; {remedy}")


@dataclass(frozen=True)
class TokenModel(Model):
    """Base of the recipes for token ids."""

    width: Annotated[int, ">= 1"] = 64  # numbers of a token's embedding
    buckets: Annotated[int, ">= 1"] | None = None  # rows of embeddings; an id takes row id mod buckets; null: all

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        kind = expect_tokens(type(self).__name__, inputs)
        made = self.tokens(Embedding(kind.vocabulary, self.width, self.buckets), kind.length)
        return made, made.dim

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        """The encoder over these embeddings.

        Args:
            length: tokens of the longest text.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no encoder of tokens")
