"""Models of token ids: padding, texts of one token, buckets, and federated runs of a few strategies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fedlt
from fedlt.config import catalog
from fedlt.data.inputs import shaped
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.nn.text.hash_bag import HashBag

VOCABULARY, LENGTH = 30, 12
SMALL: dict[str, dict[str, Any]] = {
    "hash_bag": {"width": 6, "hidden": 16},
}
"""Every built-in model of token ids, with keys that make it small."""


def built(name: str, seed: int = 0, **options: Any) -> Net:
    """The model over `VOCABULARY` ids and texts of at most `LENGTH` tokens, in evaluation mode."""
    task = Task("single", 3, (LENGTH,), inputs=TokenKind(VOCABULARY, LENGTH, shorter=True))
    torch.manual_seed(seed)
    net: Net = catalog.find("model", name).load()(**{**SMALL[name], **options}).build(task)
    net.inputs = task.inputs
    return net.eval()


def texts(*lengths: int, columns: int = LENGTH, seed: int = 1) -> Tensor:
    """[B, columns] ids of texts that have so many tokens, then padding."""
    ids = torch.randint(VOCABULARY, (len(lengths), LENGTH), generator=torch.Generator().manual_seed(seed))
    ids[torch.arange(LENGTH) >= torch.tensor(lengths)[:, None]] = PADDING
    return ids[:, :columns]


def test_every_model_of_token_ids_is_tested_here() -> None:
    reading = [name for name in catalog.names("model") if ".text." in catalog.find("model", name).target]
    assert sorted(SMALL) == reading


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
    touched = net.part("backbone.embedding.table.weight").grad.abs().sum(1).nonzero().flatten()
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


@pytest.mark.parametrize("name", SMALL)
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
def test_texts_of_one_length_train_together_and_others_are_refused(
    words: dict[str, Any], tmp_path: Path, name: str
) -> None:
    content = {**words, "model": {"name": name, **SMALL[name]}}
    with pytest.raises(ScenarioError, match="samples of different lengths are cut batch by batch"):
        fedlt.run(content, "local.together=2", out=tmp_path / "refused", backend="inline")
    path = Path(words["data"]["name"])
    with np.load(path) as arrays:
        np.savez(path.with_name("even.npz"), **{key: arrays[key] for key in arrays if "mask" not in key})
    even = [f"data.name={path.with_name('even.npz')}", "model.buckets=9"]
    told = {}
    for together in (1, 2):
        run = fedlt.run(content, *even, f"local.together={together}", out=tmp_path / str(together), backend="inline")
        assert "one by one" not in (run.folder / "log.txt").read_text(encoding="utf-8")
        told[together] = run.final["generic/loss"] if "generic/loss" in run.final else run.final["generic/nll"]
    assert told[2] == pytest.approx(told[1], rel=1e-4)
