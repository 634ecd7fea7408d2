"""Tables of generated texts and of words before labels: what counts as a copy, who is drawn, and what is claimed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.text import generated, pretraining


def test_eight_tokens_of_a_test_text_are_a_copy_unless_a_training_text_has_them() -> None:
    test = [np.arange(20)]
    written = [np.arange(5, 13), np.arange(5, 12), np.r_[99, np.arange(8), 98], np.arange(12, 20)]
    assert generated.copies(written, [np.arange(40, 60)], test) == 3
    assert generated.copies(written, [np.arange(12, 20)], test) == 2


def test_so_many_of_each_kind_are_drawn_and_all_others_are_asked() -> None:
    rows = [{"text": str(place), "label": "ab"[place % 2]} for place in range(20)]
    own, rest = generated.split({"train": rows}, 3, 0)
    assert [row["label"] for row in own].count("a") == [row["label"] for row in own].count("b") == 3
    assert sorted(row["text"] for row in own + rest) == sorted(row["text"] for row in rows)


@pytest.mark.parametrize(
    ("near", "copied", "holds"),
    [("53", "0", [True, True, True]), ("51", "0", [False, False, True]), ("49", "1", [False, False, False])],
)
def test_claims_of_generated_texts(near: str, copied: str, holds: list[bool]) -> None:
    means = dict(zip(generated.ARMS, ("50", "52", "50", near), strict=True))
    rows = [
        {"model": "m", "of each kind": size, "generated": arm, "test mean": value, "others mean": value,
         "copies of test texts": copied}
        for size in ("20", "50")
        for arm, value in means.items()
    ]  # fmt: skip
    *found, last = (found for _, found in generated.claims(rows))
    assert found == [*holds, *holds]
    assert last is (copied == "0")


def test_claims_of_words_before_labels() -> None:
    means = {"none": "50", "mlm": "51", "rtd": "52", "mlm, seconds of rtd": "53", "none, seconds of rtd": "50.6",
             "128 tokens": "60", "1024 tokens": "60"}  # fmt: skip
    rows = [{"row": name, "accuracy mean": value} for name, value in means.items()]
    assert [found for _, found in pretraining.claims(rows)] == [True, False, True, False, True, True]
