"""Trained once, told many times: the models that a finished run keeps of its evaluations, for runs that train the same.

    training.json                 the hash of all that training is a function of, and the rounds whose models are kept
    checkpoints/000010/ ...       those models, as checkpoints

Another run with that hash (`fedlt.training.sameness`) takes the rows of the rounds from here, and tests these models by
a prediction of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.data.provenance import MadeOf
from fedlt.errors import FedLTError
from fedlt.results.pieces import read_table
from fedlt.results.tables import write_json
from server.state.checkpoint import Checkpoints, versions
from server.state.states import StateStore

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from server.rounds.progress import Progress

RECORD = "training.json"
METHODS = ("strategy", "learner", "evaluation")
"""Keys whose files may differ between runs that train the same: the hash holds what of them reaches the training."""


@dataclass(frozen=True)
class Training:
    """What a finished run kept of its training.

    Attributes:
        folder: the run's.
        checkpoints: with the identity under which they were written.
    """

    folder: Path
    checkpoints: Checkpoints

    def rows(self, after: int) -> Iterator[dict[str, Any]]:
        """Rows of the table of rounds, in order."""
        for row in read_table(self.folder, "rounds").to_pylist():
            if row["round"] > after:
                yield {name: value for name, value in row.items() if value is not None}

    def load(self, progress: Progress, round: int) -> None:
        """Make the progress that after this round; what clients keep is read from this run's folder."""
        progress.states = StateStore(self.checkpoints.folder / "states")
        found, _ = self.checkpoints.restore(progress, round)
        if found is None:
            raise FedLTError(f"what {self.folder.name} has trained is gone or damaged; run again, to train it anew")


def evaluated(scenario: Scenario) -> set[int]:
    """The rounds whose models a run tests."""
    total, every = scenario.federation.rounds, scenario.evaluation.every
    return {*range(every, total, every), total}


def note(folder: Path, training: str, scenario: Scenario, federation: Federation, end: int | None) -> None:
    """Write down what the run keeps, for others that train the same.

    Args:
        end: the round whose checkpoint stays anyway.
    """
    content = {
        "training": training,
        "rounds": sorted(r for r in evaluated(scenario) if Checkpoints.head_at(folder, r) is not None),
        "end": end,
        **_made_of(federation.digest(), federation.made_of),
    }
    write_json(folder / RECORD, content)


def find(out: Path, training: str, scenario: Scenario, federation: Federation) -> Training | None:
    """A run in `out` that trained the same and kept the models of all rounds that the scenario tests.

    Args:
        out: parent of run folders.
        training: hash of what decides the training.
        scenario, federation: of the run that looks.
    """
    here = _made_of(federation.digest(), federation.made_of)

    for path in sorted(out.glob(f"*/{RECORD}")):
        with suppress(OSError, ValueError, KeyError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            same = kept["training"] == training and all(kept[key] == value for key, value in here.items())

            # All models that are to be tested, of the same releases as these here.
            heads = [Checkpoints.head_at(path.parent, round) for round in sorted(evaluated(scenario))] if same else []
            if heads and all(head is not None and head["versions"] == versions() for head in heads):
                return Training(path.parent, Checkpoints.of_another(path.parent, heads[0] or {}))
    return None


def forget(folder: Path) -> None:
    """Delete what the run kept for others."""
    path = folder / RECORD
    if not path.is_file():
        return
    end = json.loads(path.read_text(encoding="utf-8"))["end"]
    path.unlink()
    checkpoints = Checkpoints.of_another(folder, {})
    if end is None or not checkpoints.keep_only(end):
        checkpoints.clear()


def _made_of(partition: str, inputs: MadeOf) -> dict[str, Any]:
    """Content of the data, who holds what, and files that are no method's."""
    others = {key: dict(files) for key, files in inputs.items() if key.split(".")[0] not in METHODS}
    return {"partition": partition, "inputs": others}
