"""The testing half of a worker: the generic model on pieces of the test sets, personal models on clients' own rows."""

from __future__ import annotations

import time

from clients.context import Context, Exchange
from clients.evaluation_sets import EvaluationSets
from clients.guard import guard
from fedlt.exchange import GENERIC
from fedlt.measures.collect import Collector
from fedlt.measures.evaluate import TestSet, evaluate_generic, evaluate_personal
from fedlt.strategy import Server


class Testing:
    """Tests models of a job; features of the test sets are computed once a round and kept over its messages."""

    def __init__(self, context: Context) -> None:
        self.context = context
        chunk, by_length = context.scenario.evaluation.batch_size, context.scenario.local.batches == "bucketed"
        self.sets = EvaluationSets(
            context.federation, context.parts.task.inputs, context.train_inputs, context.device, chunk, by_length
        )

    def run(self, exchange: Exchange) -> None:
        """Test what the job's works name, and put statistics and failures into the report."""
        works = [work for work in exchange.job.works if work.chunks or work.personal]
        if not works:
            return
        report, parts, flat = exchange.report, self.context.parts, self.context.flat
        sets = self._sets(exchange)
        edits = flat.edits()
        round, outbox = exchange.job.round, exchange.outbox
        server = Server(parts.model, flat, parts.task, {}, outbox, round, learner=parts.learner)
        collector = Collector(parts.statistics, parts.task)

        for work in works:  # all before any client's parameters are loaded
            if work.chunks:
                with guard([GENERIC], "generic", report.failures, None):
                    evaluate_generic(self.context.strategy, server, sets[work.validation], work.chunks, collector)
                if report.failures:
                    return
                if collector.reads_features and not work.validation:
                    self.sets.collect_features(work, collector)

        report.metrics["adapt_seconds"] = 0.0
        for work in works:
            for number in work.personal:
                own = self.sets.own_rows(number, work)
                if not own:
                    continue
                if flat.edits() != edits:  # the last client's hooks trained or loaded something
                    sets = self._sets(exchange)
                    edits = flat.edits()

                failed = len(report.failures)
                with guard([number], "evaluate", report.failures, self.context.limit([number])):
                    client = self.context.client(number, exchange, "evaluate")
                    started = time.perf_counter()
                    self.context.strategy.adapt(client)
                    report.metrics["adapt_seconds"] += time.perf_counter() - started
                    for which, rows in own.items():
                        evaluate_personal(self.context.strategy, client, sets[which], rows, collector)
                    flat.settle()
                if len(report.failures) > failed:
                    if self.context.fails_fast:
                        return
                    self.context.recover()

        report.statistics = collector.arrays()

    def _sets(self, exchange: Exchange) -> list[TestSet]:
        """The test set, then the validation set if there is one, under the generic model, which is loaded."""
        context = self.context
        context.flat.load_shared(exchange.shared)
        context.flat.load_private(context.initial_private)
        context.model.eval()
        return self.sets.under(context.model, exchange.job)
