"""Ray on more than one node: the same bits, and the data once on each node. Ray's local cluster stands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fedlt
from fedlt.console import Console
from fedlt.errors import FedLTError
from fedlt.run import Grids, run_scenario
from server.ray_grid import divide


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of two nodes of one core each, which RAY_ADDRESS names."""
    import ray
    from ray.cluster_utils import Cluster

    assert not ray.is_initialized()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.head_node, cluster.add_node(num_cpus=1)]
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield [node.node_id for node in nodes]
    ray.shutdown()
    cluster.shutdown()


def test_two_nodes_give_the_same_bits_and_hold_the_data_once_each(
    two_nodes: list[str], tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    import ray.experimental

    stored: list[Any] = []
    put = ray.put

    def noted(value: Any) -> Any:
        reference = put(value)
        if isinstance(value, tuple):  # scenario and federation; all else that is put is a record
            stored.append(reference)
        return reference

    monkeypatch.setattr(ray, "put", noted)
    rng_images = {"data.longtail.largest": 100, "federation.rounds": 2}
    changes = [f"{key}={value}" for key, value in rng_images.items()]
    here = fedlt.run(tiny, *changes, out=tmp_path / "inline", backend="inline")
    with Grids() as grids:
        scenario = fedlt.load(tiny, [*changes, "resources.backend=ray"])
        there = run_scenario(scenario, tmp_path / "ray", Console(quiet=True), False, "", grids)
        (federation,) = stored
        where = ray.experimental.get_object_locations([federation])[federation]["node_ids"]
        assert sorted(where) == sorted(two_nodes)
    assert there.rounds["workers"].tolist() == [2, 2]  # one for each core of the cluster
    assert there.summary["grid"] == "RayGrid"
    assert there.summary["model_hash"] == here.summary["model_hash"]


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
