"""`fedlt.check_strategy`: whether a strategy keeps the contract of `fedlt.strategy`, on a federation of six clients.

    fedlt.check_strategy("fedprox", mu=0.1)
    fedlt.check_strategy(Mine)

Clients hold one sample, one class, two classes, or many; one is never sampled. What is checked stands in `CHECKS`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedlt.checks.remarks import MOVES, STILL
from fedlt.checks.snapshot import Snapshot, alike, drift_of, equal
from fedlt.checks.suite import ConformanceError as ConformanceError
from fedlt.checks.suite import Played, Suite, component_of, fingerprint
from fedlt.config.component import Choice, Component, Made
from fedlt.config.reader import chosen
from fedlt.config.scenario import Scenario
from fedlt.config.schema import component_kind
from fedlt.learner import Logits
from fedlt.strategy import Client, Server, Strategy, Update, combine
from fedlt.training.sameness import training_hash
from fedlt.training.server_tensors import held_tensors
from fedlt.wrapping import layers

CHECKS = {
    "runs": "it trains and tests clients with one sample, one class, two classes and many; and with none sampled yet",
    "tensors": "what clients and server keep and send are dictionaries of dense, finite tensors without gradients",
    "private": "private parameters and samples of the training data are not sent, whole, in any other tensor",
    "words": "`needs`, `learner_parts` and `scope` use the words of `fedlt.config.declarations`",
    "needs": "class counts are sent only where `needs` says so",
    "frozen": "frozen parameters never change",
    "borrowed": "what a client shares with others (`received`, `start`) and the server's data are not changed in place",
    "hidden": "nothing is kept on the instance, on its class or in its module",
    "closing": "conclude() leaves the model, the state and what was received as they are",
    "logits": "generic() and personal() give logits [B, C] that are numbers, and generic() leaves the model as it is",
    "foldable": "aggregate() and concluded() do the same with sums of clients as with each, where `foldable` says so",
    "equal": "two equal runs give equal bits, whatever the global generators of NumPy and Python hold",
    "nodes": "one worker and three give equal bits",
    "saved": "states that were saved and loaded after every round give equal bits",
    "weights": "a round all of whose clients lack most classes gives a model: weight() is above 0 for some of them",
    "shared": "no round depends on tests before it, and rounds that `fedlt sweep` takes for a parent's equal them",
    "resumed": "what a checkpoint holds suffices: new instances, models and workers go on from it to equal bits",
}


def check_strategy(strategy: str | type[Strategy], **options: Any) -> None:
    """Raise `ConformanceError`, with all that was found, if a strategy breaks the contract; else say nothing.

    Warns (`ContractRemark`) of what breaks none and mostly is a mistake: see `fedlt.checks.remarks`.

    Args:
        strategy: a name as in a scenario (`fedprox`, `./mine.py:Mine`), or a class.
        options: its fields.
    """
    suite = StrategySuite(strategy, options)
    suite.run()
    suite.look()
    suite.tell_remarks()


class StrategySuite(Suite):
    """One check of one strategy."""

    kind, contract, checks = "strategy", "strategies", CHECKS

    def __init__(self, part: str | type[Strategy] | Component, options: dict[str, Any]) -> None:
        super().__init__(part, options)
        self.drift = math.nan  # of the first step; see `drift_of`
        for field in self.component.fields:
            inner = self.options.get(field.name)
            if component_kind(field.annotation) == self.kind and not isinstance(inner, Choice):
                self.options[field.name] = _chosen(inner)

    def run(self) -> None:
        """See `check_strategy`."""
        from fedlt.checks.rehearsal import POOR, stage_set

        scenario, federation = stage_set(Choice(self.component.name, self.options, self.component))
        watched = replace(scenario, strategy=replace(scenario.strategy, component=Made.of(self.component, self._probe)))
        rehearsals: Played = [
            ("runs", watched, {}),
            ("equal", scenario, {}),
            ("nodes", scenario, {"nodes": 3}),
            ("saved", scenario, {"saved": True}),
            ("resumed", scenario, {"resumed": True}),
            ("shared", scenario, {"trained_by": self._trains_the_same(scenario)}),
            ("weights", scenario, {"cohorts": POOR}),
        ]
        self.play(rehearsals, federation, incomparable=("weights",), joint=("equal", "nodes", "saved", "resumed"))
        self.end()

    def look(self) -> None:
        """Note what breaks no contract and is worth a look."""
        from fedlt.checks.rehearsal import rehearse, stage_set

        scenario, federation = stage_set(Choice(self.component.name, self.options, self.component))
        if self.drift > STILL:
            self.remarks.append(MOVES.format(self.drift))

        def end(options: dict[str, Any]) -> str:
            strategy = Choice(self.component.name, options, self.component)
            return rehearse(replace(scenario, strategy=strategy), federation, noise=0)

        self.note_idle_fields(end)

    def _trains_the_same(self, scenario: Scenario) -> Scenario:
        """The scenario under the most distant parent whose training is the strategy's, as `fedlt sweep` would find; its
        own where there is none.
        """
        strategy, learner = scenario.strategy.create(), scenario.learner.create()
        wanted = training_hash(scenario, strategy, learner)
        for parent in reversed(type(strategy).__mro__):
            if not issubclass(parent, Strategy) or not is_dataclass(parent):
                continue
            options = {f.name: self.options.get(f.name, getattr(strategy, f.name)) for f in fields(parent)}
            component = Made.of(self.component, partial(_made, parent))
            other = replace(scenario, strategy=Choice(self.component.name, options, component))
            if training_hash(other, other.strategy.create(), learner) == wanted:
                return other
        return scenario

    def _probe(self, options: dict[str, Any]) -> Strategy:
        """The strategy, with its hooks watched."""
        suite, inner = self, self.component.create(options)
        self.expect_words(inner)
        base: Any = type(inner)

        class Probe(base):  # type: ignore[misc]
            foldable: ClassVar[bool] = False  # so that the server's side sees every client; see `aggregate`

            def fit(self, client: Client) -> None:
                suite.fit(self, client, super().fit)

            def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
                suite.aggregate(self, server, list(updates), super().aggregate, inner.foldable)

            def conclude(self, client: Client) -> None:
                suite.conclude(self, client, super().conclude)

            def concluded(self, server: Server, updates: Iterable[Update]) -> None:
                suite.aggregate(self, server, list(updates), super().concluded, inner.foldable, "concluded()")

            def personal(self, client: Client, x: Tensor) -> Logits:
                logits = super().personal(client, x)
                suite.expect_logits("personal", logits, len(x), client.task.num_classes)
                return logits

            def generic(self, server: Server, x: Tensor) -> Logits:
                """The strategy's own, and whether it leaves the model as it is."""
                before = server.flat.storage.clone()
                logits = super().generic(server, x)
                same = torch.equal(before, server.flat.storage)
                suite.expect(same, "logits", "generic() changed the model")
                suite.expect_logits("generic", logits, len(x), server.task.num_classes)
                return logits

        return Probe(**{f.name: getattr(inner, f.name) for f in fields(inner)})

    def fit(self, strategy: Strategy, client: Client, fit: Callable[[Client], None]) -> None:
        """Watch one client's work."""
        borrowed = {**client.received, "start": client.start}
        before = {name: tensor.clone() for name, tensor in borrowed.items()}
        frozen, known = client.flat.frozen.clone(), _prints(strategy)
        fit(client)
        changed = [name for name, tensor in borrowed.items() if not torch.equal(tensor, before[name])]
        self.expect(not changed, "borrowed", f"fit() changed {changed} in place")
        self.expect(torch.equal(frozen, client.flat.frozen), "frozen", "fit() changed frozen parameters")
        self.expect_same(known, _prints(strategy), "fit()")
        sent = _named(extras=client.extras, values=client.values)
        self.expect_tensors(_named(state=client.state) | sent, "client.")
        sent["flat.shared"] = client.flat.shared
        self._expect_secrets(strategy, client, {n: t for n, t in sent.items() if isinstance(t, Tensor)})

    def conclude(self, strategy: Strategy, client: Client, conclude: Callable[[Client], None]) -> None:
        """Watch what one client is asked after the last round."""
        borrowed = {**client.received, "start": client.start, "state": client.state, "model": client.flat.storage}
        before = copy.deepcopy(borrowed)
        known = _prints(strategy)
        conclude(client)
        self.expect(equal(before, borrowed), "closing", "conclude() changed the model, a state or what was received")
        self.expect_same(known, _prints(strategy), "conclude()")
        sent = _named(extras=client.extras, values=client.values)
        self.expect_tensors(sent, "client.")
        self._expect_secrets(strategy, client, {n: t for n, t in sent.items() if isinstance(t, Tensor)})

    def aggregate(
        self,
        strategy: Strategy,
        server: Server,
        updates: list[Update],
        aggregate: Callable[[Server, Any], None],
        foldable: bool,
        hook: str = "aggregate()",
    ) -> None:
        """Watch a step of the server; with foldable strategies, take it twice.

        Args:
            strategy: that is watched.
            server: its server.
            updates: of the round.
            aggregate: the hook itself.
            foldable: whether a sum of updates must give the same.
            hook: its name, for messages.
        """
        frozen, known = server.flat.frozen.clone(), _prints(strategy)
        data = copy.deepcopy(_own_data(server))
        if hook == "aggregate()" and math.isnan(self.drift):
            self.drift = drift_of(server, updates, aggregate)
        if foldable:
            before = Snapshot.of(server)
            aggregate(server, copy.deepcopy(updates))
            plain = Snapshot.of(server)
            before.restore(server)
            aggregate(server, [combine(updates[start : start + 2]) for start in range(0, len(updates), 2)])
            folded = Snapshot.of(server)
        else:
            aggregate(server, updates)

        self.expect(torch.equal(frozen, server.flat.frozen), "frozen", f"{hook} changed frozen parameters")
        self.expect(equal(data, _own_data(server)), "borrowed", f"{hook} changed the server's data in place")
        self.expect_same(known, _prints(strategy), hook)
        sound = self.expect_tensors(held_tensors(server), "server ")
        same = not (foldable and sound) or alike(plain, folded)
        self.expect(same, "foldable", "sums over two clients each give another result")

    def _expect_secrets(self, strategy: Strategy, client: Client, sent: dict[str, Tensor]) -> None:
        """No private tensor, sample or class count stands in what is sent.

        Args:
            client: whose secrets they are.
            sent: all that leaves it, by name.
        """
        own = {name: tensor for name, tensor in client.flat.tensors.items() if client.flat.is_private(name)}
        secrets = {f"the private {name}": tensor for name, tensor in own.items()}
        secrets["a training sample"] = client.data.x()[0]
        for name, tensor in sent.items():
            for what, secret in secrets.items():
                self.expect(not _contains(tensor, secret), "private", f"client.{name} holds {what}")
            told = "class_counts" in strategy.needs or not _contains(tensor, client.class_counts)
            self.expect(told, "needs", f"client.{name} holds the class counts, which `needs` does not name")


def _own_data(server: Server) -> dict[str, Any]:
    """The samples that the server holds, and what it knows of them."""
    held = {"auxiliary": server.auxiliary, "unlabelled": server.unlabelled, "validation": server.validation}
    given = {name: rows for name, rows in held.items() if rows is not None}
    return {name: {"x": rows.x(), "targets": rows.targets, "index": rows.index} for name, rows in given.items()}


def _prints(strategy: Strategy) -> dict[str, bytes]:
    """The fingerprint of a strategy and of those inside it."""
    found: dict[str, bytes] = {}
    for layer in layers(strategy):
        found |= fingerprint(layer, Strategy)
    return found


def _chosen(inner: Any) -> Choice:
    """A strategy inside another one, as a scenario has it.

    Args:
        inner: its name, a name and fields, or an instance.
    """
    if not isinstance(inner, Strategy):
        return chosen("strategy", inner, "inside")
    component = component_of("strategy", type(inner))
    return Choice(component.name, {f.name: getattr(inner, f.name) for f in fields(inner)}, component)


def _made(parent: type[Strategy], options: dict[str, Any]) -> Strategy:
    return parent(**options)


def _contains(tensor: Tensor, secret: Tensor) -> bool:
    """Whether a tensor holds the numbers of another in a row; those with fewer than three values are no secret."""
    given, wanted = tensor.detach().double().flatten(), secret.detach().double().flatten()
    if len(wanted) > len(given) or len(wanted.unique()) < 3:
        return False
    starts = (given[: len(given) - len(wanted) + 1] == wanted[0]).nonzero().flatten().tolist()
    return any(torch.equal(given[start : start + len(wanted)], wanted) for start in starts)


def _named(**boxes: dict[str, Any]) -> dict[str, Any]:
    return {f"{box}[{name!r}]": value for box, held in boxes.items() for name, value in held.items()}
