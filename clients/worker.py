"""A worker: one process that hosts any number of simulated clients, one after the other, on one model in place."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from clients.guard import check, guard
from clients.testing import Tests
from clients.vectors import Vectors
from fedlt.config.scenario import Scenario
from fedlt.data.federation import Federation
from fedlt.data.inputs import make_inputs
from fedlt.data.site import Rows
from fedlt.exchange import GENERIC, UNION, Failure, Job, Report, States
from fedlt.links.faults import Attackers
from fedlt.measures.evaluate import Confusions, TestSet, evaluate_generic, evaluate_personal
from fedlt.measures.meter import Meters
from fedlt.measures.own import OwnSums
from fedlt.process import seeding
from fedlt.process.memory import keep_freed
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update
from fedlt.training.assembly import Assembly, assemble, pick_device
from fedlt.training.trainer import Trainer


class Worker:
    """Trains and evaluates clients of one scenario. Everything that a client does is a function of the job alone."""

    def __init__(self, scenario: Scenario, federation: Federation) -> None:
        keep_freed()
        self.scenario, self.federation = scenario, federation
        self.device = pick_device(scenario.resources.device)
        self.parts: Assembly = assemble(scenario, federation, self.device)
        self.flat, self.model, self.strategy = self.parts.flat, self.parts.model, self.parts.strategy
        self.trainer = Trainer(self.flat, scenario.local, self.device, scenario.resources.precision)
        self.vectors = Vectors(len(self.flat.shared), self.device)
        self.initial_private, self.initial_frozen = self.flat.private.clone(), self.flat.frozen.clone()
        self.fail = scenario.federation.on_error == "fail"
        self.attackers = Attackers.of(scenario, len(federation.clients))
        moments = federation.mean, federation.std, self.device, self.parts.channels_last
        self.train_inputs = make_inputs(federation.x_train, *moments)
        self.train_targets = torch.from_numpy(federation.y_train).to(self.device)
        self.flipped_targets = self.parts.task.num_classes - 1 - self.train_targets  # what label flippers learn
        self.no_targets = torch.tensor(-1, device=self.device).expand(len(self.train_targets))
        self.tests = Tests(federation, self.train_inputs, moments, scenario.evaluation.batch_size)

    def run(self, job: Job) -> Report:
        """Do what the job asks for. With `on_error=fail` the first failing client ends it."""
        report = Report()
        shared = job.shared.to(self.device)
        outbox = {name: value.to(self.device) for name, value in job.outbox.items()}
        with one_thread():
            started = time.perf_counter()
            self._evaluate(job, shared, outbox, report)
            evaluated = time.perf_counter()
            if not (report.failures and self.fail):
                self._train(job, shared, outbox, report)
            report.metrics["evaluate_seconds"] = evaluated - started
            report.metrics["train_seconds"] = time.perf_counter() - evaluated
            report.metrics["asked_rounds"] = self.parts.task.horizon.asked
        return report

    def _train(self, job: Job, shared: Tensor, outbox: dict[str, Tensor], report: Report) -> None:
        self.trainer.start_work()
        down = shared.nbytes + sum(value.nbytes for value in outbox.values())
        report.metrics.update(bytes_down=0, bytes_up=0)  # what clients keep does not travel, though messages carry it

        for work in job.works:
            for block, clients in work.blocks.items():
                for group in self._groups(clients):
                    for update in self._updates(group, work.images, job, shared, outbox, report):
                        report.metrics["bytes_down"] += down
                        report.metrics["bytes_up"] += update.nbytes
                        held = report.updates.setdefault(block, [])
                        if held and self.strategy.foldable:
                            held[0].add(update)
                            self.vectors.give(update.total)
                        else:
                            held.append(update)
                    if report.failures and self.fail:
                        return

        done = self.trainer.work
        report.metrics.update(loss_sum=float(done.loss_sum), samples=done.samples, steps=done.steps)
        report.metrics.update(images=done.images, forward_images=done.forward_images)

    def _groups(self, clients: list[int]) -> list[list[int]]:
        """Clients to train at once: neighbours with equally many samples, at most `local.together` of them."""
        groups: list[list[int]] = []
        sizes = self.federation.clients.lengths(clients)
        for position, client in enumerate(clients):
            alike = position and sizes[position] == sizes[position - 1]
            if alike and len(groups[-1]) < self.scenario.local.together:
                groups[-1].append(client)
            else:
                groups.append([client])
        return groups

    def _updates(
        self, group: list[int], images: int, job: Job, shared: Tensor, outbox: dict[str, Tensor], report: Report
    ) -> list[Update]:
        """Updates of the clients, whose states go into the report. A client that fails leaves no trace but the report
        of its failure. Of several trained at once, each is then trained alone: only so the one shows that fails."""
        work, failures = replace(self.trainer.work, loss_sum=self.trainer.work.loss_sum.clone()), list[Failure]()
        with guard(group, "train", failures, self._limit(group)):
            updates, states = self._train_group(group, images, job, shared, outbox)
            report.states.update(states)
            return updates
        self.trainer.work = work
        self._recover()
        if len(group) == 1:
            report.failures += failures
            return []
        alone = [self._updates([client], images, job, shared, outbox, report) for client in group]
        return [update for updates in alone for update in updates]

    def _limit(self, clients: list[int]) -> float | None:
        limit = self.scenario.federation.timeout
        return None if limit is None else limit * len(clients)

    def _recover(self) -> None:
        """Put the model in order after a client that was interrupted; the rest is loaded for each client anyway."""
        self.model.eval()
        self.flat.recover(self.initial_frozen)

    def _train_group(
        self, group: list[int], images: int, job: Job, shared: Tensor, outbox: dict[str, Tensor]
    ) -> tuple[list[Update], States]:
        """Updates and states of the clients, all of them found in order."""
        self.flat.load_shared(shared)
        clients = [self._client(number, job, shared, outbox, "train") for number in group]
        if group == [UNION]:
            clients[0].epoch_size = images
        if len(group) == 1:
            self._work(clients[0])
            vectors = self.flat.shared[None]
        else:
            from fedlt.training.vectorized import train_together  # torch.func takes a while to import

            vectors = train_together(self.trainer, clients, self.strategy.loss, shared)
        updates, states = [], {}
        for client, vector in zip(clients, vectors, strict=True):
            weight = self.strategy.weight(client)
            values = {name: value[None].clone() for name, value in client.values.items()}
            sent = self.attackers.sent(client.id, vector, client.start)
            total = torch.mul(sent, weight, out=self.vectors.take())
            update = Update((client.id,), weight, total, client.extras, values)
            check(update, self.flat.private)
            updates.append(update)
            state = {f"state/{name}": value.clone() for name, value in client.state.items()}
            if len(self.flat.private):
                state["private"] = self.flat.private.clone()
            if state:
                states[client.id] = state
        return updates, states

    def _work(self, client: Client) -> None:
        """A client's work of one round."""
        learner = client.learner
        with torch.no_grad():
            learner.begin(client)
        self.strategy.fit(client)
        with torch.no_grad():
            learner.finish(client)

    def _evaluate(self, job: Job, shared: Tensor, outbox: dict[str, Tensor], report: Report) -> None:
        works = [work for work in job.works if work.chunks or work.personal]
        if not works:
            return
        sets = self._test_sets(job, shared)
        edits = self.flat.edits()
        parts = self.parts
        server = Server(self.model, self.flat, parts.task, {}, outbox, job.round, learner=parts.learner)
        meters = Meters(OwnSums(parts.metrics, parts.task) if parts.metrics else None)
        for work in works:  # all before any client's parameters are loaded
            if work.chunks:
                test = sets[work.validation]
                try:
                    found = evaluate_generic(self.strategy, server, test, work.chunks, meters)
                except FloatingPointError as error:
                    report.failures.append(Failure(GENERIC, str(error), "generic"))
                    return
                self._report(report, f"{test.prefix}generic", -1, found)
                if not work.validation:
                    self.tests.measure_features(work, report)

        for work in works:
            for number in work.personal:
                own = self.tests.own_rows(number, work)
                if not own:
                    continue
                if self.flat.edits() != edits:  # the last client's hooks trained or loaded something
                    sets = self._test_sets(job, shared)
                    edits = self.flat.edits()

                failed = len(report.failures)
                with guard([number], "evaluate", report.failures, self._limit([number])):
                    client = self._client(number, job, shared, outbox, "evaluate")
                    self.strategy.adapt(client)
                    for which, rows in own.items():
                        plain, masked = evaluate_personal(self.strategy, client, sets[which], rows, meters)
                        self._report(report, f"{sets[which].prefix}personal", number, plain)
                        self._report(report, f"{sets[which].prefix}personal_masked", number, masked)
                    self.flat.settle()
                if len(report.failures) > failed:
                    if self.fail:
                        return
                    self._recover()
        report.confidences = meters.results()
        report.own = {} if meters.own is None else meters.own.pieces

    def _test_sets(self, job: Job, shared: Tensor) -> list[TestSet]:
        """The test set, then the validation set if there is one, under the generic model, which is loaded."""
        self.flat.load_shared(shared)
        self.flat.load_private(self.initial_private)
        self.model.eval()
        return self.tests.under(self.model, job)

    @staticmethod
    def _report(report: Report, model: str, client: int, confusions: Confusions) -> None:
        for variant, confusion in confusions.items():
            key = f"{model}:{variant}", client
            report.confusions[key] = report.confusions[key] + confusion if key in report.confusions else confusion

    def _client(self, number: int, job: Job, shared: Tensor, outbox: dict[str, Tensor], purpose: str) -> Client:
        """The client with its data and its state, its private parameters in the model."""
        union = number == UNION
        rows = self.federation.union() if union else self.federation.clients[number]
        others = np.sort(self.federation.unlabelled.values) if union else self.federation.unlabelled[number]
        counts = self.federation.seen_counts() if union else self.federation.counts(number)
        targets = self.train_targets
        if purpose == "train" and self.attackers.flips(number):
            counts, targets = counts[::-1].copy(), self.flipped_targets

        path = (job.round, number + 1)
        start = shared[: self.flat.num_trainable]
        state = job.states.get(number)
        self.flat.load_private(self.initial_private if state is None else state.get("private", self.initial_private))
        total = self.scenario.federation.rounds
        client = Client(
            model=self.model,
            flat=self.flat,
            task=self.parts.task,
            learner=self.parts.learner,
            data=Rows(self.train_inputs, targets, torch.from_numpy(rows).to(self.device)),
            class_counts=torch.from_numpy(counts).to(self.device),
            rng=seeding.generator(self.scenario.seed, purpose, *path),
            trainer=self.trainer,
            epoch_size=len(rows),
            progress=(job.round - 1) / total,
            span=1 / total if purpose == "train" else 0.0,
            continuous=union,
            unlabelled=Rows(self.train_inputs, self.no_targets, torch.from_numpy(others).to(self.device)),
            id=number,
            start=start,
            received=outbox,
        )

        if state is None:
            if type(self.strategy).begin is not Strategy.begin:
                seeding.torch_generators(self.device, self.scenario.seed, "begin", number + 1)
                self.strategy.begin(client)
        else:
            prefix = "state/"
            kept = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
            client.state = {name: value.to(self.device, copy=True) for name, value in kept.items()}

        # For dropout and for strategies that draw from PyTorch's global generator: seeded per client, never shared.
        seeding.torch_generators(self.device, self.scenario.seed, purpose, *path)
        return client
