"""Forked workers: large arrays through files that do not stay, small ones through pipes, and deaths that are told."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

import fedlt
from fedlt.errors import FedLTError, ScenarioError
from fedlt.process.gpus import VISIBLE
from fedlt.sweeps.grids import Grids
from server.arrays import pack_tensors, unpack_tensors, with_room
from server.grids.local import ENOUGH, set_identity
from server.grids.parcels import FREE, LARGE, Parcels
from server.grids.process_grid import ProcessGrid

app = ClientApp()
ready: list[str] = []

pytestmark = [pytest.mark.grid, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")]


@app.train()
def train(message: Message, context: Any) -> Message:
    """Doubles `x` in place, says who it is and at which address `x` lay; or fails as asked for."""
    records = message.content.array_records
    if "fail" in records:
        raise ArithmeticError("no luck")
    if "die" in records:
        os.kill(os.getpid(), signal.SIGKILL)
    x = unpack_tensors(records["common"])["x"]
    address = x.data_ptr()
    extra = {"pid": torch.tensor(os.getpid()), "address": torch.tensor(address), "ready": torch.tensor(len(ready))}
    answer = {"answer": pack_tensors({"x": x + 1, **extra}), **message.content.config_records}
    return Message(type(message.content)(answer), reply_to=message)


@pytest.fixture
def grid() -> Iterator[ProcessGrid]:
    made = ProcessGrid(app, 2, lambda: ready.append("set up"))
    yield made
    made.close()


def ask(grid: ProcessGrid, *records: Any, name: str = "common") -> list[dict[str, torch.Tensor]]:
    set_identity(1)
    messages = [Message(RecordDict({name: record}), 2, "train", group_id="1") for record in records]
    return [unpack_tensors(reply.content.array_records["answer"]) for reply in grid.send_and_receive(messages)]


@pytest.mark.parametrize(
    "size", [3, LARGE // 4, LARGE]
)  # floats: through the pipe; with its header just a file; a file
def test_arrays_arrive_whatever_their_size_and_leave_no_file(grid: ProcessGrid, size: int) -> None:
    folder = grid._folder.path
    for start in (0.0, 5.0):
        sent = [pack_tensors({"x": torch.arange(size) + start + k}) for k in range(5)]
        answers = ask(grid, *sent)
        assert [answer["x"].tolist() for answer in answers] == [
            (torch.arange(size) + start + k + 1).tolist() for k in range(5)
        ]
        assert {int(answer["ready"]) for answer in answers} == {1}  # set up in the worker, once
        assert not list(folder.iterdir())
    assert not ready
    grid.close()
    assert not folder.exists()


def test_the_files_of_vectors_are_written_again_once_nobody_reads_them(tmp_path: Path) -> None:
    here, there = Parcels(tmp_path), Parcels(tmp_path)
    vector = with_room(LARGE)

    def send(number: float) -> dict[str, torch.Tensor]:
        record = pack_tensors({"x": vector.fill_(number)}, in_place=True)
        return unpack_tensors(there.unpack(here.pack(record), keep=False))

    first, second = send(1.0), send(2.0)
    assert [float(first["x"].mean()), float(second["x"].mean())] == [1.0, 2.0]
    inodes = {path.stat().st_ino for path in tmp_path.iterdir()}
    assert len(inodes) == 2
    del first
    assert [path.name.startswith(FREE) for path in tmp_path.iterdir()].count(True) == 1
    third = send(3.0)
    assert [float(second["x"].mean()), float(third["x"].mean())] == [2.0, 3.0]
    assert {path.stat().st_ino for path in tmp_path.iterdir()} == inodes


@pytest.mark.parametrize("frozen", [True, False])
def test_what_was_frozen_before_a_fork_stays_so_and_nothing_else_does(frozen: bool) -> None:
    gc.freeze() if frozen else gc.unfreeze()
    ProcessGrid(app, 1, lambda: None).close()
    try:
        assert bool(gc.get_freeze_count()) is frozen
    finally:
        gc.freeze()  # as tests/conftest.py has it


def test_workers_see_no_gpu(tmp_path: Path) -> None:
    """They are for the CPU: a card that the machine has is another backend's."""
    seen = tmp_path / "seen"
    grid = ProcessGrid(app, 1, lambda: seen.write_text(str([os.environ[name] for name in VISIBLE])))
    ask(grid, pack_tensors({"x": torch.zeros(1)}))
    grid.close()
    assert seen.read_text() == "['-1', '-1']"
    assert os.environ.get(VISIBLE[0]) != "-1"


def test_what_messages_share_lies_once_in_a_worker_and_the_work_is_spread(grid: ProcessGrid) -> None:
    common = pack_tensors({"x": torch.zeros(LARGE)})
    answers = ask(grid, *[common] * 8)
    pids = {int(answer["pid"]) for answer in answers}
    assert len(pids) == 2
    assert os.getpid() not in pids
    for pid in pids:
        assert len({int(answer["address"]) for answer in answers if answer["pid"] == pid}) == 1


def test_many_and_large_messages_do_not_block_each_other(grid: ProcessGrid) -> None:
    """More text than a pipe holds goes both ways, with several messages under way to each worker."""
    from flwr.app import ConfigRecord

    set_identity(1)
    arrays = pack_tensors({"x": torch.arange(3.0)})
    text = ConfigRecord({"json": "x" * 10 * LARGE})
    records: list[Any] = [RecordDict({"common": arrays, "echo": text}) for _ in range(40)]
    replies = list(grid.send_and_receive([Message(record, 2, "train", group_id="1") for record in records]))
    assert len(replies) == 40
    assert all(reply.content.config_records["echo"] == text for reply in replies)
    assert not list(grid._folder.path.iterdir())


def test_a_failure_is_told_and_so_is_a_message_over_which_workers_die(grid: ProcessGrid) -> None:
    one = pack_tensors({"x": torch.zeros(1)})
    with pytest.raises(FedLTError, match=r"(?s)a worker failed:.*ArithmeticError: no luck"):
        ask(grid, one, name="fail")
    assert ask(grid, one)[0]["x"].tolist() == [1.0]
    with pytest.raises(FedLTError, match=r"again and again \(exit code -9.*resources.workers"):
        ask(grid, one, name="die")
    assert grid.replaced == ENOUGH
    assert ask(grid, one)[0]["x"].tolist() == [1.0]


@pytest.mark.parametrize("size", [3, LARGE])
def test_a_worker_that_dies_is_replaced_and_its_messages_are_answered(grid: ProcessGrid, size: int) -> None:
    """Killed idle, with two messages in hand, and when it has answered one of them and half of another."""
    set_identity(1)
    one = pack_tensors({"x": torch.zeros(size)})
    records: list[Any] = [RecordDict({"common": one, "pad": pack_tensors({"y": torch.ones(k)})}) for k in range(30)]
    messages = [Message(record, 2, "train", group_id="1") for record in records]
    killed = [int(next(iter(grid._workers.values())).pid or 0)]
    os.kill(killed[0], signal.SIGKILL)
    answers = []
    for reply in grid._answer(messages):
        answers.append(unpack_tensors(reply.content.array_records["answer"]))
        if len(answers) in (4, 9):
            pid = int(answers[-1]["pid"])
            (grid._folder.path / f"{pid}-99").write_bytes(b"half of an answer")
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    assert grid.replaced == len(set(killed)) == 3
    assert len(answers) == 30
    assert all(answer["x"].tolist() == [1.0] * size for answer in answers)
    assert not list(grid._folder.path.iterdir())


@pytest.mark.parametrize("side", ["server", "worker"])
def test_a_message_that_cannot_be_written_ends_the_exchange_with_advice(
    monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    def full(parcels: Parcels, content: Any) -> str:
        if (os.getpid() == server) == (side == "server"):
            parcels.folder = parcels.folder / "missing"
        return write(parcels, content)

    server, write = os.getpid(), Parcels._write_file
    monkeypatch.setattr(Parcels, "_write_file", full)
    grid = ProcessGrid(app, 1, lambda: None)
    try:
        with pytest.raises(FedLTError, match=r"a message of 0\.1 MB cannot be written to .*: No such file"):
            ask(grid, pack_tensors({"x": torch.zeros(LARGE)}))
    finally:
        grid.close()


def test_workers_end_with_their_grid(grid: ProcessGrid) -> None:
    one = pack_tensors({"x": torch.zeros(1)})
    pids = {int(answer["pid"]) for answer in ask(grid, *[one] * 8)}
    grid.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_of_a_killed_parent_end_and_leave_no_file(grid: ProcessGrid) -> None:
    for pipe in grid._workers:
        pipe.close()  # as the system does when it kills the parent
    for process in grid._workers.values():
        process.join(20)
        assert process.exitcode == 0
    assert not grid._folder.path.exists()


def test_workers_start_after_the_parent_has_used_several_threads(tiny: dict[str, Any], tmp_path: Path) -> None:
    """OpenMP's threads do not come along in a fork: a worker that used them would wait for ever."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.zeros(2**20).add_(1.0)
        run = fedlt.run(tiny, "model.width=4096", out=tmp_path, backend="processes", workers=2)
    finally:
        torch.set_num_threads(threads)
    assert run.status == "finished"


def test_auto_is_this_process_for_short_runs_then_processes_and_ray_where_there_is_a_cluster(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedlt.data.federation import federate
    from fedlt.sweeps.run import pick_backend
    from fedlt.training.assembly import assemble, pick_device

    def picked(*overrides: str) -> str:
        scenario = fedlt.load_scenario(tiny, [*overrides, "resources.device=cpu"])
        federation = federate(scenario)
        return pick_backend(scenario, federation, assemble(scenario, federation, pick_device("cpu")))

    long = ("resources.workers=2", "federation.rounds=100000000")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert picked("resources.workers=2") == "inline"
    assert picked(*long) == "processes"
    assert picked(*long, "resources.workers=1") == "inline"
    assert picked(*long, "strategy=centralized") == "inline"
    assert picked(*long, "resources.backend=flower") == "flower"
    assert picked("resources.backend=ray") == "ray"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert picked(*long) == "ray"
    assert picked(*long, "resources.backend=processes") == "processes"
    monkeypatch.setattr("server.grids.process_grid.available", lambda: False)
    with pytest.raises(ScenarioError, match="take ray"):
        picked(*long, "resources.backend=processes")


def test_forked_workers_are_made_for_each_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    """They inherit the run's data, which another run's would not be."""
    from fedlt.results.console import Console
    from fedlt.sweeps.run import run_scenario

    hashes = []
    for backend in ("inline", "processes"):
        with Grids() as grids:
            for seed in (0, 1):
                changes = [f"seed={seed}", f"resources.backend={backend}", "resources.workers=2"]
                run = run_scenario(
                    fedlt.load_scenario(tiny, changes), tmp_path / backend, Console(quiet=True), False, "", grids
                )
                hashes.append(run.summary["model_hash"])
    assert hashes[:2] == hashes[2:]
    assert hashes[0] != hashes[1]
