"""What makes runs quick, held as properties instead of seconds: passes, copies, processes, and what they may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from clients.context import Context
from clients.worker import Worker
from fedlt.data.federation import federate
from fedlt.strategy import Server
from server.grids.local import InlineGrid
from server.rounds.loop import Rounds
from server.state.states import StateStore

PRIVATE_HEAD = """
@dataclass(frozen=True)
class PrivateHead(Strategy):
    private: ClassVar[tuple[str, ...]] = ("own.*",)

    def build(self, model, task):
        model.own = torch.nn.Linear(model.feature_dim, task.num_classes)

    def loss(self, client, batch):
        features = client.model.encode(batch.x)
        own = torch.nn.functional.cross_entropy(client.model.own(features.detach()), batch.y)
        return torch.nn.functional.cross_entropy(client.model.head(features), batch.y) + own

    def personal(self, client, x):
        return client.model.own(client.model.encode(x))
"""


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the batches that pass any backbone outside of training."""
    sizes: list[int] = []
    assembled = Worker.__init__

    def noted(self: Worker, *arguments: Any) -> None:
        assembled(self, *arguments)

        def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if not module.training:
                sizes.append(len(inputs[0]))

        self.context.model.backbone.register_forward_hook(count)

    monkeypatch.setattr(Worker, "__init__", noted)
    yield sizes


@pytest.mark.slow
@pytest.mark.parametrize("clients", [2, 6])
def test_all_personal_heads_cost_one_pass_of_the_test_set(
    tiny: dict[str, Any], own_file: Callable[[str], Path], tmp_path: Path, passed: list[int], clients: int
) -> None:
    changes = [f"strategy={own_file(PRIVATE_HEAD)}:PrivateHead", f"evaluation.clients={clients}"]
    scenario = fedlt.load_scenario(tiny, [*changes, "federation.rounds=3", "evaluation.batch_size=64"])
    run = fedlt.run(scenario, out=tmp_path, backend="inline")
    evaluations = run.clients.groupby(["round", "client"]).size()
    assert len(evaluations) == 3 * clients
    assert sum(passed) == 3 * len(federate(scenario).y_test)


def test_a_round_costs_what_its_cohort_costs_not_what_there_are_clients(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The clients that a round touches in any way: those of its cohort, whatever the number of all."""
    touched: list[int] = []
    made = Context.client

    def noted(self: Context, number: int, *arguments: Any) -> Any:
        touched.append(number)
        return made(self, number, *arguments)

    monkeypatch.setattr(Context, "client", noted)
    for clients in (6, 60):
        share = ["federation.partition={name: iid}", f"federation.clients={clients}"]
        scenario = fedlt.load_scenario(tiny, [*share, f"federation.participation={3 / clients}", "federation.rounds=4"])
        federation = federate(scenario)
        rounds = small_rounds(scenario, federation, tmp_path / str(clients))
        touched.clear()
        for number in (1, 2):
            rounds._exchange(number, train=True, evaluate=False)
        assert sorted(touched) == sorted(rounds.cohort(1) + rounds.cohort(2))
        assert len(touched) == 6


def small_rounds(scenario: Any, federation: Any, folder: Path) -> Rounds:
    from clients.app import app
    from clients.host import install
    from fedlt.training.assembly import assemble

    install(scenario, federation)
    parts = assemble(scenario, federation, torch.device("cpu"))
    states = StateStore(folder / "states")
    return Rounds(InlineGrid(app), scenario, federation, parts, states, _ignore, _ignore, _ignore)


def _ignore(found: Any) -> None:
    """What the rounds tell is not looked at."""


def test_blocks_come_back_as_one_vector_each(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Five of six clients in blocks of two: three vectors, not five."""
    scenario = fedlt.load_scenario(tiny, ["federation.participation=0.84", "federation.block=2"])
    rounds = small_rounds(scenario, federate(scenario), tmp_path)
    server = rounds.progress.server
    fate = rounds.parts.chain.fates(1, rounds.cohort(1))
    server.round, server.cohort = 1, fate.asked
    updates = rounds.take(rounds.send(rounds.train_units(fate)))
    assert [len(update.clients) for update in updates] == [2, 2, 1]
    assert all(len(update.total) == len(server.weights) for update in updates)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "numerics"),
    [
        ([], "float32"),
        (["resources.precision=bfloat16"], "bfloat16"),
        (["federation.partition={name: iid}", "local.together=2"], "float32, 2 clients at once"),
    ],
)
def test_a_run_names_its_numerics(tiny: dict[str, Any], tmp_path: Path, changes: list[str], numerics: str) -> None:
    run = fedlt.run(tiny, *changes, out=tmp_path)
    assert run.summary["numerics"] == numerics
    usual = fedlt.load_scenario(tiny, [change for change in changes if "partition" in change])
    assert (run.summary["scenario_hash"] == usual.hash) == (numerics == "float32")


def test_where_a_run_is_computed_is_not_part_of_its_hash(tiny: dict[str, Any]) -> None:
    hashes = {
        fedlt.load_scenario(tiny, [f"resources.backend={backend}", f"resources.workers={workers}"]).hash
        for backend, workers in (("inline", 1), ("processes", 2), ("ray", 3), ("flower", "auto"))
    }
    assert len(hashes) == 1


def test_a_server_keeps_state_of_the_clients_it_met_only(
    tiny: dict[str, Any], own_file: Callable[[str], Path], tmp_path: Path
) -> None:
    changes = [f"strategy={own_file(PRIVATE_HEAD)}:PrivateHead", "federation.participation=0.34"]
    scenario = fedlt.load_scenario(tiny, changes)
    rounds = small_rounds(scenario, federate(scenario), tmp_path)
    rounds._exchange(1, train=True, evaluate=False)
    assert isinstance(rounds.progress.server, Server)
    kept = rounds.progress.states
    assert kept.clients() == rounds.cohort(1)
    assert len(rounds.cohort(1)) == 2
    (one, other) = (state["private"] for state in kept.read(kept.clients()).values())
    assert not np.array_equal(one.numpy(), other.numpy())
