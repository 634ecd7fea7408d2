"""What the benchmarks of rules and of notes call passed, by hand."""

from __future__ import annotations

from typing import Any

import pytest


def verdicts(claims: Any) -> list[bool]:
    return [holds for _, holds in claims]


def test_rules_pass_where_they_are_level_and_say_all() -> None:
    tsetlin = pytest.importorskip("benchmarks.text.tsetlin")

    def rows(notes: float, news: float, same: str) -> list[dict[str, Any]]:
        found = {
            ("notes", "tsetlin"): notes, ("notes", "naive Bayes"): 0.6, ("notes", "tree"): 0.55,
            ("notes", "tsetlin, specificity 1"): 0.4, ("r8", "tsetlin"): news, ("r8", "linear SVM, TF-IDF"): 0.93,
            ("r8", "tsetlin, specificity 1"): 0.5,
        }  # fmt: skip
        return [
            {"set": name, "model": model, "f1": str(f1), "rules_say_all": same if "tsetlin" in model else ""}
            for (name, model), f1 in found.items()
        ]

    assert verdicts(tsetlin.claims(rows(0.6, 0.9, "true"))) == [True] * 6
    assert sorted(verdicts(tsetlin.claims(rows(0.58, 0.88, "false")))) == [False] * 3 + [True] * 3


def test_transfer_passes_where_it_gains_most_with_few_notes() -> None:
    soap = pytest.importorskip("benchmarks.text.soap")

    def rows(few: float, many: float) -> list[dict[str, Any]]:
        found = {
            ("source, same departments", 0): 0.9, ("source, other departments", 0): 0.8, ("transfer", 5): few,
            ("scratch", 5): 0.6, ("transfer", 10): few, ("scratch", 10): 0.6, ("transfer", 60): many,
            ("scratch", 60): 0.8,
        }  # fmt: skip
        return [
            {"learner": learner, "row": row, "notes": size, "accuracy": accuracy - 0.01 * (learner != "crf")}
            for learner in ("crf", "cross_entropy")
            for (row, size), accuracy in found.items()
        ]

    assert verdicts(soap.claims(rows(0.8, 0.82))) == [True] * 6
    assert verdicts(soap.claims(rows(0.65, 0.85))) == [True, True, False, False, False, True]
