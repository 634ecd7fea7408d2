"""BRL: which parts are exchanged, whose label counts, and late weights, with hand-sized numbers."""

from __future__ import annotations

from typing import Any

import few_images
import numpy as np
import pytest
import torch
from few_images import Y
from torch.nn import functional as F

import fedlt
from fedlt.blocks.parts import PartMixed, exchanged, own_part
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learners.brl import BRL


def pair(first: int, second: int) -> Batch:
    """Two rows of four features, zeros and ones, of these classes."""
    return Batch(torch.tensor([[0.0] * 4, [1.0] * 4]), torch.tensor([first, second]), torch.arange(2))


class Swapped:
    """A generator that pairs the two samples of a batch and mixes both."""

    def permutation(self, count: int) -> Any:
        return np.arange(count)[::-1].copy()

    def random(self, count: int) -> Any:
        return np.zeros(count)


def mixed(first: int, second: int, ratio: float | None) -> PartMixed:
    own = own_part((4,), "features", 0.75, ())
    return exchanged(pair(first, second), own, torch.tensor([31, 10, 3]), Swapped(), 1.0, ratio)  # type: ignore[arg-type]


def test_what_stays_a_samples_own() -> None:
    assert own_part((3, 4, 2), "height", 0.5, ()).tolist() == [[True], [True], [False], [False]]
    assert own_part((3, 2, 4), "width", 0.25, ()).tolist() == [True, False, False, False]
    assert own_part((5, 2), "time", 0.64, ()).flatten().tolist() == [True, True, True, False, False]
    assert own_part((4,), "features", 0.5, [0, 2]).tolist() == [False, True, False, True]


def test_the_rarer_class_has_the_label_where_the_other_has_more_than_three_times_its_samples() -> None:
    """Counts 31, 10 and 3, which are 3.1 and 3.3 times the next; of equals, labels go by the parts."""
    for first, second, shares in ((0, 1, [0, 1]), (1, 2, [0, 1]), (2, 1, [1, 0]), (1, 1, [0.75, 0.75])):
        assert mixed(first, second, 3.0).share.tolist() == shares
        assert mixed(first, second, None).share.tolist() == [0.75, 0.75]
    assert mixed(0, 1, 3.2).share.tolist() == [0.75, 0.75]
    found = mixed(0, 2, 3.0)
    assert found.x.tolist() == [[0, 0, 0, 1], [1, 1, 1, 0]]
    assert (found.y.tolist(), found.other.tolist()) == ([0, 2], [2, 0])


def test_each_sample_is_mixed_for_itself() -> None:
    """A quarter of 4,000 samples, whose labels are shared; the others are as they were."""
    rng = np.random.default_rng(0)
    x, y = torch.arange(4000.0)[:, None].expand(4000, 4), torch.arange(4000) % 2
    found = exchanged(
        Batch(x, y, torch.arange(4000)), own_part((4,), "features", 0.5, ()), torch.ones(2), rng, 0.25, 3.0
    )
    changed = found.share == 0.5
    assert changed.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(found.x[~changed], x[~changed]) and torch.equal(found.x[:, :2], x[:, :2])
    assert (found.x[changed, 2] != x[changed, 2]).float().mean() > 0.99
    assert torch.equal(found.other[changed], (found.x[changed, 2] % 2).long())


def test_weights_have_the_golden_values() -> None:
    """Counts from 600 to 6: 0.0001 / (1 - 0.9999^600) and 0.01 / (1 - 0.99^6), of which the mean is made one."""
    counts = (600 * 0.01 ** (torch.arange(60) / 59)).int()
    weights = BRL().class_weights(counts).double()
    head, tail = 0.0001 / (1 - 0.9999**600), 0.01 / (1 - 0.99**6)
    assert (counts[0], counts[-1], round(head / tail, 6)) == (600, 6, 0.010048)
    assert (weights[0] / weights[-1]).item() == pytest.approx(0.010048, rel=5e-5)
    assert weights.sum().item() == pytest.approx(60, rel=1e-6)
    middle = BRL().class_weights(torch.tensor([600, 303, 6, 0])).double()  # a beta of 0.99495 halfway
    assert (middle[1] / middle[2]).item() == pytest.approx(0.00505 / (1 - 0.99495**303) / tail, rel=1e-5)
    assert middle[3] == 0


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0])])
def test_the_loss_by_hand(weights: Any) -> None:
    """Of two samples: (3/4 w_0 L_0 + 1/4 w_1 L_1 + w_1 L_1') / (3/4 w_0 + 1/4 w_1 + w_1)."""
    logits = torch.tensor([[2.0, 0.0], [1.0, -1.0]], dtype=torch.float64)
    found = PartMixed(logits, torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([0.75, 1.0]).double())
    zero, one = (1.0, 1.0) if weights is None else weights.tolist()
    nll = -F.log_softmax(logits, 1)
    expected = 0.75 * zero * nll[0, 0] + 0.25 * one * nll[0, 1] + one * nll[1, 1]
    value = found.cross_entropy(logits, None if weights is None else weights.double())
    assert value.item() == pytest.approx(expected.item() / (0.75 * zero + 1.25 * one))


def test_weights_come_late_and_without_mixing_it_is_cross_entropy(make_client: Any) -> None:
    for progress, weighted in ((0.4, False), (0.5, True)):
        site = few_images.site_of(make_client, BRL(mixed=0.0, defer=0.5, beta=0.5), 5, progress=progress, span=0.0)
        site.task = Task("single", 2, (3, 4, 4))
        batch = site.data.batch(torch.arange(6))
        weights = BRL(beta=0.5).class_weights(torch.tensor([4, 2])) if weighted else None
        expected = F.cross_entropy(site.model(batch.x), torch.as_tensor(Y), weights)
        assert site.learner.loss(site, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_of_samples_whose_parts_were_exchanged(make_client: Any) -> None:
    """By the chance that the learner has, with the site's counts and its own draws."""
    learner = BRL(mixed=0.75, ratio=1.5, defer=None)
    site = few_images.site_of(make_client, learner, 5, progress=0.0, span=0.0)
    site.task = Task("single", 2, (3, 4, 4))
    batch = site.data.batch(torch.arange(6))

    site.rng = np.random.default_rng(3)
    found = learner.loss(site, batch).item()
    own = own_part((3, 4, 4), "height", 0.5, ())
    other = exchanged(batch, own, site.class_counts, np.random.default_rng(3), 0.75, 1.5)
    assert not torch.equal(other.x, batch.x)
    assert found == pytest.approx(other.cross_entropy(site.model(other.x), None).item(), rel=1e-5)
    assert found != pytest.approx(F.cross_entropy(site.model(batch.x), torch.as_tensor(Y)).item(), rel=1e-3)


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        (["learner.parts=time"], "parts", r"samples of shape \(1, 8, 8\) have no time; take height or width"),
        (["learner.columns=[1]"], "columns", "they are of features, .* say parts=features"),
        (["learner.keep=0.01"], "keep", "of 8 along the height, all or nothing would be exchanged"),
    ],
)
def test_parts_that_samples_have_not_got_are_refused(tiny: dict[str, Any], keys: Any, key: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=rf"learner\.{key}: {message}"):
        fedlt.run(tiny, "learner=brl", *keys, out="unused", backend="inline")


def test_features_that_a_row_has_not_got_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"learner\.columns: expected numbers in 0\.\.3, .* got \[1, 4\]"):
        own_part((4,), "features", 0.5, [1, 4])
    with pytest.raises(ScenarioError, match=r"learner\.columns: of 2 along the features, all or nothing"):
        own_part((2,), "features", 0.5, [0, 1])
