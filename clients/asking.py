"""The asking part of a worker: how well the generic model does on clients' own training samples, before they train."""

from __future__ import annotations

import math

import torch

from clients.context import Context, Exchange
from clients.guard import guard
from fedlt.config.hook_results import expect_logits, name_of
from fedlt.learner import headline
from fedlt.strategy import Server


class Asking:
    """Tells the loss of the generic model on training samples of clients, for selections that go by it."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def run(self, exchange: Exchange) -> None:
        """Put the mean loss of every client that the works name into the report; 0 for one without a sample."""
        clients = [client for work in exchange.job.works for client in work.losses]
        if not clients:
            return
        context, report = self.context, exchange.report
        context.flat.load_shared(exchange.shared)
        context.model.eval()

        for client in clients:
            failed = len(report.failures)
            with guard([client], "select", report.failures, context.limit([client])), torch.no_grad():
                report.losses[client] = self._loss(client, exchange)
            if len(report.failures) > failed and context.fails_fast:
                return

    def _loss(self, number: int, exchange: Exchange) -> float:
        """Mean cross-entropy (of other targets: their usual loss) of the generic model's first variant."""
        context, parts = self.context, self.context.parts
        data = context.client(number, exchange, "select").data
        name = name_of((parts.strategy, "generic"), (parts.learner, "predict"))
        server = Server(
            parts.model, parts.flat, parts.task, {}, exchange.outbox, exchange.job.round, learner=parts.learner
        )

        total = 0.0
        for part in data.index.split(context.scenario.evaluation.batch_size):
            logits = parts.strategy.generic(server, data.inputs.take(part))
            expect_logits(logits, len(part), parts.task, name)
            loss = parts.task.target.loss(headline(logits), data.targets[part])
            total += float(loss) * len(part)
        if not math.isfinite(total):
            raise FloatingPointError("the loss of the generic model is not finite; a smaller local.lr may help")
        return total / max(1, len(data))
