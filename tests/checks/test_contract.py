"""What the contract of strategies promises beyond the single methods: needs, traffic, own models, steps, values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.commands.listing import listing
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.auxiliary import set_apart
from fedlt.data.federation import federate
from fedlt.data.targets import Targets
from fedlt.errors import FedLTError, HookError, ScenarioError
from fedlt.exchange import Report
from fedlt.nn.net import Net
from fedlt.nn.norm import BatchNorm
from fedlt.strategy import NEEDS, Server, Update, combine
from fedlt.training.assembly import assemble
from server.records import pack_report, unpack_report
from server.rounds.own_data import give_own_data

pytestmark = pytest.mark.slow

OwnFile = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


# Needs ----------------------------------------------------------------------------------------------------------------

CURIOUS = """
@dataclass(frozen=True)
class Curious(Strategy):
    def build(self, model, task):
        task.class_counts
"""
TOLD = CURIOUS.replace("def build", 'needs: ClassVar[tuple[str, ...]] = ("class_prior",)\n\n    def build')


ENSEMBLE = """
@dataclass(frozen=True)
class Ensemble(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("auxiliary_set",)
    foldable: ClassVar[bool] = False

    def aggregate(self, server, updates):
        x, before = server.auxiliary.x(), server.weights.clone()
        each = [server.logits_of(update.mean, x) for update in updates]
        assert server.weights.equal(before) and not any(logits.requires_grad for logits in each)
        server.weights = updates[0].mean
        assert server.model(x).equal(each[0]) and not each[0].equal(each[1])
        server.state["teacher"] = torch.stack(each).mean(0)
        super().aggregate(server, updates)
"""


def test_the_server_predicts_by_single_clients(tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path) -> None:
    """With batch normalisation, so that its statistics are the client's, too."""
    own = f"strategy={own_file(ENSEMBLE)}:Ensemble"
    run = fedlt.run(tiny, own, "data.auxiliary=2", "model={name: resnet8, stem_stride: 4}", out=tmp_path)
    assert run.status == "finished"
    fedlt.check_strategy(own.removeprefix("strategy="))


def test_the_global_prior_is_for_those_who_declare_it(tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path) -> None:
    with pytest.raises(FedLTError, match=r"needs = \('class_prior',\)"):
        fedlt.run(tiny, f"strategy={own_file(CURIOUS)}:Curious", out=tmp_path)
    scenario = load_scenario(tiny, [f"strategy={own_file(TOLD, 'told.py')}:Curious"])
    federation = federate(scenario)
    parts = assemble(scenario, federation, torch.device("cpu"))
    assert parts.task.class_counts.tolist() == federation.class_counts.tolist()
    assert fedlt.run(scenario, out=tmp_path).summary["needs"] == ["class_prior"]
    assert scenario.strategy.component.needs == ("class_prior",)


def test_needs_are_inherited_listed_and_known(own_file: OwnFile) -> None:
    heir = own_file(TOLD + "\n\n@dataclass(frozen=True)\nclass Heir(Curious):\n    pass\n")
    assert load_scenario("digits_lt", [f"strategy={heir}:Heir"]).strategy.component.needs == ("class_prior",)
    rows = {row["name"]: row["needs"] for row in listing("strategies")}
    assert rows["fedavg"] == rows["flower:FedAdam"] == ""
    assert {need for row in rows.values() for need in row.split(", ") if need} <= set(NEEDS)


SUPERVISED = """
@dataclass(frozen=True)
class Supervised(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("auxiliary_set",)

    def setup(self, server):
        server.state["seen"] = torch.bincount(server.auxiliary.y)
        assert len(server.auxiliary.x()) == len(server.auxiliary.inputs) == 30

    def aggregate(self, server, updates):
        assert server.state["seen"].tolist() == [3] * 10
        super().aggregate(server, updates)
"""


def test_the_auxiliary_set_is_balanced_and_nobody_elses(
    tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path
) -> None:
    path = own_file(SUPERVISED)
    with pytest.raises(ScenarioError, match=r"data\.auxiliary.*how many samples of each class"):
        fedlt.run(tiny, f"strategy={path}:Supervised", out=tmp_path)
    scenario = load_scenario(tiny, [f"strategy={path}:Supervised", "data.auxiliary=3"])
    federation = federate(scenario)
    assert np.bincount(federation.y_train[federation.auxiliary]).tolist() == [3] * 10
    assert not set(federation.auxiliary.tolist()) & set(federation.clients.values.tolist())
    assert (
        federation.class_counts.tolist() == federate(load_scenario(tiny)).class_counts.tolist()
    )  # the profile is as before
    moments = federation.inputs.arrays()
    parts = assemble(scenario, federation, torch.device("cpu"))
    server = Server(parts.model, parts.flat, parts.task)
    give_own_data(server, scenario, federation, parts)
    assert server.auxiliary is not None and server.unlabelled is None
    x = server.auxiliary.x()
    pixels = torch.from_numpy(np.array(federation.x_train[federation.auxiliary])).permute(0, 3, 1, 2) / 255
    assert torch.allclose(x, (pixels - float(moments["mean"][0])) / float(moments["std"][0]), atol=1e-5)
    assert fedlt.run(scenario, out=tmp_path).summary["needs"] == ["auxiliary_set"]


def test_an_auxiliary_set_leaves_samples_of_every_class() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    rows, others = set_apart(Targets.of_classes(labels), 1, 0)
    assert labels[rows].tolist() == [0, 1]
    assert sorted([*rows.tolist(), *others.tolist()]) == [0, 1, 2, 3, 4]
    assert any(set_apart(Targets.of_classes(labels), 1, seed)[0].tolist() != rows.tolist() for seed in range(1, 9))
    with pytest.raises(ScenarioError, match=r"data\.auxiliary: expected less than 2"):
        set_apart(Targets.of_classes(labels), 2, 0)
    with pytest.raises(ScenarioError, match="official subsets"):
        load_scenario("digits_lt", ["data.auxiliary=1", "data.longtail.mode=official"])


# Traffic --------------------------------------------------------------------------------------------------------------

CHATTY = """
@dataclass(frozen=True)
class Chatty(Strategy):
    private: ClassVar[tuple[str, ...]] = ("head.*",)

    def setup(self, server):
        server.outbox["first"] = torch.zeros(100)

    def fit(self, client):
        super().fit(client)
        client.state["kept"] = torch.zeros(1000)
        client.extras["sums"] = torch.ones(5, dtype=torch.float64)
        client.values["id"] = torch.tensor([client.id, -client.id])

    def aggregate(self, server, updates):
        whole = combine(updates)
        assert whole.clients == server.cohort
        assert whole.values["id"].tolist() == [[client, -client] for client in server.cohort]
        server.weights = whole.mean
        server.outbox = {}
"""


@pytest.mark.parametrize("foldable", [True, False])
def test_all_that_is_sent_is_counted_and_what_is_kept_is_not(
    tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path, foldable: bool
) -> None:
    """The backbone has 64 * 16 + 16 = 1040 numbers; 5 doubles and 2 integers of 8 bytes go up; 3 clients a round."""
    text = CHATTY.replace("    def setup", f"    foldable: ClassVar[bool] = {foldable}\n\n    def setup", 1)
    run = fedlt.run(tiny, f"strategy={own_file(text)}:Chatty", out=tmp_path)
    assert run.rounds["bytes_down"].tolist() == [3 * 4 * 1140, 3 * 4 * 1040]  # the second outbox is empty
    assert run.rounds["bytes_up"].tolist() == [3 * (4 * 1040 + 8 * 7)] * 2


def test_values_stay_apart_and_survive_the_message() -> None:
    parts = [Update((k,), 1.0, torch.ones(2), {}, {"loss": torch.tensor([float(k)])}) for k in (4, 2, 9)]
    whole = combine(parts)
    assert (whole.clients, whole.values["loss"].tolist()) == ((4, 2, 9), [4.0, 2.0, 9.0])
    assert parts[0].values["loss"].tolist() == [4.0]
    back = unpack_report(pack_report(Report(updates={3: [whole]}))).updates[3][0]
    assert (back.clients, back.values["loss"].tolist(), back.sums) == ((4, 2, 9), [4.0, 2.0, 9.0], {})
    with pytest.raises(HookError, match=r"different names in client.values: \['loss'\] and \[\]"):
        combine([parts[0], Update((1,), 1.0, torch.ones(2))])


# Steps and own models -------------------------------------------------------------------------------------------------


def client_of(make_client: Any, local: Local, **fields: Any) -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)).astype(np.float32), np.array([0, 1] * 5)
    return make_client(Net(nn.Identity(), nn.Linear(3, 2), 3), x, y, local, **fields)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_travel_is_how_far_a_constant_gradient_moves_a_weight(make_client: Any, momentum: float) -> None:
    """3 steps an epoch (4 + 4 + 2 samples), two epochs, then one more epoch at another rate: 9 steps."""
    client = client_of(make_client, Local(epochs=2, batch_size=4, lr=0.5, momentum=momentum))

    def one(site: Any, batch: Any) -> torch.Tensor:
        return site.weights().sum()

    client.train(one)
    client.train(one, epochs=1, lr=0.25)
    assert client.num_steps == 9
    assert torch.allclose(client.start - client.weights(), torch.tensor(client.travel))
    assert client.travel == pytest.approx(3.75 if not momentum else 0.5 * (12 - 1.96875) + 0.25 * 4.25)


def test_an_own_model_is_put_aside_and_kept(make_client: Any) -> None:
    client = client_of(make_client, Local(epochs=1, batch_size=4, lr=0.5))
    client.state["mine"] = torch.full_like(client.vector, 3.0)
    client.train(lambda site, batch: site.learner.loss(site, batch))
    generic = client.vector.clone()
    with client.own("mine"):
        assert client.weights().unique().tolist() == [3.0]
        client.train(lambda site, batch: site.weights().square().sum())
    assert torch.equal(client.vector, generic)
    assert client.state["mine"].abs().max() < 3.0


def test_the_vectors_of_client_and_server_by_hand(make_client: Any) -> None:
    """A head of one weight and one bias behind a backbone with two trainable numbers and two buffers."""
    net = Net(BatchNorm(1), nn.Linear(1, 1), 1)
    client = make_client(net, np.ones((2, 1), np.float32), np.array([0, 1]), Local(), private=("head.bias",))
    names = list(client.shared_parameters())
    buffers = len(client.vector) - len(names)
    assert names == ["backbone.weight", "backbone.bias", "head.weight"]
    assert client.shared_parameters()["head.weight"] is net.part("head.weight")

    client.vector = torch.arange(1.0, 4.0 + buffers)
    assert [net.part(name).item() for name in names] == [1, 2, 3]
    assert client.weights().tolist() == client.vector[:3].tolist() == [1, 2, 3]

    kept = client.vector.clone()
    with torch.no_grad():
        net.part("head.weight").fill_(7)
    assert (client.vector[2], kept[2]) == (7, 3)  # as it is now, and as it was

    server = Server(net, client.flat, client.task)
    assert server.weights[server.trainable].tolist() == [1, 2, 7]
    assert server.trainable == slice(3)


METHODS = [*ROOT.glob("strategies/*.py"), *ROOT.glob("fedlt/learners/*.py"), *ROOT.glob("fedlt/blocks/*.py")]
INNER = re.compile(r"\.flat\b|\bget_(submodule|parameter|buffer)\b|type\(self\)\.|\bis (not )?(Strategy|Learner)\.")


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_methods_are_written_in_the_words_of_the_contracts(path: Path) -> None:
    """Vectors by `client.vector` and `server.weights`, parts by `model.part`: nothing of how the engine holds them."""
    assert not INNER.findall(path.read_text(encoding="utf-8"))


LOADING = """
@dataclass(frozen=True)
class Loading(Strategy):
    def adapt(self, client):
        if client.id == 0:
            client.vector = torch.zeros_like(client.vector)
"""


def test_a_model_that_one_client_loads_is_not_the_next_ones(
    tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path
) -> None:
    loading = fedlt.run(tiny, f"strategy={own_file(LOADING)}:Loading", out=tmp_path).clients
    plain = fedlt.run(tiny, out=tmp_path).clients
    last, same = (table[table["round"] == 2].set_index("client").accuracy for table in (loading, plain))
    assert last[0] != same[0]
    assert last[1:].tolist() == same[1:].tolist()
