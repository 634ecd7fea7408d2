"""A run's copy of a user's own code: what it was made by, also after the file was edited, moved, or never was one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.config.scenario_file import CODE
from fedlt.data.provenance import choices

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario


def keep_code(scenario: Scenario, folder: Path) -> None:
    """Copy the files of the scenario's own components, and what these import, into the run's folder, by key."""
    own = [(key, choice.component.files()) for key, choice in choices(scenario) if ".py:" in choice.name]
    if any(file.is_relative_to((folder / CODE).resolve()) for _, files in own for file in files.values()):
        return  # the run is made again by its own copy

    shutil.rmtree(folder / CODE, ignore_errors=True)
    for key, files in own:
        for name, file in files.items():
            copy = folder / CODE / key / (name if not Path(name).is_absolute() else file.name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
