"""`fedlt check` runs the contract checks of a scenario's own parts: what holds is listed, what does not ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedlt.checks import conformance, partitions
from fedlt.commands.cli import app

pytestmark = pytest.mark.slow

OWN = '''
import numpy as np
from torch.nn.functional import cross_entropy

from fedlt import Learner

SEEN = []


@dataclass(frozen=True)
class Prox(Strategy):
    mu: float = 0.1

    def loss(self, client, batch):
        return super().loss(client, batch) + self.mu * (client.weights() - client.start).square().sum()


@dataclass(frozen=True)
class Forgotten(Prox):
    def loss(self, client, batch):
        return Strategy.loss(self, client, batch)


@dataclass(frozen=True)
class Remembers(Strategy):
    def fit(self, client):
        super().fit(client)
        SEEN.append(client.id)


@dataclass(frozen=True)
class Forgets(Strategy):
    def aggregate(self, server, updates):
        combine(updates)


@dataclass(frozen=True)
class OfOneModel(Strategy):
    private: ClassVar[tuple[str, ...]] = ("backbone.3.*",)


@dataclass(frozen=True)
class Random(Learner):
    def loss(self, site, batch):
        return cross_entropy(site.model(batch.x), batch.y) * site.rng.random()


class Net(torch.nn.Module):
    def __init__(self, num_classes: int, width: int = 4):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU())
        self.fc = torch.nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.body(x))


@dataclass(frozen=True)
class OfSites:
    """It needs a column that made-up data have not."""

    def assign(self, labels, groups, clients, seed):
        return np.arange(len(labels)) % clients


@dataclass(frozen=True)
class Unseeded:
    def assign(self, labels, groups, clients, seed):
        return np.random.randint(clients, size=len(labels))
'''


@pytest.fixture
def check(own_file: Callable[[str], Path]) -> Callable[..., tuple[int, str, str]]:
    """The exit code and both outputs of `fedlt check digits_lt`, where MINE is the file."""
    path = own_file(OWN)

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["check", "digits_lt", *(word.replace("MINE", str(path)) for word in words)])
        return done.exit_code, done.stdout, done.stderr

    return run


def test_parts_that_keep_their_contracts_are_listed(check: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = check("strategy=MINE:Prox", "model=MINE:Net", "model.width=3", "federation.partition=MINE:OfSites")
    strategy, model, partition = (line for line in out.splitlines() if "its contract" in line)
    assert code == 0
    assert (
        strategy
        == f"strategy Prox: all {len(conformance.CHECKS)} checks of its contract hold ({', '.join(conformance.CHECKS)})"
    )
    assert model.startswith("model Net: all 12 checks of its contract hold (builds, ")
    names = ", ".join(partitions.CHECKS)
    assert partition == f"partition OfSites: all {len(partitions.CHECKS)} checks of its contract hold ({names})"


def test_a_field_that_does_nothing_is_remarked_below_the_line(check: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = check("strategy=MINE:Prox")
    assert code == 0
    assert "remark" not in out
    code, out, _ = check("strategy=MINE:Forgotten")
    assert code == 0
    (remark,) = (line for line in out.splitlines() if "remark" in line)
    assert remark.startswith(
        "  remark: mu=0.1 and mu=0.2 and mu=0.05 end the same on the check's small clients; unless"
    )


def test_built_in_parts_are_checked_where_asked_for(check: Callable[..., tuple[int, str, str]]) -> None:
    assert "its contract" not in check("strategy=fedprox")[1]
    code, out, _ = check("strategy=fedprox", "model=mlp", "--contracts")
    assert code == 0
    kinds = [line.split(":")[0] for line in out.splitlines() if "its contract hold" in line]
    assert kinds == ["strategy fedprox", "learner cross_entropy", "model mlp", "partition dirichlet_per_class"]


def test_all_that_breaks_its_contract_is_told_with_what_is_expected(
    check: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, told = check("strategy=MINE:Remembers", "learner=MINE:Random", "federation.partition=MINE:Unseeded")
    assert code == 1
    assert "its contract hold" not in out
    assert told.startswith("error: strategy Remembers breaks its contract\n  hidden: fit() changed fedlt_user_mine_")
    assert "\n    expected: nothing is kept on the instance, on its class or in its module\n" in told
    assert "\nlearner Random breaks its contract\n  vectorizable: loss() draws from site.rng" in told
    assert "\npartition Unseeded breaks its contract\n  equal: " in told


def test_a_step_that_gives_no_model_is_found(check: Callable[..., tuple[int, str, str]]) -> None:
    code, _, told = check("strategy=MINE:Forgets")
    assert code == 1
    found = "  runs: the server failed in round 1: Forgets.aggregate left the model as it was; assign the next one"
    assert found in told


def test_a_strategy_of_one_model_is_said_not_to_be_checked(check: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = check("strategy=MINE:OfOneModel")
    assert code == 0
    assert "strategy OfOneModel: its contract was not checked: " in out
    assert "pattern 'backbone.3.*' matches no tensor of the model" in out
