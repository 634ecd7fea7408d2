"""Checkpoints: with the scenario, all that a run needs to go on after a round as if nothing had happened.

    checkpoints/000040/checkpoint.json      round, scenario, sums of all files; with a sum of its own
                       server.safetensors   the generic model, the server's state and outbox, what links keep there
                       *.parquet            the run's tables so far
    checkpoints/states/*.states             what clients keep (see `server.state.states`)

Positions of random generators are not among it: each is a function of seed, purpose, round and client
(`fedlt.process.seeding`). Tensors are in the safetensors format; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save

from fedlt.data.provenance import MadeOf, names_files, refuse_changed
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.links import memory
from fedlt.process.files import flush
from server.rounds.progress import Progress
from server.state import durable
from server.state.states import Extent

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.results.record import RunWriter

KEPT = 2  # checkpoints; the older one is for the case that the newer one is found damaged
FORMAT = 3
MANIFEST, SERVER = "checkpoint.json", "server.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    folder: Path
    head: dict[str, Any]

    @property
    def round(self) -> int:
        """The last round that is in it."""
        return int(self.head["round"])

    @property
    def extents(self) -> list[Extent]:
        return [(name, size, digest) for name, size, digest in self.head["states"]]


class Checkpoints:
    """The checkpoints of one run folder.

    Attributes:
        partition_hash, inputs: those of the federation which the scenario gives now; see `fedlt.data.provenance`.
        keeps: rounds whose checkpoints stay until the run has ended, and beyond.
    """

    def __init__(
        self,
        run_folder: Path,
        scenario: Scenario,
        partition_hash: str,
        inputs: MadeOf | None = None,
        keeps: Collection[int] = (),
    ) -> None:
        self.folder = run_folder / "checkpoints"
        self.identity = {**identity(scenario), "partition_hash": partition_hash, "inputs": inputs or {}}
        self.keeps = keeps

    @classmethod
    def of_another(cls, run_folder: Path, head: Mapping[str, Any]) -> Checkpoints:
        """Those of another run, taken as they are.

        Args:
            head: of one of them.
        """
        checkpoints = cls.__new__(cls)
        checkpoints.folder, checkpoints.identity, checkpoints.keeps = run_folder / "checkpoints", dict(head), ()
        return checkpoints

    def save(
        self, progress: Progress, writer: RunWriter, seconds: float, callbacks: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint; older ones than the last two are deleted, but for that of the best evaluation under early
        stopping. One that is there already stays.

        What it costs follows from the model and from what clients kept since the last one.

        Args:
            seconds: that the run took so far.
            callbacks: what the user's keep.
        """
        final = self.folder / f"{progress.round:06d}"
        if final.is_dir():
            return
        part = durable.part(final)
        extents = progress.states.flush()
        durable.write(part / SERVER, save(_server_tensors(progress)))
        record = writer.save(part)
        for path in part.iterdir():
            flush(path)

        files = {path.name: [path.stat().st_size, durable.checksum(path)] for path in sorted(part.iterdir())}
        head = {
            "format": FORMAT,
            "round": progress.round,
            "seconds": seconds,
            **self.identity,
            "versions": versions(),
            "files": files,
            "states": extents,
            "links": memory.pack(progress.links)[0],
            "open_ended": progress.open_ended,
            "record": record,
            **({"callbacks": callbacks} if callbacks else {}),
        }
        self.write_head(part / MANIFEST, head)

        durable.publish(part, final)
        self._prune(progress)

    @staticmethod
    def write_head(path: Path, head: dict[str, Any]) -> None:
        """Write the head of a checkpoint, with a sum of its own."""
        durable.write(path, json.dumps({**head, "checksum": _sum(head)}).encode())

    @staticmethod
    def head_at(run_folder: Path, round: int) -> dict[str, Any] | None:
        """The head of the checkpoint of a round that a run keeps; None where there is none, or a damaged one."""
        return _readable_head(run_folder / "checkpoints" / f"{round:06d}")

    def restore(self, progress: Progress, round: int | None = None) -> tuple[Checkpoint | None, list[str]]:
        """Make the progress that of the newest whole checkpoint, or of a round's. Returns it, and what to warn of.

        Raises:
            ScenarioError: where it is of another scenario, or where a round was asked for that is not there.
        """
        warnings: list[str] = []
        for folder in sorted(self._folders(), reverse=True):
            if round is not None and int(folder.name) != round:
                continue
            try:
                head = _read(folder)
                self._refuse_others(head)
                checkpoint = Checkpoint(folder, head)
                self._load(checkpoint, progress)
            except (ValueError, KeyError, TypeError, OSError) as error:
                warnings.append(f"the checkpoint of round {int(folder.name)} is damaged and left out: {error}")
                continue

            if "inputs" not in head and names_files(head["scenario"]):
                warnings.append("the checkpoint holds no digests: whether the run's files have changed is not known")
            others = [f"{name} {v}" for name, v in head["versions"].items() if versions().get(name) != v]
            if others:
                warnings.append(f"the checkpoint was written with {', '.join(others)}: its last bits may differ")
            return checkpoint, warnings

        progress.states.close()
        if round is not None:
            there = ", ".join(str(int(folder.name)) for folder in sorted(self._folders())) or "none"
            raise ScenarioError(Problem("--resume-from", f"no whole checkpoint of round {round}; there are: {there}"))

        return None, warnings

    def _load(self, checkpoint: Checkpoint, progress: Progress) -> None:
        """Bring the progress to where the checkpoint was written."""
        progress.states.restore(checkpoint.extents)
        tensors = load_file(checkpoint.folder / SERVER)
        of_links = {name: tensors.pop(name) for name in list(tensors) if name.startswith("links/")}
        progress.load(tensors, checkpoint.round)
        device = progress.server.weights.device
        named = {name.removeprefix("links/"): value.to(device) for name, value in of_links.items()}
        progress.links = memory.unpack(checkpoint.head["links"], named)
        progress.open_ended = checkpoint.head.get("open_ended", False)

    def forget_after(self, round: int, progress: Progress) -> None:
        """Delete the checkpoints of later rounds (damaged ones, or those that are to be computed again)."""
        for folder in self._folders():
            if int(folder.name) > round:
                durable.discard(folder)
        self._prune(progress)

    def keep_only(self, round: int) -> bool:
        """Delete all checkpoints but that of a round and those of `keeps`; whether it is there."""
        for folder in self._folders():
            if int(folder.name) not in (round, *self.keeps):
                durable.discard(folder)

        heads = [head for folder in self._folders() if (head := _readable_head(folder)) is not None]
        needed = {str(name) for head in heads for name, _, _ in head["states"]}
        for path in (self.folder / "states").glob("*.states"):
            if path.name not in needed:
                path.unlink()
        return self.head_at(self.folder.parent, round) is not None

    def clear(self) -> None:
        """Delete all checkpoints."""
        durable.discard(self.folder)

    def _prune(self, progress: Progress) -> None:
        """Delete the checkpoints that nothing needs any more."""
        folders = sorted(self._folders())
        heads = {folder: head for folder in folders if (head := _readable_head(folder)) is not None}

        # Each of the last ones may be what the run goes on from, and names the best evaluation until then.
        best = {
            heads[folder]["record"].get("early_stopping", {}).get("round")
            for folder in folders[-KEPT:]
            if folder in heads
        }
        asked = best.union(self.keeps)
        needed = [folder for folder in folders if folder in folders[-KEPT:] or int(folder.name) in asked]
        for folder in folders:
            if folder not in needed:
                durable.discard(folder)
        durable.sweep(self.folder)

        # Nobody will need the segments of a damaged one.
        progress.states.keep(
            {str(name) for folder in needed if folder in heads for name, _, _ in heads[folder]["states"]}
        )

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.glob("*") if path.name.isdigit() and path.is_dir()]

    def _refuse_others(self, head: dict[str, Any]) -> None:
        """Refuse a checkpoint of another scenario, of other data or of other code.

        Args:
            head: what the checkpoint says of itself.
        """
        here = self.identity
        if head["scenario_hash"] == here["scenario_hash"]:
            remedy = "--force starts over, another --out keeps what is there"
            refuse_changed(head.get("inputs", {}), here["inputs"], "the checkpoint was written", remedy)

        if all(head[key] == here[key] for key in ("scenario_hash", "partition_hash")):
            return

        # What differs: keys first, then code, then the partition.
        there, now = _flatten(head["scenario"]), _flatten(here["scenario"])
        keys = sorted(key for key in there.keys() | now.keys() if there.get(key) != now.get(key))
        differing = [f"{key} is {there.get(key)!r} there, {now.get(key)!r} here" for key in keys]
        if head["code"] != here["code"]:
            differing.append("the source file of the strategy, learner or model was edited")
        if not differing:
            differing = ["the data set was dealt otherwise"]

        message = f"the checkpoint is of another scenario: {'; '.join(differing)}; --force starts over"
        raise ScenarioError(Problem(str(self.folder), message))


def identity(scenario: Scenario) -> dict[str, Any]:
    """What a checkpoint says of its scenario, without where it is computed."""
    content = scenario.to_dict()
    content["resources"] = {"precision": scenario.resources.precision}
    code = [choice.component.code_digest() for choice in (scenario.strategy, scenario.learner, scenario.model)]
    return {"scenario": content, "code": code, "scenario_hash": scenario.hash}


@cache
def versions() -> dict[str, str]:
    """Versions on which the last bits of a result may depend."""
    return {
        "python": platform.python_version(), **{name: metadata.version(name) for name in ("fedlt", "torch", "numpy")}
    }  # fmt: skip


def _server_tensors(progress: Progress) -> dict[str, Any]:
    """All tensors of a checkpoint but the clients': those of the server and of the links."""
    of_links = memory.pack(progress.links)[1].items()
    return progress.tensors() | {f"links/{name}": value.detach().cpu().contiguous() for name, value in of_links}


def _read(folder: Path) -> dict[str, Any]:
    """The head of a checkpoint, all of whose files are as they were written; else ValueError."""
    head = _read_head(folder)
    for name, (size, digest) in head["files"].items():
        path = folder / name
        if path.stat().st_size != size or durable.checksum(path) != digest:
            raise ValueError(f"{name} does not have the content that was written")
    return head


def _read_head(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        ValueError: where the file was altered or torn.
        FedLTError: for another version's.
    """
    head: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if head.pop("checksum", None) != _sum(head):
        raise ValueError(f"{MANIFEST} does not have the content that was written")
    if head["format"] != FORMAT:
        raise FedLTError(f"{folder} was written by another version of this project; --force starts over")
    return head


def _readable_head(folder: Path) -> dict[str, Any] | None:
    """The head of a checkpoint; None where it is damaged."""
    try:
        return _read_head(folder)
    except (ValueError, KeyError, TypeError, OSError):
        return None


def _sum(head: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()


def _flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested dictionaries."""
    if not isinstance(content, dict):
        return {prefix.rstrip("."): content}
    return {key: value for name, item in content.items() for key, value in _flatten(item, f"{prefix}{name}.").items()}
