"""The methods that train a model of any inputs: those of words and clauses have tests of their own."""

from __future__ import annotations

import pytest

from fedlt.config import catalog

WORDS = {"count_model", "clause_model", "tokens"}


def trained(kind: str) -> list[str]:
    """Names of the strategies, or of the learners."""
    return [name for name in catalog.names(kind) if not WORDS.intersection(catalog.find(kind, name).needs)]


def skip_without_package(name: str) -> None:
    """Skip a test of a method whose package is not installed."""
    if name in ("tsetlin", "joined_clauses"):
        pytest.importorskip("green_tsetlin", reason="pip install 'fedlt[rules]' for this test")
