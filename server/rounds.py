"""The round loop. Each exchange trains round t and evaluates the models that round t-1 left, in one message."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedlt import seeding
from fedlt.assembly import Assembly
from fedlt.collapse import Moments
from fedlt.confidence import Confidence
from fedlt.data.auxiliary import auxiliary_rows
from fedlt.errors import FedLTError
from fedlt.evaluation import Evaluation
from fedlt.metrics import Confusion, named
from fedlt.strategy import Server, Strategy
from server.failures import Failures, evaluated_in_part, expect_finite
from server.grids import LocalGrid
from server.messages import UNION, Job, Report, pack_common, pack_states
from server.schedule import Unit, evaluation_units, spread, train_units
from server.states import StateStore

if TYPE_CHECKING:
    from fedlt.data.federation import Federation
    from fedlt.scenario import Scenario
    from fedlt.strategy import Update


@dataclass
class Progress:
    """All that a run has become so far: with the scenario, enough to go on from here. states: what clients keep."""

    server: Server
    states: StateStore
    round: int = 0

    def separate(self) -> None:
        """Give tensors that share memory a copy each, so that a run which goes on from a checkpoint, where they are
        apart, does not differ from one that was never stopped."""
        server = self.server
        seen = {server.flat.storage.untyped_storage().data_ptr()}
        for what, tensors in (("state", server.state), ("outbox", server.outbox)):
            for name, value in tensors.items():
                if not isinstance(value, torch.Tensor):
                    raise FedLTError(f"server.{what}[{name!r}] is a {type(value).__name__}; keep tensors only")
                if value.untyped_storage().data_ptr() in seen:
                    tensors[name] = value = value.clone()
                seen.add(value.untyped_storage().data_ptr())


class Rounds:
    """Runs the rounds of a scenario over a grid. `on_round` and `on_evaluation` hear of everything measured, `log`
    of clients that are skipped."""

    def __init__(
        self,
        grid: Grid,
        scenario: Scenario,
        federation: Federation,
        parts: Assembly,
        states: StateStore,
        on_round: Callable[[dict[str, Any]], None],
        on_evaluation: Callable[[Evaluation], None],
        log: Callable[[str], None],
    ) -> None:
        self.grid, self.scenario, self.federation, self.parts = grid, scenario, federation, parts
        self.on_round, self.on_evaluation = on_round, on_evaluation
        self.failures = Failures(scenario.federation.on_error, log)
        self.sizes = federation.clients.sizes
        self.test_sizes = federation.tests.sizes
        self.content = scenario.to_dict()
        self.key = scenario.hash
        server = Server(parts.model, parts.flat, parts.task, num_clients=len(self.sizes), learner=parts.learner)
        server.num_samples = int(self.sizes.sum())
        if "auxiliary_set" in parts.strategy.needs:
            server.auxiliary = auxiliary_rows(federation, server.weights.device, parts.channels_last)
        server.rng = seeding.generator(scenario.seed, "server", 0)
        parts.strategy.setup(server)
        self.progress = Progress(server, states)
        self.evaluated = self._evaluated_clients()
        self.nodes = self._wait_for_nodes()

    def run(self, after_round: Callable[[], None]) -> Progress:
        """All rounds after that of the progress, then the evaluation of the last one's models. `after_round` is called
        when a round's result is complete."""
        total, every = self.scenario.federation.rounds, self.scenario.evaluation.every
        for round in range(self.progress.round + 1, total + 1):
            due = round > 1 and (round - 1) % every == 0
            self._exchange(round, train=True, evaluate=due)
            after_round()
        self._exchange(total + 1, train=False, evaluate=True)
        return self.progress

    def cohort(self, round: int) -> list[int]:
        """The sampled clients of a round, in ascending order."""
        share, clients = self.scenario.federation.participation, len(self.sizes)
        count = max(1, int(share * clients + 0.5))
        rng = seeding.generator(self.scenario.seed, "cohort", round)
        return sorted(rng.choice(clients, count, replace=False).tolist())

    def _exchange(self, round: int, train: bool, evaluate: bool) -> None:
        started = time.perf_counter()
        server = self.progress.server
        server.round, server.cohort = round, tuple(self.cohort(round)) if train else ()
        server.rng = seeding.generator(self.scenario.seed, "server", round)
        units = self._train_units() if train else []
        if evaluate:
            units += self._evaluation_units()
        sent = time.perf_counter()
        reports = self._send(units)
        answered = time.perf_counter()
        self.failures.settle(round, reports)
        if evaluate:
            self.on_evaluation(self._evaluation(round - 1, reports))
        if train:
            updates = self._take(reports)
            expect_finite(round, updates)
            aggregating = time.perf_counter()
            if updates:
                self.parts.strategy.aggregate(server, updates)
                self.progress.separate()
            if not bool(torch.isfinite(server.weights).all()):
                raise FedLTError(f"the generic model is not finite after round {round}; a smaller local.lr may help")
            self.progress.round = round
            now = time.perf_counter()
            clock = {
                "seconds": now - started,
                "exchange_seconds": answered - sent,
                "aggregate_seconds": now - aggregating,
            }
            self.on_round(self._row(round, reports, updates, clock))

    def _train_units(self) -> list[Unit]:
        settings, local = self.scenario.federation, self.scenario.local
        cohort = self.progress.server.cohort
        units = train_units(cohort, self.sizes, settings.block, local.epochs)
        if not self.parts.strategy.union:
            return units
        whole = units[0]
        whole.work.blocks = {0: [UNION]}
        whole.work.images = int(self.sizes[list(cohort)].sum())
        whole.clients = [UNION]
        return [whole]

    def _evaluation_units(self) -> list[Unit]:
        strategy, flat = self.parts.strategy, self.parts.flat
        shared = not flat.private_backbone and type(strategy).adapt is Strategy.adapt
        rows, chunk = len(self.federation.y_test), self.scenario.evaluation.batch_size
        return evaluation_units(rows, chunk, strategy.has_generic, self.evaluated, self.test_sizes, shared)

    def _send(self, units: list[Unit]) -> list[Report]:
        server, held = self.progress.server, self.progress.states
        eager = isinstance(self.grid, LocalGrid) and self.grid.eager
        common = pack_common(server.weights, server.outbox)
        states: dict[tuple[int, ...], ArrayRecord] = {}
        messages = []
        for number, bundle in enumerate(spread(units, len(units) if eager else len(self.nodes))):
            clients = tuple(sorted({client for unit in bundle for client in unit.clients if client in held}))
            if clients not in states:
                states[clients] = pack_states(held.read(clients))
            job = Job(self.content, self.key, server.round, [unit.work for unit in bundle], server.weights)
            content = job.pack(common, states[clients])
            node = self.nodes[number % len(self.nodes)]
            messages.append(Message(content, node, "train", group_id=str(server.round)))
        reports = []
        for reply in self.grid.send_and_receive(messages):
            if reply.has_error():
                raise FedLTError(f"a worker failed: {reply.error.reason}")
            reports.append(Report.unpack(reply.content))
        if len(reports) != len(messages):
            raise FedLTError(f"{len(messages) - len(reports)} of {len(messages)} workers gave no answer")
        return reports

    def _take(self, reports: Sequence[Report]) -> list[Update]:
        """The round's updates in the order of their blocks; the sampled clients' states are kept."""
        blocks = {number: parts for report in reports for number, parts in report.updates.items()}
        for report in reports:
            self.progress.states.update(report.states)
        device = self.progress.server.weights.device
        updates = [update for number in sorted(blocks) for update in blocks[number]]
        for update in updates:
            update.total = update.total.to(device)
            update.sums = {name: value.to(device) for name, value in update.sums.items()}
            update.values = {name: value.to(device) for name, value in update.values.items()}
        return updates

    def _evaluation(self, round: int, reports: Sequence[Report]) -> Evaluation:
        parts: dict[tuple[str, int], list[Confusion]] = {}
        for report in reports:
            for key, confusion in report.confusions.items():
                parts.setdefault(key, []).append(confusion)
        dropped = evaluated_in_part(reports)
        found: dict[str, dict[str, dict[int, Confusion]]] = {"generic": {}, "personal": {}, "personal_masked": {}}
        for (model, client), several in parts.items():
            kind, _, variant = model.partition(":")
            if client not in dropped:
                found[kind].setdefault(variant, {})[client] = Confusion.merge(several)
        generic = {variant: clients[-1] for variant, clients in found["generic"].items()}
        ordered = {
            kind: {variant: dict(sorted(clients.items())) for variant, clients in found[kind].items()}
            for kind in ("personal", "personal_masked")
        }
        skipped = sum(self.test_sizes[self.evaluated] > 0) - len(ordered["personal"].get("", {}))
        moments = {chunk: part for report in reports for chunk, part in report.moments.items()}
        return Evaluation(
            round,
            generic,
            ordered["personal"],
            ordered["personal_masked"],
            int(skipped),
            self._confidences(reports),
            Moments.merge([moments[chunk] for chunk in sorted(moments)]) if moments else None,
            self._head(),
        )

    @staticmethod
    def _confidences(reports: Sequence[Report]) -> dict[str, Confidence]:
        parts: dict[str, list[Confidence]] = {}
        for report in reports:
            for key, part in report.confidences.items():
                parts.setdefault(key, []).append(part)
        return {named(*key.split(":", 1)): Confidence.merge(parts[key]) for key in sorted(parts)}

    def _head(self) -> NDArray[np.float64] | None:
        """[C, D] rows of the generic model's head, where it is shared and has such rows."""
        flat = self.progress.server.flat
        weight = getattr(self.parts.model.head, "weight", None)
        expected = (self.federation.num_classes, self.parts.model.feature_dim)
        if weight is None or tuple(weight.shape) != expected or flat.is_private("head.weight"):
            return None
        return weight.detach().cpu().double().numpy()

    def _row(
        self, round: int, reports: Sequence[Report], updates: list[Update], clock: dict[str, float]
    ) -> dict[str, Any]:
        def total(name: str) -> float:
            return sum(report.metrics.get(name, 0.0) for report in reports)

        server = self.progress.server
        clients = sum(len(update.clients) for update in updates)
        samples = total("samples")
        return {
            "round": round,
            **clock,
            "workers": len(self.nodes),
            "train_seconds": total("train_seconds"),  # this one and the next two are summed over the workers
            "evaluate_seconds": total("evaluate_seconds"),
            "move_seconds": total("move_seconds"),
            "train_loss": total("loss_sum") / samples if samples else float("nan"),
            "clients": clients,
            "samples": int(samples),
            "steps": int(total("steps")),
            "images": int(total("images")),
            "forward_images": int(total("forward_images")),
            "skipped": (1 if self.parts.strategy.union else len(server.cohort)) - clients,
            "bytes_down": int(total("bytes_down")),
            "bytes_up": int(total("bytes_up")),
        }

    def _evaluated_clients(self) -> list[int]:
        """Clients whose personal models are tested: all, or a fixed draw."""
        limit, everyone = self.scenario.evaluation.clients, len(self.sizes)
        if limit is None or limit >= everyone:
            return list(range(everyone))
        rng = seeding.generator(self.scenario.seed, "evaluated")
        return sorted(rng.choice(everyone, limit, replace=False).tolist())

    def _wait_for_nodes(self, seconds: float = 120.0) -> list[int]:
        """The grid's nodes; Flower's own runtime takes a moment to connect them."""
        deadline = time.monotonic() + seconds
        known: list[int] = []
        while time.monotonic() < deadline:
            nodes = sorted(self.grid.get_node_ids())
            if nodes and (nodes == known or isinstance(self.grid, LocalGrid)):
                return nodes
            known = nodes
            time.sleep(0.5)
        raise FedLTError(f"no worker node connected within {seconds:.0f} s")
