"""Pseudo-labels: who labels what with which model, and what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.inputs import shaped
from fedlt.data.site import Rows, Site
from fedlt.errors import ScenarioError
from fedlt.learners.pseudo_labels import LABELS, PseudoLabels
from fedlt.learners.value_of_labels import ValueOfLabels
from fedlt.nn.net import Net

CENTRES = np.zeros((2, 20)) + np.array([[-0.3], [0.3]])


def drawn(counts: list[int], seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Samples of two Gaussians in twenty dimensions."""
    labels = np.repeat([0, 1], counts)
    return CENTRES[labels] + np.random.default_rng(seed).normal(size=(len(labels), 20)), labels


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with labelled and unlabelled rows of one table, under a linear model."""

    def make(learner: Any, labelled: list[int], others: list[int], **fields: Any) -> Site:
        torch.manual_seed(0)
        (x, y), (more, _) = drawn(labelled, 0), drawn(others, 1)
        net = Net(nn.Linear(20, 20), nn.Linear(20, 2), 20)
        made: Site = make_client(net, x, y, Local(epochs=20, batch_size=32, lr=0.05), learner=learner, **fields)
        rows = torch.as_tensor(np.concatenate([x, more]), dtype=torch.float32)
        table = shaped((20,)).open(rows.numpy(), torch.device("cpu"))
        made.data = Rows(table, torch.cat([made.data.targets, torch.full((len(more),), 7)]), made.data.index)
        made.unlabelled = Rows(table, torch.tensor(-1).expand(len(rows)), torch.arange(len(x), len(rows)))
        return made

    return make


def weights(site: Site) -> list[NDArray[Any]]:
    names = ("backbone.weight", "backbone.bias", "head.weight", "head.bias")
    return [site.model.get_parameter(name).detach().double().numpy() for name in names]


def scores(site: Site, x: NDArray[Any]) -> NDArray[Any]:
    first, offset, second, shift = weights(site)
    return (x @ first.T + offset) @ second.T + shift  # type: ignore[no-any-return]


def test_the_teacher_labels_once_and_the_student_sees_all(make_site: Any) -> None:
    site = make_site(PseudoLabels(), [6, 2], [3, 4], progress=0.0, span=0.25)
    site.learner.begin(site)
    assert len(site.data) == 8  # the teacher's stage
    site.progress = 0.5
    (x, y), (more, _) = drawn([6, 2], 0), drawn([3, 4], 1)
    expected = scores(site, more).argmax(1)
    site.learner.begin(site)
    assert site.state[LABELS].tolist() == expected.tolist()
    assert site.data.y.tolist() == [*y, *expected]
    assert site.data.x().numpy() == pytest.approx(np.concatenate([x, more]), rel=1e-5)
    assert site.class_counts.tolist() == (np.bincount(y) + np.bincount(expected, minlength=2)).tolist()
    assert site.trainer.work.forward_samples == 7
    everything = site.data.batch(torch.arange(15))
    logits = scores(site, np.concatenate([x, more]))
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(15), [*y, *expected]]
    assert float(site.learner.loss(site, everything).detach()) == pytest.approx(losses.mean(), rel=1e-5)
    assert (site.unlabelled.y == -1).all()


def test_labels_are_those_of_the_first_round_of_the_student(make_site: Any) -> None:
    site = make_site(PseudoLabels(), [6, 2], [3, 4], progress=0.5, span=0.25)
    own = site.data
    site.learner.begin(site)
    first = site.state[LABELS].clone()
    site.model.get_parameter("head.bias").data += torch.tensor([9.0, -9.0])
    site.progress, site.data = 0.75, own
    site.learner.begin(site)
    assert torch.equal(site.state[LABELS], first)
    assert site.data.y[8:].tolist() == first.tolist()
    assert site.trainer.work.forward_samples == 7


def test_a_round_costs_as_many_images_as_without(make_site: Any) -> None:
    site = make_site(PseudoLabels(), [40, 8], [200, 200], progress=0.5)
    site.learner.begin(site)
    seen = set()
    site.train(lambda inner, batch: seen.update(batch.rows.tolist()) or inner.learner.loss(inner, batch), epochs=2)
    assert site.trainer.work.backward_samples == 2 * 48
    assert max(seen) > 48


def test_stages_share_one_budget() -> None:
    found = PseudoLabels(pretrain=0.5, student=0.4, classifier_share=0.5).stages()
    assert [(stage.name, round(stage.share, 9)) for stage in found] == [
        ("rotation", 0.3),
        ("representation", 0.15),
        ("classifier", 0.15),
        ("student", 0.4),
    ]
    assert [stage.name for stage in PseudoLabels().stages()] == ["representation", "student"]
    assert found[2].only == ("head.*",)
    assert [stage.name for stage in ValueOfLabels().stages()] == ["rotation", "representation"]


def test_without_unlabelled_samples_it_says_what_to_set(tiny: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"data.unlabelled: pseudo_labels needs samples without labels; set extra"):
        fedlt.run(tiny, "learner=pseudo_labels")
