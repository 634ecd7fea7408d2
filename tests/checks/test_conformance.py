"""The conformance suite: every built-in strategy keeps the contract, and every kind of breach is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trained import skip_without_package

import fedlt
from fedlt.checks import rehearsal
from fedlt.checks.conformance import CHECKS, ConformanceError, StrategySuite
from fedlt.checks.remarks import STILL, ContractRemark
from fedlt.config import catalog
from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy, Update, combine
from strategies.fedavg import FedAvg

pytestmark = pytest.mark.slow

SMALLER: dict[str, dict[str, Any]] = {
    "ccvr": {"features": 4, "head_epochs": 2},
    "clip2fl": {"features": 4, "match_steps": 2, "head_epochs": 2},
    "creff": {"features": 4, "match_steps": 2, "head_epochs": 2},
    "fedbabu": {"tune_epochs": 1},
    "fedcrac": {"steps": 2},
    "feddf": {"steps": 4, "batch": 8, "check": 2, "patience": 2},
    "fedetf": {"turns": 1, "tune_epochs": 1},
    "fedic": {"steps": 2, "unlabelled_batch": 8},
    "fedrela": {"inside": {"name": "fedloge", "norm": 2.0}, "start": 0.5, "share": 0.3},
    "fednpc": {"noise": 200, "epochs": 2},
    "rucr": {"head_epochs": 2},
}
"""Fields that spare time, for strategies that work hard on the server, or that are told what to do at once."""


MADE_BY_THE_SERVER = {"fedcrac", "feddf", "fedhoo", "fedic"}
"""Strategies whose server trains or chooses, so that the model moves though no client has."""


@pytest.mark.parametrize("name", [*catalog.names("strategy"), "flower:FedAdam", "flower:Krum"])
def test_built_in_strategies_keep_the_contract(name: str) -> None:
    """Without looking for fields that do nothing on clients so small, which takes as long again."""
    skip_without_package(name)
    suite = StrategySuite(name, SMALLER.get(name, {}))
    suite.run()
    assert (suite.drift > STILL) == (name in MADE_BY_THE_SERVER)


def test_a_users_own_file_and_class_are_checked(own_file: Callable[[str], Path]) -> None:
    path = own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    tau: float = 1.0\n")
    with pytest.warns(ContractRemark, match="mine.py:Mine: tau=2.0 and"):
        fedlt.check_strategy(f"{path}:Mine", tau=2.0)
    fedlt.check_strategy(FedAvg)


# Breaches, one class each ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NeedsManySamples(Strategy):
    def fit(self, client: Client) -> None:
        assert client.num_samples > 1, "one sample is not enough"
        super().fit(client)


@dataclass(frozen=True)
class NeedsEveryClass(Strategy):
    def loss(self, client: Client, batch: Batch) -> Tensor:
        assert (client.class_counts > 0).sum() > 1
        return super().loss(client, batch)


@dataclass(frozen=True)
class NeedsToHaveBeenSampled(Strategy):
    def fit(self, client: Client) -> None:
        super().fit(client)
        client.state["mine"] = client.vector.clone()

    def adapt(self, client: Client) -> None:
        client.vector = client.state["mine"]


@dataclass(frozen=True)
class KeepsAGradient(Strategy):
    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        server.state["w"] = server.weights.clone().requires_grad_()


@dataclass(frozen=True)
class KeepsAList(Strategy):
    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        server.state["rounds"] = [server.round]  # type: ignore[assignment]


@dataclass(frozen=True)
class SendsInfinity(Strategy):
    def fit(self, client: Client) -> None:
        super().fit(client)
        client.values["log"] = torch.zeros(1).log()


@dataclass(frozen=True)
class SendsItsPrivateHead(Strategy):
    private: ClassVar[tuple[str, ...]] = ("head.*",)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.extras["more"] = torch.cat([torch.zeros(3), client.model.part("head.weight").detach()[2]])
        client.extras["head"] = client.flat.private.clone()


@dataclass(frozen=True)
class CopiesItsPrivateHead(Strategy):
    private: ClassVar[tuple[str, ...]] = ("own.*",)

    def build(self, model: Any, task: Any) -> None:
        model.own = nn.Linear(model.feature_dim, task.num_classes)

    def fit(self, client: Client) -> None:
        super().fit(client)
        with torch.no_grad():
            client.model.head.weight.copy_(client.model.own.weight)  # type: ignore[operator, union-attr, arg-type]


@dataclass(frozen=True)
class SendsData(Strategy):
    def fit(self, client: Client) -> None:
        super().fit(client)
        client.values["example"] = client.data.x()[0]


@dataclass(frozen=True)
class SendsCounts(Strategy):
    def fit(self, client: Client) -> None:
        super().fit(client)
        client.extras["counts"] = client.class_counts.float()


@dataclass(frozen=True)
class NeedsAnUnknownThing(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("class_priors",)


@dataclass(frozen=True)
class SaysUnion(Strategy):
    """In the words of an earlier version."""

    union: ClassVar[bool] = True


@dataclass(frozen=True)
class TrainsWhatIsFrozen(Strategy):
    frozen: ClassVar[tuple[str, ...]] = ("head.*",)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.flat.frozen.add_(1)


@dataclass(frozen=True)
class ChangesWhatOthersReceive(Strategy):
    def setup(self, server: Server) -> None:
        server.outbox["c"] = torch.ones(3)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.received["c"].add_(1)


@dataclass(frozen=True)
class ReordersTheServersData(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("server_unlabelled",)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        assert server.unlabelled is not None
        server.unlabelled.index[0] = 1


DIARY: list[int] = []


@dataclass(frozen=True)
class TellsTheServerThroughItsModule(Strategy):
    def fit(self, client: Client) -> None:
        super().fit(client)
        DIARY.append(client.id)


@dataclass(frozen=True)
class CountsOnItsClass(Strategy):
    rounds: ClassVar[int] = 0

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        type(self).rounds += 1


@dataclass(frozen=True)
class HidesOnTheInstance(Strategy):
    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        object.__setattr__(self, "last", server.weights.clone())


@dataclass(frozen=True)
class PredictsTooFewClasses(Strategy):
    def personal(self, client: Client, x: Tensor) -> Tensor:
        return client.model(x)[:, :9]


@dataclass(frozen=True)
class PredictsNothing(Strategy):
    def generic(self, server: Server, x: Tensor) -> dict[str, Tensor]:
        return {"good": server.model(x), "bad": server.model(x) * torch.nan}


@dataclass(frozen=True)
class ChangesTheModelToPredict(Strategy):
    def generic(self, server: Server, x: Tensor) -> Tensor:
        with torch.no_grad():
            server.model.head.weight.mul_(0.5)  # type: ignore[operator, union-attr]
        return server.model(x)


@dataclass(frozen=True)
class WantsEachClient(Strategy):
    """A mean of blocks: right for single clients, wrong for sums of them."""

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        server.weights = torch.stack([update.mean for update in updates]).mean(0)


@dataclass(frozen=True)
class IgnoresPoorClients(Strategy):
    """Only clients of three classes and more count; a round of others has no mean."""

    def weight(self, client: Client) -> float:
        return float((client.class_counts > 0).sum() > 2)


@dataclass(frozen=True)
class DrawsFromNumPy(Strategy):
    def fit(self, client: Client) -> None:
        client.train(self.loss, lr=float(np.random.rand()))


@dataclass(frozen=True)
class DrawsFromPython(Strategy):
    def weight(self, client: Client) -> float:
        return random.random()


@dataclass(frozen=True)
class DrawsOnTheServer(Strategy):
    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        mean = combine(updates).mean
        server.weights = mean + 1e-3 * torch.randn_like(mean)  # a running variance stays positive


@dataclass(frozen=True)
class KeepsOnTheModel(Strategy):
    """Whoever trains on the same worker goes on from the one before."""

    def fit(self, client: Client) -> None:
        seen = getattr(client.model, "seen", 0)
        client.model.seen = seen + 1
        client.train(self.loss, lr=0.05 / (1 + seen))


@dataclass(frozen=True)
class CannotBeSaved(Strategy):
    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        super().aggregate(server, updates)
        server.state["view"] = torch.arange(6.0).view(2, 3).T


class _Memo:
    rounds = 0


@dataclass(frozen=True)
class HidesAnObjectOnTheInstance(Strategy):
    """The server's step depends on how many there were before it, and only an attribute knows."""

    foldable: ClassVar[bool] = False

    def setup(self, server: Server) -> None:
        object.__setattr__(self, "memo", _Memo())

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        before = server.weights.clone()
        super().aggregate(server, updates)
        self.memo.rounds += 1  # type: ignore[attr-defined]
        server.weights = before + (server.weights - before) / self.memo.rounds  # type: ignore[attr-defined]


@dataclass(frozen=True)
class WeighsTheTailAlone(Strategy):
    def weight(self, client: Client) -> float:
        return float(client.class_counts[-1])


@dataclass(frozen=True)
class KeepsWhatItWasAsked(Strategy):
    def conclude(self, client: Client) -> None:
        client.state["asked"] = torch.ones(1)


@dataclass(frozen=True)
class TellsItsCountsAtTheEnd(Strategy):
    def conclude(self, client: Client) -> None:
        client.extras["counts"] = client.class_counts.float()


class Factor:
    """A number that does not show itself."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "a factor"


@dataclass(frozen=True)
class ScalesTheLoss(Strategy):
    factor: ClassVar[Factor] = Factor(1.0)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return self.factor.value * super().loss(client, batch)


@dataclass(frozen=True)
class ScalesItMoreAndDoesNotShowIt(ScalesTheLoss):
    factor: ClassVar[Factor] = Factor(3.0)


BREACHES: list[tuple[type[Strategy], str]] = [
    (NeedsManySamples, "runs"),
    (NeedsEveryClass, "runs"),
    (NeedsToHaveBeenSampled, "runs"),
    (KeepsAGradient, "tensors"),
    (KeepsAList, "tensors"),
    (SendsInfinity, "tensors"),
    (SendsItsPrivateHead, "private"),
    (CopiesItsPrivateHead, "private"),
    (SendsData, "private"),
    (SendsCounts, "needs"),
    (NeedsAnUnknownThing, "words"),
    (SaysUnion, "words"),
    (TrainsWhatIsFrozen, "frozen"),
    (ChangesWhatOthersReceive, "borrowed"),
    (ReordersTheServersData, "borrowed"),
    (TellsTheServerThroughItsModule, "hidden"),
    (CountsOnItsClass, "hidden"),
    (HidesOnTheInstance, "hidden"),
    (KeepsWhatItWasAsked, "closing"),
    (TellsItsCountsAtTheEnd, "needs"),
    (PredictsTooFewClasses, "logits"),
    (PredictsNothing, "logits"),
    (ChangesTheModelToPredict, "logits"),
    (WantsEachClient, "foldable"),
    (IgnoresPoorClients, "weights"),
    (DrawsFromNumPy, "equal"),
    (DrawsFromPython, "equal"),
    (DrawsOnTheServer, "equal"),
    (KeepsOnTheModel, "nodes"),
    (CannotBeSaved, "saved"),
    (HidesAnObjectOnTheInstance, "resumed"),
    (WeighsTheTailAlone, "weights"),
    (ScalesItMoreAndDoesNotShowIt, "shared"),
]


@pytest.mark.parametrize(("broken", "check"), BREACHES, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_strategy_is_caught(broken: type[Strategy], check: str) -> None:
    with pytest.raises(ConformanceError, match=broken.__name__) as caught:
        fedlt.check_strategy(broken)
    assert {found for found, _ in caught.value.problems} == {check}
    assert CHECKS[check] in str(caught.value)


def test_every_check_is_seen_to_fail() -> None:
    assert {check for _, check in BREACHES} == set(CHECKS)


def test_what_only_several_ways_together_bring_about_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_if_saved_by_three(*given: Any, noise: int, **how: Any) -> str:
        return "other" if {"saved", "nodes"} <= how.keys() else "one"

    monkeypatch.setattr(rehearsal, "rehearse", other_if_saved_by_three)
    with pytest.raises(ConformanceError) as caught:
        fedlt.check_strategy("fedavg")
    assert [found for found, _ in caught.value.problems] == ["resumed"]


def test_global_generators_are_left_as_they_were() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr]
    fedlt.check_strategy("fedavg")
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr]
    assert before == after


# What breaks no contract ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeighsModelsTooMuch(Strategy):
    """As normalised averaging does where its weights are put on whole models, not on their changes."""

    foldable: ClassVar[bool] = False

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        models = [update.mean for update in updates]
        server.weights = 1.5 * torch.stack(models).mean(0)


@dataclass(frozen=True)
class PullsToItself(Strategy):
    """A proximal term whose two sides are the same weights."""

    lam: float = 15.0
    scale: float = 1.0

    def loss(self, client: Client, batch: Batch) -> Tensor:
        apart = client.weights() - client.weights()
        return self.scale * super().loss(client, batch) + self.lam / 2 * apart.square().sum()


def test_a_model_that_moves_though_no_client_moves_is_remarked() -> None:
    with pytest.warns(ContractRemark) as told:
        fedlt.check_strategy(WeighsModelsTooMuch)
    (remark,) = told
    assert "WeighsModelsTooMuch: aggregate() moves the model by 50.0% of its length" in str(remark.message)
    assert remark.filename == __file__  # where the reader called it


def test_a_field_that_does_nothing_is_remarked_and_one_that_does_is_not() -> None:
    with pytest.warns(ContractRemark) as told:
        fedlt.check_strategy(PullsToItself)
    (remark,) = told
    assert "PullsToItself: lam=15.0 and lam=30.0 and lam=7.5 end the same" in str(remark.message)


def test_annotations_that_are_no_texts_are_read_as_well() -> None:
    """As those of a file or notebook without `from __future__ import annotations`."""
    kinds = [("rate", float, 1.0), ("kind", Literal["one", "other"], "one"), ("few", Annotated[int, ">= 1"], 1)]
    loose = make_dataclass("Loose", kinds, bases=(FedAvg,), frozen=True)
    with pytest.warns(ContractRemark) as told:
        fedlt.check_strategy(loose)
    words = [str(remark.message).split(": ")[1].split(" end")[0] for remark in told]
    assert words == ["rate=1.0 and rate=2.0 and rate=0.5", "kind=one and kind=other", "few=1 and few=2"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["fedprox", "fednova", "apfl", "pfedme"])
def test_nothing_is_remarked_of_methods_that_go_wrong_so_elsewhere(name: str) -> None:
    fedlt.check_strategy(name)
