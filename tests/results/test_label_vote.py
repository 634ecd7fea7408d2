"""Votes upon labels by hand: what is agreed, what is disputed, and the files of both."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.errors import UsageError
from fedlt.results.label_vote import Described

TEXTS = ("one", "two", "three", "four", "five")
VOTES: dict[str, Sequence[str | None]] = {
    "counts": ["a", "a", "b", "", "a"],
    "frozen": ["a", "b", "b", "a", "b"],
    "asked": ["a", "b", "a", None, "c"],
}


@pytest.mark.parametrize(
    ("least", "labels"),
    [
        (None, ("a", "", "", "", "")),
        (2, ("a", "b", "b", "", "")),
        (1, ("a", "b", "b", "a", "")),
        (3, ("a", "", "", "", "")),
    ],
)
def test_what_enough_labelers_say_is_the_label(least: int | None, labels: tuple[str, ...]) -> None:
    assert fedlt.label_vote(TEXTS, VOTES, least).labels == labels


def test_who_says_nothing_does_not_count_but_one_alone_is_no_vote() -> None:
    found = fedlt.label_vote(["one", "two"], {"x": ["a", "a"], "y": ["a", ""], "z": ["", ""]})
    assert found.labels == ("a", "")


def test_models_and_functions_are_asked() -> None:
    class Model:
        def predict(self, texts: list[str]) -> Any:
            return np.array([text[0] for text in texts])

    class Run:
        def model(self) -> Model:
            return Model()

    found = fedlt.label_vote(TEXTS, {"run": Run(), "model": Model(), "function": lambda texts: ["t"] * len(texts)})  # type: ignore[dict-item]
    assert found.votes["run"] == found.votes["model"] == ("o", "t", "t", "f", "f")
    assert found.labels == ("", "t", "t", "", "")
    assert found.agreement() == {("run", "model"): 1.0, ("run", "function"): 0.4, ("model", "function"): 0.4}
    assert found.text().splitlines()[:2] == ["2 of 5 texts are agreed upon", "run and model: 100.0 %"]


def test_both_files(tmp_path: Path) -> None:
    found = fedlt.label_vote(TEXTS, VOTES, 2)
    agreed = found.write_agreed(tmp_path / "agreed.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in agreed] == [
        {"text": "one", "label": "a"}, {"text": "two", "label": "b"}, {"text": "three", "label": "b"},
    ]  # fmt: skip
    with found.write_disputed(tmp_path / "disputed.csv").open(newline="") as file:
        assert [*csv.DictReader(file)] == [
            {"text": "four", "label": "", "counts": "", "frozen": "a", "asked": ""},
            {"text": "five", "label": "", "counts": "a", "frozen": "b", "asked": "c"},
        ]
    with pytest.raises(UsageError, match=r"ends in \.csv or \.jsonl, got agreed\.txt"):
        found.write_agreed(tmp_path / "agreed.txt")


@pytest.mark.parametrize(
    ("labelers", "least", "told"),
    [
        ({"counts": ["a"]}, None, "takes two labelers or more, got 1"),
        ({"counts": ["a"], "frozen": ["a", "b"]}, None, "frozen gave 2 labels for 1 texts"),
        ({"counts": ["a"], "frozen": ["a"]}, 3, r"expected least in 1\.\.2"),
        ({"counts": ["a"], "label": ["a"]}, None, "give the labeler another name"),
    ],
)
def test_what_is_no_vote_is_refused(labelers: dict[str, list[str]], least: int | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        fedlt.label_vote(["one"], labelers, least)


def test_the_nearest_description_is_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    def features(self: Described, texts: Sequence[str]) -> Any:
        return np.array([[text.count("x"), text.count("y")] for text in texts], np.float32)

    monkeypatch.setattr(Described, "_features", features)
    assert Described({"many x": "xx", "many y": "yy"})(["xxy", "yyx", "y"]) == ["many x", "many y", "many y"]


def test_descriptions_are_passed_through_an_encoder_of_texts(tmp_path: Path) -> None:
    """Letters as tokens, and how often each occurs as features."""
    (tmp_path / "letters.py").write_text(
        "from dataclasses import dataclass\nfrom torch.nn.functional import one_hot\n"
        "from fedlt import TextEncoder, Tokenizer\n\n\n@dataclass(frozen=True)\nclass Letters(Tokenizer):\n"
        "    @property\n    def vocabulary(self):\n        return 27\n\n"
        "    def ids(self, text):\n        return [ord(letter) - 96 for letter in text]\n\n\n"
        "@dataclass(frozen=True)\nclass Counts(TextEncoder):\n"
        f"    def tokenizer(self):\n        return {{'name': '{tmp_path}/letters.py:Letters'}}\n\n"
        "    def build(self):\n"
        "        return lambda ids, mask: (one_hot(ids, 27) * mask[..., None]).sum(1).float()\n"
    )
    asked = Described({"many x": "xx", "many y": "yyyyyyy"}, f"{tmp_path}/letters.py:Counts")
    assert asked(["xxy", "yyx"]) == ["many x", "many y"]
    with pytest.raises(UsageError, match="encodes pictures; take an encoder of texts"):
        Described({"a": "b"}, "efficientnet_lite0")(["c"])
