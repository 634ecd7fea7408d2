"""Tasks that need no labels: which word was hidden, and which was put in another one's place.

Devlin, Chang, Lee, Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding. NAACL
2019. Clark, Luong, Le, Manning: ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators. ICLR
2020.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.text.encoder import Embedding, TokenEncoder, expect_tokens
from fedlt.nn.text.transformer import FullAttention, TransformerEncoder

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind
    from fedlt.nn.net import Net

SHARE = 0.15  # of the real tokens, which are to be told
HIDDEN, REPLACED = 0.8, 0.9  # of them, up to here hidden, up to here replaced by any token; the others stay
WEIGHT = 50.0  # of the task of telling replaced tokens, beside that of the generator
NARROWER = 4  # the generator's width is a part of the embedding's


class Words(nn.Module):
    """Tells tokens from states [M, S]: scores [M, V] against the table of embeddings itself.

    Attributes:
        hidden: what stands in the place of a hidden token's embedding.
    """

    def __init__(self, embedding: Embedding, states: int) -> None:
        super().__init__()
        rows, width = embedding.table.weight.shape
        self.into = nn.Sequential(nn.Linear(states, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.hidden = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        return self.into(states) @ table.T + self.bias  # type: ignore[no-any-return]


class Generator(nn.Module):
    """A narrow transformer of one layer over the embeddings of the model that it writes for."""

    def __init__(self, embedding: Embedding, length: int) -> None:
        super().__init__()
        width = embedding.table.weight.shape[1]
        narrow = max(1, width // NARROWER)
        self.narrow = nn.Linear(width, narrow)
        heads = gcd(4, narrow)
        made = TransformerEncoder(nn.Identity(), lambda _: FullAttention(narrow, heads), narrow, 1, 0.0, length, 1.0)
        self.encoder, self.words = made, Words(embedding, narrow)

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """[B, L, S] of embeddings [B, L, E]."""
        return self.encoder.states(self.narrow(vectors), mask)


def reader_of_words(learner: str, model: Net, inputs: InputKind) -> tuple[TokenEncoder, Embedding]:
    """The model's encoder of token ids, and its embeddings.

    Args:
        learner: its name, for the message.

    Raises:
        ValueError: where the inputs are others, or a token's state follows from that token alone.
    """
    expect_tokens(learner, inputs)
    encoder = model.backbone
    if not (isinstance(encoder, TokenEncoder) and encoder.contextual and isinstance(encoder.embedding, Embedding)):
        known = "take bilstm, transformer or window_transformer"
        raise ValueError(f"{learner} needs a model that has a state of each token, from the others; {known}")
    return encoder, encoder.embedding


def chosen(mask: Tensor, rng: np.random.Generator, share: float | None = None) -> Tensor:
    """[B, L] which real tokens are to be told: each with the same chance, and one of the batch at least.

    Args:
        share: the chance; None: `SHARE`.
    """
    drawn = torch.from_numpy(rng.random(tuple(mask.shape))).to(mask.device)
    drawn = drawn.masked_fill(~mask, 2.0)
    return drawn <= drawn.min().clamp(min=SHARE if share is None else share)


def masked_words(
    states: nn.Module,
    words: Words,
    embedding: Embedding,
    ids: Tensor,
    mask: Tensor,
    rng: np.random.Generator,
    share: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of telling hidden tokens; which were to be told, [B, L]; and what they are taken for, [M, V].

    Args:
        states: the encoder, or what has its method `states`.
        share: of the real tokens, which are to be told; None: `SHARE`.
    """
    hidden = chosen(mask, rng, share)
    rows = embedding.rows(ids)
    kind = torch.from_numpy(rng.random(tuple(ids.shape))).to(ids.device)
    other = torch.from_numpy(rng.integers(len(embedding.table.weight), size=tuple(ids.shape))).to(ids.device)
    vectors = embedding.table(torch.where(hidden & (kind >= HIDDEN) & (kind < REPLACED), other, rows))
    vectors = torch.where((hidden & (kind < HIDDEN))[:, :, None], words.hidden, vectors)

    scores = words(states.states(vectors, mask)[hidden], embedding.table.weight)  # type: ignore[operator]
    return F.cross_entropy(scores, rows[hidden]), hidden, scores


def replaced_words(
    encoder: TokenEncoder, judge: nn.Module, generator: Generator, ids: Tensor, mask: Tensor, rng: np.random.Generator
) -> Tensor:
    """The loss of a generator of words, and `WEIGHT` times that of telling which tokens are its own.

    A token that the generator has put where it was is no replaced one. No gradient passes through its draws.

    Args:
        encoder: whose states tell which tokens are replaced.
        judge: its layer for that.
        generator: writes the tokens that stand for hidden ones.
        ids, mask: [B, L] the texts, and which tokens are real.
        rng: of what is hidden, and of the generator's draws.
    """
    embedding = encoder.embedding
    assert isinstance(embedding, Embedding)
    loss, hidden, scores = masked_words(generator, generator.words, embedding, ids, mask, rng)
    noise = torch.from_numpy(rng.gumbel(size=tuple(scores.shape)).astype(np.float32)).to(scores.device)
    rows = embedding.rows(ids)
    written = rows.masked_scatter(hidden, (scores.detach().float() + noise).argmax(1))

    judged = judge(encoder.states(embedding.table(written), mask))[:, :, 0]
    return loss + WEIGHT * F.binary_cross_entropy_with_logits(judged[mask], (written != rows)[mask].float())
