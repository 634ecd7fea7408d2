"""The simplex and the sparse simplex: golden statistics, independent arithmetic, cache and errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fedlt.nn import etf
from fedlt.nn.etf import objective, simplex_etf, sparse_etf
from fedlt.nn.realign import scaled_rows

pytestmark = pytest.mark.slow

Matrix = NDArray[np.float64]


def angles(weight: torch.Tensor) -> Matrix:
    """Degrees between all pairs of different rows."""
    rows = weight.double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip((unit @ unit.T)[~np.eye(len(rows), dtype=bool)], -1, 1)))  # type: ignore[no-any-return]


def optimum(num_classes: int) -> float:
    return math.degrees(math.acos(-1 / (num_classes - 1)))


def test_the_simplex_has_unit_rows_and_equal_angles() -> None:
    weight = simplex_etf(5, 8)
    expected = np.full((5, 5), -1 / 4) + 1.25 * np.eye(5)
    assert weight.dtype == torch.float32
    assert np.allclose(weight.numpy() @ weight.numpy().T, expected, atol=1e-6)
    assert torch.equal(weight, simplex_etf(5, 8))
    assert not torch.allclose(weight, simplex_etf(5, 8, seed=1))


@pytest.mark.parametrize(("classes", "variance"), [(100, 0.0439), (10, 0.0049)])
def test_golden_statistics_of_the_fast_recipe(classes: int, variance: float) -> None:
    """The official code logs 90.578 and 96.379 degrees and norms of 0.1002 and 0.1006, at 512 features."""
    weight = sparse_etf(classes, 512)
    found = angles(weight)
    norms = weight.norm(dim=1).numpy()
    assert abs(found.mean() - {100: 90.578, 10: 96.379}[classes]) < 0.005
    assert abs(norms.mean() - 0.1) < 0.001
    assert found.var() < 3 * variance
    assert int((weight == 0).sum()) == int(0.6 * 512 * classes)
    spread = (weight != 0).sum(1)
    assert spread.min() < 0.4 * 512 < spread.max()  # the mask lies over the whole matrix, not over each row


@pytest.mark.parametrize(("classes", "dim"), [(20, 256), (50, 512)])
def test_other_shapes_come_near_the_simplex(classes: int, dim: int) -> None:
    weight = sparse_etf(classes, dim, norm=0.3, seed=3)
    assert abs(angles(weight).mean() - optimum(classes)) < 0.02
    assert np.allclose(weight.norm(dim=1).numpy(), 0.3)


def test_golden_losses_of_the_official_recipe() -> None:
    """Logged: 1.27, 0.20 and -1.662 at the start and after 100 and 1,000 of 10,000 steps, for 10 classes; the mask is
    another one here.
    """
    losses = [float(objective(etf._sparse(10, 512, 0.6, 0.1, 0, "official", steps), 0.1)) for steps in (0, 100, 1000)]
    assert losses == pytest.approx([1.27, 0.20, -1.662], abs=0.08)
    assert losses[2] == pytest.approx(-1.662, abs=0.002)


def test_only_the_mask_is_zero_in_single_precision() -> None:
    """At C = 10 and D = 512 the official steps leave 22 kept entries between 1e-204 and 1e-136."""
    weight = etf._single(torch.tensor([0.0, 1e-204, -1e-60, 0.5], dtype=torch.float64))
    assert weight.dtype == torch.float32
    assert weight.tolist() == [0.0, 2.0**-126, -(2.0**-126), 0.5]


def test_the_objective_is_its_formula() -> None:
    """Three rows at 90, 135 and 135 degrees, of norms 1, 1, 2: (0 + 0 + 1) - mean of the nearest angles."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-math.sqrt(2), -math.sqrt(2)]], dtype=torch.float64)
    nearest = [math.pi / 2, math.pi / 2, 3 * math.pi / 4]
    assert float(objective(weight, 1.0)) == pytest.approx(1 - sum(nearest) / 3)


def test_one_official_step_is_adams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's first step moves every kept entry by lr against its gradient's sign, found here by differences."""
    before = etf._sparse(3, 6, 0.3, 0.1, 5, "official", 0)
    after = etf._sparse(3, 6, 0.3, 0.1, 5, "official", 1)
    for index in np.ndindex(3, 6):
        shifted = [before.clone(), before.clone()]
        for sign, other in zip((1, -1), shifted, strict=True):
            other[index] += sign * 1e-6
        slope = float(objective(shifted[0], 0.1) - objective(shifted[1], 0.1))
        moved = float(after[index] - before[index])
        assert moved == pytest.approx(0 if before[index] == 0 else -1e-4 * math.copysign(1, slope), abs=1e-9)
    assert int((after == 0).sum()) == int(0.3 * 18)


def test_without_sparsity_it_is_the_dense_simplex() -> None:
    assert torch.equal(sparse_etf(4, 6, sparsity=0.0, norm=0.2, seed=2), 0.2 * simplex_etf(4, 6, 2))


def test_it_is_kept_on_disk_and_in_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path))
    etf._cached.cache_clear()
    first = sparse_etf(4, 32, seed=9)
    first_again = sparse_etf(4, 32, seed=9)
    assert torch.equal(first, first_again) and first.data_ptr() != first_again.data_ptr()
    (path,) = tmp_path.iterdir()
    np.save(path, np.zeros((4, 32), np.float32))
    assert torch.equal(sparse_etf(4, 32, seed=9), first)  # from the process
    etf._cached.cache_clear()
    assert torch.equal(sparse_etf(4, 32, seed=9), torch.zeros(4, 32))  # from the disk
    etf._cached.cache_clear()
    path.unlink()
    assert torch.equal(sparse_etf(4, 32, seed=9), first)  # made again
    assert not torch.equal(sparse_etf(4, 32, seed=10), first)
    etf._cached.cache_clear()


def test_what_cannot_be_a_simplex_is_refused() -> None:
    with pytest.raises(ValueError, match="simplex of 10 classes needs as many features, and the backbone has 8"):
        sparse_etf(10, 8)
    with pytest.raises(ValueError, match="at least 2 classes"):
        simplex_etf(1, 8)
    with pytest.raises(ValueError, match=r"would leave class . without an entry.*take a smaller sparsity"):
        sparse_etf(4, 4, sparsity=0.9)


def test_scaled_rows() -> None:
    """Rows (3, 4) and (0, 2) of norms 5 and 2."""
    weight = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert torch.allclose(scaled_rows(weight, 10.0), torch.tensor([[6.0, 8.0], [0.0, 10.0]]))
    assert torch.allclose(scaled_rows(weight, torch.tensor([1.0, 7.0])), torch.tensor([[0.6, 0.8], [0.0, 7.0]]))
    assert torch.allclose(scaled_rows(weight, 1.0, tau=0.5).norm(dim=1), torch.tensor([5.0, 2.0]).sqrt())
    assert torch.equal(scaled_rows(weight, 1.0, tau=0.0), weight)
    assert torch.equal(scaled_rows(torch.zeros(1, 2), 1.0), torch.zeros(1, 2))
