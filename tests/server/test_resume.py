"""Checkpoints: a run that was stopped goes on as if it had not been; damaged and foreign checkpoints are noticed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked
from remembering import REMEMBERING
from same_figures import assert_equal

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.errors import FedLTError, Interrupted, ScenarioError
from fedlt.results.runs import Run
from server.state.durable import exclusive
from server.state.states import StateStore

pytestmark = pytest.mark.slow

STOP = """
import os, signal, sys
from fedlt.commands.cli import main
from server.rounds.loop import Rounds

take, how, when = Rounds.take, sys.argv.pop(1), int(sys.argv.pop(1))

def stopping(self, reports):
    if self.progress.round + 1 == when:
        os.kill(os.getpid(), getattr(signal, how))
    return take(self, reports)

Rounds.take = stopping
main()
"""


@pytest.fixture
def own() -> list[str]:
    where = ["resources.backend=inline", "resources.checkpoint=1"]
    return [f"strategy={REMEMBERING}", "federation.rounds=5", "evaluation.every=2", *where]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(tiny: dict[str, Any], own: list[str], shared: Path) -> Run:
    """The run that was never stopped. It is made once; from then on it is found finished."""
    return fedlt.run(tiny, *own, out=shared)


def stopped_by(how: str, when: int, scenario: Path, overrides: list[str], out: Path) -> tuple[int | None, str]:
    """`fedlt run` in a process of its own that meets the signal in the midst of a round; its exit code and errors."""
    process = Forked([sys.executable, "-c", STOP, how, when, "run", scenario, *overrides, "--out", out])
    _, errors = process.communicate(100)
    return process.returncode, errors


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    return path


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the run fail in a round, as a crash would."""
    from server.rounds.loop import Rounds

    take = Rounds.take

    def fail_in(round: int) -> None:
        def failing(self: Rounds, reports: Any) -> Any:
            if self.progress.round + 1 == round:
                raise RuntimeError("power cut")
            return take(self, reports)

        monkeypatch.setattr(Rounds, "take", failing)

    return fail_in


def crash(raising: Callable[[int], None], round: int, run: partial[Run]) -> Path:
    """Run until the round fails, and give the run's folder."""
    raising(round)
    with pytest.raises(RuntimeError, match="power cut"):
        run()
    raising(-1)
    (summary,) = Path(run.keywords["out"]).glob("*/run.json")
    return summary.parent


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_stopped_command_goes_on_to_the_same_tables(scenario: Path, own: list[str], tmp_path: Path, how: str) -> None:
    whole = fedlt.run(scenario, *own, out=tmp_path / "whole")
    code, errors = stopped_by(how, 4, scenario, own, tmp_path / "stopped")
    number = getattr(signal, how)
    (folder,) = (tmp_path / "stopped").iterdir()
    summary = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    if how == "SIGKILL":
        assert code == -number
        assert (summary["status"], kept) == ("running", ["000002", "000003", "states"])
    else:
        assert code == 128 + number, errors
        assert (summary["status"], kept) == ("interrupted", ["000003", "000004", "states"])
        assert f"fedlt run {scenario} strategy=" in errors.splitlines()[-1]
        assert "stopped after round 4" in errors
    again = fedlt.run(scenario, *own, out=tmp_path / "stopped")
    assert again.summary["resumed"] == [3 if how == "SIGKILL" else 4]
    assert_equal(again, whole)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["000005", "states"]


def test_a_run_killed_at_three_random_moments_goes_on_to_the_same_tables(
    tiny: dict[str, Any], own: list[str], tmp_path: Path
) -> None:
    started = time.monotonic()
    whole = fedlt.run(tiny, *own, out=tmp_path / "whole")
    length, moments = time.monotonic() - started, random.Random(7)
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                fedlt.run(tiny, *own, out=tmp_path / "killed")
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.2, 0.9) * length)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert_equal(fedlt.run(tiny, *own, out=tmp_path / "killed"), whole)


def test_ctrl_c_ends_a_run_after_the_round_and_a_second_one_at_once(
    tiny: dict[str, Any], own: list[str], whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.rounds.loop import Rounds

    take, times = Rounds.take, 1

    def stopping(self: Rounds, reports: Any) -> Any:
        if self.progress.round + 1 == 3:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return take(self, reports)

    monkeypatch.setattr(Rounds, "take", stopping)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped after round 3") as caught:
        fedlt.run(tiny, *own, "resources.checkpoint=0", out=tmp_path / "again")
    assert (caught.value.exit_code, signal.getsignal(signal.SIGINT)) == (130, handler)
    assert_equal(fedlt.run(tiny, *own, out=tmp_path / "again"), whole)
    times = 2
    with pytest.raises(KeyboardInterrupt) as stopped:
        fedlt.run(tiny, *own, "resources.checkpoint=2", out=tmp_path / "again", force=True)
    assert not isinstance(stopped.value, Interrupted)
    times = 0
    again = fedlt.run(tiny, *own, out=tmp_path / "again")
    assert again.summary["resumed"] == [2]
    assert_equal(again, whole)


def test_a_round_may_be_chosen_and_force_starts_over(
    tiny: dict[str, Any], own: list[str], whole: Run, tmp_path: Path, raising: Callable[[int], None]
) -> None:
    run = partial(fedlt.run, tiny, *own, out=tmp_path / "again")
    folder = crash(raising, 5, run)
    with pytest.raises(ScenarioError, match=r"--resume-from: no whole checkpoint of round 2; there are: 3, 4"):
        run(resume_from=2)
    with pytest.raises(ScenarioError, match=r"--resume-from: .*choose one"):
        run(resume_from=3, force=True)
    again = run(resume_from=3)
    assert again.summary["resumed"] == [3]
    assert_equal(again, whole)
    crash(raising, 5, partial(run, force=True))
    crash(raising, 5, run)  # goes on after round 4, and fails again
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["resumed"] == [4]
    forced = run(force=True)
    assert forced.summary["resumed"] == []
    assert_equal(forced, whole)


def test_a_run_may_stop_and_go_on_in_every_round_and_elsewhere(
    tiny: dict[str, Any], own: list[str], whole: Run, tmp_path: Path, raising: Callable[[int], None]
) -> None:
    """Stopped in each round once; the number of clients trained at once is the scenario's, where it runs is not."""
    run = partial(fedlt.run, tiny, *own, out=tmp_path / "again")
    for round in range(1, 6):
        crash(raising, round, run)
    found = run(workers=3)
    assert found.summary["resumed"] == [1, 2, 3, 4]
    assert_equal(found, whole)


# Checkpoints that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["torn", "altered", "gone", "manifest", "states"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(
    tiny: dict[str, Any],
    own: list[str],
    whole: Run,
    tmp_path: Path,
    raising: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    run = partial(fedlt.run, tiny, *own, out=tmp_path / "again")
    folder = crash(raising, 5, run) / "checkpoints"
    path = folder / "000004" / ("checkpoint.json" if damage == "manifest" else "server.safetensors")
    if damage == "states":
        heads = [json.loads((folder / name / "checkpoint.json").read_text()) for name in ("000003", "000004")]
        path = folder / "states" / heads[1]["states"][-1][0]
        shared = heads[0]["states"][-1][1]
        assert shared < heads[1]["states"][-1][1]  # what the older one needs is the beginning of the same file
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-5] ^= 1
        path.write_bytes(content)
    again = run(quiet=False)
    assert "warning: the checkpoint of round 4 is damaged and left out" in capsys.readouterr().out
    assert again.summary["resumed"] == [3]
    assert_equal(again, whole)


def test_without_a_whole_checkpoint_the_run_starts_anew(
    tiny: dict[str, Any], own: list[str], whole: Run, tmp_path: Path, raising: Callable[[int], None]
) -> None:
    run = partial(fedlt.run, tiny, *own, out=tmp_path / "again")
    folder = crash(raising, 5, run)
    for path in (folder / "checkpoints").glob("0*/server.safetensors"):
        path.write_bytes(b"")
    again = run()
    assert again.summary["resumed"] == []
    assert_equal(again, whole)


def test_a_checkpoint_of_another_scenario_is_refused_with_what_differs(
    tiny: dict[str, Any], own: list[str], tmp_path: Path, raising: Callable[[int], None]
) -> None:
    folder = crash(raising, 4, partial(fedlt.run, tiny, *own, out=tmp_path))
    changed = ["local.lr=0.04", "strategy.decay=0.4"]
    folder.rename(tmp_path / load_scenario(tiny, [*own, *changed]).run_name)
    expected = r"local\.lr is 0\.05 there, 0\.04 here; strategy\.decay is 0\.5 there, 0\.4 here; --force starts over"
    with pytest.raises(ScenarioError, match=expected):
        fedlt.run(tiny, *own, *changed, out=tmp_path)
    assert fedlt.run(tiny, *own, *changed, out=tmp_path, force=True).status == "finished"


def test_the_options_of_resources_change_neither_hash_nor_checkpoint(tiny: dict[str, Any]) -> None:
    hashes = {load_scenario(tiny, [f"resources.checkpoint={every}"]).hash for every in ("auto", "0", "1", "7")}
    assert hashes == {load_scenario(tiny).hash}


def test_a_worker_that_was_forked_meanwhile_does_not_keep_the_folder(tmp_path: Path) -> None:
    """It would, were the parent killed: a lock is held by whoever has inherited it."""
    told, tell = os.pipe()
    with exclusive(tmp_path):
        child = os.fork()
        if not child:
            os.write(tell, b"here")
            time.sleep(60)
            os._exit(0)
    try:
        os.read(told, 4)
        with exclusive(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_two_processes_do_not_write_into_one_folder(tiny: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / load_scenario(tiny).run_name
    folder.mkdir()
    with exclusive(folder), pytest.raises(FedLTError, match="another process is running in"):
        fedlt.run(tiny, out=tmp_path)
    assert fedlt.run(tiny, out=tmp_path).status == "finished"


def test_checkpoints_come_every_so_often(
    tiny: dict[str, Any], own: list[str], tmp_path: Path, raising: Callable[[int], None]
) -> None:
    for every, expected in (("2", ["000002", "000004"]), ("0", []), ("auto", [])):
        out = tmp_path / every
        chosen = [*own, f"resources.checkpoint={every}"]
        folder = crash(raising, 5, partial(fedlt.run, tiny, *chosen, out=out))
        assert sorted(path.name for path in folder.glob("checkpoints/0*")) == expected


# What is kept ---------------------------------------------------------------------------------------------------------


def test_a_strategy_may_keep_tensors_only(tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path) -> None:
    text = (
        "class Counting(Strategy):\n    def aggregate(self, server, updates):\n"
        "        server.weights = combine(updates).mean\n        server.state['n'] = 3\n"
    )
    with pytest.raises(FedLTError, match=r"server\.state\['n'\] is an int; keep torch.tensor"):
        fedlt.run(tiny, f"strategy={own_file(text)}:Counting", out=tmp_path)


def test_clients_states_come_back_bit_for_bit_and_old_ones_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 clients of 400 bytes, rewritten 30 times: what lies there stays within twice what is up to date + slack."""
    monkeypatch.setattr("server.state.states.SLACK", 5000)
    store = StateStore(tmp_path / "states")
    generator = torch.Generator().manual_seed(0)
    expected: dict[int, dict[str, torch.Tensor]] = {}
    for turn in range(30):
        for client in range(-1, 19):
            state = {"a/b": torch.rand(100, generator=generator), "n": torch.tensor(turn), "flag": torch.tensor([True])}
            expected[client] = {**state, "half": torch.rand(3, 2).bfloat16(), "none": torch.zeros(0, 4)}
        store.update({client: expected[client] for client in (turn % 20 - 1, *range(-1, 19))})
        held = sum(path.stat().st_size for path in (tmp_path / "states").iterdir())
        assert held <= 2 * 20 * 1000 + 5000 + 21 * 1000
    extents = store.flush()
    again = StateStore(tmp_path / "states")
    again.restore(extents)
    for each in (store, again):
        assert each.clients() == list(range(-1, 19))
        found = each.read([3, -1])
        assert list(found) == [3, -1]
        for client, state in found.items():
            assert set(state) == set(expected[client])
            for name, value in state.items():
                assert torch.equal(value, expected[client][name])
                assert value.dtype == expected[client][name].dtype
    again.update({3: {"n": torch.tensor(99)}})
    assert torch.equal(again.read([3])[3]["n"], torch.tensor(99))
    assert torch.equal(store.read([3])[3]["n"], torch.tensor(29))  # what a checkpoint names is never edited


def test_states_are_read_by_the_usual_loader(tiny: dict[str, Any], own: list[str], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = fedlt.run(tiny, *own, out=tmp_path)
    found = load_file(run.folder / "clients.safetensors")
    names = {name.partition("/")[2] for name in found}
    assert names == {"private", "state/memory", "state/visits"}
    visits = sum(int(value) for name, value in found.items() if name.endswith("visits"))
    assert visits == run.rounds["clients"].sum()
    assert os.environ["OMP_NUM_THREADS"] == "1"
