"""Ray on more than one node: the same bits, and the data once on each node. Ray's local cluster stands in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mortal import MORTAL, SERVER

import fedlt
from fedlt.config.catalog import ROOT
from fedlt.errors import FedLTError
from fedlt.results.runs import open_run
from server.grids.ray_grid import divide

pytestmark = pytest.mark.grid

CLUSTER = """
import json
import os
import sys
import time
from pathlib import Path
from threading import Thread

import ray
import ray.experimental
from ray.cluster_utils import Cluster

import fedlt
from fedlt.results.console import Console
from fedlt.sweeps.grids import Grids
from fedlt.sweeps.run import run_scenario

out, (plain, mortal) = Path(sys.argv[1]), json.loads(sys.argv[2])
try:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.head_node, cluster.add_node(num_cpus=1)]
except Exception as error:
    sys.exit(f"no cluster: {error}")
os.environ["RAY_ADDRESS"] = cluster.address
stored, put = [], ray.put


def noted(value):
    reference = put(value)
    if isinstance(value, tuple):  # scenario and federation; all else that is put is a record
        stored.append(reference)
    return reference


def run(name, content):
    done = run_scenario(fedlt.load_scenario(content), out / name, Console(quiet=True), False, "", grids)
    folders[name] = str(done.folder)


def lose():
    while not (out / "reached").exists():
        time.sleep(0.05)
    cluster.remove_node(nodes[1], allow_graceful=False)


ray.put, folders = noted, {}
with Grids() as grids:
    run("plain", plain)
    (federation,) = stored
    for _ in range(600):  # the run may be over before the second worker has started
        where = ray.experimental.get_object_locations([federation])[federation]["node_ids"]
        if len(where) == 2:
            break
        time.sleep(0.1)

    (out / f"node.{nodes[1].node_id}").touch()
    Thread(target=lose, daemon=True).start()
    run("mortal", mortal)
print(json.dumps({"folders": folders, "where": where, "nodes": [node.node_id for node in nodes]}))
ray.shutdown()
cluster.shutdown()
"""


def test_two_nodes_hold_the_data_once_each_and_one_may_go_away(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits on two nodes of one core each, the second of which is taken away while it trains a client of the
    second run. In a process of its own: Ray's sessions of one process are not apart (see `ray_pool._end`).
    """
    changes = [f"strategy={MORTAL}", f"strategy.folder={tmp_path}", "federation.participation=0.7"]
    scenarios = {"plain": fedlt.load_scenario(tiny), "mortal": fedlt.load_scenario(tiny, changes)}
    monkeypatch.setenv(SERVER, str(os.getpid()))
    here = {name: fedlt.run(content, out=tmp_path, backend="inline") for name, content in scenarios.items()}
    monkeypatch.delenv(SERVER)

    contents = [{**scenario.to_dict(), "resources": {"backend": "ray"}} for scenario in scenarios.values()]
    command = [sys.executable, "-c", CLUSTER, str(tmp_path), json.dumps(contents)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if "no cluster: " in done.stderr:  # Ray gives its nodes a fixed time to start, too short for a crowded machine
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    there = {name: open_run(folder) for name, folder in told["folders"].items()}

    assert sorted(told["where"]) == sorted(told["nodes"])
    assert len(set(told["nodes"])) == 2
    assert there["plain"].rounds["workers"].tolist() == [2, 2]  # one for each core of the cluster
    assert there["plain"].summary["grid"] == "RayGrid"
    assert there["plain"].summary["workers_replaced"] == 0
    assert there["mortal"].summary["workers_replaced"] >= 1
    for name, run in there.items():
        assert run.summary["model_hash"] == here[name].summary["model_hash"]
        assert run.metrics.equals(here[name].metrics)


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "expected"),
    [
        (None, 16, 0, (16, 0.0)),
        (3, 16, 0, (3, 0.0)),
        (None, 16, 1, (4, 0.25)),  # not 16 processes on one GPU
        (None, 2, 1, (2, 0.5)),
        (1, 16, 1, (1, 1.0)),
        (1, 16, 4, (1, 1.0)),  # a worker uses one GPU
        (4, 16, 3, (4, 0.5)),  # 0.75 each would fit only three times
        (8, 16, 2, (8, 0.25)),
    ],
)
def test_workers_share_gpus_so_that_all_find_a_place(
    workers: int | None, cpus: int, gpus: int, expected: tuple[int, float]
) -> None:
    count, share = divide(workers, cpus, gpus)
    assert (count, share) == expected
    assert gpus == 0 or gpus * int(1 / share) >= count


def test_more_workers_than_cores_are_refused_instead_of_waited_for() -> None:
    with pytest.raises(FedLTError, match=r"resources\.workers=3, and Ray has 2 cores"):
        divide(3, 2, 0)


SHARES = """
import json, os, pathlib, sys
import ray
from server.grids.ray_grid import RayGrid
ray.init("local", num_cpus=4, num_gpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
folder = pathlib.Path(sys.argv[1])
found = {}
for gpus, workers in ((False, 1), (True, 3)):
    place = folder / f"{gpus}-{workers}"
    place.mkdir()
    grid = RayGrid("os:getcwd", workers, gpus=gpus)  # an app that imports nothing
    grid.install("os:system", (f"echo $CUDA_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES > {place}/$PPID",))
    ray.get(list(grid._pool._starting))
    found[place.name] = sorted(path.read_text().split() for path in place.iterdir())
    grid.close()
print(json.dumps(found))
ray.shutdown()
"""


def test_workers_without_a_share_see_no_gpu_and_others_only_theirs(tmp_path: Path) -> None:
    """Two GPUs that only Ray believes in. Ray itself would let the first worker see both."""
    command = [sys.executable, "-c", SHARES, str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_VISIBLE_DEVICES")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment |= {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "False-1": [["-1", "-1"]],
        "True-3": [["0"], ["0"], ["1"]],
    }
