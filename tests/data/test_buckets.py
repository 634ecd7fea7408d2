"""Batches of sequences of like lengths: what they hold, what they leave as it was, and where they are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data import buckets
from fedlt.data.buckets import bucketed, encoded_by_length, lengths_of
from fedlt.data.inputs.sequences import SequenceKind
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.errors import ScenarioError

LENGTHS = np.array([5, 1, 9, 2, 8, 1, 4])


def batches(order: list[int], size: int = 2, seed: int = 0) -> list[list[int]]:
    """Lengths of the samples of each batch."""
    found = bucketed(np.array(order), LENGTHS, size, np.random.default_rng(seed))
    assert sorted(found) == sorted(order)
    return [LENGTHS[found[start : start + size]].tolist() for start in range(0, len(found), size)]


def test_batches_are_of_neighbours_in_length_in_an_order_that_is_drawn() -> None:
    order = [0, 1, 2, 3, 4, 5]
    assert sorted(batches(order)) == [[1, 1], [2, 5], [8, 9]]
    assert len({str(batches(order, seed=seed)) for seed in range(20)}) == 6
    assert batches(order, seed=3) == batches(order, seed=3)


def test_a_shorter_batch_comes_last_and_is_of_any_length() -> None:
    ends = set()
    for seed in range(40):
        *whole, last = batches(list(range(7)), seed=seed)
        assert all(len(batch) == 2 for batch in whole)
        ends.add(last[0])
    assert ends == {1, 2, 5, 9}  # between any two whole batches of 1 1 2 4 5 8 9, or at an end


def test_equal_lengths_keep_the_order_that_was_drawn_and_samples_may_repeat() -> None:
    assert bucketed(np.array([5, 1]), LENGTHS, 2, np.random.default_rng(0)).tolist() == [5, 1]
    assert batches([2, 2, 1, 1]) in ([[1, 1], [9, 9]], [[9, 9], [1, 1]])
    assert bucketed(np.array([], np.int64), LENGTHS, 2, np.random.default_rng(0)).tolist() == []


def test_a_long_pass_is_sorted_in_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches a pool: the first four of the order stay before the others."""
    monkeypatch.setattr(buckets, "POOL", 2)
    found = batches([2, 1, 4, 5, 0, 3])
    assert sorted(found[:2]) == [[1, 1], [8, 9]]
    assert found[2] == [2, 5]


class Held:
    """Inputs that are what a model gets."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        return self.x[rows]


def test_lengths_are_up_to_the_last_real_step_of_tokens_and_of_measurements() -> None:
    ids = torch.tensor([[1, 2, PADDING], [PADDING, 4, PADDING], [0, PADDING, PADDING], [0, 0, 0]])
    rows = torch.tensor([3, 0, 1, 2])
    assert lengths_of(Held(ids), rows, TokenKind(5, 3, shorter=True)).tolist() == [3, 2, 2, 1]
    measured = torch.where(ids >= 0, ids.float(), torch.nan)[:, :, None]
    kind = SequenceKind(3, np.zeros(1, np.float32), np.ones(1, np.float32), shorter=True)
    assert lengths_of(Held(measured), rows, kind).tolist() == [3, 2, 2, 1]


def test_features_of_pieces_are_put_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "PIECE", 2)
    x = torch.tensor([[7, 7, 7], [1, PADDING, PADDING], [2, 2, PADDING], [3, PADDING, PADDING], [9, 9, 9]])
    kind, seen = TokenKind(10, 3, shorter=True), []

    def encode(part: Tensor) -> Tensor:
        seen.append(part[:, 0].tolist())
        return part[:, :1].float()

    assert encoded_by_length(encode, x, kind).flatten().tolist() == [7, 1, 2, 3, 9]
    assert seen == [[1, 3], [2, 7], [9]]


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A scenario of 60 texts of three classes at two clients."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"vocabulary": 30}
    for split, rows in (("train", 60), ("test", 45)):
        arrays[f"x_{split}"] = rng.integers(30, size=(rows, 12))
        arrays[f"mask_{split}"] = np.arange(12) < rng.integers(1, 13, size=(rows, 1))
        arrays[f"y_{split}"] = np.arange(rows) % 3
    np.savez(tmp_path / "words.npz", **arrays)
    arrays = {name: value for name, value in arrays.items() if not name.startswith("mask")}
    np.savez(tmp_path / "even.npz", **arrays)
    federation = {"clients": 2, "participation": 1.0, "rounds": 2, "partition": {"name": "iid"}}
    model = {"name": "hash_bag", "width": 6, "hidden": 8}
    return {**tiny, "data": {"name": str(tmp_path / "words.npz")}, "federation": federation, "model": model}


@pytest.mark.slow
def test_a_run_trains_on_them_on_any_number_of_workers(
    words: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    for place, made in (("fedlt.training.trainer", bucketed), ("clients.evaluation_sets", encoded_by_length)):

        def counted(*given: Any, made: Callable[..., Any] = made, **named: Any) -> Any:
            called.append(made.__name__)
            return made(*given, **named)

        monkeypatch.setattr(f"{place}.{made.__name__}", counted)
    one = fedlt.run(words, "local.batches=bucketed", out=tmp_path / "one", backend="inline")
    assert Counter(called) == {"bucketed": 2 * 2, "encoded_by_length": 2}  # two clients, two rounds; a chunk of tests
    two = fedlt.run(words, "local.batches=bucketed", out=tmp_path / "two", backend="processes", workers=2)
    assert one.summary["model_hash"] == two.summary["model_hash"]
    drawn = fedlt.run(words, out=tmp_path / "drawn", backend="inline")
    assert drawn.summary["model_hash"] != one.summary["model_hash"]


def test_the_hash_leaves_it_out_at_its_default(words: dict[str, Any]) -> None:
    base = load_scenario(words)
    assert "batches" not in base.to_dict()["local"]
    assert base.hash == load_scenario(words, ["local.batches=drawn"]).hash
    assert base.hash != load_scenario(words, ["local.batches=bucketed"]).hash


@pytest.mark.parametrize("data", ["even.npz", "digits"])
def test_inputs_of_one_length_are_refused(words: dict[str, Any], tmp_path: Path, data: str) -> None:
    name = "digits" if data == "digits" else str(tmp_path / data)
    changes = [f"data.name={name}", "local.batches=bucketed"] + ["model=mlp"] * (data == "digits")
    with pytest.raises(ScenarioError, match=r"local\.batches: the inputs are .*, all of one length.*; take drawn"):
        fedlt.run(words, *changes, out=tmp_path / "runs", backend="inline")
