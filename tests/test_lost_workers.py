"""Workers that are killed in any phase, and a node that goes away: the run ends with the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fedlt
from fedlt.console import Console
from fedlt.errors import FedLTError
from fedlt.results import Run
from fedlt.run import Grids, run_scenario
from fedlt.scenario import load

OWN_PROCESS = "FEDLT_TEST_OWN_PROCESS"  # set in the process that the cluster's test starts

MORTAL = '''
import os, signal
from pathlib import Path


@dataclass(frozen=True)
class Mortal(Strategy):
    """FedAvg with private heads and something kept; a worker that finds a file of its phase removes it and dies."""

    private: ClassVar[tuple[str, ...]] = ("head.*",)
    folder: str = ""

    def build(self, model, task):
        self.die("start")

    def begin(self, client):
        client.state["memory"] = torch.rand(4)

    def fit(self, client):
        super().fit(client)
        client.state["memory"] = client.state["memory"] * 0.5 + float(client.rng.random())
        client.extras["memory"] = client.state["memory"]
        self.die(f"train{client.id}")

    def personal(self, client, x):
        self.die(f"evaluate{client.id}")
        return super().personal(client, x)

    def aggregate(self, server, updates):
        whole = combine(updates)
        server.weights = whole.mean
        server.state["sum"] = server.state.get("sum", torch.zeros(4)) + whole.sums["memory"]

    def die(self, phase):
        if os.environ.get("FEDLT_TEST_SERVER") == str(os.getpid()):
            return
        for path in Path(self.folder).glob(f"{phase}.*"):
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
'''

DEATHS = ["start.1", "train4.1", "train4.2", "evaluate5.1"]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    import ray

    from server.ray_grid import start_ray

    start_ray(2)
    yield
    ray.shutdown()


@pytest.fixture
def mortal(own_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FEDLT_TEST_SERVER", str(os.getpid()))
    (tmp_path / "deaths").mkdir()
    path = own_file(MORTAL)
    return [f"strategy={path}:Mortal", f"strategy.folder={tmp_path / 'deaths'}", "federation.participation=0.7"]


def run_on(backend: str, tiny: dict[str, Any], overrides: list[str], out: Path, workers: int = 2) -> tuple[Run, int]:
    """The run, and how many workers were replaced."""
    scenario = load(tiny, [*overrides, f"resources.backend={backend}", f"resources.workers={workers}"])
    with Grids() as grids:
        run = run_scenario(scenario, out, Console(quiet=True), False, "", grids)
    return run, int(run.summary["workers_replaced"])


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_killed_workers_change_nothing(tiny: dict[str, Any], mortal: list[str], tmp_path: Path, backend: str) -> None:
    whole = fedlt.run(tiny, *mortal, out=tmp_path / "whole", backend="inline")
    for name in DEATHS:
        (tmp_path / "deaths" / name).touch()
    run, replaced = run_on(backend, tiny, mortal, tmp_path / "disturbed")
    assert not list((tmp_path / "deaths").iterdir())
    assert replaced == len(DEATHS)
    assert run.summary["model_hash"] == whole.summary["model_hash"]
    assert run.summary["final"] == whole.summary["final"]


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("backend", ["processes", "ray"])
def test_a_client_that_always_kills_its_worker_ends_the_run_with_advice(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr("server.ray_pool.ENOUGH", 2)
    monkeypatch.setattr("server.process_grid.ENOUGH", 2)
    for number in range(3):
        (tmp_path / "deaths" / f"train2.{number}").touch()
    with pytest.raises(FedLTError, match=r"again and again.*take fewer workers"):
        run_on(backend, tiny, [*mortal, "federation.participation=1"], tmp_path / "runs", workers=1)


def test_a_node_of_a_cluster_may_go_away(
    tiny: dict[str, Any], mortal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of one core each on this machine; the second is taken away when it has trained.

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
        from server.rounds import Rounds

        take, gone = Rounds._take, []

        def losing(self: Rounds, reports: Any) -> Any:
            if self.progress.round == 0:
                cluster.remove_node(second, allow_graceful=False)
                gone.append(second)
            return take(self, reports)

        monkeypatch.setattr(Rounds, "_take", losing)
        run, replaced = run_on("ray", tiny, mortal, tmp_path / "cluster")
        assert gone
        assert replaced >= 1
        assert run.summary["model_hash"] == whole.summary["model_hash"]
        assert run.summary["final"] == whole.summary["final"]
    finally:
        ray.shutdown()
        cluster.shutdown()
