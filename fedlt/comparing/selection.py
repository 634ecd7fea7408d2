"""What was tried on validation data, and which setting of each method was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedlt.comparing.cells import Cell
from fedlt.comparing.own_names import Labels


@dataclass(frozen=True)
class Trial:
    """One setting of one method.

    Attributes:
        method: values of the keys that name methods.
        setting: values of the keys that are selected; `-` for a key that the method does not have.
        seeds: those that all settings of the method have, over which it is judged.
        cells: the validation figures; the last one, of several their weighted mean, is the one by which it is judged.
        chosen: whether it is the method's best.
    """

    method: Labels
    setting: Labels
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    chosen: bool


@dataclass(frozen=True)
class Selection:
    """What was tried, and what was chosen.

    Attributes:
        weights: validation figure -> its share in the weighted mean; they add up to 1.
        by: keys that name methods.
        keys: keys whose values are selected.
        trials: all settings of all methods.
        notes: what the reader must know, one line each.
    """

    weights: Mapping[str, float]
    by: tuple[str, ...]
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]

    def setting(self, method: Labels) -> str:
        """The method's chosen setting in one text: `local.lr=0.1, strategy.mu=0.01`."""
        chosen = next(trial for trial in self.trials if trial.method == method and trial.chosen)
        return setting_text(self.keys, chosen.setting)

    def tried(self, method: Labels) -> int:
        """How many settings of the method were tried."""
        return sum(trial.method == method for trial in self.trials)


def setting_text(keys: Sequence[str], setting: Labels) -> str:
    """A setting's keys and values in one text; `-` where it has none."""
    shown = (f"{key}={value}" for key, value in zip(keys, setting, strict=True) if value != "-")
    return ", ".join(shown) or "-"
