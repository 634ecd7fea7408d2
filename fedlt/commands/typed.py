"""The scenario and the overrides that were typed, before they are checked."""

from __future__ import annotations

from typing import Any

from fedlt.errors import ScenarioError

DEFAULT_SCENARIO = "digits_lt"


def split(scenario: str, overrides: list[str] | None) -> tuple[str, list[str]]:
    """An override in the scenario's place means the default scenario."""
    if "=" in scenario or scenario.startswith("~"):
        return DEFAULT_SCENARIO, [scenario, *(overrides or [])]
    return scenario, list(overrides or [])


def several_values(overrides: list[str]) -> bool:
    """Whether one of these overrides has values with commas between them, as those of a sweep have."""
    from fedlt.sweeps.grid import split_values

    try:
        return any(len(split_values(override.partition("=")[2])) > 1 for override in overrides)
    except ValueError:  # a bracket is not closed
        return False


def content(words: list[str]) -> dict[str, Any]:
    """The scenario of these words as plain dictionaries, unchecked; empty where it cannot be read."""
    from fedlt.config.scenario_file import apply, locate, read

    try:
        name, changes = split(words[0] if words else DEFAULT_SCENARIO, words[1:])
        return apply(read(locate(name)), changes, [])
    except ScenarioError:
        return {}
