"""Quantisation against NumPy on hand-sized numbers: levels, buckets, bytes; right in the mean if stochastic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import fedlt
from fedlt.links.quantise import Quantise, quantised
from fedlt.links.top_k import TopK
from tests.hand_sized import sending


def test_three_bits_have_three_levels_on_either_side() -> None:
    """Two buckets: the steps are 6 / 3 = 2 and 3 / 3 = 1. The last bucket is short."""
    values = torch.tensor([6.0, 2.9, -3.1, 1.2, -3.0])
    nearest = quantised(values, bits=3, bucket=3, noise=None)
    assert nearest.tolist() == [6.0, 2.0, -4.0, 1.0, -3.0]
    up = quantised(values, bits=3, bucket=3, noise=torch.tensor([0.0, 0.6, 0.9, 0.7, 0.0]))
    assert up.tolist() == [6.0, 4.0, -2.0, 1.0, -3.0]  # floor(1.45 + .6), floor(-1.55 + .9), floor(1.2 + .7)
    assert quantised(torch.zeros(3), 8, 2, None).tolist() == [0.0, 0.0, 0.0]


def test_stochastic_rounding_is_right_in_the_mean_and_within_a_step() -> None:
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=64).astype(np.float32))
    step = float(values.abs().max()) / 127
    draws = [quantised(values, 8, 64, torch.from_numpy(rng.random(64, dtype=np.float32))) for _ in range(2000)]
    assert all(float((drawn - values).abs().max()) <= step * 1.001 for drawn in draws[:50])
    mean = torch.stack(draws).mean(dim=0)
    assert float((mean - values).abs().max()) < 5 * step / 2 / np.sqrt(2000)
    nearest = quantised(values, 8, 64, None)
    expected = np.round(values.numpy() / np.float32(step)) * np.float32(step)
    np.testing.assert_allclose(nearest.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_bytes_are_those_of_numbers_and_steps() -> None:
    """Ten weights and a buffer: 10 numbers of 4 bits are 5 bytes, three buckets 12, the buffer 4."""
    found = sending([0.0] * 10, [*range(10), 7.0])
    Quantise(bits=4, bucket=4).send(found)
    assert found.nbytes == 5 + 12 + 4
    assert found.vector[10] == 7


def test_after_top_k_only_what_travels_is_rounded() -> None:
    """Of [0.3, 8, -4.9, 1] the second and third travel: a step of 8 / 7 at 4 bits, and -4.9 is -4.29 steps."""
    found = sending([0.0] * 4, [0.3, 8.0, -4.9, 1.0])
    TopK(share=0.5).send(found)
    Quantise(bits=4, rounding="nearest").send(found)
    np.testing.assert_allclose(found.change.numpy(), [0, 8, -4 * 8 / 7, 0], rtol=1e-6)
    assert found.nbytes == 1 + 2 * 4 + 4


def test_draws_are_of_the_seed_the_round_and_the_client() -> None:
    def sent(**changes: Any) -> list[float]:
        found = sending([0.0] * 4, [0.3, 8.0, -4.9, 1.0], **changes)
        Quantise(bits=2).send(found)
        return list(found.change.tolist())

    drawn = [sent(round=number) for number in range(8)]
    assert drawn == [sent(round=number) for number in range(8)]
    assert len({tuple(one) for one in drawn}) > 1
    assert drawn != [sent(round=number, id=2) for number in range(8)]


def test_a_quarter_of_the_bytes_and_almost_the_same_model(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = fedlt.run(tiny, out=tmp_path)
    run = fedlt.run(tiny, "federation.links=[quantise]", out=tmp_path)
    ratio = run.rounds["bytes_up"] / plain.rounds["bytes_up"]
    assert ((ratio > 0.25) & (ratio < 0.26)).all()
    assert run.summary["model_hash"] != plain.summary["model_hash"]
    assert abs(run.final["generic/nll"] - plain.final["generic/nll"]) < 0.05
