"""What `data.shorten` takes out of texts, before they are cut and by a trained model again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.inputs import Given, described, restored
from fedlt.data.provenance import named_now
from fedlt.errors import ScenarioError
from fedlt.tokenizers.hashing import Hashing
from fedlt.tokenizers.shorten import ENGLISH, NEGATIONS, Shortening

TEXT = "The bus, the BUS was not late; it's 3.5 km and I don't wait!"


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    columns = {"text": [TEXT, "the end of it", "not good, not bad", "good"], "label": ["a", "b", "a", "b"]}
    pd.DataFrame(columns).to_csv(tmp_path / "reviews.csv", index=False)
    return tmp_path / "reviews.csv"


def loaded(reviews: Path, **shorten: Any) -> Any:
    keys = {"name": str(reviews), "tokenizer": {"name": "hashing", "length": 4}, "test_share": 0.5, "shorten": shorten}
    return sources.load(load_scenario({"data": keys}).data)


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ({"words": "english"}, "bus, BUS not late; ' 3.5 km don't wait!"),
        ({"words": "english", "keep": []}, "bus, BUS late; ' 3.5 km don't wait!"),
        ({"signs": True}, "The bus the BUS was not late it s 3 5 km and I don t wait"),
        ({"again": True}, "The bus, was not late; it's 3.5 km and I don't wait!"),
        ({"words": "english", "signs": True, "again": True}, "bus not late 3 5 km don t wait"),
    ],
)
def test_what_is_left(keys: dict[str, Any], left: str) -> None:
    made = Shortening.of(keys.get("words"), keys.get("keep"), keys.get("signs", False), keys.get("again", False))
    text, before, after = made(TEXT)
    assert text == left
    assert (before, after) == (len(Hashing().ids(TEXT)), len(Hashing().ids(left)))


def test_negations_stay_unless_asked_for() -> None:
    assert set(NEGATIONS) <= ENGLISH
    assert not {"don", "t", "without", "nothing", "none"} & ENGLISH
    assert Shortening.of("english", None, False, False).stop == ENGLISH - set(NEGATIONS)
    assert Shortening.of("english", ["The"], False, False).stop == ENGLISH - {"the"}


def test_texts_are_shortened_before_they_are_cut(reviews: Path) -> None:
    plain, short = loaded(reviews), loaded(reviews, stop_words="english", punctuation=True)
    rows = [int(row) for row in np.flatnonzero(plain.y_train == 0)]
    ids = Hashing(length=4).kept
    first = {tuple(plain.x_train[row]) for row in rows} & {tuple(ids(text)[0]) for text in (TEXT, "not good, not bad")}
    assert len(first) == 1
    expected = {tuple(ids(text)[0]) for text in ("bus BUS not late", "not good not bad")}
    assert {tuple(short.x_train[row]) for row in rows} < expected

    (remark,) = short.inputs.remarks()
    assert (
        remark.startswith("data.shorten leaves ")
        and "% of the training texts' words and signs; texts are tokens" in remark
    )
    again = restored(described(short.inputs), {})
    x = np.array([TEXT, "not good, not bad", "the of it"], object)
    stored = again.stored(Given(x))
    assert {tuple(row) for row in stored[:2].tolist()} == expected
    assert stored[2].tolist() == [0, -1, -1, -1]


def test_a_list_of_ones_own_is_known_by_its_words(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(reviews.parent)
    Path("words.txt").write_text("Good\n\nbad\n", encoding="utf-8")
    scenario = {"data": {"name": str(reviews), "tokenizer": "hashing", "test_share": 0.5, "shorten": "words.txt"}}
    checked = load_scenario(scenario)
    assert named_now(checked)["data.shorten.stop_words"].keys() == {"words.txt"}
    first = sources.load(checked.data)
    assert first.inputs.meta()["made"]["shorten"]["stop"] == ["bad", "good"]
    Path("words.txt").write_text("late", encoding="utf-8")
    assert sources.load(checked.data).inputs.meta()["made"]["shorten"]["stop"] == ["late"]
    Path("words.txt").write_bytes(b"\xff")
    with pytest.raises(ScenarioError, match=r"data.shorten.stop_words: words.txt is not UTF-8; convert it"):
        sources.load(checked.data)
    Path("words.txt").unlink()
    with pytest.raises(ScenarioError, match="cannot be read: No such file or directory; take english, or a file"):
        sources.load(checked.data)


def test_a_file_of_words_starts_at_the_folder_of_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: {tokenizer: hashing, shorten: {stop_words: words.txt}}\n")
    found = load_scenario(tmp_path / "mine.yaml").data.shorten.stop_words
    assert found == str(tmp_path / "words.txt")
    (tmp_path / "mine.yaml").write_text("data: {tokenizer: hashing, shorten: english}\n")
    assert load_scenario(tmp_path / "mine.yaml").data.shorten.stop_words == "english"


def test_what_would_change_nothing_is_refused() -> None:
    for data, key in (
        ({"shorten": "english"}, "data.shorten: has no effect without data.tokenizer"),
        (
            {"tokenizer": "hashing", "shorten": {"keep": ["no"]}},
            "data.shorten.keep: has no effect without data.shorten.s",
        ),
    ):
        with pytest.raises(ScenarioError, match=key):
            load_scenario({"data": data})
    assert "shorten" not in load_scenario("text_lt").to_dict()["data"]
