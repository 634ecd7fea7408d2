"""Partitions: the published golden rows, and the properties of every other scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedlt.config.sections import LongTail
from fedlt.data import groups, localtest
from fedlt.data.longtail import counts
from fedlt.data.partitions.dealing import partition
from fedlt.data.partitions.flower import Dirichlet, Iid, Pathological, Shards, SizeSkewed
from fedlt.data.partitions.natural import Natural
from fedlt.data.partitions.per_class import DirichletPerClass
from fedlt.data.ragged import Ragged
from fedlt.errors import ScenarioError

# Class sizes of a small long tail: 60 samples, with a last class of 2.
LABELS = np.repeat(np.arange(5), [30, 16, 8, 4, 2])


def key(scheme: Any, clients: int | None = 4, empty: str = "error", labels: NDArray[np.int64] = LABELS) -> str:
    """Key of the one problem that the partition reports."""
    with pytest.raises(ScenarioError) as caught:
        partition(scheme, labels, {}, clients, 0, empty)
    (problem,) = caught.value.problems
    return problem.key


# FedLoGe code (Xiao et al., ICLR 2024): classes, alpha, imbalance factor, clients; first six client sizes;
# smallest, median and largest client; sum of the local test counts; many, medium and few classes.
GOLDEN = [
    (10, 0.5, 50, 40, [226, 200, 143, 400, 329, 90], (66, 237.0, 995), 9850, (4, 3, 3)),
    (10, 0.5, 100, 40, [215, 141, 207, 171, 243, 132], (90, 215.0, 1106), 9829, (3, 3, 4)),
    (10, 1.0, 50, 40, [265, 279, 338, 591, 172, 409], (146, 320.0, 720), 9828, (4, 3, 3)),
    (100, 0.5, 50, 20, [557, 682, 644, 784, 649, 592], (437, 620.5, 1030), 9261, (31, 31, 38)),
    (100, 1.0, 50, 20, [570, 712, 662, 720, 618, 725], (477, 644.0, 817), 9142, (31, 30, 39)),
    (100, 0.5, 100, 40, [264, 285, 233, 378, 283, 185], (185, 264.5, 406), 8636, (25, 25, 50)),
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"cifar{row[0]}-alpha{row[1]}-if{row[2]}-{row[3]}")
def test_golden_rows_of_the_official_code(row: Any) -> None:
    classes, alpha, factor, clients, first, spread, tested, shots = row
    kept = counts(np.full(classes, 50_000 // classes), LongTail("exponential", factor, "official"), 0)
    labels = np.repeat(np.arange(classes), kept)
    rows = partition(DirichletPerClass(alpha, 3407), labels, {}, clients, seed=0)
    assert rows.sizes[:6].tolist() == first
    assert (rows.sizes.min(), np.median(rows.sizes), rows.sizes.max()) == spread
    local = localtest.test_counts("official", rows.table(labels, classes), np.full(classes, 10_000 // classes))
    assert local.sum() == tested
    assert groups.sizes(groups.by_mass(local.sum(axis=0))) == shots


ALL = [Iid(), DirichletPerClass(2.0), Dirichlet(2.0), Pathological(3), Shards(2), SizeSkewed("linear")]


@pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: type(scheme).__name__)
def test_every_sample_goes_to_one_client_as_the_seed_says(scheme: Any) -> None:
    rows = partition(scheme, LABELS, {}, 4, seed=3)
    assert np.sort(rows.values).tolist() == list(range(60))
    assert all((np.diff(row) > 0).all() for row in rows)
    again, other = (partition(scheme, LABELS, {}, 4, seed=seed) for seed in (3, 4))
    assert (again.values == rows.values).all() and (again.offsets == rows.offsets).all()
    assert not np.array_equal(other.values, rows.values)
    fixed = partition(type(scheme)(**{**vars(scheme), "seed": 3}), LABELS, {}, 4, seed=4)
    assert (fixed.values == rows.values).all()


def test_per_class_dirichlet_draws_are_the_official_ones() -> None:
    draws = np.random.RandomState(7)
    draws.binomial(1, 1, size=(3, 2))
    expected = []
    for size in (6, 4):
        shares = draws.dirichlet(0.5 * np.ones(3))
        expected += draws.choice(3, size, p=shares).tolist()
    labels = np.array([0] * 6 + [1] * 4)
    assert DirichletPerClass(0.5, 7).assign(labels, {}, 3, seed=0).tolist() == expected
    mixed = np.array([1, 0, 0, 1, 0, 0, 1, 0, 1, 0])  # the same classes, stored in another order
    owner = DirichletPerClass(0.5, 7).assign(mixed, {}, 3, seed=0)
    assert owner[mixed == 0].tolist() + owner[mixed == 1].tolist() == expected


def test_iid_and_size_skew() -> None:
    assert partition(Iid(), LABELS, {}, 8, 0).sizes.tolist() == [8, 8, 8, 8, 7, 7, 7, 7]
    assert len(np.unique(LABELS[partition(Iid(), LABELS, {}, 2, 0)[0]])) > 2  # shuffled: not the first classes only
    assert partition(SizeSkewed("linear"), LABELS, {}, 3, 0).sizes.tolist() == [10, 20, 30]
    assert partition(SizeSkewed("square"), LABELS, {}, 3, 0).sizes.tolist() == [4, 17, 39]
    assert partition(SizeSkewed("exponential"), LABELS, {}, 3, 0).sizes.tolist() == [5, 14, 41]


def test_dirichlet_reaches_its_smallest_client() -> None:
    assert min(partition(Dirichlet(0.5, min_size=5), LABELS, {}, 4, seed).sizes.min() for seed in range(5)) >= 5
    assert key(Dirichlet(0.01, min_size=15)) == "federation.partition"


def test_pathological_clients_hold_a_fixed_number_of_classes() -> None:
    labels = np.repeat(np.arange(5), 20)
    rows = partition(Pathological(2), labels, {}, 10, 0)
    assert ((rows.table(labels, 5) > 0).sum(axis=1) == 2).all()
    assert (rows.table(labels, 5)[np.arange(10), np.arange(10) % 5] > 0).all()


def test_pathological_refuses_to_lose_a_class_or_to_split_a_sample() -> None:
    assert key(Pathological(1), clients=3) == "federation.partition"  # five classes, three places
    assert key(Pathological(5), clients=4) == "federation.partition"  # four clients want the two samples of class 4
    assert key(Pathological(6)) == "federation.partition"


def test_shards_keep_the_rarest_class_whatever_the_remainder() -> None:
    rows = partition(Shards(2), LABELS, {}, 11, 0)  # 22 shards of 60 samples: 16 of 3 and 6 of 2
    assert rows.sizes.sum() == 60 and rows.sizes.min() >= 4 and rows.sizes.max() <= 6
    assert rows.table(LABELS, 5).sum(axis=0).tolist() == [30, 16, 8, 4, 2]
    assert ((rows.table(LABELS, 5) > 0).sum(axis=1) <= 4).all()
    alike = partition(Shards(1), np.zeros(20, np.int64), {}, 2, 0)
    assert alike[0].tolist() not in (list(range(10)), list(range(10, 20)))  # not cut in storage order
    assert key(Shards(16)) == "federation.partition.shards_per_client"


@pytest.mark.parametrize(("samples", "clients"), [(60, 7), (59, 5), (8, 8), (23, 1)])
def test_equal_shares_are_cut_as_flower_cuts_them(samples: int, clients: int) -> None:
    from datasets import Dataset
    from flwr_datasets.partitioner import IidPartitioner

    from fedlt.process.seeding import generator

    shuffled = generator(9, "partition").permutation(samples)
    flower = IidPartitioner(clients)
    flower.dataset = Dataset.from_dict({"row": shuffled})
    expected = [sorted(flower.load_partition(client)["row"][:]) for client in range(clients)]
    dealt = partition(Iid(), np.zeros(samples, np.int64), {}, clients, seed=9)
    assert [rows.tolist() for rows in dealt] == expected


@pytest.mark.filterwarnings("ignore::FutureWarning")  # pyarrow, of how datasets sorts
def test_shards_are_dealt_as_flower_deals_them() -> None:
    from datasets import Dataset
    from flwr_datasets.partitioner import ShardPartitioner

    from fedlt.process.seeding import integer

    labels = np.repeat(np.arange(4), 6)  # 8 shards of 3 samples, one class each
    flower = ShardPartitioner(4, "label", 2, seed=integer(9, "partition"))
    flower.dataset = Dataset.from_dict({"label": labels})
    expected = [np.bincount(flower.load_partition(k)["label"][:], minlength=4).tolist() for k in range(4)]
    assert partition(Shards(2), labels, {}, 4, seed=9).table(labels, 4).tolist() == expected


def test_natural_makes_one_client_of_each_value() -> None:
    site = {"site": np.array([7, 3, 7, 5])}
    rows = partition(Natural("site"), np.zeros(4, np.int64), site, None, 0)
    assert [row.tolist() for row in rows] == [[1], [3], [0, 2]]
    assert len(partition(Natural("site"), np.zeros(4, np.int64), site, 3, 0)) == 3
    with pytest.raises(ScenarioError, match=r"federation.clients: Natural makes 3 clients, not 4"):
        partition(Natural("site"), np.zeros(4, np.int64), site, 4, 0)
    with pytest.raises(ScenarioError, match=r"federation.partition.column: .* it has: site"):
        partition(Natural("writer"), np.zeros(4, np.int64), site, None, 0)


def test_numbers_of_clients_that_cannot_be() -> None:
    assert key(Iid(), clients=None) == "federation.clients"
    assert key(Iid(), clients=61) == "federation.clients"


def test_an_empty_client_is_an_error_or_drawn_again() -> None:
    skewed = DirichletPerClass(0.5)  # with 12 clients, seed 0 leaves one without a sample and seed 1 does not
    with pytest.raises(ScenarioError, match=r"federation.partition: \d+ of 12 clients got no sample; .*redraw"):
        partition(skewed, LABELS, {}, 12, seed=0)
    rows = partition(skewed, LABELS, {}, 12, seed=0, empty="redraw")
    assert (rows.values == partition(DirichletPerClass(0.5, 1), LABELS, {}, 12, seed=0).values).all()
    with pytest.raises(ScenarioError, match=r"in each of 101 draws; use a larger alpha or fewer clients$"):
        partition(DirichletPerClass(0.001), LABELS, {}, 12, seed=0, empty="redraw")


def test_a_seed_that_the_official_generator_cannot_take() -> None:
    with pytest.raises(ScenarioError, match=r"federation.partition.seed: must be below 2\^32"):
        partition(DirichletPerClass(), LABELS, {}, 4, seed=2**32)


def test_ragged_rows() -> None:
    rows = Ragged.from_owner(np.array([2, 0, 2, 0, 2]), 4)
    assert [row.tolist() for row in rows] == [[1, 3], [], [0, 2, 4], []]
    assert len(rows) == 4 and rows.sizes.tolist() == [2, 0, 3, 0]
    assert rows.table(np.array([0, 1, 1, 1, 0]), 2).tolist() == [[0, 2], [0, 0], [2, 1], [0, 0]]
    same = Ragged.from_rows([np.array([1, 3]), np.array([], np.int64), np.array([0, 2, 4]), np.array([], np.int64)])
    assert same.values.tolist() == rows.values.tolist() and same.offsets.tolist() == rows.offsets.tolist()
    for row in (-1, 4):
        with pytest.raises(IndexError):
            rows[row]
    for owner in ([0, 4], [-1, 0]):
        with pytest.raises(ValueError, match=r"owners must lie in 0..3"):
            Ragged.from_owner(np.array(owner), 4)


def test_a_small_alpha_gives_each_class_to_one_client() -> None:
    """All gamma draws of a class underflow: 0 / 0 in NumPy's shares, whose limit is one client."""
    for alpha in (1e-3, 1e-4, 1e-300):
        owner = DirichletPerClass(alpha, 0).assign(LABELS, {}, 3, seed=0)
        assert [len(np.unique(owner[label == LABELS])) for label in range(5)] == [1] * 5
        again = DirichletPerClass(alpha, 0).assign(LABELS, {}, 3, seed=0)
        assert owner.tolist() == again.tolist()
    holders = {int(DirichletPerClass(1e-300, seed).assign(LABELS, {}, 3, 0)[0]) for seed in range(20)}
    assert holders == {0, 1, 2}  # by chance, not always the first


@pytest.mark.parametrize("alpha", [1e-300, 1e-20, 1e-3])
def test_a_small_alpha_of_flowers_dirichlet_loses_no_sample(alpha: float) -> None:
    rows = partition(Dirichlet(alpha), LABELS, {}, 2, 0, "redraw")
    assert np.sort(rows.values).tolist() == list(range(60))


@pytest.mark.slow
def test_flowers_refusals_are_drawn_again_too() -> None:
    """Flower's partitioner tries ten times by one seed and gives up, though the next seed would do."""
    labels = np.repeat(np.arange(3), 20)
    scheme = Dirichlet(0.05)
    refused = [seed for seed in range(20) if _refuses(scheme, labels, seed)]
    assert refused and len(refused) < 20
    for seed in refused:
        rows = partition(scheme, labels, {}, 5, seed, "redraw")
        taken = next(s for s in range(seed, 200) if s not in refused and not _refuses(scheme, labels, s))
        assert rows.values.tolist() == partition(Dirichlet(0.05, seed=taken), labels, {}, 5, 0).values.tolist()
    with pytest.raises(ScenarioError, match=r"DirichletPartitioner refuses: .*; use fewer clients, .*redraw$"):
        partition(scheme, labels, {}, 5, refused[0])
    with pytest.raises(ScenarioError, match=r"DirichletPartitioner refuses: .* in each of 101 draws; use fewer"):
        partition(Dirichlet(0.01, min_size=15), LABELS, {}, 4, 0, "redraw")


def _refuses(scheme: Any, labels: NDArray[np.int64], seed: int) -> bool:
    try:
        partition(scheme, labels, {}, 5, seed)
    except ScenarioError:
        return True
    return False


@pytest.mark.slow
def test_a_class_that_nobody_would_hold_is_drawn_again() -> None:
    labels = np.repeat(np.arange(8), 20)  # five clients, ten places for eight classes
    held = {seed: not _refuses(Pathological(2), labels, seed) for seed in range(20)}
    assert set(held.values()) == {True, False}
    unlucky = next(seed for seed, good in held.items() if not good)
    rows = partition(Pathological(2), labels, {}, 5, unlucky, "redraw")
    assert (rows.table(labels, 8).sum(axis=0) == 20).all()


class Own:
    """A partition of one's own that gives fixed owners."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        if callable(self.owner):
            return self.owner(seed)
        return self.owner


TURNS = np.arange(60) % 4


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (TURNS[:58], r"Own.assign gave 58 owners; expected one whole number in 0..3 for each of the 60"),
        (TURNS[:, None], r"Own.assign gave an array of shape \[60, 1\]"),
        (
            np.where(np.arange(60) < 7, -1, TURNS),
            r"Own.assign gave 7 samples to nobody \(below 0\) and 0 to clients beyond the 4",
        ),
        (np.arange(60) % 9, r"Own.assign gave 0 samples to nobody \(below 0\) and 32 to clients beyond the 4"),
        (TURNS / 1.0, r"Own.assign gave owners of type float64"),
        (None, "Own.assign gave nothing; give one client for each sample"),
        ([[0, 2], [1, 3, 4]], "Own.assign gave lists of several lengths; give one client for each sample"),
        ({0: [0, 2], 1: [1, 3]}, "Own.assign gave a dictionary; give one client for each sample"),
        (lambda seed: {}[seed], r"Own.assign failed: KeyError: 0 \(.*test_partition.py, line \d+: .*\)"),
        (np.arange(60) % 3, r"1 of 4 clients got no sample; .*redraw"),
    ],
    ids=["too few", "a column", "nobody", "beyond", "no whole numbers", "nothing", "lists", "names", "raises", "none"],
)
def test_owners_of_one_s_own_partition_are_checked(owner: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=rf"federation.partition: {message}"):
        partition(Own(owner), LABELS, {}, 4, 0)


class WithoutSeed:
    def assign(self, labels: Any, groups: Any, clients: int) -> Any:
        return labels % clients


class Misspelt:
    def asign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return labels % clients


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (
            WithoutSeed(),
            r"WithoutSeed.assign takes \(self, labels, groups, clients\); write def assign\(self, labels, ",
        ),
        (Misspelt(), r"Misspelt has no method assign \('asign' is nearest\); write def assign\(self, labels, groups, "),
    ],
)
def test_a_partition_that_cannot_be_called_is_told_what_to_write(scheme: Any, message: str) -> None:
    with pytest.raises(ScenarioError, match=f"federation.partition: {message}"):
        partition(scheme, LABELS, {}, 4, 0)


def test_one_s_own_partition_without_a_seed_is_drawn_again_by_the_scenario_s() -> None:
    rows = partition(Own(lambda seed: TURNS if seed == 3 else TURNS % 3), LABELS, {}, 4, 1, "redraw")
    assert rows.sizes.tolist() == [15] * 4
    with pytest.raises(ScenarioError, match="1 of 4 clients got no sample in each of 101 draws"):
        partition(Own(TURNS % 3), LABELS, {}, 4, 1, "redraw")
