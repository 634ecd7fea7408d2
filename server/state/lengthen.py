"""More rounds for a finished run: what it takes to go on from its end under a scenario that has more of them.

The longer run has a folder of its own and begins with a copy of the shorter one's last checkpoint. Its result is the
one that it would have had from the start, for only runs are taken in which nothing has asked for the number of rounds
(`fedlt.config.horizon`).
"""

from __future__ import annotations

import glob
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.process.files import flush
from fedlt.results.runs import Run
from server.state import durable
from server.state.checkpoint import MANIFEST, Checkpoints

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario

ROUNDS = re.compile(r"^federation:\n(?:  .*\n)*?  rounds: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Shorter:
    """A finished run that differs in nothing but its fewer rounds."""

    run: Run
    rounds: int

    def obstacle(self, checkpoints: Checkpoints) -> str:
        """Why the run cannot be gone on with by another whose checkpoints these are; "" where it can."""
        open_ended = self.run.summary.get("open_ended")
        if open_ended is None:
            return "it was written before finished runs kept their end"
        if not open_ended:
            if "stopped" in self.run.summary:
                return "a callback has stopped it"
            return "something in it follows the number of rounds (schedule of the rate, stages, the method, patience)"

        head = Checkpoints.head_at(self.run.folder, self.rounds)
        if head is None:
            return "it kept no checkpoint of its end, which is large; resources.checkpoint=N keeps one"
        same = ("code", "partition_hash", "inputs")
        if any(head[key] != checkpoints.identity[key] for key in same):
            return "its files or its partition have changed since"
        return ""


def find_shorter(folder: Path, scenario: Scenario) -> Shorter | None:
    """The longest finished run beside `folder` that the scenario would be with fewer rounds."""
    found: list[Shorter] = []
    names: dict[int, str] = {}  # of runs, by their rounds
    for path in folder.parent.glob(f"{glob.escape(folder.name.rpartition('-')[0])}-*/scenario.yaml"):
        match = ROUNDS.search(path.read_text(encoding="utf-8"))
        rounds = int(match[1]) if match else scenario.federation.rounds
        if rounds >= scenario.federation.rounds:
            continue
        if rounds not in names:
            names[rounds] = replace(scenario, federation=replace(scenario.federation, rounds=rounds)).run_name
        if names[rounds] == path.parent.name and (path.parent / "run.json").is_file():
            found.append(Shorter(Run(path.parent), rounds))
    return max((each for each in found if each.run.status == "finished"), key=lambda each: each.rounds, default=None)


def copy_end(shorter: Shorter, checkpoints: Checkpoints) -> None:
    """Copy the last checkpoint of the shorter run, as one of the longer run's own."""
    source, target = shorter.run.folder / checkpoints.folder.name, checkpoints.folder
    head = Checkpoints.head_at(shorter.run.folder, shorter.rounds)
    assert head is not None
    durable.make(target / "states")
    for name, _, _ in head["states"]:
        shutil.copyfile(source / "states" / name, target / "states" / name)
        flush(target / "states" / name)
    flush(target / "states")

    final = target / f"{shorter.rounds:06d}"
    part = durable.part(final)
    for name in head["files"]:
        shutil.copyfile(source / final.name / name, part / name)
        flush(part / name)
    checkpoints.write_head(part / MANIFEST, {**head, **checkpoints.identity})
    durable.publish(part, final)
