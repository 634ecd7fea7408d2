"""Budgets of labels: each kind is in the smallest one, smaller ones are parts of larger ones; and what is claimed."""

from __future__ import annotations

import pytest

from benchmarks.text.few_labels import BUDGETS, DESCRIPTIONS, claims, drawn


def test_every_kind_is_in_the_smallest_budget() -> None:
    common = [{"text": str(place), "label": "HUM"} for place in range(1000)]
    rows = common + [{"text": kind, "label": kind} for kind in DESCRIPTIONS]
    found = drawn(rows, 0)
    assert {rows[row]["label"] for row in found[: min(BUDGETS)]} == {*DESCRIPTIONS}
    assert len(found) == len(set(found)) == max(BUDGETS)
    assert drawn(rows, 1) != found


@pytest.mark.parametrize(
    ("zero", "frozen", "lora", "holds"),
    [
        ("39.8", "82.5", "94.3", [True, True, True]),
        ("56.0", "82.5", "89.9", [False, False, True]),
        ("39.8", "89.4", "94.3", [True, True, False]),
    ],
)
def test_claims_fail_where_the_table_says_otherwise(zero: str, frozen: str, lora: str, holds: list[bool]) -> None:
    most = str(max(BUDGETS))
    given = (("zero-shot", "0", zero), ("frozen", most, frozen), ("lora", most, lora))
    rows = [{"method": name, "labels": labels, "accuracy mean": mean} for name, labels, mean in given]
    assert [found for _, found in claims(rows)] == holds
