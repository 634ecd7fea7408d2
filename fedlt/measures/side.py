"""Figures beside the accuracies: one that cannot be computed is not defined, and never ends a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def attempt(what: str, compute: Callable[[], Found], otherwise: Found, told: list[str]) -> Found:
    """What `compute` gives; `otherwise`, with a line in `told`, where it raises (a decomposition of NaN, say)."""
    try:
        return compute()
    except Exception as error:
        told.append(f"{what} cannot be computed and is left undefined: {type(error).__name__}: {error}")
        return otherwise
