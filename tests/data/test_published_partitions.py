"""Partitions of published code: their very client sizes, and where FedLT ends what would not end there.

The numbers come from running the generators of PFLlib (commit d832e76), LongTailLib (13d7e81) and FedIC.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedlt.config.scenario import load_scenario
from fedlt.config.sections import LongTail
from fedlt.data.federation import federate, plan
from fedlt.data.longtail import counts
from fedlt.data.partitions.cuts import dirichlet_cuts
from fedlt.data.partitions.dealing import partition
from fedlt.data.partitions.equal import DirichletEqual
from fedlt.data.partitions.local_tails import LocalTail, MixedTail, ShiftedTail
from fedlt.data.partitions.pfllib import ClassBlocks, DirichletCapped, DirichletExtended
from fedlt.data.ragged import Ragged
from fedlt.errors import ScenarioError

BALANCED = np.repeat(np.arange(10), 100)  # ten classes of 100 samples, class after class
MERGED = np.repeat(np.arange(10), 6000)  # CIFAR-10, training and test set
TAIL = [100, 64, 41, 27, 17, 11, 7, 4, 3, 2]  # LDAM's subset of 100, imbalance factor 50
CUT = np.repeat(np.arange(10), TAIL)


def deal(scheme: Any, labels: NDArray[np.int64] = BALANCED, clients: int = 5) -> Ragged:
    return partition(scheme, labels, {}, clients, 0)


def table(rows: Ragged, labels: NDArray[np.int64] = BALANCED) -> list[list[int]]:
    found: list[list[int]] = rows.table(labels, 10).tolist()
    return found


def problem(scheme: Any, labels: NDArray[np.int64] = BALANCED, clients: int = 5) -> str:
    with pytest.raises(ScenarioError) as caught:
        deal(scheme, labels, clients)
    (found,) = caught.value.problems
    return str(found)


# PFLlib ---------------------------------------------------------------------------------------------------------------

SIZES = [
    (DirichletCapped(0.1, seed=1), BALANCED, [287, 176, 173, 259, 105]),
    (DirichletCapped(0.5, seed=1), BALANCED, [205, 215, 205, 223, 152]),
    (DirichletCapped(0.5, seed=1), CUT, [62, 60, 62, 35, 57]),
    (DirichletExtended(4, 100.0, seed=1), BALANCED, [210, 200, 187, 171, 232]),
    (DirichletExtended(4, 100.0, seed=1), CUT, [100, 68, 42, 10, 56]),
    (ClassBlocks(4), BALANCED, [200, 200, 200, 200, 200]),
    (ClassBlocks(4, balance=False, seed=1), BALANCED, [120, 280, 60, 340, 200]),
    (ClassBlocks(10, balance=False, seed=1), BALANCED, [145, 128, 101, 97, 529]),
]


@pytest.mark.parametrize(("scheme", "labels", "sizes"), SIZES, ids=lambda value: str(value)[:40])
def test_pfllib_s_client_sizes(scheme: Any, labels: NDArray[np.int64], sizes: list[int]) -> None:
    rows = deal(scheme, labels)
    assert rows.sizes.tolist() == sizes
    assert np.sort(rows.values).tolist() == list(range(len(labels)))


def test_pfllib_s_clients_by_class() -> None:
    assert table(deal(DirichletCapped(0.1, seed=1)))[0] == [0, 0, 63, 0, 18, 0, 10, 97, 2, 97]
    assert table(deal(DirichletCapped(0.5, seed=1)))[0] == [0, 2, 46, 0, 31, 11, 22, 73, 20, 0]
    assert table(deal(DirichletExtended(4, 100.0, seed=1)))[0] == [100, 0, 0, 0, 0, 48, 32, 30, 0, 0]
    assert table(deal(ClassBlocks(4)))[2:] == [
        [0, 0, 0, 0, 50, 50, 50, 50, 0, 0],
        [0, 0, 0, 0, 50, 50, 50, 50, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 100, 100],
    ]


def test_pfllib_s_sizes_on_cifar10() -> None:
    tenth, half = (deal(DirichletCapped(alpha, seed=1), MERGED, 20).sizes for alpha in (0.1, 0.5))
    assert tenth[:6].tolist() == [1621, 1814, 1211, 2080, 5128, 4264]
    assert (tenth.min(), tenth.max()) == (1164, 5994)
    assert half[:3].tolist() == [2805, 3449, 3794] and (half.min(), half.max()) == (1430, 4592)


def test_samples_of_a_class_are_shuffled_before_they_are_cut() -> None:
    rows = deal(DirichletCapped(0.5, seed=1))
    held = rows[1][rows[1] < 100]  # 32 samples of class 0
    assert len(held) == 32 and held.max() - held.min() > 31


def test_what_pfllib_would_draw_for_ever_or_lose_is_refused() -> None:
    assert "none of 1000 draws gave every client 300 samples" in problem(DirichletCapped(0.1, min_size=300))
    few = np.repeat(np.arange(10), [100] + 9 * [2])  # four classes without the first are eight samples
    assert "none of 1000 draws gave every client 10 samples" in problem(DirichletExtended(4, seed=1), few)
    for number in (1, 11):
        expected = f"expected 2 to 10, for 10 classes and 5 clients, got {number}"
        assert problem(DirichletExtended(number)) == f"federation.partition.classes_per_client: {expected}"
    assert "none of 1000 draws gave every class 1 client" in problem(DirichletExtended(1, seed=1), clients=10)
    # Two clients take classes 0 to 2, two take 3 to 5, and the last 6 to 8.
    assert "have no place for class 9 of 10; take numbers whose product is a multiple of 10" in problem(ClassBlocks(3))
    assert problem(ClassBlocks(4, balance=False), CUT).startswith(
        "federation.partition.balance: the 4 samples of class 7 are too few for drawn parts of 2 clients"
    )


def test_classes_are_drawn_anew_where_their_holders_cannot_reach_ten() -> None:
    """A client that draws the last three classes holds nine samples, however they are cut."""
    scheme = DirichletExtended(3, 100.0, seed=next(seed for seed in range(1000) if _a_client_is_too_small(seed)))
    rows = deal(scheme, CUT)
    assert rows.sizes.min() >= 10 and rows.sizes.sum() == 276


def _a_client_is_too_small(seed: int) -> bool:
    """Whether one client's classes, as drawn first, hold fewer than ten samples in all."""
    draws = np.random.RandomState(seed)
    while True:
        classes = [draws.choice(10, 3, replace=False) for _ in range(5)]
        if len(np.unique(classes)) == 10:
            return min(sum(TAIL[label] for label in held) for held in classes) < 10


# LongTailLib ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "sizes", "first"),
    [
        (0.5, [102, 75, 49, 29, 25], [[30, 21, 35, 0, 8, 8, 0, 0, 0, 0], [64, 1, 0, 5, 0, 1, 4, 0, 0, 0]]),
        (100.0, [53, 56, 57, 52, 62], []),
    ],
)
def test_longtaillib_s_global_kind(alpha: float, sizes: list[int], first: list[list[int]]) -> None:
    """Its code cuts the tail from 100 samples a class by the same stream before; here that is `data.longtail`."""
    labels = np.repeat(np.arange(10), [100, 65, 42, 27, 18, 11, 7, 5, 3, 2])
    draws = np.random.RandomState(1)
    for _ in range(10):
        draws.shuffle(np.arange(100))
    owner = dirichlet_cuts(draws, labels, 5, alpha)
    assert owner is not None
    rows = Ragged.from_owner(owner, 5)
    assert rows.sizes.tolist() == sizes and table(rows, labels)[: len(first)] == first
    draws = np.random.RandomState(1)
    alike = dirichlet_cuts(draws, labels, 5, alpha)
    assert alike is not None
    scheme = DirichletCapped(alpha, cap=False, min_size=0, seed=1)
    assert deal(scheme, labels).table(labels, 10).tolist() == table(Ragged.from_owner(alike, 5), labels)


def test_longtaillib_s_local_kind() -> None:
    rows = deal(LocalTail(50.0, 0.5, seed=1))
    assert rows.sizes.tolist() == [101, 110, 121, 109, 106]  # 547 of 1000 samples
    assert table(rows)[0] == [16, 8, 18, 5, 15, 20, 13, 3, 2, 1]
    assert table(rows)[1] == [1, 7, 3, 19, 5, 2, 25, 11, 23, 14]
    assert len(np.unique(rows.values)) == 547
    assert deal(LocalTail(50.0, 100.0, seed=1)).sizes.tolist() == [108, 110, 112, 109, 116]


def test_longtaillib_s_local_kind_on_cifar10() -> None:
    rows = deal(LocalTail(50.0, 0.5, seed=1), MERGED, 20)
    assert rows.sizes[:6].tolist() == [1874, 1778, 2071, 1511, 1548, 1795] and rows.sizes.sum() == 32_721
    assert table(rows, MERGED)[0] == [300, 385, 53, 22, 194, 461, 81, 126, 218, 34]


def test_longtaillib_s_mixed_kind() -> None:
    rows = deal(MixedTail(50.0, seed=1))
    assert rows.sizes.tolist() == [160, 198, 198, 125, 160]
    assert table(rows) == [
        [20, 0, 20, 20, 20, 20, 20, 20, 20, 0],
        [30, 46, 2, 8, 13, 5, 19, 1, 3, 71],
        [8, 19, 2, 5, 3, 71, 46, 30, 13, 1],
        [20, 0, 20, 20, 20, 3, 2, 20, 20, 0],
        [19, 35, 2, 46, 3, 1, 13, 8, 5, 28],
    ]
    large = deal(MixedTail(50.0, seed=1), MERGED, 20).sizes
    assert large[:6].tolist() == [2999] * 5 + [3000] and large.sum() == 57_662 and large.min() == 1907


def test_exact_local_tails_have_the_factor_that_was_asked_for() -> None:
    exact, official = (deal(LocalTail(10.0, 5.0, mode=mode, seed=1), MERGED, 20) for mode in ("exact", "official"))
    held, short = np.array(table(exact, MERGED)), np.array(table(official, MERGED))
    ratios = held.max(axis=1) / held.min(axis=1)
    assert ratios.min() > 9.8 and ratios.max() < 10.3
    assert (short.max(axis=1) / short.min(axis=1)).max() < 6  # the largest classes go short
    assert (held <= short).all() and len(np.unique(exact.values)) == exact.sizes.sum() == 23_246


def test_exact_mixed_tails_leave_no_client_short() -> None:
    rows = deal(MixedTail(50.0, mode="exact", seed=1))
    held = np.array(table(rows))
    tailed, balanced = held[[1, 2, 4]], held[[0, 3]]
    assert (np.sort(tailed, axis=1) == np.sort(tailed[0])).all() and len(np.unique(balanced)) == 1
    # All 100 samples of class 1 are dealt, so that no client could be larger.
    assert tailed.sum(axis=1).tolist() == [114, 114, 114] and balanced[0, 0] == 11
    assert held[:, 1].tolist() == [11, 26, 11, 11, 41]


def test_a_share_of_clients_with_a_tail() -> None:
    held = np.array(table(deal(MixedTail(50.0, tailed=0.2, mode="exact", seed=1))))
    assert (held.min(axis=1) == held.max(axis=1)).sum() == 4


# FedWolf --------------------------------------------------------------------------------------------------------------


def test_shifted_tails_are_alike_and_balanced_together() -> None:
    held = np.array(table(deal(ShiftedTail(9.0, largest=24), BALANCED, 10)))
    # 24 x 9^(-i/9), rounded down: 24, 18.8, 14.7, 11.5, 9.04, 7.08, 5.5, 4.3, 3.4, 2.7.
    tail = [24, 18, 14, 11, 9, 7, 5, 4, 3, 2]
    first = held.argmax(axis=1)
    assert sorted(first) == list(range(10))
    assert all(np.roll(row, -start).tolist() == tail for row, start in zip(held, first, strict=True))
    assert held.sum(axis=0).tolist() == [97] * 10


def test_a_shifted_tail_is_as_large_as_the_classes_allow() -> None:
    held = np.array(table(deal(ShiftedTail(9.0), BALANCED, 10)))
    assert held.sum(axis=0).max() <= 100 < held.sum(axis=0).max() + 10
    rows = deal(ShiftedTail(9.0, smallest=10, largest=20), BALANCED, 3)
    assert np.sort(np.array(table(rows)), axis=1).tolist() == [[10, 10, 10, 10, 10, 10, 10, 12, 15, 20]] * 3
    assert "federation.partition.largest: the clients ask for" in problem(ShiftedTail(9.0, largest=100))
    assert "too few for a tail of each client in all classes" in problem(ShiftedTail(), CUT, 5)  # the last class has 2


# The CReFF family -----------------------------------------------------------------------------------------------------


def test_the_equal_clients_of_creff() -> None:
    kept = counts(np.full(10, 5000), LongTail("exponential", 100, "official"), 0)
    labels = np.repeat(np.arange(10), kept)
    rows = deal(DirichletEqual(0.5, seed=7), labels, 20)
    assert rows.sizes.tolist() == [621] * 6 + [620] * 14
    held = table(rows, labels)
    assert held[0] == [37, 11, 321, 32, 103, 113, 4, 0, 0, 0]
    assert held[1] == [294, 171, 4, 23, 45, 3, 33, 7, 39, 2]
    assert held[3] == [3, 618, 0, 0, 0, 0, 0, 0, 0, 0]
    assert (np.array(held) > 0).sum() == 106  # 5.3 classes a client
    small = deal(DirichletEqual(0.5, seed=7), CUT, 20)
    assert (small.sizes.min(), small.sizes.max()) == (13, 14)
    assert table(small, CUT)[0] == [8, 2, 0, 4, 0, 0, 0, 0, 0, 0]


def test_the_last_group_has_the_clients_that_are_left() -> None:
    """15 clients are a group of ten and one of five. No published number: this holds the draws as they are."""
    assert table(deal(DirichletEqual(0.5, seed=7), CUT, 15), CUT)[12] == [6, 0, 5, 2, 5, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("clients", [1, 3, 10, 15, 60])
def test_equal_clients_of_any_number_hold_every_sample(clients: int) -> None:
    rows = deal(DirichletEqual(0.5), CUT, clients)
    assert np.sort(rows.values).tolist() == list(range(276))
    assert rows.sizes.max() - rows.sizes.min() <= 1


# All of them ----------------------------------------------------------------------------------------------------------

SCHEMES = [
    DirichletCapped(0.5),
    DirichletCapped(0.5, cap=False, min_size=1),
    DirichletExtended(4),
    ClassBlocks(4, balance=False),
    DirichletEqual(),
    LocalTail(),
    MixedTail(),
    ShiftedTail(),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_the_clients_follow_from_the_seed(scheme: Any) -> None:
    one, again, other = (partition(scheme, BALANCED, {}, 5, seed) for seed in (3, 3, 4))
    assert one.values.tolist() == again.values.tolist() and one.offsets.tolist() == again.offsets.tolist()
    assert one.values.tolist() != other.values.tolist()
    fixed = partition(type(scheme)(**{**vars(scheme), "seed": 3}), BALANCED, {}, 5, 4)
    assert fixed.values.tolist() == one.values.tolist()


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if not isinstance(s, DirichletEqual)], ids=repr)
def test_counts_do_not_depend_on_the_order_of_the_samples(scheme: Any) -> None:
    mixed = np.random.default_rng(0).permutation(BALANCED)
    assert table(deal(scheme)) == table(deal(scheme, mixed), mixed)


@pytest.mark.parametrize("scheme", [DirichletCapped(1e-300), LocalTail(alpha=1e-300), DirichletEqual(1e-300)], ids=repr)
def test_an_alpha_whose_draws_underflow_is_refused(scheme: Any) -> None:
    assert "none of 1000 draws" in problem(scheme)


# In a federation ------------------------------------------------------------------------------------------------------


def test_what_no_tail_needs_is_held_by_nobody_and_may_be_given_without_labels(tiny: dict[str, Any]) -> None:
    tiny["data"] = {"name": "digits"}
    tiny["federation"] |= {"clients": 10, "partition": {"name": "shifted_tail", "imbalance_factor": 8, "largest": 24}}
    held = federate(load_scenario(tiny))
    per_client = held.client_counts()
    # 24 x 8^(-i/9), rounded down: 24, 19.05, 15.1, 12.0, 9.52, 7.56, 6.0, 4.76, 3.78, 3.
    assert (np.sort(per_client, axis=1) == [3, 3, 4, 6, 7, 9, 12, 15, 19, 24]).all()
    assert len(np.unique(held.clients.values)) == len(held.clients.values) < len(held.y_train)
    assert held.class_counts.tolist() == per_client.sum(axis=0).tolist()
    assert held.class_counts.tolist() == [102] * 10  # ten clients: the union is balanced
    assert plan(load_scenario(tiny)).digest == held.digest()

    more = federate(load_scenario(tiny, ["data.unlabelled.extra=0.1"]))
    assert len(more.unlabelled.values) == 100
    assert not np.isin(more.unlabelled.values, more.clients.values).any()
