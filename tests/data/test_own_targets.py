"""A kind of targets of a user's own, with a figure of its own, from one file; and runs of the other kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fedlt
from fedlt.errors import ScenarioError
from fedlt.results.next_steps import next_steps

OWN = '''"""Any number of classes a sample, and the share of entries that are right."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from fedlt import Metric, Target
from fedlt.data.coding import refuse
from fedlt.target import Read


@dataclass(frozen=True)
class MultiHot(Target):
    """[N, C] of 0 and 1."""

    most: int = 3  # classes of a sample

    def read(self, name, train, test, class_names):
        for y in (train, test):
            if y.ndim != 2 or not np.isin(y, (0, 1)).all():
                raise refuse(f"{name}: expected a column of 0 and 1 for each class", "data.targets")
            if y.sum(axis=1).max() > self.most:
                raise refuse(f"{name}: a row has more than {self.most} classes; raise it", "data.targets.most")
        names = tuple(class_names) or tuple(map(str, range(train.shape[1])))
        return Read(train.astype(np.int8), test.astype(np.int8), names)

    def labels(self, values):
        rows, classes = np.nonzero(values)
        return rows, classes

    def loss(self, logits, y):
        return binary_cross_entropy_with_logits(logits, y.to(logits.dtype))


@dataclass(frozen=True)
class Entries(Metric):
    """Share of the entries whose logit has the right sign."""

    def sums(self, logits, y, task):
        right = (logits > 0) == (y > 0)
        return {"right": right.sum(), "all": torch.tensor(right.numel())}

    def figures(self, sums):
        return {"entries": float(sums["right"] / sums["all"])}
'''
BEGIN = {
    "federation": {"clients": 4, "participation": 0.5, "rounds": 6, "partition": "iid"},
    "local": {"epochs": 2, "batch_size": 16, "lr": 0.5},
    "model": {"name": "mlp", "width": 16, "depth": 1},
    "evaluation": {"every": 3},
}


def several(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [count, 6] of features, and labels [count, 3]: a class holds where the sum of its two features is positive,
    and the third one wherever no other does.
    """
    x = np.random.default_rng(count).normal(size=(count, 6)).astype(np.float32)
    y = (x.reshape(count, 3, 2).sum(axis=2) > (0, 0.5, 0.5)).astype(np.int64)
    y[y.sum(axis=1) == 0, 2] = 1
    return x, y


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    (x, y), (x_test, y_test) = several(400), several(100)
    np.savez(tmp_path / "findings.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return tmp_path / "findings.npz"


def test_one_file_of_a_user_brings_a_kind_of_targets_and_its_figure(findings: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN, encoding="utf-8")
    assert len(OWN.splitlines()) <= 60
    own = f"{tmp_path / 'mine.py'}:"
    content = {
        **BEGIN,
        "data": {"name": str(findings), "targets": f"{own}MultiHot"},
        "evaluation": {**BEGIN["evaluation"], "metrics": [f"{own}Entries"]},
    }
    runs = [fedlt.run(content, out=tmp_path / name, backend=name, workers=2) for name in ("inline", "processes")]
    final = runs[0].final
    assert final["generic/entries"] > 0.85 and 0.5 < final["personal/entries"] <= 1
    assert final["generic/entries"] == runs[1].final["generic/entries"]
    assert runs[0].summary["model_hash"] == runs[1].summary["model_hash"]

    with pytest.raises(ScenarioError, match=r"data\.targets\.most: .* a row has more than 1 classes; raise it"):
        fedlt.run(content, "data.targets.most=1", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_several_labels_with_all_that_deals_samples_by_class(findings: Path, tmp_path: Path) -> None:
    """A tail, validation data, samples without labels, class-balanced draws, and clients that join later."""
    shaped = ("data.longtail.profile=exponential", "data.longtail.imbalance_factor=4", "data.validation=0.2")
    dealt = (*shaped, "data.unlabelled.hidden=0.2", "federation.held_out=1", "learner=resampling")
    run = fedlt.run({**BEGIN, "data": {"name": str(findings)}}, *dealt, out=tmp_path)
    assert all("fedloge" not in command for command in next_steps(run))
    assert run.status == "finished" and any(name.startswith("validation/generic/") for name in run.final)


@pytest.mark.parametrize("strategy", ["apfl", "ditto", "fedavg_ft", "fedbabu", "fedprox", "local", "centralized"])
def test_strategies_that_leave_the_loss_to_the_learner_take_several_labels(
    findings: Path, tmp_path: Path, strategy: str
) -> None:
    run = fedlt.run(
        {**BEGIN, "data": {"name": str(findings)}}, f"strategy={strategy}", "federation.rounds=1", out=tmp_path
    )
    assert run.status == "finished"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("strategy=fedloge", "strategy: fedloge reads one class a sample, and the data set's targets are multilabel"),
        ("learner=ldam", "learner: ldam reads one class a sample, and the data set's targets are multilabel"),
        (
            "federation.attack={kind: label_flip, share: 0.5}",
            "federation.attack: label_flip mirrors the one class of a sample",
        ),
    ],
)
def test_what_reads_one_class_a_sample_is_refused(findings: Path, tmp_path: Path, method: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        fedlt.run({**BEGIN, "data": {"name": str(findings)}}, method, out=tmp_path / "out")
    assert str(caught.value.problems[0]).startswith(said)
    assert not (tmp_path / "out").exists()


def test_methods_of_one_class_a_sample_take_ordered_classes(findings: Path, tmp_path: Path) -> None:
    with np.load(findings) as arrays:
        held = {name: arrays[name].sum(axis=1) - 1 if name[0] == "y" else arrays[name] for name in arrays.files}
    np.savez(tmp_path / "grades.npz", **held)
    content = {**BEGIN, "data": {"name": str(tmp_path / "grades.npz"), "targets": "ordinal"}}
    run = fedlt.run(content, "strategy=fedrod", "federation.rounds=1", out=tmp_path)
    plain = fedlt.run(content, "strategy=fedrod", "federation.rounds=1", "data.targets=single", out=tmp_path / "plain")
    assert run.summary["model_hash"] == plain.summary["model_hash"]


TOKENS = """
from torch import nn

from fedlt.nn.model import Model


class PerToken(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.ReLU())

    def forward(self, x):
        return self.layers(x[..., None])


@dataclass(frozen=True)
class Tagger(Model):
    def backbone(self, input_shape):
        return PerToken(), 8
"""


def test_a_model_of_tokens_learns_tags(own_file: Callable[[str], Path], tmp_path: Path) -> None:
    """A token's class is the sign of its feature; half of the tokens are padding."""
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = np.where(np.arange(4) < 1 + np.arange(200)[:, None] % 4, x > 0, -100)
    np.savez(tmp_path / "tags.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    model = f"{own_file(TOKENS)}:Tagger"
    run = fedlt.run({**BEGIN, "data": {"name": str(tmp_path / "tags.npz")}, "model": model}, out=tmp_path)
    assert run.final["generic/accuracy"] > 0.9
