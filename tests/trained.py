"""The methods that train a model of any inputs: those of words, clauses and items have tests of their own."""

from __future__ import annotations

import pytest

from fedlt.config import catalog

PACKAGES = {
    "tsetlin": ("green_tsetlin", "rules"),
    "joined_clauses": ("green_tsetlin", "rules"),
    "crf": ("torchcrf", "tags"),
}
WORDS = {"count_model", "clause_model", "step_labels", "several_labels", "tokens", "item_tower", "gated_experts"}


def trained(kind: str) -> list[str]:
    """Names of the strategies, or of the learners."""
    return [name for name in catalog.names(kind) if not WORDS.intersection(catalog.find(kind, name).needs)]


def skip_without_package(name: str) -> None:
    """Skip a test of a method whose package is not installed."""
    package, room = PACKAGES.get(name, ("torch", ""))
    pytest.importorskip(package, reason=f"pip install 'fedlt[{room}]' for this test")
