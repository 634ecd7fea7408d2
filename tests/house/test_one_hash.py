"""One hash: the same scenario gives the same bits wherever it is computed, and whatever happens meanwhile.

In this process, on forked and on Ray workers, under `flwr run`; killed at random moments and resumed; with workers that
are killed while they start, train or evaluate (a cluster that loses a node: tests/server/test_ray_cluster.py). The
strategies keep something at the clients, at the server and in its outbox; some clients stay out of each round.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mortal import MORTAL, SERVER

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.errors import FedLTError
from fedlt.results.runs import Run, open_run

pytestmark = pytest.mark.grid

DEATHS = ["start.1", "train4.1", "train4.2", "evaluate5.1"]


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv(SERVER, str(os.getpid()))
    (tmp_path / "deaths").mkdir()
    where = [f"strategy={MORTAL}", f"strategy.folder={tmp_path / 'deaths'}"]
    return [*where, "federation.participation=0.7", "federation.rounds=4", "resources.checkpoint=1"]


def assert_same(run: Run, whole: Run) -> None:
    """Hashes, figures, and all that was measured."""
    for key in ("status", "model_hash", "final", "last_five", "rounds", "evaluations", "dropped", "late", "arrived"):
        assert run.summary[key] == whole.summary[key], key
    for name in ("metrics", "clients", "classes", "confusion"):
        pd.testing.assert_frame_equal(getattr(run, name), getattr(whole, name), check_exact=True, obj=name)
    for path in whole.folder.glob("*.safetensors"):
        assert (run.folder / path.name).read_bytes() == path.read_bytes(), path.name


FAULTS = ["federation.dropout=0.2", "federation.late={chance: 0.3, weight: 0.5}", "federation.participation=1"]

LINKS = "{name: top_k, share: 0.2}, quantise, {name: dp, clip: 0.5, noise: 0.6, quantile: 0.5, count_noise: 1}"

STRATEGIES = {
    "own": ["strategy=own"],  # stands for Mortal
    "scaffold": ["strategy=scaffold", "federation.participation=0.7"],
    "fedrod, faults": ["strategy=fedrod", *FAULTS],
    "fedper, links": ["strategy=fedper", f"federation.links=[{LINKS}]"],
}


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("name", STRATEGIES)
def test_grids_and_workers_give_one_hash(tiny: dict[str, Any], mortal: list[str], tmp_path: Path, name: str) -> None:
    changes = mortal if name == "own" else STRATEGIES[name]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    for backend in ("processes", "ray"):  # one worker or two: tests/server/test_grids.py
        assert_same(fedlt.run(tiny, *changes, out=tmp_path / backend, backend=backend, workers=2), whole)


def test_flwr_run_gives_the_same_hash(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower's own runtime, with its default nodes.

    Labels come from a file beside the scenario; Flower starts its processes elsewhere, and they must find it.
    """
    monkeypatch.chdir(tmp_path)
    np.savez("labels.npz", people=np.arange(1497) % 10)
    scenario = load_scenario(
        tiny, [*mortal, "federation.rounds=2", "data.noise.kind=file", "data.noise.file=labels.npz:people"]
    )
    whole = fedlt.run(scenario, out=tmp_path / "whole", backend="inline")
    run = fedlt.run(scenario, out=tmp_path / "flower", backend="flower")
    assert run.folder.name == whole.folder.name
    assert run.summary["grid"] != whole.summary["grid"]
    assert_same(run, whole)


@pytest.mark.parametrize("backend", ["inline", "processes"])
def test_a_run_killed_at_three_random_points_goes_on_to_the_same_hash(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, backend: str
) -> None:
    long = [*mortal, "federation.rounds=12"]
    context = multiprocessing.get_context("fork")

    def start(out: Path, backend: str) -> multiprocessing.process.BaseProcess:
        arguments = {"out": out, "backend": backend, "workers": 2}
        process = context.Process(target=fedlt.run, args=(tiny, *long), kwargs=arguments)
        process.start()
        return process

    began = time.monotonic()
    first = start(tmp_path / "whole", "inline")
    first.join()
    assert first.exitcode == 0
    length, rng, kills = time.monotonic() - began, random.Random(), 0
    while kills < 3:
        process = start(tmp_path / "killed", backend)
        process.join(rng.uniform(0.1, 0.5) * length)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    process = start(tmp_path / "killed", backend)
    process.join()
    assert process.exitcode == 0
    (whole,), (run,) = (list((tmp_path / name).iterdir()) for name in ("whole", "killed"))
    assert kills
    assert_same(open_run(run), open_run(whole))


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_killed_workers_change_nothing(tiny: dict[str, Any], mortal: list[str], tmp_path: Path, backend: str) -> None:
    whole = fedlt.run(tiny, *mortal, out=tmp_path / "whole", backend="inline")
    for name in DEATHS:
        (tmp_path / "deaths" / name).touch()
    run = fedlt.run(tiny, *mortal, out=tmp_path / "disturbed", backend=backend, workers=2)
    assert not list((tmp_path / "deaths").iterdir())
    assert run.summary["workers_replaced"] == len(DEATHS)
    assert_same(run, whole)
    after = fedlt.run(tiny, *mortal, out=tmp_path / "after", backend=backend, workers=2)  # Ray's: on the same workers
    assert after.summary["workers_replaced"] == 0


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_a_client_that_always_kills_its_worker_ends_the_run_with_advice(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr("server.grids.ray_pool.ENOUGH", 2)
    monkeypatch.setattr("server.grids.process_grid.ENOUGH", 2)
    for number in range(3):
        (tmp_path / "deaths" / f"train2.{number}").touch()
    with pytest.raises(FedLTError, match=r"again and again.*take fewer workers"):
        fedlt.run(tiny, *mortal, "federation.participation=1", out=tmp_path / "runs", backend=backend, workers=2)


def test_flowers_simulation_waits_for_no_ray_cluster_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word, Ray joins the cluster whose address an earlier one left behind; one that is named is joined."""
    from server.grids.flower_runtime import _environment

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert _environment(tmp_path, 1, 2)["RAY_ADDRESS"] == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert _environment(tmp_path, 1, 2)["RAY_ADDRESS"] == "10.0.0.1:6379"
