"""The methods that train a model of any inputs: those that read or count words have tests of their own."""

from __future__ import annotations

from fedlt.config import catalog

WORDS = {"count_model", "tokens"}


def trained(kind: str) -> list[str]:
    """Names of the strategies, or of the learners."""
    return [name for name in catalog.names(kind) if not WORDS.intersection(catalog.find(kind, name).needs)]
