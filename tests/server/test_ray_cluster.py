"""Ray on more than one node: the same bits, and the data once on each node. Ray's local cluster stands in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fedlt
from fedlt.config.catalog import ROOT
from fedlt.errors import FedLTError
from fedlt.results.runs import open_run
from server.grids.ray_grid import divide

pytestmark = pytest.mark.grid

SCRIPT = """
import json
import os
import sys
import time
from pathlib import Path

import ray
import ray.experimental
from ray.cluster_utils import Cluster

import fedlt
from fedlt.results.console import Console
from fedlt.sweeps.run import Grids, run_scenario

out, scenario = Path(sys.argv[1]), json.loads(sys.argv[2])
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


ray.put = noted
with Grids() as grids:
    run = run_scenario(fedlt.load(scenario), out, Console(quiet=True), False, "", grids)
    (federation,) = stored
    for _ in range(600):  # the run may be over before the second worker has started
        where = ray.experimental.get_object_locations([federation])[federation]["node_ids"]
        if len(where) == 2:
            break
        time.sleep(0.1)
print(json.dumps({"folder": str(run.folder), "where": where, "nodes": [node.node_id for node in nodes]}))
cluster.shutdown()
"""


def test_two_nodes_give_the_same_bits_and_hold_the_data_once_each(tiny: dict[str, Any], tmp_path: Path) -> None:
    """In a process of its own: Ray's sessions of one process are not apart (see `RayGrid.close`)."""
    here = fedlt.run(tiny, out=tmp_path / "inline", backend="inline")
    content = fedlt.load(tiny, ["resources.backend=ray"]).to_dict()
    command = [sys.executable, "-c", SCRIPT, tmp_path / "ray"]
    done = subprocess.run([*command, json.dumps(content)], capture_output=True, text=True, timeout=200, check=False)
    if "no cluster: " in done.stderr:  # Ray gives its nodes a fixed time to start, too short for a crowded machine
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    there = open_run(told["folder"])
    assert sorted(told["where"]) == sorted(told["nodes"])
    assert len(set(told["nodes"])) == 2
    assert there.rounds["workers"].tolist() == [2, 2]  # one for each core of the cluster
    assert there.summary["grid"] == "RayGrid"
    assert there.summary["model_hash"] == here.summary["model_hash"]


def test_a_cluster_that_nobody_named_is_left_alone(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Ray notes which cluster was started last on a machine, and joins it where it is given no address."""
    script = (
        "import json, sys, fedlt\nfrom ray._private import services\n"
        "services.get_ray_address_from_environment = lambda *_: '127.0.0.1:1'\n"
        "fedlt.run(json.loads(sys.argv[1]), out=sys.argv[2], backend='ray', workers=1)\n"
    )
    command = [sys.executable, "-c", script, json.dumps(tiny), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def test_ray_starts_though_a_worker_dies_meanwhile(tmp_path: Path) -> None:
    """Whatever worker Ray starts on its own account dies at once; `ray.init` must not wait for it."""
    dies = "import os, sys\nif any('default_worker' in word for word in sys.orig_argv):\n    os._exit(1)\n"
    (tmp_path / "sitecustomize.py").write_text(dies)
    script = "import ray\nfrom server.grids.ray_grid import start_ray\nstart_ray(1)\nprint('started')\nray.shutdown()\n"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "started\n", done.stderr


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
for gpus, workers in ((False, 2), (True, 2), (True, 4)):
    place = folder / f"{gpus}-{workers}"
    place.mkdir()
    grid = RayGrid("clients.app:app", workers, gpus=gpus)
    grid.install("os:system", (f"echo $CUDA_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES > {place}/$PPID",))
    ray.get(list(grid._pool._starting))
    found[place.name] = sorted(path.read_text().split() for path in place.iterdir())
    grid.close()
print(json.dumps(found))
ray.shutdown()
"""


def test_workers_without_a_share_see_no_gpu_and_others_only_theirs(tmp_path: Path) -> None:
    """Two GPUs that only Ray believes in. Ray itself would let the first two workers see both."""
    command = [sys.executable, "-c", SHARES, str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_VISIBLE_DEVICES")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment |= {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "False-2": [["-1", "-1"]] * 2,
        "True-2": [["0"], ["1"]],
        "True-4": [["0"], ["0"], ["1"], ["1"]],
    }
