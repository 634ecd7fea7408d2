"""Models of token ids: padding, texts of one token, buckets, and federated runs of a few strategies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fedlt
from fedlt.config import catalog
from fedlt.config.reader import chosen
from fedlt.data.inputs import shaped
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.cost import multiply_adds
from fedlt.nn.net import Net
from fedlt.nn.text.chunked import Chunked
from fedlt.nn.text.encoder import Embedding, TokenModel
from fedlt.nn.text.hash_bag import HashBag
from fedlt.nn.text.transformer import sinusoids

VOCABULARY, LENGTH = 30, 12
SMALL: dict[str, dict[str, Any]] = {
    "bilstm": {"width": 6, "hidden": 8, "depth": 2},
    "chunked": {"inside": {"name": "hash_bag", "width": 6, "hidden": 16}, "length": 5},
    "hash_bag": {"width": 6, "hidden": 16},
    "text_cnn": {"width": 6, "maps": 6},
    "transformer": {"width": 16, "heads": 2},
    "window_transformer": {"width": 16, "heads": 2, "window": 4},
}
"""Every built-in model of token ids, with keys that make it small."""

BLOCKS = {"name": "window_transformer", "width": 16, "heads": 2, "attention": "blocks", "block": 2}


def built(name: str, seed: int = 0, **options: Any) -> Net:
    """The model over `VOCABULARY` ids and texts of at most `LENGTH` tokens, in evaluation mode."""
    task = Task("single", 3, (LENGTH,), inputs=TokenKind(VOCABULARY, LENGTH, shorter=True))
    torch.manual_seed(seed)
    net: Net = chosen("model", {"name": name, **SMALL[name], **options}, "model").create().build(task)
    net.inputs = task.inputs
    return net.eval()


def texts(*lengths: int, columns: int = LENGTH, seed: int = 1) -> Tensor:
    """[B, columns] ids of texts that have so many tokens, then padding."""
    ids = torch.randint(VOCABULARY, (len(lengths), LENGTH), generator=torch.Generator().manual_seed(seed))
    ids[torch.arange(LENGTH) >= torch.tensor(lengths)[:, None]] = PADDING
    return ids[:, :columns]


def test_every_model_of_token_ids_is_tested_here() -> None:
    recipes = {name: catalog.find("model", name).load() for name in catalog.names("model")}
    assert sorted(SMALL) == [name for name, recipe in recipes.items() if issubclass(recipe, TokenModel | Chunked)]


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_padding_changes_no_feature(name: str) -> None:
    net = built(name)
    alone = torch.cat([net.encode(texts(4)), net.encode(texts(4, 1)[1:])])
    beside = net.encode(torch.cat([texts(4, 1), texts(4, LENGTH)[1:]]))
    assert alone.shape == (2, net.feature_dim)
    torch.testing.assert_close(beside[:2], alone, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(beside[2], beside[1])


@pytest.mark.parametrize("name", SMALL)
def test_ids_and_weights_at_padded_places_get_no_gradient(name: str) -> None:
    net = built(name)
    ids = torch.tensor([[3, 4, 7, 7]])
    net.encode(ids, torch.tensor([[True, True, False, False]])).square().sum().backward()
    (table,) = (part for part in net.modules() if isinstance(part, Embedding))
    assert table.table.weight.grad is not None
    touched = table.table.weight.grad.abs().sum(1).nonzero().flatten()
    assert touched.tolist() == [3, 4]


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_and_calls_give_equal_bits(name: str) -> None:
    x = texts(5, 2, 12)
    found = []
    for _ in range(2):
        net = built(name).train()
        torch.manual_seed(3)
        net(x).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert torch.equal(*found)


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"chunked"}))
def test_tokens_of_one_bucket_are_one_token(name: str) -> None:
    net = built(name, buckets=7)
    assert net.part("backbone.embedding.table.weight").shape[0] == 7
    assert torch.equal(net(torch.tensor([[1, 9]])), net(torch.tensor([[8, 23]])))
    with pytest.raises(ValueError, match=r"30 tokens, and 30 buckets would be no fewer; take a smaller model\.buckets"):
        built(name, buckets=VOCABULARY)


def test_images_and_rows_are_refused() -> None:
    task = Task("single", 3, (6,), inputs=shaped((6,)))
    with pytest.raises(ValueError, match=r"HashBag needs token ids, and the inputs are .*; use model=mlp"):
        HashBag().build(task)
    with pytest.raises(ValueError, match=r"use model=cnn"):
        HashBag().build(Task("single", 3, (3, 8, 8)))


def test_a_bag_is_a_mean_and_a_layer() -> None:
    net = built("hash_bag")
    table, layer = net.part("backbone.embedding.table.weight"), net.part("backbone.layers.0")
    found = net.encode(torch.tensor([[2, 5, PADDING]]))
    torch.testing.assert_close(found[0], layer((table[2] + table[5]) / 2).relu())
    plain = built("hash_bag", depth=0)
    assert plain.feature_dim == 6
    torch.testing.assert_close(plain.encode(torch.tensor([[2, 2, 5]]))[0], (2 * table[2] + table[5]) / 3)


def test_a_filter_sees_zeros_beyond_the_ends_and_never_zeros_alone() -> None:
    net = built("text_cnn", width=1, maps=1, runs=[2])
    convolution, table = net.part("backbone.convolutions.0"), net.part("backbone.embedding.table.weight")
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[1.0, 2.0]]]))
        convolution.bias.zero_()
        table[:3] = torch.tensor([[-3.0], [1.0], [4.0]])
    # Runs (0, 1), (1, 4), (4, 0) of the text 1 2 give 2, 9, 4; the one word -3 gives (0, -3) and (-3, 0): below zero.
    found = net.encode(torch.tensor([[1, 2, PADDING, PADDING], [0, PADDING, PADDING, PADDING]]))
    assert found.tolist() == [[9.0], [0.0]]
    with torch.no_grad():
        convolution.bias.fill_(7.0)  # a run of zeros alone would give 7
    assert net.encode(torch.tensor([[0, PADDING, PADDING, PADDING]])).tolist() == [[4.0]]
    with pytest.raises(ValueError, match=r"model\.runs=\[3, 0\]: expected numbers of words, 1 or more"):
        built("text_cnn", runs=[3, 0])


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_both_directions_are_those_of_the_packed_lstm(pool: str) -> None:
    """PyTorch's bidirectional LSTM on a packed batch, with copied weights; a gap in the mask is no step."""
    net = built("bilstm", depth=2, pool=pool)
    reference = nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for depth, directions in enumerate(net.part("backbone.layers")):
            for lstm, suffix in zip(directions, ("", "_reverse"), strict=True):
                for name, weight in lstm.named_parameters():
                    reference.get_parameter(name.replace("_l0", f"_l{depth}{suffix}")).copy_(weight)
    x = texts(3, 12, 1)
    vectors = net.part("backbone.embedding")(x.clamp(min=0))
    packed = pack_padded_sequence(vectors, torch.tensor([3, 12, 1]), batch_first=True, enforce_sorted=False)
    states, (last, _) = reference(packed)
    padded, lengths = pad_packed_sequence(states, batch_first=True)
    mean = padded.sum(1) / lengths[:, None]
    expected = mean if pool == "mean" else torch.cat([last[2], last[3]], 1)
    torch.testing.assert_close(net.encode(x), expected)
    gap = torch.tensor([[*x[0, :2], 7, x[0, 2]]]), torch.tensor([[True, True, False, True]])
    torch.testing.assert_close(net.encode(*gap), expected[:1])


def test_the_weights_of_an_lstm_count_in_every_step() -> None:
    net = built("bilstm", depth=1)
    assert net.inputs is not None
    assert multiply_adds(net, net.inputs) == LENGTH * 2 * 4 * 8 * (6 + 8) + 16 * 3


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_transformer_is_pytorch_s_own_with_copied_weights(positions: str) -> None:
    net = built("transformer", depth=1, positions=positions)
    layer, encoder = net.part("backbone.layers.0"), net.part("backbone")
    reference = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    attention, theirs = layer.attention, reference.self_attn
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(part, name) for part in (attention.query, attention.key, attention.value)]
            getattr(theirs, f"in_proj_{name}").copy_(torch.cat(parts))
            getattr(theirs.out_proj, name).copy_(getattr(attention.out, name))
            for own, other in ((layer.perceptron[0], reference.linear1), (layer.perceptron[2], reference.linear2)):
                getattr(other, name).copy_(getattr(own, name))
        x = texts(3, 12)
        mask = x >= 0
        place = torch.arange(LENGTH).expand(2, LENGTH)
        places = encoder.places(place) if positions == "learned" else 0.02 * sinusoids(place, 16)
        states = reference(encoder.embedding(x.clamp(min=0)) + places, src_key_padding_mask=~mask)
        expected = torch.stack([encoder.norm(row[real]).mean(0) for row, real in zip(states, mask, strict=True)])
        torch.testing.assert_close(net.encode(x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"model\.width=16 cannot be shared by model\.heads=3"):
        built("transformer", heads=3)


def test_sinusoids_are_those_of_the_paper() -> None:
    found = sinusoids(torch.tensor([[0, 5]]), 4)[0]
    assert found[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    expected = [math.sin(5), math.sin(5 / 100), math.cos(5), math.cos(5 / 100)]
    assert found[1].tolist() == pytest.approx(expected)


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A scenario of 40 short texts of three classes at two clients, one round of one pass."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"vocabulary": VOCABULARY}
    for split, rows in (("train", 40), ("test", 12)):
        arrays[f"x_{split}"] = rng.integers(VOCABULARY, size=(rows, LENGTH))
        arrays[f"mask_{split}"] = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, size=(rows, 1))
        arrays[f"y_{split}"] = np.arange(rows) % 3
    np.savez(tmp_path / "words.npz", **arrays)
    federation = {"clients": 2, "participation": 1.0, "rounds": 1, "partition": {"name": "iid"}}
    yield {
        "data": {"name": str(tmp_path / "words.npz")},
        "federation": federation,
        "local": {"epochs": 1, "batch_size": 8, "lr": 0.1},
        "evaluation": {"every": 1},
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("strategy", ["fedavg", "fedloge", "fedrod", "fedper", "fedproto", "scaffold", "ditto"])
def test_strategies_run_unchanged(words: dict[str, Any], tmp_path: Path, name: str, strategy: str) -> None:
    content = {**words, "model": {"name": name, **SMALL[name]}, "strategy": strategy}
    once, again = (fedlt.run(content, out=tmp_path / folder, backend="inline") for folder in ("one", "two"))
    assert once.summary["model_hash"] == again.summary["model_hash"]
    assert np.isfinite(next(value for key, value in once.final.items() if key.endswith("accuracy")))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_finished_run_gives_its_model_again(words: dict[str, Any], tmp_path: Path, name: str) -> None:
    run = fedlt.run({**words, "model": {"name": name, **SMALL[name]}}, out=tmp_path, backend="inline")
    assert run.model()(texts(4, 12)).shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{"name": "chunked", **SMALL["chunked"]}, BLOCKS], ids=["chunked", "blocks"])
def test_the_graph_of_a_model_has_its_logits(words: dict[str, Any], tmp_path: Path, model: dict[str, Any]) -> None:
    """Of those whose steps follow from what a batch holds, for a batch of another size than the traced one."""
    trained = fedlt.run({**words, "model": model}, out=tmp_path, backend="inline").model()
    trained.export(tmp_path / "model.pt2")
    graph = torch.export.load(tmp_path / "model.pt2").module()
    x = texts(3, 12, 7, 1, 9).int()
    torch.testing.assert_close(graph(x), trained(x))


@pytest.fixture
def even(words: dict[str, Any]) -> dict[str, Any]:
    """The same texts, all of one length."""
    path = Path(words["data"]["name"])
    with np.load(path) as arrays:
        np.savez(path.with_name("even.npz"), **{key: arrays[key] for key in arrays if "mask" not in key})
    return {**words, "data": {"name": str(path.with_name("even.npz"))}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hash_bag", "text_cnn"])
def test_texts_of_one_length_train_together(even: dict[str, Any], tmp_path: Path, name: str) -> None:
    even["model"] = {"name": name, **SMALL[name]} | ({"dropout": 0.0} if name == "text_cnn" else {"buckets": 9})
    loss = {}
    for together in (1, 2):
        run = fedlt.run(even, f"local.together={together}", out=tmp_path / str(together), backend="inline")
        assert "one by one" not in (run.folder / "log.txt").read_text(encoding="utf-8")
        loss[together] = run.final["generic/nll"]
    assert loss[2] == pytest.approx(loss[1], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SMALL) - {"hash_bag", "text_cnn"}))
def test_other_encoders_say_that_they_train_alone(even: dict[str, Any], tmp_path: Path, name: str) -> None:
    content = {**even, "model": {"name": name, **SMALL[name]}}
    with pytest.raises(ScenarioError, match="Encoder has no step for several clients; take hash_bag or text_cnn"):
        fedlt.run(content, "local.together=2", out=tmp_path, backend="inline")
