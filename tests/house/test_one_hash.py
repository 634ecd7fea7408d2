"""One hash: the same scenario gives the same bits wherever it is computed, and whatever happens meanwhile.

In this process, on forked and on Ray workers, under `flwr run`; killed at random moments and resumed; with workers that
are killed while they start, train or evaluate; on a Ray cluster that loses a node in the midst of a computation. The
strategies keep something at the clients, at the server and in its outbox; some clients stay out of each round.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlt
from fedlt.config.scenario import load
from fedlt.errors import FedLTError
from fedlt.results.console import Console
from fedlt.results.runs import Run, open_run
from fedlt.sweeps.run import Grids, run_scenario

pytestmark = pytest.mark.grid

OWN_PROCESS = "FEDLT_TEST_OWN_PROCESS"  # set in the process that the cluster's test starts

MORTAL = '''
import os, signal, time
from pathlib import Path


@dataclass(frozen=True)
class Mortal(Strategy):
    """Private heads; clients and server keep something, an outbox, draws. A worker that finds a file of its phase
    removes it and dies; one that finds a file of its Ray node waits, so that the node can be taken away."""

    private: ClassVar[tuple[str, ...]] = ("head.*",)
    folder: str = ""

    def build(self, model, task):
        self.die("start")

    def begin(self, client):
        client.state["memory"] = torch.rand(4)

    def fit(self, client):
        super().fit(client)
        client.state["memory"] = client.state["memory"] * 0.5 + float(client.rng.random())
        client.extras["memory"] = client.state["memory"] + client.received.get("mean", torch.zeros(4))
        self.die(f"train{client.id}")
        self.wait()

    def personal(self, client, x):
        self.die(f"evaluate{client.id}")
        return super().personal(client, x) + client.received.get("mean", torch.zeros(4)).sum()

    def aggregate(self, server, updates):
        whole = combine(updates)
        server.weights = whole.mean
        server.state["sum"] = server.state.get("sum", torch.zeros(4)) + whole.sums["memory"]
        server.outbox["mean"] = server.state["sum"] / 100 + float(server.rng.random())

    def die(self, phase):
        if os.environ.get("FEDLT_TEST_SERVER") == str(os.getpid()):
            return
        if self.take(f"{phase}.*"):
            os.kill(os.getpid(), signal.SIGKILL)

    def wait(self):
        if self.waiting():
            import ray

            if self.take(f"node.{ray.get_runtime_context().get_node_id()}"):
                (Path(self.folder) / "reached").touch()
                time.sleep(100)
            while self.waiting():  # until that node has been given a client
                time.sleep(0.05)

    def waiting(self):
        return any(Path(self.folder).glob("node.*"))

    def take(self, pattern):
        for path in Path(self.folder).glob(pattern):
            try:
                path.unlink()
                return True
            except FileNotFoundError:
                continue
        return False
'''

DEATHS = ["start.1", "train4.1", "train4.2", "evaluate5.1"]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    import ray

    from server.grids.ray_grid import start_ray

    start_ray(2)
    yield
    ray.shutdown()


@pytest.fixture
def mortal(own_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FEDLT_TEST_SERVER", str(os.getpid()))
    (tmp_path / "deaths").mkdir()
    path = own_file(MORTAL)
    where = [f"strategy={path}:Mortal", f"strategy.folder={tmp_path / 'deaths'}"]
    return [*where, "federation.participation=0.7", "federation.rounds=4", "resources.checkpoint=1"]


def run_on(backend: str, tiny: dict[str, Any], overrides: list[str], out: Path, workers: int = 2) -> tuple[Run, int]:
    """The run, and how many workers were replaced."""
    scenario = load(tiny, [*overrides, f"resources.backend={backend}", f"resources.workers={workers}"])
    with Grids() as grids:
        run = run_scenario(scenario, out, Console(quiet=True), False, "", grids)
    return run, int(run.summary["workers_replaced"])


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


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("name", STRATEGIES)
def test_grids_and_workers_give_one_hash(tiny: dict[str, Any], mortal: list[str], tmp_path: Path, name: str) -> None:
    changes = mortal if name == "own" else STRATEGIES[name]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    for backend in ("processes", "ray"):  # one worker or two: tests/server/test_grids.py
        run, _ = run_on(backend, tiny, changes, tmp_path / backend)
        assert_same(run, whole)


def test_flwr_run_gives_the_same_hash(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower's own runtime, with its default nodes. Labels come from a file beside the scenario; Flower starts its
    processes elsewhere, and they must find it."""
    monkeypatch.chdir(tmp_path)
    np.savez("labels.npz", people=np.arange(1497) % 10)
    scenario = load(tiny, [*mortal, "data.noise.kind=file", "data.noise.file=labels.npz:people"])
    whole = fedlt.run(scenario, out=tmp_path / "whole", backend="inline")
    run = fedlt.run(scenario, out=tmp_path / "flower", backend="flower")
    assert run.folder.name == whole.folder.name
    assert run.summary["grid"] != whole.summary["grid"]
    assert_same(run, whole)


@pytest.mark.parametrize("backend", ["inline", "processes"])
def test_a_run_killed_at_three_random_points_goes_on_to_the_same_hash(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, backend: str
) -> None:
    long = [*mortal, "federation.rounds=20"]
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


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_killed_workers_change_nothing(tiny: dict[str, Any], mortal: list[str], tmp_path: Path, backend: str) -> None:
    whole = fedlt.run(tiny, *mortal, out=tmp_path / "whole", backend="inline")
    for name in DEATHS:
        (tmp_path / "deaths" / name).touch()
    run, replaced = run_on(backend, tiny, mortal, tmp_path / "disturbed")
    assert not list((tmp_path / "deaths").iterdir())
    assert replaced == len(DEATHS)
    assert_same(run, whole)


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_a_client_that_always_kills_its_worker_ends_the_run_with_advice(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr("server.grids.ray_pool.ENOUGH", 2)
    monkeypatch.setattr("server.grids.process_grid.ENOUGH", 2)
    for number in range(3):
        (tmp_path / "deaths" / f"train2.{number}").touch()
    with pytest.raises(FedLTError, match=r"again and again.*take fewer workers"):
        run_on(backend, tiny, [*mortal, "federation.participation=1"], tmp_path / "runs", workers=1)


def test_a_node_of_a_cluster_may_go_away(tiny: dict[str, Any], mortal: list[str], tmp_path: Path) -> None:
    """Two nodes of one core each on this machine; the second is taken away while it trains a client.

    In a process of its own: Ray's sessions of one process are not apart (see `RayGrid.close`).
    """
    if OWN_PROCESS not in os.environ:
        test = f"{__file__}::test_a_node_of_a_cluster_may_go_away"
        command = [sys.executable, "-m", "pytest", "-x", test]
        alone = {**os.environ, OWN_PROCESS: "1"}
        done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout
        return
    import ray
    from ray.cluster_utils import Cluster

    whole = fedlt.run(tiny, *mortal, out=tmp_path / "whole", backend="inline")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
        )
        (tmp_path / "deaths" / f"node.{second.node_id}").touch()

        def lose() -> None:
            while not (tmp_path / "deaths" / "reached").exists():
                time.sleep(0.05)
            cluster.remove_node(second, allow_graceful=False)

        losing = threading.Thread(target=lose, daemon=True)
        losing.start()
        run, replaced = run_on("ray", tiny, mortal, tmp_path / "cluster")
        losing.join(60)
        assert replaced >= 1
        assert_same(run, whole)
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_flowers_simulation_waits_for_no_ray_cluster_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word, Ray joins the cluster whose address an earlier one left behind; one that is named is joined."""
    from server.grids.flower_runtime import _environment

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert _environment(tmp_path, 1, 2)["RAY_ADDRESS"] == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert _environment(tmp_path, 1, 2)["RAY_ADDRESS"] == "10.0.0.1:6379"
