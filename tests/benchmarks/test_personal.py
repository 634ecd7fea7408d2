"""What tests of personal models cost beside their arithmetic: the sums, and what counts as work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.personal import FIELDS, Round, compared, counted
from fedlt.data.inputs.features import Encoded, Features
from fedlt.nn.net import Net

pytestmark = pytest.mark.unit


def test_a_round_with_tests_stands_beside_one_of_equal_training() -> None:
    """Two rounds without tests pass 30 + 60 for 10 + 20 samples in 9 s: 0.1 s for a pass, 3 passes for a sample.

    Those with tests train 20 samples each, which is 60 passes or 6 s, and 30 passes more.
    """
    warm = [Round(99.0, 99.0, 999, 99)] * 3
    off, on = [Round(3.0, 6.0, 30, 10), Round(6.0, 12.0, 60, 20)], [Round(9.0, 16.2, 90, 20), Round(10.8, 16.2, 90, 20)]
    rounds = [*warm, off[0], on[0], off[1], on[1]]
    found = compared(rounds, [each.work for each in rounds])
    assert list(found) == list(FIELDS)
    assert list(found.values()) == pytest.approx([6.0, 9.9, 1.65, 1.5, 1.1, 12.0, 16.2, 0.9])


def test_passes_count_by_what_they_compute() -> None:
    """Four samples forward and backward, three forward, then two of five from features that were passed at once."""
    net, x = Net(nn.Linear(2, 2), nn.Linear(2, 3), 2), torch.zeros(5, 2)
    with counted() as work:
        net(x[:4]).sum().backward()
        with torch.no_grad():
            net.encode(x[:3])
            held = Encoded(None, net, 5, 5)
            held.inputs_at = x.__getitem__  # type: ignore[method-assign]
            for _ in range(2):
                net.encode(Features(held, torch.tensor([1, 3])))
    assert work == [12, 3, 5]
    net.encode(x)
    assert len(work) == 3
