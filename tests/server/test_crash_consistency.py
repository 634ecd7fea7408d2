"""A crash between any two changes of the disk: the run goes on to the same result, and what was kept is not lost.

The system calls that matter go through a layer that ends the process at one of them. Two kinds of crash: of the
process, after which the disk holds all that was written, and of the machine, after which it holds only what was
flushed: files end where they were flushed last, names that no flush of their folder has seen are gone.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.federation import federate
from fedlt.errors import FedLTError
from fedlt.measures.metrics import Confusion
from fedlt.process.files import flush
from fedlt.results.record import RunWriter
from fedlt.results.runs import finished_run, open_run
from fedlt.strategy import Server
from fedlt.training.assembly import Assembly, assemble
from server.rounds.progress import Progress
from server.state import durable
from server.state.checkpoint import Checkpoints
from server.state.keeper import Keeper
from server.state.states import StateStore
from tests.evaluations import evaluation

pytestmark = pytest.mark.slow

ROUNDS = 4
CALLS = ("fsync", "replace", "link", "unlink", "rmdir", "mkdir")


class Crash(BaseException):
    """The process is no more."""


class Disk:
    """Counts the calls, and makes the one numbered `last` fail: with a crash, or because there is no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int, full: bool = False) -> None:
        self.calls, self.last, self.full, self.dead = 0, last, full, False
        self.flushed: dict[int, int] = {}  # size of each file, by inode, when it was flushed
        self.seen: dict[int, set[str]] = {}  # names in each folder, by inode, when it was flushed
        for name in CALLS:
            monkeypatch.setattr(os, name, self._through(name, getattr(os, name)))

    def _through(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def through(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise Crash
            self.calls += 1
            if self.calls == self.last:
                if self.full and name != "unlink":
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.dead = not self.full
                if self.dead:
                    raise Crash
            if name != "fsync":
                return call(*args, **kwargs)
            self._flush(args[0])
            return None

        return through

    def _flush(self, descriptor: int) -> None:
        state = os.fstat(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.seen[state.st_ino] = set(os.listdir(path))
        else:
            self.flushed[state.st_ino] = state.st_size

    def lose(self, folder: Path) -> None:
        """Take away what was not flushed."""
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.name not in self.seen.get(path.parent.stat().st_ino, set()):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif path.is_file():
                flushed = self.flushed.get(path.stat().st_ino, 0)
                if path.stat().st_size > flushed:
                    os.truncate(path, flushed)


class Toy:
    """A run whose rounds cost nothing: what server, clients and tables become is a function of the round."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.federation = scenario, federate(scenario)
        self.parts: Assembly = assemble(scenario, self.federation, torch.device("cpu"))
        self.text = scenario.to_yaml()
        self.initial = self.parts.flat.storage.clone()

    def run(self, out: Path) -> tuple[int, Progress]:
        """Begin or go on, to the end. The round it went on from, and what it became."""
        folder = out / self.scenario.run_name
        self.parts.flat.storage.copy_(self.initial)
        progress = Progress(
            Server(self.parts.model, self.parts.flat, self.parts.task), StateStore(folder / "checkpoints" / "states")
        )
        writer = RunWriter(folder, self.text, {"scenario": "toy"})
        keeper = Keeper(Checkpoints(folder, self.scenario, "partition"), writer, 1, lambda line: None)
        with keeper.recording():
            durable.make(folder)
            keeper.begin(progress, force=False, resume_from=None)
            first = progress.round
            writer.partition(self.federation)
            for round in range(first + 1, ROUNDS + 1):
                self._round(round, progress, writer)
                keeper.after_round(progress)
            writer.finish(model_hash="toy")
        return first, progress

    @staticmethod
    def _round(round: int, progress: Progress, writer: RunWriter) -> None:
        if round == 3:
            confusion = Confusion.from_predictions(np.arange(4) % 3, np.arange(4) * round % 3, 10)
            writer.evaluation(evaluation(round - 1, {"": confusion}))
        server = progress.server
        server.weights = server.weights * 0.5 + round
        server.state["n"] = server.state.get("n", torch.zeros(3)) + round
        server.outbox["o"] = server.state["n"] * 2
        progress.states.update({client: {"private": torch.full((50,), float(round))} for client in (round, round + 1)})
        progress.round = round
        writer.round({"round": round, "train_loss": 1 / round, "skipped": 0})


@pytest.fixture
def toy(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setattr("server.state.states.SLACK", 300)  # so that segments are given up within a few rounds
    return Toy(load_scenario(tiny))


def result(toy: Toy, out: Path, progress: Progress) -> tuple[Any, ...]:
    run = open_run(out / toy.scenario.run_name)
    server = progress.server
    tensors = [server.weights.tolist(), server.state["n"].tolist(), server.outbox["o"].tolist()]
    states = {
        client: state["private"].tolist() for client, state in progress.states.read(progress.states.clients()).items()
    }
    tables = [table.fillna(-1).to_numpy().tolist() for table in (run.rounds, run.metrics, run.classes, run.confusion)]
    counts = [run.summary[key] for key in ("rounds", "evaluations", "final_round", "skipped", "status")]
    return tensors, states, tables, counts, [str(part) for part in (run.final, run.last_five)]


@pytest.mark.parametrize("kind", ["process", "machine", "full"])
def test_a_crash_between_any_two_calls_loses_nothing(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, last=-1)
        first, progress = toy.run(tmp_path / "whole")
    assert first == 0
    calls, expected = disk.calls, result(toy, tmp_path / "whole", progress)
    assert calls > 100
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the real one takes its time
    resumed = []
    for last in range(1, calls + 1, {"machine": 1, "process": 4, "full": 8}[kind]):
        out = tmp_path / f"{last}"
        published: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, last, full=kind == "full")
            publish = durable.publish

            def publishing(part: Path, final: Path, publish: Any = publish, published: list[int] = published) -> None:
                publish(part, final)
                published.append(int(final.name))

            patch.setattr(durable, "publish", publishing)
            try:
                _, progress = toy.run(out)
            except Crash:
                pass
            except FedLTError as error:
                assert kind == "full"
                assert "No space left on device. The checkpoints there are whole" in str(error)
            else:
                assert kind == "full"  # a leftover that could not be deleted harms nobody
                assert result(toy, out, progress) == expected
        if kind == "machine":
            disk.lose(tmp_path / f"{last}")
        if finished_run(out / toy.scenario.run_name) is None:
            first, progress = toy.run(out)
            assert 0 <= first - (published[-1] if published else 0) <= 1, f"after call {last}"
            resumed.append(first)
            assert result(toy, out, progress) == expected, f"after call {last}"
        shutil.rmtree(out)
    assert set(resumed) >= set(range(1, ROUNDS))


def test_the_layer_takes_away_what_was_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, last=-1)
    (tmp_path / "kept").mkdir()
    durable.write(tmp_path / "kept" / "whole", b"123")
    durable.write(tmp_path / "kept" / "longer", b"123")
    flush(tmp_path / "kept")
    flush(tmp_path)
    with (tmp_path / "kept" / "longer").open("ab") as file:
        file.write(b"456")
    durable.write(tmp_path / "kept" / "nameless", b"123")
    (tmp_path / "lost").mkdir()
    disk.lose(tmp_path)
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"kept/whole": b"123", "kept/longer": b"123"}
    assert not (tmp_path / "lost").exists()
