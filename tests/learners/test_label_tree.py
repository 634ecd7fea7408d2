"""A tree of classes: what is read, refused and measured, and the two losses by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fedlt
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Prediction
from fedlt.learners.label_tree import LabelTree
from fedlt.learners.sibling_softmax import SiblingSoftmax
from fedlt.measures.tree import TreeErrors
from fedlt.nn.net import Net
from fedlt.statistic import Known, Predicted, Subject

PARENTS = np.array([0, 0, 1])
"""Two siblings, and a class that is its parent's only one."""
LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
PROBABILITIES = LOGITS.softmax(1)
Y = torch.tensor([1, 2])


def net_of(learner: LabelTree) -> Net:
    """A model whose features are its logits."""
    net = Net(nn.Identity(), nn.Identity(), 3)
    learner.build(net, Task("single", 3, (3,), parents=PARENTS))
    return net


def loss(learner: LabelTree, net: Net) -> Tensor:
    site = SimpleNamespace(model=net, class_counts=torch.tensor([6.0, 3.0, 1.0]))
    return learner.loss(cast(Site, site), cast(Batch, SimpleNamespace(x=LOGITS, y=Y)))


def test_a_parents_probability_is_the_sum_of_its_classes() -> None:
    learner = LabelTree("marginal", weight=0.7)
    of_parent = torch.stack([PROBABILITIES[0, 0] + PROBABILITIES[0, 1], PROBABILITIES[1, 2]])
    expected = F.cross_entropy(LOGITS, Y) - 0.7 * of_parent.log().mean()
    torch.testing.assert_close(loss(learner, net_of(learner)), expected)


def test_a_second_head_predicts_the_parent() -> None:
    learner = LabelTree(weight=2.0, decode=0.5)
    net = net_of(learner)
    second = net.parent_head(LOGITS)
    assert second.shape == (2, 2)
    expected = F.cross_entropy(LOGITS, Y) + 2 * F.cross_entropy(second, torch.tensor([0, 1]))
    torch.testing.assert_close(loss(learner, net), expected)

    found = cast(Any, learner.predict(net, LOGITS))
    expected = LOGITS.log_softmax(1) + 0.5 * second.log_softmax(1)[:, [0, 0, 1]]
    torch.testing.assert_close(found[""], expected)


def test_the_prior_of_the_classes_alone_is_taken_out() -> None:
    plain, adjusted = LabelTree("marginal", tau=0.0), LabelTree("marginal", tau=1.0)
    prior = torch.tensor([0.6, 0.3, 0.1]).log()
    expected = F.cross_entropy(LOGITS + prior, Y) - F.cross_entropy(LOGITS, Y)
    torch.testing.assert_close(loss(adjusted, net_of(adjusted)) - loss(plain, net_of(plain)), expected)


def test_the_parent_is_chosen_first() -> None:
    """0.4 + 0.15 of the first parent are more than 0.45 of the second, whose class is the most probable one."""
    learner = LabelTree("marginal")
    found = cast(Any, learner.predict(net_of(learner), torch.tensor([[0.4, 0.15, 0.45]]).log()))
    assert found[""].argmax(1).tolist() == [2]
    assert found["consistent"].argmax(1).tolist() == [0]


def test_a_sibling_softmax_leaves_other_parents_out() -> None:
    """Class 1 has one sibling, so that e^0 stands against e^0 + e^2; class 2 has none, and costs nothing."""
    learner = SiblingSoftmax()
    net = Net(nn.Identity(), nn.Identity(), 3)
    learner.build(net, Task("single", 3, (3,), parents=PARENTS))
    site = SimpleNamespace(model=net)
    found = learner.loss(cast(Site, site), cast(Batch, SimpleNamespace(x=LOGITS, y=Y)))
    assert found.item() == pytest.approx(np.log(1 + np.exp(2.0)) / 2, rel=1e-6)


def test_wrong_predictions_under_the_right_parent() -> None:
    """Of class 0 one right, one sibling; of class 1 one under the other parent; of class 2 one right."""
    task = Task("single", 3, (3,), parents=PARENTS)
    statistic = TreeErrors().empty(task, Subject("generic"))
    said, true = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 0, 1, 2])
    for rows in (slice(0, 1), slice(1, 4)):
        found = Prediction(F.one_hot(said[rows], 3).float())
        other = TreeErrors().empty(task, Subject("generic"))
        other.add(Predicted(found, true[rows], torch.arange(4)[rows]))
        statistic.merge(other)
    figures = statistic.figures(cast(Known, None))
    assert figures == pytest.approx(
        {"parent_accuracy": 3 / 4, "parent_recall": (2 / 3 + 1) / 2, "sibling_errors": 1 / 2}
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with a column of their parity, one of a parent for each, and one that differs within a class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    parity = np.where(digits.target % 2 == 0, "even", "odd")
    mixed = np.arange(len(digits.target)) % 3
    columns = {"parity": parity, "each": digits.target, "one": 0 * digits.target, "mixed": mixed}
    path = tmp_path_factory.mktemp("tree") / "digits.npz"
    splits = {"train": slice(0, 1200), "test": slice(1200, None)}
    arrays = {f"{name}_{split}": values[rows] for name, values in columns.items() for split, rows in splits.items()}
    for split, rows in splits.items():
        arrays[f"x_{split}"] = (digits.images[rows] * 15).astype(np.uint8)
        arrays[f"y_{split}"] = digits.target[rows]
    np.savez(path, **arrays)
    return path


def keys(path: Path, column: str) -> list[str]:
    return [f"data.name={path}", "data.group_columns=[parity,each,one,mixed]", f"data.parents={column}"]


def test_a_run_measures_parents_whatever_the_method(tiny: Any, tree: Path, tmp_path: Path) -> None:
    found = fedlt.run(tiny, *keys(tree, "parity"), out=tmp_path, backend="inline").final
    assert found["generic/parent_accuracy"] >= found["generic/accuracy"]
    assert 0 <= found["personal_masked/sibling_errors"] <= 1


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("[a, b, a]", "a parent for each of the 10 classes, in their order, got 3"),
        ("colour", r"'colour' is no group column; say data.group_columns=\[parity, each, one, mixed, colour\]"),
        ("mixed", "class 0 has rows of two parents"),
        ("one", "the same parent for all classes"),
        ("each", "a parent of its own for each class"),
    ],
)
def test_what_is_no_tree_is_refused(tiny: Any, tree: Path, tmp_path: Path, column: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=f"(?s)data.parents.*{sentence}"):
        fedlt.run(tiny, *keys(tree, column), out=tmp_path, backend="inline")


def test_a_list_is_the_same_tree(tiny: Any, tree: Path, tmp_path: Path) -> None:
    runs = [
        fedlt.run(tiny, *keys(tree, parents), "learner=label_tree", out=tmp_path, backend="inline")
        for parents in ("parity", "[even, odd, even, odd, even, odd, even, odd, even, odd]")
    ]
    assert runs[0].summary["model_hash"] == runs[1].summary["model_hash"]


def test_the_learner_needs_a_tree(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="label_tree needs a tree of classes; name the group column"):
        fedlt.run(tiny, "learner=label_tree", out=tmp_path, backend="inline")
