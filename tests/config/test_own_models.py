"""Models of a user's own: sentences that name the model, and a stated rule for a last batch of one sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.errors import ScenarioError
from fedlt.training.trainer import cut

pytestmark = pytest.mark.slow

OWN = """
from torch import nn

from fedlt.nn.model import Model
from fedlt.nn.net import Net


def nothing():
    return {}


@dataclass(frozen=True)
class Whole(Model):
    def build(self, task):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, task.num_classes))


@dataclass(frozen=True)
class Deep(Model):
    def build(self, task):
        head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, task.num_classes))
        return Net(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU()), head, 8)


@dataclass(frozen=True)
class Raising(Model):
    def backbone(self, shape):
        return nn.Linear(shape["width"], 8), 8


@dataclass(frozen=True)
class Narrow(Model):
    def backbone(self, shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), 9


@dataclass(frozen=True)
class Flat(Model):
    def backbone(self, shape):
        return nn.Linear(64, 8), 8


@dataclass(frozen=True)
class Few(Model):
    def build(self, task):
        return Net(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), nn.Linear(8, 7), 8)


@dataclass(frozen=True)
class Normed(Model):
    def backbone(self, shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU()), 8
"""


def test_an_argument_called_name_has_a_key(tmp_path: Path) -> None:
    """`model.name` is the module's own name."""
    text = "from torch import nn\nclass Net(nn.Linear):\n    def __init__(self, name, width=8):\n"
    (tmp_path / "net.py").write_text(text + "        super().__init__(64, width)\n        self.called = name\n")
    model = f"{tmp_path}/net.py:Net"
    chosen = load_scenario("digits_lt", {"model": {"name": model, "name_": "small"}}).model
    assert chosen.name == model and chosen.options["name_"] == "small"
    assert chosen.create().arguments["name"] == "small"
    with pytest.raises(ScenarioError, match=r"model\.name_: .* needs it"):
        load_scenario("digits_lt", {"model": model})


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["model=MINE:nothing"], "model", "nothing gives a dict; a model is a class of torch.nn.Module, a function"),
        (["model=MINE:Whole"], "model", "Whole gives a Sequential"),
        (["model=MINE:Raising"], "model", "Raising cannot be built: TypeError"),
        (["model=MINE:Narrow"], "model", "expected features of shape (2, 9)"),
        (["model=MINE:Flat"], "model", "Flat fails on two samples of shape (1, 8, 8): RuntimeError"),
        (["model=MINE:Few"], "model", "expected logits of shape (2, 10) from"),
        *(
            (["model=MINE:Deep", f"strategy={name}"], "model", f"{name} works on a head of one linear layer")
            for name in ("fedloge", "fedgrab", "creff", "rucr", "fednpc", "fedetf", "fedgela", "fednh")
        ),
        (["model=MINE:Deep", "learner=tau_norm"], "model", "tau_norm works on a head of one linear layer"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, changes: list[str], key: str, message: str
) -> None:
    path = own_file(OWN)
    filled = [change.replace("MINE", str(path)) for change in changes]
    with pytest.raises(ScenarioError) as caught:
        fedlt.run(tiny, *filled, out=tmp_path / "runs", backend="inline")
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message in problem.message
    assert "mine.py" in problem.message
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_deep_head_serves_methods_that_do_not_read_it(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert fedlt.run(tiny, f"model={own_file(OWN)}:Deep", out=tmp_path, backend="inline").status == "finished"


# A last batch of one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        (7, "keep", [3, 3, 1]),
        (7, "merge", [3, 4]),
        (7, "drop", [3, 3]),
        (8, "merge", [3, 3, 2]),  # two are enough
        (8, "drop", [3, 3, 2]),
        (1, "merge", [1]),  # nothing to join
        (1, "drop", [1]),  # a client never trains on nothing
    ],
)
def test_the_rules_by_hand(size: int, rule: str, expected: list[int]) -> None:
    order = torch.arange(size)
    batches = cut(order, 3, rule)
    assert [len(batch) for batch in batches] == expected
    assert torch.equal(torch.cat(batches), order[: sum(expected)])
    together = cut(order.expand(2, -1), 3, rule)
    assert [tuple(batch.shape) for batch in together] == [(2, length) for length in expected]


def changes(path: Path, *more: str) -> list[str]:
    """The model under test, with every client in each round."""
    return [f"model={path}:Normed", "federation.participation=1", *more]


def batch_of_one(tiny: dict[str, Any]) -> int:
    """A batch size that leaves one sample of some client over, and of no client a single one."""
    from fedlt.data.federation import federate

    sizes = federate(load_scenario(tiny)).clients.sizes
    return next(b for b in range(4, 60) if (sizes % b == 1).any() and (sizes > 1).all())


def test_a_model_that_needs_two_is_told_before_any_work(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    size = batch_of_one(tiny)
    own = changes(own_file(OWN), f"local.batch_size={size}")
    with pytest.raises(ScenarioError) as caught:
        fedlt.run(tiny, *own, out=tmp_path, backend="inline")
    (problem,) = caught.value.problems
    assert problem.key == "local.last_batch"
    assert "Normed cannot train on one sample" in problem.message
    assert "take merge or drop" in problem.message

    path = tmp_path / "mine.yaml"
    path.write_text(load_scenario(tiny, own).to_yaml(), encoding="utf-8")
    told = CliRunner().invoke(app, ["check", str(path)])
    assert told.exit_code == 2
    assert CliRunner().invoke(app, ["check", str(path), "local.last_batch=drop"]).exit_code == 0


@pytest.mark.parametrize("rule", ["merge", "drop"])
def test_the_rules_train_such_a_model(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, rule: str
) -> None:
    from fedlt.data.federation import federate

    size = batch_of_one(tiny)
    own = changes(own_file(OWN), f"local.batch_size={size}", f"local.last_batch={rule}")
    run = fedlt.run(tiny, *own, out=tmp_path, backend="inline")
    sizes = federate(load_scenario(tiny)).clients.sizes
    lost = int((sizes % size == 1).sum()) if rule == "drop" else 0
    assert run.rounds["samples"].tolist() == [sizes.sum() - lost] * 2


def test_a_scenario_without_the_key_keeps_its_hash(tiny: dict[str, Any]) -> None:
    plain = load_scenario(tiny)
    assert "last_batch" not in plain.to_dict()["local"]
    assert Local().last_batch == "keep"
    assert load_scenario(tiny, ["local.last_batch=keep"]).hash == plain.hash
    assert load_scenario(tiny, ["local.last_batch=drop"]).hash != plain.hash
