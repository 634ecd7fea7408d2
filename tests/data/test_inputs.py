"""Input kinds on hand-sized data: what is stored, what a model gets, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.inputs import Given, InputKind, described, read, restored, shaped
from fedlt.data.inputs.sequences import SequenceKind
from fedlt.data.inputs.tabular import TabularKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.raw import RawData
from fedlt.errors import FedLTError, ScenarioError
from fedlt.nn.cost import multiply_adds
from fedlt.nn.mlp import MLP

CPU = torch.device("cpu")
Y = np.array([0, 1, 0])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))


def batch(kind: InputKind, stored: np.ndarray[Any, Any]) -> list[Any]:
    """All rows of a split, as a model gets them."""
    x = kind.open(stored, CPU).take(torch.arange(len(stored)))
    assert isinstance(x, torch.Tensor)
    return x.tolist()


# Rows of numbers and categories ---------------------------------------------------------------------------------------


def test_missing_numbers_become_the_mean_and_an_indicator() -> None:
    """Column 0: 1, 3 and a hole: mean 2, deviation 1. Column 1: 4, 4, 10: mean 6, deviation sqrt(8)."""
    train = np.array([[1, 4], [3, 4], [np.nan, 10]])
    test = np.array([[np.nan, np.nan], [5, 6]])
    kind, x_train, x_test = read("t", Given(train, names=("age", "bp")), Given(test))
    assert isinstance(kind, TabularKind)
    assert kind.columns == ("age", "bp", "age is missing")
    root = 8**0.5
    expected = [[-1, -2 / root, 0], [1, -2 / root, 0], [0, 4 / root, 1]]
    assert np.allclose(batch(kind, x_train), expected)
    assert [line.partition(":")[0] for line in kind.remarks()] == [
        "1 of 2 columns of numbers have missing values (age)"
    ]
    # A hole in a column that has none in training is the mean, and nothing more.
    assert batch(kind, x_test) == [[0, 0, 1], [3, 0, 0]]


def test_rows_without_holes_are_standardised_and_nothing_else() -> None:
    train = np.array([[1, 5], [3, 5]], np.float32)
    kind, x_train, _ = read("t", Given(train), Given(train))
    assert kind.shape == (2,)
    assert batch(kind, x_train) == [[-1, 0], [1, 0]]
    assert x_train.dtype == np.float32


def test_categories_are_one_hot_and_unseen_ones_are_all_zero() -> None:
    train = Given(np.array([[1.0], [3.0], [2.0]]), categories=np.array([["b", 1], ["a", 20], ["b", 1]], object))
    test = Given(np.array([[2.0], [2.0]]), categories=np.array([["c", 20], ["a", None]], object))
    kind, x_train, x_test = read("t", train, test)
    assert isinstance(kind, TabularKind)
    assert kind.levels == (("a", "b"), ("1", "20"))
    assert kind.columns == ("0", "1=a", "1=b", "2=1", "2=20")
    assert [row[1:] for row in batch(kind, x_train)] == [[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]]
    assert batch(kind, x_test) == [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]  # c is unseen, and so is a missing value


def test_a_missing_category_of_the_training_source_is_a_value_of_its_own() -> None:
    train = Given(np.zeros((3, 0)), categories=np.array([["a"], [None], [np.nan]], object))
    kind, x_train, _ = read("t", train, train)
    assert batch(kind, x_train) == [[0, 1], [1, 0], [1, 0]]


def test_rare_categories_get_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.data.inputs.tabular.MOST_LEVELS", 2)
    train = Given(np.zeros((5, 0)), categories=np.array([[1], [2], [2], [3], [3]]))
    kind, x_train, _ = read("t", train, train)
    assert batch(kind, x_train) == [[0, 0], [1, 0], [1, 0], [0, 1], [0, 1]]


def test_texts_alone_are_categories() -> None:
    train = Given(np.array([["x", "u"], ["y", "u"]]))
    kind, x_train, _ = read("t", train, train)
    assert batch(kind, x_train) == [[1, 0, 1], [0, 1, 1]]


# Sequences ------------------------------------------------------------------------------------------------------------


IDS = np.array([[3, 1, 4], [1, -7, 99], [0, 2, 0]])
MASK = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]])


def test_token_ids_carry_their_mask() -> None:
    kind, x_train, x_test = read("t", Given(IDS, MASK), Given(IDS[2:, :2]))
    assert isinstance(kind, TokenKind)
    assert (kind.vocabulary, kind.length, kind.padded) == (5, 3, True)
    assert x_train.dtype == np.int32
    assert x_test.tolist() == [[0, 2, -1]]  # both splits have one length

    x = kind.open(x_train, CPU).take(torch.tensor([1, 2]))
    assert isinstance(x, torch.Tensor)
    assert x.dtype == torch.int64
    assert x.tolist() == [[1, -1, -1], [0, 2, -1]]
    ids, mask = kind.split(x)
    assert ids.tolist() == [[1, 0], [0, 2]]  # cut to the longest of the batch, padding is a valid id
    assert mask.tolist() == [[True, False], [True, True]]


def test_sequences_of_one_length_are_not_cut() -> None:
    kind, x_train, _ = read("t", Given(IDS[[0, 2]]), Given(IDS[[0]]))
    assert not kind.padded
    ids, mask = kind.split(torch.from_numpy(x_train).long())
    assert ids.tolist() == IDS[[0, 2]].tolist()
    assert mask is not None and mask.all()


def test_padding_that_all_have_is_dropped_and_holes_are_kept() -> None:
    mask = np.array([[1, 0, 1, 0], [1, 1, 0, 0]])
    kind, x_train, _ = read("t", Given(np.ones((2, 4), int), mask), Given(np.ones((1, 2), int)))
    assert kind.shape == (3,)
    assert x_train.tolist() == [[1, -1, 1], [1, 1, -1]]
    assert kind.split(torch.from_numpy(x_train).long())[1].tolist() == [[True, False, True], [True, True, False]]  # type: ignore[union-attr]


def test_measurements_are_standardised_over_real_steps() -> None:
    """Real steps 1, 3, 5: mean 3, variance 8/3."""
    x = np.array([[[1.0], [3.0]], [[5.0], [1e9]]])
    kind, x_train, _ = read("t", Given(x, np.array([[1, 1], [1, 0]])), Given(x[:1], np.ones((1, 2), bool)))
    assert isinstance(kind, SequenceKind)
    values, mask = kind.split(torch.tensor(batch(kind, x_train)))
    std = (8 / 3) ** 0.5
    assert torch.allclose(values, torch.tensor([[[-2 / std], [0.0]], [[2 / std], [0.0]]]))
    assert mask.tolist() == [[True, True], [True, False]]


# What every kind answers ----------------------------------------------------------------------------------------------


KINDS: list[tuple[str, Given]] = [
    ("images", Given(np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3))),
    ("rows", Given(np.array([[1.0], [np.nan], [2.0]]), categories=np.array([["b"], ["a"], ["b"]]))),
    ("tokens", Given(IDS, MASK)),
    ("sequences", Given(np.arange(18.0).reshape(3, 3, 2), MASK)),
]


@pytest.mark.parametrize(("name", "given"), KINDS, ids=[name for name, _ in KINDS])
def test_a_kind_is_restored_from_its_description(name: str, given: Given) -> None:
    import json

    kind, stored, _ = read("t", given, given)
    assert kind.name == name
    again = restored(json.loads(json.dumps(described(kind))), kind.arrays())
    assert again.shape == kind.shape
    assert described(again) == described(kind)
    assert str(batch(again, stored)) == str(batch(kind, stored))
    assert copy.deepcopy(kind) is kind


@pytest.mark.parametrize(("name", "given"), KINDS, ids=[name for name, _ in KINDS])
def test_new_samples_are_stored_as_those_of_the_source(name: str, given: Given) -> None:
    kind, stored, _ = read("t", given, given)
    assert np.array_equal(kind.stored(given), stored, equal_nan=name != "images")
    rows = np.array([2, 0])
    again = kind.stored(given.at(rows))
    assert again.dtype == stored.dtype
    inputs = kind.open(stored, CPU)
    assert str(inputs.ready(torch.from_numpy(again)).tolist()) == str(inputs.take(torch.from_numpy(rows)).tolist())


@pytest.mark.parametrize(
    ("known", "given", "message"),
    [
        (1, Given(np.zeros((2, 2))), "expected rows of 1 numbers and 1 categories, got 2 and 0"),
        (1, Given(np.zeros((2, 2, 2))), r"expected rows of 1 numbers and 1 categories, got float64 \[2, 2, 2\]"),
        (2, Given(np.array([[5]])), r"expected token ids \[N, 3\], whole numbers in 0\.\.4, got 5\.\.5"),
        (2, Given(np.array([[0.5]])), r"got float64 \[1, 1\]"),
        (2, Given(np.zeros((1, 4), int)), "expected sequences of 1 to 3 steps, and some have none or more; cut them"),
        (3, Given(np.zeros((1, 3, 3))), r"expected sequences float \[N, 3, 2\], got float64 \[1, 3, 3\]"),
        (3, Given(np.full((1, 3, 2), np.nan)), "real steps of the samples have missing"),
        (0, Given(np.zeros((1, 2, 2, 3), np.uint8), np.ones((1, 2))), "neither a mask nor categories"),
    ],
)
def test_new_samples_of_another_kind_are_refused(known: int, given: Given, message: str) -> None:
    kind, _, _ = read("t", KINDS[known][1], KINDS[known][1])
    with pytest.raises(FedLTError, match=message):
        kind.stored(given)


def test_sequences_of_one_length_take_no_shorter_ones_and_rows_without_holes_no_holes() -> None:
    kind, _, _ = read("t", Given(IDS[[0, 2]]), Given(IDS[[0]]))
    assert kind.stored(Given(IDS[[2]])).tolist() == [[0, 2, 0]]
    for short in (Given(IDS[[2], :2]), Given(IDS[[2]], MASK[[2]])):
        with pytest.raises(FedLTError, match="expected sequences of 3 steps, and some are shorter"):
            kind.stored(short)

    full = Given(np.array([[1.0], [3.0]]))
    rows, _, _ = read("t", full, full)
    with pytest.raises(FedLTError, match="some are missing, which the model has never met"):
        rows.stored(Given(np.array([[np.nan]])))


@pytest.mark.parametrize(("name", "given"), KINDS, ids=[name for name, _ in KINDS])
def test_an_example_looks_like_a_batch(name: str, given: Given) -> None:
    kind, stored, _ = read("t", given, given)
    x = kind.open(stored, CPU).take(torch.arange(3))
    assert isinstance(x, torch.Tensor)
    plain, drawn = kind.example(3), kind.example(3, torch.Generator().manual_seed(0))
    assert plain.shape == drawn.shape == x.shape == (3, *kind.shape)
    assert plain.dtype == drawn.dtype == x.dtype
    assert torch.equal(drawn, kind.example(3, torch.Generator().manual_seed(0)))
    _, mask = kind.split(plain)
    assert mask is None or mask.tolist() == [[True] * 3, [True, False, False], [True, False, False]]


@pytest.mark.parametrize(("name", "given"), KINDS[1:], ids=[name for name, _ in KINDS[1:]])
def test_only_images_are_augmented(name: str, given: Given) -> None:
    kind, stored, _ = read("t", given, given)
    assert kind.obstacle("none") is None
    assert kind.obstacle("crop") == "crop is for images; use none"
    with pytest.raises(ValueError, match=r"local\.augment=crop is for images"):
        kind.open(stored, CPU).take(torch.tensor([0]), "crop")


def test_the_cache_keeps_the_kind(tmp_path: Path) -> None:
    config = write(tmp_path, x_train=IDS, mask_train=MASK, x_test=IDS[2:], mask_test=MASK[2:], y_test=Y[2:])
    first, again = sources.load(config), sources.load(config)
    assert described(again.inputs) == {"kind": "tokens", "vocabulary": 5, "length": 3, "shorter": True}
    assert again.x_train.tolist() == first.x_train.tolist() == [[3, 1, 4], [1, -1, -1], [0, 2, -1]]
    assert isinstance(again.x_train, np.memmap)


def test_cost_follows_from_an_example() -> None:
    """Three inputs, 4 hidden units, 2 classes: 3 x 4 + 4 x 2 multiplications."""
    from fedlt.data.task import Task

    inputs = shaped((3,))
    net = MLP(width=4, depth=1).build(Task("single", 2, (3,), inputs=inputs))
    assert multiply_adds(net, inputs) == 20


# What is refused ------------------------------------------------------------------------------------------------------


def write(folder: Path, **arrays: Any) -> Data:
    path = folder / "set.npz"
    np.savez(path, **{"y_train": Y, "y_test": Y, **arrays})
    return Data(name=str(path))


def loaded(folder: Path, **arrays: Any) -> RawData:
    return sources.load(write(folder, **arrays))


PLAIN = {"x_train": IDS[[0, 0, 2]], "x_test": IDS[[0, 0, 2]]}
FLOATS = {"x_train": np.zeros((3, 2), np.float32), "x_test": np.zeros((3, 2), np.float32)}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**PLAIN, "mask_train": MASK[:, :2]}, r"mask of the training set has shape \[3, 2\].*give it the shape \[3, 3\]"),
    ({**PLAIN, "mask_train": MASK[:2]}, r"mask of the training set has shape \[2, 3\]"),
    ({**PLAIN, "mask_test": 0.5 * MASK}, "mask of the test set must hold 0 and 1"),
    ({**PLAIN, "mask_test": MASK * [[1], [0], [1]]}, "1 rows of the test set, row 1 first, have no real step"),
    ({**PLAIN, "x_train": IDS}, r"token ids must be 0 or more, got -7 in row 1 of the training set; say in a mask"),
    ({**PLAIN, "x_test": IDS[[0, 0, 0]] + 1}, "the test set has the token id 5, beyond the vocabulary of 5"),
    ({**PLAIN, "vocabulary": 4}, "the training set has the token id 4, beyond the vocabulary of 4"),
    ({**PLAIN, "vocabulary": 0.5}, "vocabulary must be the number of tokens, or a list of them"),
    ({**PLAIN, "x_train": IDS[[0, 0, 2]] * 10**8}, "too large for token ids; store features as decimal numbers"),
    ({**PLAIN, "x_test": FLOATS["x_test"]}, r"two kinds, int64 \[3, 3\] \(training\) and float32 \[3, 2\] \(test\)"),
    ({**FLOATS, "mask_train": MASK[:, :2]}, "a mask is for token ids.*remove the mask"),
    ({**FLOATS, "categories_train": MASK}, r"2 numbers and 3 categories \(training\) and 2 numbers and 0 categories"),
    ({**FLOATS, "categories_train": Y, "categories_test": Y}, r"categories must have the shape \[3, G\]"),
    ({"x_train": np.zeros((3, 2, 2)), "x_test": np.zeros((3, 2, 2))}, "expected inputs as.*sequences with a mask"),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_inputs_that_cannot_be_used(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=rf"data\.name: .*{message}"):
        loaded(tmp_path, **arrays)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").glob("set-*"))


def test_the_vocabulary_may_be_larger_than_what_occurs(tmp_path: Path) -> None:
    for told in (9, np.array(list("abcdefghi"))):
        raw = loaded(tmp_path, **{**PLAIN, "x_test": IDS[[0, 0, 0]] + 4, "vocabulary": told})
        assert raw.inputs.meta()["vocabulary"] == 9


def test_a_test_share_is_cut_from_masks_and_categories_too(tmp_path: Path) -> None:
    from dataclasses import replace

    y, ids = np.repeat([0, 1], 5), np.tile(IDS[[0]], (10, 1))
    mask = np.ones((10, 3), int)
    mask[:, 2] = y
    path = tmp_path / "one.npz"
    np.savez(path, x=ids, y=y, mask=mask)
    raw = sources.load(replace(Data(name=str(path)), test_share=0.2))
    assert (len(raw.x_train), len(raw.x_test)) == (8, 2)
    assert ((raw.x_train[:, 2] == -1) == (raw.y_train == 0)).all()

    np.savez(path, x=ids, y=y, mask=mask[1:])
    with pytest.raises(ScenarioError, match=r"mask of shape \[9, 3\] for 10 labels"):
        sources.load(replace(Data(name=str(path)), test_share=0.2))
