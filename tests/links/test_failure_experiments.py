"""Failures that a scenario asks for: dropout, late updates, attackers. Schedules, arithmetic, traces, equal bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedlt
from clients.join import join
from clients.worker import Worker
from fedlt.config.catalog import names
from fedlt.config.scenario import load_scenario
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Learner
from fedlt.links.attack import Attack
from fedlt.links.chain import Chain, Fates
from fedlt.links.lateness import arrive, hold
from fedlt.links.link import Memory, Sending, Setting
from fedlt.links.memory import pack, unpack
from fedlt.results.runs import Run
from fedlt.strategy import Strategy, Update, combine
from server.rounds.loop import Rounds
from tests.conftest import TrainOne

pytestmark = pytest.mark.slow

ALL = [
    "federation.participation=1", "federation.rounds=5", "federation.dropout=0.2",
    "federation.late={chance: 0.4, rounds: 2, weight: 0.5}",
    "federation.attack={kind: sign_flip, share: 0.3, factor: 0.5}",
]  # fmt: skip

OWN = '''
@dataclass(frozen=True)
class Own(Strategy):
    """Private heads, states of clients and server, sums and values of clients."""

    private: ClassVar[tuple[str, ...]] = ("head.*",)

    def fit(self, client):
        super().fit(client)
        client.state["memory"] = client.state.get("memory", torch.zeros(2)) + float(client.rng.random())
        client.extras["memory"] = client.state["memory"]
        client.values["id"] = torch.tensor(client.id)

    def aggregate(self, server, updates):
        whole = combine(updates)
        server.weights = whole.mean
        server.state["sum"] = server.state.get("sum", torch.zeros(2)) + whole.sums["memory"] * whole.values["id"].sum()
        server.outbox["sum"] = server.state["sum"]
'''


def chain_of(scenario: Any, clients: int) -> Chain:
    """The links of a scenario with so many clients, under FedAvg and a model of three numbers."""
    sizes = np.full(clients, 10)
    parts = Strategy(), Learner(), Task("single", 10, (3,))
    return Chain.of(scenario, Setting(scenario.seed, sizes, clients, *parts, shared=3, trainable=2))


def fates(scenario: Any, round: int, cohort: range) -> Fates:
    return chain_of(scenario, len(cohort)).fates(round, cohort)


def attackers(scenario: Any, clients: int) -> tuple[int, ...]:
    return chain_of(scenario, clients).untested


def weights(run: Run) -> torch.Tensor:
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(run.folder / "model.safetensors").items())])


# Schedules ------------------------------------------------------------------------------------------------------------


def test_schedules_are_of_the_seed_and_one_fault_does_not_move_another(tiny: dict[str, Any]) -> None:
    def drawn(*overrides: str, seed: int = 0) -> list[Any]:
        scenario = load_scenario(tiny, [*overrides, f"seed={seed}"])
        return [fates(scenario, round, range(200)) for round in (1, 2)]

    both = drawn("federation.dropout=0.3", "federation.late.chance=0.25")
    for found in both:
        everyone = sorted(found.together + found.apart + found.absent)
        assert everyone == list(range(200))
        assert abs(len(found.absent) - 60) < 4 * np.sqrt(200 * 0.3 * 0.7)
        assert abs(len(found.apart) - 200 * 0.7 * 0.25) < 4 * np.sqrt(200 * 0.175)
    assert both[0].absent != both[1].absent
    assert both == drawn("federation.dropout=0.3", "federation.late.chance=0.25")
    assert both[0].absent != drawn("federation.dropout=0.3", seed=1)[0].absent
    assert [found.absent for found in both] == [found.absent for found in drawn("federation.dropout=0.3")]
    late = [
        set(found.apart) - set(hit.absent)
        for found, hit in zip(drawn("federation.late.chance=0.25"), both, strict=True)
    ]
    assert late == [set(found.apart) for found in both]
    assert drawn()[0].together == tuple(range(200))


def test_attackers_are_drawn_by_the_seed_or_named(tiny: dict[str, Any]) -> None:
    def chosen(attack: str, seed: int = 0) -> tuple[int, ...]:
        return attackers(load_scenario(tiny, [f"federation.attack={attack}", f"seed={seed}"]), 20)

    drawn = [chosen("{kind: scaled, share: 0.3}", seed) for seed in range(4)]
    assert all(len(set(ids)) == 6 and list(ids) == sorted(ids) and set(ids) <= set(range(20)) for ids in drawn)
    assert len(set(drawn)) > 1
    assert chosen("{kind: label_flip, share: 0.3}") == drawn[0]  # so that attacks can be compared
    assert chosen("{kind: scaled, share: 0.01}") != ()
    assert chosen("{kind: scaled, clients: [7, 3, 7]}") == (3, 7)
    assert attackers(load_scenario(tiny), 20) == ()


# Arithmetic -----------------------------------------------------------------------------------------------------------


def test_a_late_change_is_made_to_the_model_of_the_round_in_which_it_arrives() -> None:
    """Two trainable weights and a buffer; weight 4, half of which counts.

    The client went from [1, 2 | 9] to [2, 0 | 5]; where the model is [10, 20 | 7] by now, it arrives as [11, 18 | 5].
    """
    then, now = torch.tensor([1.0, 2, 9]), torch.tensor([10.0, 20, 7])
    sent = Update((3,), 4.0, 4 * torch.tensor([2.0, 0, 5]), {"c": torch.tensor([8.0])}, {"v": torch.tensor([[6.0]])})
    held = hold(sent, then, 2, due=5, factor=0.5)
    assert sent.total.tolist() == [8, 0, 20]
    (back,) = unpack(*pack([Memory(held=[held])]))
    for item in (held, back.held[0]):
        item.update.total = item.update.total.clone()
        found = arrive(item, now, 2)
        assert (item.due, found.clients, found.weight) == (5, (3,), 2.0)
        assert found.mean.tolist() == [11, 18, 5]
        assert found.sums["c"].tolist() == [4]
        assert found.values["v"].tolist() == [[6]]


def test_if_all_are_a_round_late_the_model_is_a_round_behind(tiny: dict[str, Any], tmp_path: Path) -> None:
    full = ["federation.participation=1", "federation.block=6"]
    start = fedlt.run(tiny, *full, "federation.rounds=1", "local.lr=1e-30", out=tmp_path)
    prompt = fedlt.run(tiny, *full, "federation.rounds=1", out=tmp_path)
    late = [*full, "federation.late.chance=1"]
    none = fedlt.run(tiny, *late, "federation.rounds=1", out=tmp_path)
    behind = fedlt.run(tiny, *late, "federation.rounds=2", out=tmp_path)
    discarded = fedlt.run(tiny, *late, "federation.late.weight=0", "federation.rounds=2", out=tmp_path)
    assert torch.equal(weights(none), weights(discarded))
    torch.testing.assert_close(weights(none), weights(start))
    torch.testing.assert_close(weights(behind), weights(prompt))
    assert not torch.allclose(weights(prompt), weights(start), atol=1e-3)
    assert behind.rounds[["clients", "late", "arrived", "skipped"]].to_numpy().tolist() == [[0, 6, 0, 0], [6, 6, 6, 0]]
    assert (behind.summary["late"], behind.summary["arrived"], discarded.summary["arrived"]) == (12, 6, 0)


@pytest.mark.parametrize(
    ("kind", "factor", "times"), [("sign_flip", None, -1), ("sign_flip", 3, -3), ("scaled", None, 10)]
)
def test_attackers_send_another_change_of_the_trained_weights(
    train_one: TrainOne, kind: str, factor: float | None, times: float
) -> None:
    """Running statistics are sent as they are: a negative variance would end the run, which is not what is studied."""
    model = "model=resnet8"
    worker, start, honest = train_one(2, model)
    size = "" if factor is None else f", factor: {factor}"
    _, _, attacked = train_one(2, model, f"federation.attack={{kind: {kind}, clients: [2]{size}}}")
    (true,), (lie,) = honest.updates[0], attacked.updates[0]
    trainable = worker.context.flat.num_trainable
    assert trainable < len(start)
    torch.testing.assert_close(
        (lie.mean - start)[:trainable], times * (true.mean - start)[:trainable], rtol=1e-3, atol=1e-5
    )
    assert torch.equal(lie.total[trainable:], true.total[trainable:])
    _, _, other = train_one(2, model, f"federation.attack={{kind: {kind}, clients: [1]}}")
    assert torch.equal(other.updates[0][0].total, true.total)


def test_label_flippers_learn_from_mirrored_labels_and_nobody_else_does(
    train_one: TrainOne, own_file: Callable[..., Path]
) -> None:
    text = (
        "@dataclass(frozen=True)\nclass Telling(Strategy):\n    def fit(self, client):\n"
        "        client.values.update(y=client.data.y.sort().values, counts=client.class_counts)\n"
        "    def loss(self, client, batch):\n        return super().loss(client, batch)\n"
    )
    name = f"strategy={own_file(text)}:Telling"
    attacks = [[], *([f"federation.attack={{kind: label_flip, clients: [{client}]}}"] for client in (2, 1))]
    plain, flipped, other = (train_one(2, name, *attack)[2].updates[0][0].values for attack in attacks)
    assert flipped["y"].tolist() == [sorted(9 - y for y in plain["y"][0].tolist())]
    assert flipped["counts"].tolist() == [plain["counts"][0].tolist()[::-1]]
    assert np.bincount(flipped["y"][0], minlength=10).tolist() == flipped["counts"][0].tolist()
    assert other["y"].tolist() == plain["y"].tolist()


def test_of_clients_trained_at_once_only_the_attacker_lies(tiny: dict[str, Any], tmp_path: Path) -> None:
    equal = [
        "federation.partition={name: iid}", "federation.participation=1", "federation.rounds=1", "federation.block=6",
        "data.longtail={profile: exponential, imbalance_factor: 1, largest: 30}",
        "federation.attack={kind: scaled, clients: [1, 4], factor: 2}",
    ]  # fmt: skip
    alone = fedlt.run(tiny, *equal, out=tmp_path)
    together = fedlt.run(tiny, *equal, "local.together=6", out=tmp_path)
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-3, atol=1e-5)


# Traces ---------------------------------------------------------------------------------------------------------------


def test_faults_are_counted_and_attackers_are_not_tested(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, *ALL, out=tmp_path)
    rounds = run.rounds
    scenario = load_scenario(tiny, ALL)
    expected = [fates(scenario, round, range(6)) for round in range(1, 6)]
    assert rounds["dropped"].tolist() == [len(found.absent) for found in expected]
    assert rounds["late"].tolist() == [len(found.apart) for found in expected]
    assert rounds["arrived"].tolist() == [0, 0, *(len(found.apart) for found in expected[:3])]
    assert rounds["clients"].tolist() == [len(f.together) + n for f, n in zip(expected, rounds["arrived"], strict=True)]
    lying = set(attackers(scenario, 6))
    lies = [len(lying & set(found.together)) for found in expected]
    lies[2:] = [n + len(lying & set(found.apart)) for n, found in zip(lies[2:], expected, strict=False)]
    assert rounds["attackers"].tolist() == lies
    assert min(rounds[["dropped", "late", "arrived", "attackers"]].sum()) > 0
    for name in ("dropped", "late", "arrived"):
        assert run.summary[name] == rounds[name].sum()
    assert run.summary["attackers"] == sorted(lying)
    assert run.summary["skipped"] == 0
    assert set(run.clients["client"]) == set(range(6)) - lying


def test_a_round_in_which_nobody_answers_leaves_the_model_as_it_is(tiny: dict[str, Any], tmp_path: Path) -> None:
    one = ["federation.participation=0.1", "federation.dropout=0.5", "evaluation.every=1", "federation.rounds=8"]
    run = fedlt.run(tiny, *one, out=tmp_path)
    empty = run.rounds["clients"] == 0
    assert 0 < empty.sum() < 8
    accuracy = run.metrics[run.metrics["metric"] == "generic/nll"]["value"].to_numpy()
    same = np.diff(accuracy) == 0
    assert same.tolist() == empty.tolist()[1:]


def test_newcomers_do_not_attack(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newcomers are numbered from 0 again."""
    held = ["federation.held_out=2", "federation.attack={kind: label_flip, clients: [0, 3]}"]
    run = fedlt.run(tiny, *held, out=tmp_path)
    made: list[Worker] = []

    def making(*arguments: Any) -> Worker:
        made.append(Worker(*arguments))
        return made[-1]

    monkeypatch.setattr("clients.join.Worker", making)
    join(run, rounds=1, epochs=1)
    assert [worker.context.parts.chain.untested for worker in made] == [()]


# The same bits --------------------------------------------------------------------------------------------------------


def test_the_result_depends_on_neither_grid_nor_workers_nor_a_crash(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [f"strategy={own_file(OWN)}:Own", *ALL, "resources.checkpoint=1"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    take = Rounds.take
    for number, (backend, workers) in enumerate((("inline", 1), ("processes", 1), ("processes", 2))):
        crashes = {2, 3, 4, 5} if number == 0 else set()

        def taking(self: Rounds, reports: Any, crashes: set[int] = crashes) -> Any:
            if self.progress.round + 1 in crashes:
                crashes.discard(self.progress.round + 1)
                raise RuntimeError("power cut")
            return take(self, reports)

        monkeypatch.setattr(Rounds, "take", taking)
        for _ in range(len(crashes)):
            with pytest.raises(RuntimeError, match="power cut"):
                fedlt.run(tiny, *changes, out=tmp_path / str(number), backend=backend, workers=workers)
        run = fedlt.run(tiny, *changes, out=tmp_path / str(number), backend=backend, workers=workers)
        assert run.summary["resumed"] == ([1, 2, 3, 4] if number == 0 else [])
        for key in ("model_hash", "final", "dropped", "late", "arrived", "attackers"):
            assert run.summary[key] == whole.summary[key], key
        assert (run.folder / "outbox.safetensors").read_bytes() == (whole.folder / "outbox.safetensors").read_bytes()


def test_late_updates_reach_strategies_that_see_each_client(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Some client's late update arrives together with its prompt one."""
    run = fedlt.run(tiny, *ALL, "strategy=flower:FedMedian", out=tmp_path)
    assert run.summary["arrived"] > 0


# Robust aggregation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ["kind: scaled, share: 0.2", "kind: sign_flip, share: 0.2, factor: 4"])
def test_robust_aggregation_withstands_what_a_mean_does_not(tmp_path: Path, attack: str) -> None:
    setting = [
        "federation={clients: 10, participation: 1, partition: {name: iid}, rounds: 8}",
        "local={epochs: 3, batch_size: 16, lr: 0.03, momentum: 0.9}",
        "evaluation.every=8", "data.longtail.imbalance_factor=5", "model={name: mlp, width: 32, depth: 1}",
        f"federation.attack={{{attack}}}",
    ]  # fmt: skip

    def accuracy(*strategy: str) -> float:
        return fedlt.run("digits_lt", *setting, *strategy, out=tmp_path, backend="inline").final["generic/accuracy"]

    plain = accuracy("strategy=fedavg")
    for robust in (["flower:FedTrimmedAvg", "strategy.beta=0.2"], ["flower:Krum", "strategy.num_malicious_nodes=2"]):
        assert accuracy(f"strategy={robust[0]}", robust[1]) > plain + 0.2


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["federation.dropout=1"], r"federation\.dropout: expected a number >= 0 and < 1"),
        (["federation.late.chance=1.5"], r"federation\.late\.chance: expected a number >= 0 and <= 1"),
        (["federation.late.rounds=2"], r"federation\.late\.rounds: has no effect with late\.chance=0; remove it"),
        (["federation.late={chance: 0.1, rounds: 0}"], r"federation\.late\.rounds: expected a whole number >= 1"),
        (["federation.attack.share=0.2"], r"federation\.attack\.share: has no effect with attack\.kind=none"),
        (["federation.attack.kind=scaled"], r"federation\.attack: who attacks\? Give either"),
        (["federation.attack={kind: scaled, share: 0.1, clients: [1]}"], r"federation\.attack: who attacks\?"),
        (["federation.attack={kind: scaled, clients: []}"], r"attack\.clients: names nobody"),
        (["federation.attack={kind: scaled, clients: [6]}"], r"attack\.clients: expected ids of 0\.\.5, got 6"),
        (["federation.attack={kind: scaled, clients: [-1, 2]}"], r"attack\.clients: expected ids of 0\.\.5, got -1"),
        (["federation.attack={kind: scaled, clients: [1], factor: 1}"], r"attack\.factor: 1 is no attack"),
        (["federation.attack={kind: label_flip, clients: [1], factor: 2}"], r"no effect with attack\.kind=label_flip"),
        (["federation.attack.kind=flip"], r"attack\.kind: expected one of none, sign_flip, scaled, label_flip"),
        (["federation.dropout=0.1", "strategy=centralized"], r"federation\.dropout: Centralized has one site"),
        (["federation.attack={kind: label_flip, share: 0.5}", "strategy=centralized"], r"attack: Centralized has"),
        (["federation.late.chance=0.1", "strategy=local"], r"federation\.late: Local sends nothing"),
        (["federation.attack={kind: scaled, share: 0.5}", "strategy=local"], r"attack: Local sends nothing"),
        (["federation.late.chance=0.1", "strategy=scaffold"], r"late: SCAFFOLD needs every update in its round"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_would_change_nothing_is_refused(
    tiny: dict[str, Any], tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *overrides, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_local_training_may_meet_dropout_and_false_labels(tiny: dict[str, Any], tmp_path: Path) -> None:
    faults = ["federation.dropout=0.3", "federation.attack={kind: label_flip, share: 0.5}"]
    plain = fedlt.run(tiny, "strategy=local", out=tmp_path)
    run = fedlt.run(tiny, "strategy=local", *faults, out=tmp_path)
    assert run.summary["dropped"] > 0
    assert run.summary["model_hash"] != plain.summary["model_hash"]


@pytest.mark.parametrize("name", names("strategy"))
def test_every_strategy_works_with_faults_or_refuses_them_with_a_reason(
    tiny: dict[str, Any], tmp_path: Path, name: str
) -> None:
    asked = {"auxiliary_set": "data.auxiliary=2", "server_validation": "data.validation.per_class=2"}
    needs = load_scenario(tiny, [f"strategy={name}"]).strategy.create().needs
    data = [change for need, change in asked.items() if need in needs]
    changes = [f"strategy={name}", *data, *ALL, "federation.rounds=4", "evaluation.every=4"]
    try:
        run = fedlt.run(tiny, *changes, out=tmp_path)
    except ScenarioError as error:
        strategy = load_scenario(tiny, [f"strategy={name}"]).strategy.create()
        if "federation." not in str(error):
            pytest.skip(f"does not run on the tiny scenario: {error}")
        assert strategy.scope == "centralized" or strategy.private == ("*",) or "prompt_updates" in strategy.needs
        return
    assert run.summary["arrived"] > 0
    assert run.final


def test_sums_and_factors_of_attackers_by_hand() -> None:
    start, found = torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.0, 7.0])
    lying = Attack("scaled", clients=(1,))
    setting = Setting(0, np.array([3, 4]), 2, Strategy(), Learner(), Task("single", 10, (3,)), shared=3, trainable=2)

    def sent(client: int) -> torch.Tensor:
        sending = Sending(setting, 1, SimpleNamespace(id=client, start=start), found, 1.0)  # type: ignore[arg-type]
        lying.send(sending)
        return sending.vector

    assert sent(1).tolist() == [6, 2, 7]
    assert sent(0) is found
    assert found.tolist() == [1.5, 2, 7]
    assert lying.untested(setting) == {1}
    mixed = combine([Update((0,), 1.0, found), Update((1,), 1.0, sent(1))])
    assert mixed.mean.tolist() == [3.75, 2, 7]
