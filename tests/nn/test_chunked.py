"""A long text in chunks: how they are cut, what is made of their features, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlt.config.scenario import load_scenario
from fedlt.data.inputs import InputKind
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.task import Task
from fedlt.nn.mlp import MLP
from fedlt.nn.model import Model
from fedlt.nn.net import Net
from fedlt.nn.text.chunked import Chunked, Pool
from fedlt.nn.text.hash_bag import HashBag
from fedlt.nn.text.transformer import Transformer

POOLS: tuple[Pool, ...] = ("mean", "max", "attention", "bilstm", "transformer")


def built(inside: Any = None, length: int = 4, pool: Pool = "mean", longest: int = 11) -> Net:
    """Over 30 ids, in evaluation mode."""
    task = Task("single", 3, (longest,), inputs=TokenKind(30, longest, shorter=True))
    torch.manual_seed(0)
    net = Chunked(inside or HashBag(width=2, depth=0), length=length, pool=pool).build(task)
    net.inputs = task.inputs
    return net.eval()


class Sum(nn.Module):
    """One feature, the sum of the ids; what it was given is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[list[int]]] = []

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.seen.append((ids * mask).tolist())
        return (ids * mask).sum(1, keepdim=True).float()


@dataclass(frozen=True)
class Summing(Model):
    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        return Sum(), 1


DOCUMENTS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1, 2, 3, 4, 5] + 6 * [PADDING], [7] + 10 * [PADDING]])


@pytest.mark.parametrize(("pool", "expected"), [("mean", [22.0, 7.5, 7.0]), ("max", [30.0, 10.0, 7.0])])
def test_texts_are_cut_every_length_tokens_and_chunks_of_padding_are_not_read(
    pool: Pool, expected: list[float]
) -> None:
    """Chunks of four tokens sum to 10, 26 and 30; to 10 and 5; to 7."""
    net = built(Summing(), pool=pool)
    assert net.encode(DOCUMENTS).flatten().tolist() == expected
    assert net.part("backbone.inside").seen == [
        [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 0], [1, 2, 3, 4], [5, 0, 0, 0], [7, 0, 0, 0]]
    ]


def test_attention_is_a_mean_by_the_softmax_of_scores() -> None:
    net = built(Summing(), pool="attention")
    with torch.no_grad():
        for weight in net.part("backbone.document").parameters():
            weight.zero_()
    torch.testing.assert_close(net.encode(DOCUMENTS).flatten(), torch.tensor([22.0, 7.5, 7.0]))
    with torch.no_grad():
        first, _, last = net.part("backbone.document.score")
        first.weight.fill_(1.0), first.bias.fill_(-29.0), last.weight.fill_(50.0)
    # tanh of 10 - 29, 26 - 29 and 30 - 29 is about -1, -1 and 0.76: nearly all of the weight is the third chunk's.
    torch.testing.assert_close(net.encode(DOCUMENTS)[0], torch.tensor([30.0]))


@pytest.mark.parametrize("pool", POOLS)
@torch.no_grad()
def test_a_document_of_one_chunk_and_one_beside_others_have_equal_features(pool: Pool) -> None:
    net = built(pool=pool)
    together = net.encode(DOCUMENTS)
    assert together.shape == (3, net.feature_dim)
    for row in range(3):
        torch.testing.assert_close(net.encode(DOCUMENTS[row : row + 1]), together[row : row + 1])


@pytest.mark.parametrize("pool", POOLS)
def test_the_order_of_the_chunks_counts_where_they_are_read_in_order(pool: Pool) -> None:
    net = built(pool=pool, longest=8)
    one, other = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]]), torch.tensor([[5, 6, 7, 8, 1, 2, 3, 4]])
    assert torch.allclose(net.encode(one), net.encode(other), atol=1e-6) == (pool not in ("bilstm", "transformer"))


def test_places_are_counted_within_the_chunk() -> None:
    net = built(Transformer(width=8, heads=2))
    assert net.part("backbone.inside.places.weight").shape == (4, 8)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (MLP(), "token sequences of shape"),
        (HashBag(freeze=True), r"model\.inside\.freeze is not read; set model\.freeze"),
        (Model(), r"model\.inside is no recipe of an encoder"),
    ],
)
def test_what_cannot_read_a_chunk_is_refused(inside: Model, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(inside)


def test_an_encoder_without_a_mask_is_refused() -> None:
    @dataclass(frozen=True)
    class Blind(Model):
        def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
            return nn.Flatten(), 4

    with pytest.raises(ValueError, match=r"the encoder of model\.inside takes no mask"):
        built(Blind())


def test_a_scenario_names_it_with_its_keys(tiny: dict[str, Any]) -> None:
    content = {**tiny, "model": {"name": "chunked", "inside": {"name": "hash_bag", "width": 7}, "pool": "max"}}
    recipe = load_scenario(content).model.create()
    assert (recipe.inside.width, recipe.length, recipe.pool) == (7, 128, "max")
    recipe = load_scenario({**tiny, "model": "chunked"}, ["model.inside=bilstm"]).model.create()
    assert type(recipe.inside).__name__ == "BiLSTM"
