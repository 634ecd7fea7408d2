"""The federation: local tests, agreement of plan and federation, digest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlt.config.scenario import Scenario
from fedlt.config.sections import Data, Federation, LongTail
from fedlt.data import localtest
from fedlt.data.federation import federate, plan
from fedlt.data.partitions.flower import Iid
from fedlt.data.partitions.natural import Natural
from fedlt.data.partitions.per_class import DirichletPerClass
from fedlt.data.targets import Targets
from fedlt.errors import ScenarioError

# Two clients, three classes: 100 training samples.
CLIENTS = np.array([[60, 10, 1], [20, 0, 9]])


def scenario(name: str, partition: Any, clients: int | None = 4, seed: int = 0, **longtail: Any) -> Scenario:
    rule = longtail.pop("local_test", "matched")
    empty = longtail.pop("empty", "error")
    data = Data(name=name, longtail=LongTail(**longtail))
    federation = Federation(clients=clients, partition=partition, local_test=rule, empty=empty)
    return Scenario(name="test", data=data, federation=federation, seed=seed)


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """40 feature rows of two classes from three sites, 12 test rows from sites 1 and 2 only."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "sites.npz",
        x_train=rng.normal(size=(40, 5)),
        y_train=np.tile([1, 0], 20),
        site_train=np.arange(40) % 3,
        x_test=rng.normal(size=(12, 5)),
        y_test=np.tile([0, 1], 6),
        site_test=np.repeat([1, 2], 6),
    )
    return str(tmp_path / "sites.npz")


def test_test_counts_round_down_or_to_the_nearest_and_stay_within_the_test_set() -> None:
    # 30 test samples: 0.3 for each training sample, so 18, 3, 0.3 and 6, 0, 2.7.
    test = np.array([10, 10, 10])
    assert localtest.test_counts("official", CLIENTS, test).tolist() == [[10, 3, 0], [6, 0, 2]]
    assert localtest.test_counts("matched", CLIENTS, test).tolist() == [[10, 3, 1], [6, 0, 3]]
    assert localtest.test_counts("matched", CLIENTS, np.array([30, 0, 0])).tolist() == [[18, 0, 0], [6, 0, 0]]
    with pytest.raises(ScenarioError, match=r"federation.local_test: expected matched or official"):
        localtest.test_counts("natural", CLIENTS, test)


def test_local_tests_are_drawn_within_the_class_without_replacement() -> None:
    y_test = np.tile(np.arange(3), 10)
    tested = Targets.of_classes(y_test)
    rows = localtest.local_tests("matched", CLIENTS, tested, seed=0)
    assert rows.table(y_test, 3).tolist() == [[10, 3, 1], [6, 0, 3]]
    assert all((np.diff(row) > 0).all() for row in rows)
    assert (localtest.local_tests("matched", CLIENTS, tested, seed=0).values == rows.values).all()
    assert (localtest.local_tests("matched", CLIENTS, tested, seed=1).values != rows.values).any()
    twins = localtest.local_tests("matched", np.array([[5, 5, 5], [5, 5, 5]]), tested, seed=0)
    assert not np.array_equal(twins[0], twins[1])  # clients draw independently
    # 0.99 * 2 and 0.01 * 2 test samples, rounded down: the second client is not tested.
    sparse = localtest.local_tests(
        "official", np.array([[99, 0], [0, 1]]), Targets.of_classes(np.array([0, 1])), seed=0
    )
    assert sparse.sizes.tolist() == [1, 0]


def test_natural_tests_are_the_rows_of_the_client_s_own_group() -> None:
    tested = Targets.of_classes(np.zeros(4, np.int64))
    rows = localtest.local_tests("natural", CLIENTS, tested, 0, np.array([5, 7]), np.array([7, 5, 9, 7]))
    assert [row.tolist() for row in rows] == [[1], [0, 3]]
    for groups in ((None, None), (np.array([5, 7]), None), (np.array([5, 7]), np.array([1, 1, 1, 1]))):
        with pytest.raises(ScenarioError, match=r"federation.local_test: natural"):
            localtest.local_tests("natural", CLIENTS, tested, 0, *groups)


def test_federation_joins_everything(sites: str) -> None:
    shaped: dict[str, Any] = {"profile": "exponential", "imbalance_factor": 4.0}
    result = federate(scenario(sites, Iid(), 3, **shaped))
    assert (result.name, result.kind, result.num_classes, result.inputs.shape) == ("sites", "single", 2, (5,))
    assert result.x_train.shape == (40, 5) and result.inputs.arrays()["mean"].shape == (5,)
    assert result.class_counts.tolist() == [20, 5]
    assert result.clients.sizes.tolist() == [9, 8, 8]
    assert result.union().tolist() == sorted({int(row) for client in result.clients for row in client})
    assert np.bincount(result.y_train[result.union()]).tolist() == [20, 5]  # positions became rows of the source
    assert result.client_counts().sum(axis=0).tolist() == [20, 5]
    for client in range(3):
        assert result.counts(client).tolist() == result.client_counts()[client].tolist()
    wanted = localtest.test_counts("matched", result.client_counts(), np.array([6, 6]))
    assert result.tests.table(result.y_test, 2).tolist() == wanted.tolist()


def test_shape_of_pictures_has_channels_first(tmp_path: Path) -> None:
    pictures = np.zeros((4, 2, 5, 3), np.uint8)
    np.savez(tmp_path / "s.npz", x_train=pictures, y_train=[0, 1, 0, 1], x_test=pictures, y_test=[0, 1, 0, 1])
    assert federate(scenario(str(tmp_path / "s.npz"), Iid(), 2), tmp_path / "cache").inputs.shape == (3, 2, 5)


def test_clients_keep_the_order_of_the_official_subset(sites: str) -> None:
    from fedlt.data.longtail import select

    shaped: dict[str, Any] = {"profile": "exponential", "imbalance_factor": 4.0, "mode": "official"}
    result = federate(scenario(sites, DirichletPerClass(5.0), 2, **shaped))
    kept = select(result.train_targets, LongTail(**shaped), 0).tolist()
    for client in result.clients:
        places = [kept.index(row) for row in client]
        assert places == sorted(places)


def test_natural_clients_and_natural_tests(sites: str) -> None:
    result = federate(scenario(sites, Natural("site"), None, local_test="natural"))
    assert result.clients.sizes.tolist() == [14, 13, 13]
    assert [sorted(client.tolist()) for client in result.clients] == [list(range(k, 40, 3)) for k in range(3)]
    assert [row.tolist() for row in result.tests] == [[], [0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    with pytest.raises(ScenarioError, match=r"federation.local_test: natural needs federation.partition: natural"):
        federate(scenario(sites, Iid(), 3, local_test="natural"))


def test_a_component_that_the_scenario_chose_is_created(sites: str) -> None:
    class Choice:
        def create(self) -> Iid:
            return Iid(seed=7)

    chosen, instance = federate(scenario(sites, Choice(), 3)), federate(scenario(sites, Iid(seed=7), 3))
    assert chosen.digest() == instance.digest()


def test_plan_is_the_federation_without_inputs(sites: str) -> None:
    for seed in (0, 1):
        case = scenario(sites, DirichletPerClass(2.0), 3, seed, profile="exponential", imbalance_factor=4.0)
        expected, found = federate(case), plan(case)
        assert found.digest == expected.digest() and len(expected.digest()) == 64
        assert found.client_counts.tolist() == expected.client_counts().tolist()
        assert found.test_counts.tolist() == expected.tests.table(expected.y_test, 2).tolist()
        assert found.class_counts.tolist() == expected.class_counts.tolist() == [20, 5]
        assert (found.name, found.class_names) == ("sites", ("0", "1"))


def test_classes_without_a_test_sample_are_told_before_any_work(tmp_path: Path, sites: str) -> None:
    assert federate(scenario(sites, Iid(), 3)).untested_text() == ""
    y = np.repeat([0, 1, 2], [20, 6, 4])
    np.savez(tmp_path / "s.npz", x_train=np.ones((30, 2)), y_train=y, x_test=np.ones((2, 2)), y_test=[0, 0])
    case = scenario(str(tmp_path / "s.npz"), Iid(), 2)
    said = federate(case).untested_text()
    assert said.startswith("2 tail classes, 2 of them without a test sample (1, 2): no figure counts them; ")
    assert plan(case).test_class_counts.tolist() == [2, 0, 0]
    from fedlt.commands.partition_view import partition_figures, partition_text

    assert said in partition_text(partition_figures(case)).splitlines()


def test_digest_follows_everything_that_was_dealt(sites: str) -> None:
    case = scenario(sites, Iid(), 3)
    base = federate(case)
    other_tests = replace(case, federation=replace(case.federation, local_test="official"))
    results = [federate(replace(case, seed=1)), federate(other_tests)]
    others = [replace(base.train_targets, values=1 - base.y_train), replace(base.test_targets, values=1 - base.y_test)]
    results += [replace(base, train_targets=others[0]), replace(base, test_targets=others[1])]
    assert base.digest() == federate(case).digest()
    assert len({base.digest(), *(result.digest() for result in results)}) == 5


def test_plan_of_a_well_known_set_works_from_class_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEDLT_DATA", raising=False)
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path))
    shaped: dict[str, Any] = {
        "profile": "exponential",
        "imbalance_factor": 50.0,
        "mode": "official",
        "local_test": "official",
    }
    found = plan(scenario("cifar10", DirichletPerClass(0.5, 3407), 40, **shaped))
    assert found.client_counts.sum(axis=1)[:6].tolist() == [226, 200, 143, 400, 329, 90]
    assert found.test_counts.sum() == 9850 and found.class_counts.sum() == 13996
    assert found.digest is None
    assert list(tmp_path.iterdir()) == []


def test_counts_do_not_depend_on_the_order_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is planned from class counts alone is what the data will give."""
    from fedlt.data.partitions.flower import Dirichlet, Pathological, Shards, SizeSkewed

    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    y = np.repeat(np.arange(4), 12)
    for name, order in (("sorted", np.arange(48)), ("mixed", np.random.default_rng(1).permutation(48))):
        np.savez(tmp_path / name, x_train=np.ones((48, 1)), y_train=y[order], x_test=np.ones((8, 1)), y_test=y[::6])
    shaped: dict[str, Any] = {"profile": "exponential", "imbalance_factor": 4.0}
    for scheme in (Iid(), Dirichlet(), DirichletPerClass(), Pathological(3), Shards(2), SizeSkewed("linear")):
        one, two = (
            plan(scenario(str(tmp_path / f"{name}.npz"), scheme, 4, empty="redraw", **shaped))
            for name in ("sorted", "mixed")
        )
        assert one.client_counts.tolist() == two.client_counts.tolist(), scheme
        assert one.test_counts.tolist() == two.test_counts.tolist(), scheme
        assert one.digest != two.digest
