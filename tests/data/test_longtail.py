"""Long-tail profiles: sizes written out, subsets of the official code, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedlt.config.sections import LongTail
from fedlt.data.longtail import counts, select
from fedlt.data.targets import Targets
from fedlt.errors import ScenarioError

TEN = np.full(10, 5000)
HUNDRED = np.full(100, 500)


def problems(**options: Any) -> list[str]:
    """Keys that `counts` refuses, below data.longtail."""
    available = options.pop("available", np.full(4, 100))
    with pytest.raises(ScenarioError) as caught:
        counts(available, LongTail(**options), seed=0)
    return [problem.key.removeprefix("data.longtail.") for problem in caught.value.problems]


def test_exponential_profile_of_cifar() -> None:
    ten = counts(TEN, LongTail(profile="exponential", imbalance_factor=100), 0)
    assert ten.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert counts(TEN, LongTail(profile="exponential", imbalance_factor=50), 0).sum() == 13996
    assert counts(HUNDRED, LongTail(profile="exponential", imbalance_factor=100), 0).sum() == 10847
    assert counts(HUNDRED, LongTail(profile="exponential", imbalance_factor=50), 0).sum() == 12608


def test_imbalance_factor_without_a_value_is_100() -> None:
    assert counts(TEN, LongTail(profile="exponential", imbalance_factor=None), 0)[-1] == 50  # type: ignore[arg-type]


def test_step_profile() -> None:
    four = np.full(4, 100)
    assert counts(four, LongTail(profile="step", imbalance_factor=10), 0).tolist() == [100, 100, 10, 10]
    one = LongTail(profile="step", imbalance_factor=10, head_share=0.25)
    assert counts(four, one, 0).tolist() == [100, 10, 10, 10]


def test_pareto_profile_reaches_the_imbalance_factor() -> None:
    # Exponent ln(16) / ln(4) = 2: shares 1, 1/4, 1/9, 1/16.
    four = np.full(4, 160)
    assert counts(four, LongTail(profile="pareto", imbalance_factor=16), 0).tolist() == [160, 40, 17, 10]


def test_rounding_does_not_lose_the_last_sample() -> None:
    # 49 * (1 / 49) is just below 1 in floating point.
    two = np.full(2, 49)
    assert counts(two, LongTail(profile="exponential", imbalance_factor=49), 0).tolist() == [49, 1]


def test_largest_caps_the_head_and_none_keeps_everything() -> None:
    available = np.array([7, 100, 30])
    assert counts(available, LongTail(), 0).tolist() == [7, 100, 30]
    assert counts(available, LongTail(largest=20), 0).tolist() == [7, 20, 20]
    capped = LongTail(profile="exponential", imbalance_factor=4, largest=40)
    assert counts(np.full(3, 100), capped, 0).tolist() == [40, 20, 10]


def test_the_head_is_as_large_as_the_scarcest_class_allows() -> None:
    # Shares 1, 1/2, 1/4: class 1 has 30, so the head is at most 61 (61 / 2 = 30.5, cut to 30).
    shaped = LongTail(profile="exponential", imbalance_factor=4)
    assert counts(np.array([100, 30, 40]), shaped, 0).tolist() == [61, 30, 15]


def test_seeded_order_permutes_the_classes() -> None:
    shaped = LongTail(profile="exponential", imbalance_factor=4, order="seeded")
    by_seed = [counts(np.full(3, 8), shaped, seed).tolist() for seed in range(8)]
    assert all(sorted(sizes) == [2, 4, 8] for sizes in by_seed)
    assert len({tuple(sizes) for sizes in by_seed}) > 1
    own = LongTail(profile="exponential", imbalance_factor=4, order="seeded", seed=3)
    assert counts(np.full(3, 8), own, 0).tolist() == by_seed[3]


def test_explicit_counts(tmp_path: Path) -> None:
    available, sizes = np.array([9, 9, 9]), [5, 9, 1]
    (tmp_path / "a.json").write_text(json.dumps(sizes))
    (tmp_path / "a.txt").write_text("5\n9\n1\n")
    (tmp_path / "a.csv").write_text("5, 9, 1")
    np.savez(tmp_path / "one.npz", sizes=np.array(sizes), names=np.array(["x", "y", "z"]))
    np.savez(tmp_path / "two.npz", first=np.array([1, 1, 1]), second=np.array(sizes))
    sources = [sizes, *(str(tmp_path / n) for n in ("a.json", "a.txt", "a.csv", "one.npz", "two.npz:second"))]
    for source in sources:
        assert counts(available, LongTail(profile="counts", counts=source), 0).tolist() == sizes  # type: ignore[arg-type]


def test_explicit_counts_that_cannot_be_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", first=np.array([1, 1]), second=np.array([1, 1]))
    (tmp_path / "text.csv").write_text("size\n5\n")
    (tmp_path / "map.json").write_text('{"0": 5}')
    (tmp_path / "broken.json").write_text("[1,")
    for bad in ("missing.txt", "two.npz", "two.npz:third", "text.csv", "map.json", "broken.json"):
        assert problems(profile="counts", counts=str(tmp_path / bad)) == ["counts"], bad
    for short in ([1, 1, 1], [1] * 5, [1, 1, 1, 0], [1, 1, 1, 1.5], [1, 1, 1, 101]):
        assert problems(profile="counts", counts=short) == ["counts"], short


def test_a_factor_that_leaves_a_class_empty_is_refused() -> None:
    assert problems(profile="exponential", imbalance_factor=101.0) == ["imbalance_factor"]
    assert problems(profile="exponential", imbalance_factor=10, largest=101) == ["largest"]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"profile": "none", "imbalance_factor": 10.0}, ["imbalance_factor"]),
        ({"profile": "counts"}, ["counts"]),
        ({"profile": "exponential", "counts": [1]}, ["counts"]),
        ({"profile": "pareto", "head_share": 0.5}, ["head_share"]),
        ({"profile": "counts", "counts": [1] * 4, "largest": 5}, ["largest"]),
        ({"profile": "none", "order": "seeded"}, ["order"]),
        ({"profile": "none", "seed": 1}, ["seed"]),
        ({"profile": "pareto", "mode": "official"}, ["mode"]),
        ({"profile": "exponential", "mode": "official", "order": "seeded", "seed": 1}, ["order", "seed"]),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], keys: list[str]) -> None:
    assert problems(**options) == keys


def test_official_rows_are_those_of_the_official_code() -> None:
    y = np.array([1, 0, 0, 1, 0, 1, 0, 1])
    kept = select(Targets.of_classes(y), LongTail(profile="exponential", imbalance_factor=2, mode="official"), seed=5)
    # RandomState(0) shuffles [1, 2, 4, 6], keeps all four; then [0, 3, 5, 7], keeps the first two.
    draws = np.random.RandomState(0)
    first, second = np.array([1, 2, 4, 6]), np.array([0, 3, 5, 7])
    draws.shuffle(first)
    draws.shuffle(second)
    assert kept.tolist() == [*first, *second[:2]]
    assert kept.tolist() == [4, 6, 2, 1, 0, 5]


def test_seeded_rows_are_class_by_class_ascending_and_follow_the_seed() -> None:
    y = np.tile(np.arange(2), 50)
    shaped = LongTail(profile="exponential", imbalance_factor=5)
    kept = select(Targets.of_classes(y), shaped, seed=1)
    assert y[kept].tolist() == [0] * 50 + [1] * 10
    assert kept[:50].tolist() == list(range(0, 100, 2))
    assert (np.diff(kept[50:]) > 0).all()
    assert (select(Targets.of_classes(y), shaped, seed=1) == kept).all()
    assert (select(Targets.of_classes(y), shaped, seed=2) != kept).any()
    own = LongTail(profile="exponential", imbalance_factor=5, seed=1)
    assert (select(Targets.of_classes(y), own, seed=2) == kept).all()


def test_none_keeps_every_row_class_by_class() -> None:
    assert select(Targets.of_classes(np.array([1, 0, 1, 0])), LongTail(), seed=0).tolist() == [1, 3, 0, 2]
