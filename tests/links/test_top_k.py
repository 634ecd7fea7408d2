"""Top-k with error feedback: NumPy on hand-sized numbers, bytes, memory, and all of the weights changing nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.links.top_k import TopK
from tests.hand_sized import sending

START = [1.0, 1.0, 1.0, 1.0]


def test_the_largest_change_travels_and_the_rest_is_added_to_the_next() -> None:
    """Changes [0.25, -2, 1, 0.5] and then [0.25, 0.5, 1, 0.5]; half of four numbers is two. The last is a buffer."""
    link = TopK(share=0.5)
    first = sending(START, [1.25, -1.0, 2.0, 1.5, 9.0])
    link.send(first)
    assert first.vector.tolist() == [1.0, -1.0, 2.0, 1.0, 9.0]
    assert first.state["error"].tolist() == [0.25, 0.0, 0.0, 0.5]
    assert first.nbytes == 2 * (4 + 4) + 4

    second = sending(START, [1.25, 1.5, 2.0, 1.5, 9.0], state=dict(first.state))
    link.send(second)
    assert second.change.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert second.state["error"].tolist() == [0.5, 0.5, 0.0, 0.0]


def test_over_many_rounds_nothing_is_lost_but_what_is_still_held() -> None:
    """The sum of what was sent and the last error are the sum of all changes, as NumPy has it."""
    rng, link = np.random.default_rng(0), TopK(share=0.25)
    total, sent, error = np.zeros(8), np.zeros(8), np.zeros(8)
    state: dict[str, torch.Tensor] = {}
    for _ in range(20):
        change = rng.normal(size=8).astype(np.float32)
        wanted = change + error
        kept = np.argsort(-np.abs(wanted))[:2]
        expected = np.zeros(8)
        expected[kept] = wanted[kept]
        error = wanted - expected

        found = sending([0.0] * 8, change.tolist(), state=dict(state))
        link.send(found)
        state = found.state
        np.testing.assert_allclose(found.change.numpy(), expected, rtol=1e-5, atol=1e-6)
        total, sent = total + change, sent + expected
    np.testing.assert_allclose(sent + state["error"].numpy(), total, rtol=1e-4, atol=1e-5)


def test_without_feedback_the_rest_is_lost() -> None:
    found = sending(START, [1.25, -1.0, 2.0, 1.5])
    TopK(share=0.25, feedback=False).send(found)
    assert found.change.tolist() == [0.0, -2.0, 0.0, 0.0]
    assert found.state == {}


def test_one_number_travels_at_least_and_all_of_them_as_they_are() -> None:
    few = sending(START, [1.25, -1.0, 2.0, 1.5])
    TopK(share=0.01).send(few)
    assert few.change.tolist() == [0.0, -2.0, 0.0, 0.0]
    whole = sending(START, [1.25, -1.0, 2.0, 1.5])
    vector = whole.vector
    TopK(share=1.0).send(whole)
    assert whole.vector is vector
    assert (whole.nbytes, whole.state) == (16, {})


def test_all_of_the_weights_give_the_plain_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = fedlt.run(tiny, out=tmp_path)
    whole = fedlt.run(tiny, "federation.links=[{name: top_k, share: 1}]", out=tmp_path)
    assert whole.summary["model_hash"] == plain.summary["model_hash"]
    assert whole.rounds["bytes_up"].tolist() == plain.rounds["bytes_up"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "flower:FedAdam"])
def test_bytes_are_counted_as_sent(tiny: dict[str, Any], tmp_path: Path, strategy: str) -> None:
    """What a strategy sends beside its weights travels whole."""
    plain = fedlt.run(tiny, f"strategy={strategy}", out=tmp_path)
    run = fedlt.run(tiny, f"strategy={strategy}", "federation.links=[{name: top_k, share: 0.1}]", out=tmp_path)
    trained = 64 * 16 + 16 + 16 * 10 + 10
    fewer = 3 * (4 * trained - 8 * round(0.1 * trained))
    assert (plain.rounds["bytes_up"] - run.rounds["bytes_up"]).tolist() == [fewer, fewer]
    assert run.summary["model_hash"] != plain.summary["model_hash"]
