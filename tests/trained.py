"""The methods that train a model: all but those that count words, which have tests of their own."""

from __future__ import annotations

from fedlt.config import catalog


def trained(kind: str) -> list[str]:
    """Names of the strategies, or of the learners."""
    return [name for name in catalog.names(kind) if "count_model" not in catalog.find(kind, name).needs]
