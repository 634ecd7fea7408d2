"""The training half of a worker: from the clients that a job names to their updates, blocks of them added up."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clients.context import Context, Exchange
from clients.guard import guard
from fedlt.config.hook_results import expect_tensors, expect_weight, name_of
from fedlt.exchange import UNION, Failure, States
from fedlt.learner import overrides
from fedlt.strategy import Client, Strategy, Update

Sent = tuple[Update, int]
"""An update, and the bytes that it takes on its way to the server."""


def _letter_bytes(update: Update, exchange: Exchange) -> int:
    """Bytes of the letters to the clients of an update."""
    letters = (exchange.job.letters.get(client, {}) for client in update.clients)
    return sum(value.nbytes for letter in letters for value in letter.values())


class Fitting:
    """Trains the clients of a job, one after the other or several at once, on the context's one model."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def run(self, exchange: Exchange) -> None:
        """Train every client of the job, and put updates, states, failures and counts into the report."""
        context, report = self.context, exchange.report
        context.trainer.start_work()

        # Bytes that each client receives. What it has kept does not travel, though messages carry it.
        boxes = exchange.outbox, exchange.for_links
        down = exchange.shared.nbytes + sum(value.nbytes for box in boxes for value in box.values())
        report.metrics.update(bytes_down=0, bytes_up=0)

        for work in exchange.job.works:
            for block, clients in work.blocks.items():
                if work.conclude:
                    self._conclude(block, clients, down, exchange)
                else:
                    self._fit(block, clients, work.samples, down, exchange)
                if report.failures and context.fails_fast:
                    return

        done = context.trainer.work
        report.metrics.update(loss_sum=float(done.loss_sum), samples=done.samples, steps=done.steps)
        report.metrics.update(backward_samples=done.backward_samples, forward_samples=done.forward_samples)

    def _fit(self, block: int, clients: list[int], samples: int, down: int, exchange: Exchange) -> None:
        """Train the clients of a block, and put the block's update into the report.

        Args:
            samples: of the one site of a centralized run; see `Work`.
            down: bytes that each client receives.
        """
        context, report = self.context, exchange.report
        for group in self._groups(clients):
            before = self._passed()
            sent = self._updates(group, samples, exchange)
            passes = [(now - then) / len(group) for now, then in zip(self._passed(), before, strict=True)]

            for update, nbytes in sent:
                received = down + _letter_bytes(update, exchange)
                if context.parts.timed is not None:
                    report.spent[update.clients[0]] = [received, *passes, nbytes]
                with guard(list(update.clients), "train", report.failures, None):
                    self._fold(report.updates.setdefault(block, []), update)
                    report.metrics["bytes_down"] += received
                    report.metrics["bytes_up"] += nbytes

            if report.failures and context.fails_fast:
                return

    def _passed(self) -> list[float]:
        """Samples that have passed forward and backward, and those that have only passed forward."""
        done = self.context.trainer.work
        return [done.backward_samples, done.forward_samples]

    def _conclude(self, block: int, clients: list[int], down: int, exchange: Exchange) -> None:
        """Ask the clients once more, and put what they send, without a model, into the report.

        Args:
            block: number of their block.
            clients: their ids.
            down: bytes that each receives.
            exchange: the job, and its report.
        """
        context, report = self.context, exchange.report
        for number in clients:
            failed = len(report.failures)
            with guard([number], "conclude", report.failures, context.limit([number])):
                context.flat.load_shared(exchange.shared)
                client = context.client(number, exchange, "conclude")
                context.model.eval()
                context.strategy.conclude(client)

                # What it has put there is an update of no parameters, weighed by its samples.
                for box in ("extras", "values"):
                    expect_tensors(getattr(client, box), f"client.{box}")
                values = {name: value[None].clone() for name, value in client.values.items()}
                weight, nothing = float(client.num_samples), exchange.shared.new_empty(0)
                update = Update((number,), weight, nothing, client.extras, values)
                context.flat.settle()

                self._fold(report.updates.setdefault(block, []), update)
                report.metrics["bytes_down"] += down + _letter_bytes(update, exchange)
                report.metrics["bytes_up"] += update.nbytes

            if len(report.failures) > failed:
                if context.fails_fast:
                    return
                context.recover()

    def _fold(self, folded: list[Update], update: Update) -> None:
        """Add an update to those of its block.

        Args:
            folded: the block's so far: one sum where the strategy needs no more, else an update for each client.
        """
        if folded and self.context.strategy.foldable:
            folded[0].add(update)
            if len(update.total):  # updates without a model lie in no vector that could be used again
                self.context.vectors.give(update.total)
        else:
            folded.append(update)

    def _groups(self, clients: list[int]) -> list[list[int]]:
        """Clients to train at once: neighbours with equally many samples, at most `local.together` of them."""
        groups: list[list[int]] = []
        sizes = self.context.federation.clients.lengths(clients)
        for position, client in enumerate(clients):
            alike = position and sizes[position] == sizes[position - 1]
            if alike and len(groups[-1]) < self.context.scenario.local.together:
                groups[-1].append(client)
            else:
                groups.append([client])
        return groups

    def _updates(self, group: list[int], samples: int, exchange: Exchange) -> list[Sent]:
        """Updates of the clients, whose states go into the report.

        A client that fails leaves no trace but the report of its failure. Of several trained at once, each is then
        trained alone: only so the one shows that fails. Where none does, it was the step for all of them that failed.

        Args:
            group: clients that are trained at once.
            samples: of the one site of a centralized run; see `Work`.
            exchange: the job, and its report.
        """
        trainer, report = self.context.trainer, exchange.report

        work, failures = replace(trainer.work, loss_sum=trainer.work.loss_sum.clone()), list[Failure]()
        with guard(group, "train", failures, self.context.limit(group)):
            updates, states = self._train(group, samples, exchange)
            report.states.update(states)
            return updates

        # A client failed: what was counted so far is undone.
        trainer.work = work
        self.context.recover()
        if len(group) == 1:
            report.failures += failures
            return []

        failed = len(report.failures)
        alone = [self._updates([client], samples, exchange) for client in group]
        if len(report.failures) == failed:
            report.apart = report.apart or self._why_apart(len(group), failures[0])
        return [sent for updates in alone for sent in updates]

    def _why_apart(self, count: int, failure: Failure) -> str:
        """Why a batched step for so many clients fails, and what to do."""
        strategy, learner = self.context.strategy, self.context.parts.learner
        loss = name_of((strategy if overrides(strategy, Strategy.loss) else learner, "loss"))
        remedy = (
            "take a smaller local.together"
            if failure.memory
            else "write it without what torch.func.vmap cannot batch (item(), an if on a tensor's value, assignment in "
            "place), or take local.together=1"
        )
        return f"{loss} fails in one step for {count} of them: {failure.reason}; {remedy}"

    def _train(self, group: list[int], samples: int, exchange: Exchange) -> tuple[list[Sent], States]:
        """Updates and states of the clients, all of them found in order.

        Args:
            group: clients that are trained at once.
            samples: of the one site of a centralized run; see `Work`.
            exchange: the job.
        """
        context = self.context

        # 1. The generic model, and the clients with what they have kept.
        context.flat.load_shared(exchange.shared)
        clients = [context.client(number, exchange, "train") for number in group]
        if group == [UNION]:
            clients[0].epoch_size = samples

        # 2. Their work: in place on the one model, or at once on as many copies of its vector.
        if len(group) == 1:
            self._work(clients[0])
            vectors = context.flat.shared[None]
        else:
            from fedlt.training.vectorized import train_together  # torch.func takes a while to import

            vectors = train_together(context.trainer, clients, context.strategy.loss, exchange.shared)

        # 3. What each sends, and what it keeps.
        updates, states = list[Sent](), {}
        for client, vector in zip(clients, vectors, strict=True):
            for box in ("state", "extras", "values"):
                expect_tensors(getattr(client, box), f"client.{box}")
            sent, of_links = self._send(client, vector, exchange)
            updates.append(sent)

            state = {f"state/{name}": value.clone() for name, value in client.state.items()} | of_links
            if len(context.flat.private):
                state["private"] = context.flat.private.clone()
            if state:
                states[client.id] = state

        return updates, states

    def _send(self, client: Client, vector: Tensor, exchange: Exchange) -> tuple[Sent, dict[str, Tensor]]:
        """The update of a client that has found `vector` [S], and what its links keep for it.

        Args:
            vector: [S] shared weights and buffers after its work.
            exchange: the job.
        """
        context, chain = self.context, self.context.parts.chain

        # The links may attack, clip or compress it.
        weight = expect_weight(context.strategy.weight(client), name_of((context.strategy, "weight")))
        before = exchange.job.states.get(client.id, {})
        sending = chain.send(exchange.job.round, client, vector, weight, before, exchange.for_links)

        total = torch.mul(sending.vector, sending.weight, out=context.vectors.take())
        values = {name: value[None].clone() for name, value in client.values.items()}
        update = Update((client.id,), sending.weight, total, client.extras | sending.sums, values)
        chain.check(client, update)

        beside = update.nbytes - total.nbytes
        return (update, sending.nbytes + beside), {name: value.clone() for name, value in sending.state.items()}

    def _work(self, client: Client) -> None:
        """A client's work of one round."""
        learner = client.learner
        with torch.no_grad():
            learner.begin(client)
        self.context.strategy.fit(client)
        with torch.no_grad():
            learner.finish(client)
