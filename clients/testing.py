"""The testing half of a worker: the generic model on pieces of the test sets, personal models on clients' own rows."""

from __future__ import annotations

import time

from torch import Tensor

from clients.context import Context, Exchange
from clients.evaluation_sets import EvaluationSets
from clients.guard import guard
from fedlt.exchange import GENERIC, Work
from fedlt.measures.collect import Collector
from fedlt.measures.evaluate import TestSet, evaluate_generic, evaluate_personal
from fedlt.strategy import Server


class Testing:
    """Tests models of a job; features of the test sets are computed once a round and kept over its messages."""

    def __init__(self, context: Context) -> None:
        self.context = context
        chunk = context.scenario.evaluation.batch_size
        by_length = context.scenario.local.batches == "bucketed"  # then texts of like lengths are tested together, too
        self.sets = EvaluationSets(
            context.federation, context.parts.task.inputs, context.train_inputs, context.device, chunk, by_length
        )
        self._edits = 0  # changes of the shared weights that had been counted when the generic model was loaded last

    def run(self, exchange: Exchange) -> None:
        """Test what the job's works name, and put statistics and failures into the report.

        A failure that ends the testing leaves no statistics: they would be those of a part of the models.
        """
        works = [work for work in exchange.job.works if work.chunks or work.personal]
        if not works:
            return

        # All pieces of the generic model come first, before any client's parameters are loaded.
        collector = Collector(self.context.parts.statistics, self.context.parts.task)
        sets = self._load_generic(exchange)
        complete = self._test_generic(works, sets, exchange, collector)
        complete = complete and self._test_personal(works, sets, exchange, collector)
        if complete:
            exchange.report.statistics = collector.arrays()

    def _test_generic(self, works: list[Work], sets: list[TestSet], exchange: Exchange, collector: Collector) -> bool:
        """Test the generic model on the works' chunks of the sets.

        Args:
            works: those of the job that test.
            sets: test set and validation set, under the generic model.
            exchange: the job, and its report.
            collector: takes the predictions.

        Returns:
            False where it cannot be tested, which ends the testing here, and at the server the run.
        """
        report, parts = exchange.report, self.context.parts
        failed = len(report.failures)

        # A stand-in for the server, with what the strategy's `generic` may read here: the received model and outbox.
        # The models are those that the round before the job's has left.
        box, round, learner = exchange.outbox, exchange.job.round, parts.learner
        server = Server(parts.model, parts.flat, parts.task, state={}, outbox=box, round=round, learner=learner)
        for work in works:
            if not work.chunks:
                continue

            # sets[False] is the test set, sets[True] the validation set. `generic` is the server's code, for which the
            # time limit of clients does not count.
            with guard([GENERIC], "generic", report.failures, None):
                evaluate_generic(self.context.strategy, server, sets[work.validation], work.chunks, collector)
            if len(report.failures) > failed:
                return False

            # Figures of features are of the test set alone.
            if collector.reads_features and not work.validation:
                self.sets.collect_features(work, collector)
        return True

    def _test_personal(self, works: list[Work], sets: list[TestSet], exchange: Exchange, collector: Collector) -> bool:
        """Test the personal models of the works' clients on their own rows of the sets.

        Args:
            works: those of the job that test.
            sets: test set and validation set, under the generic model.
            exchange: the job, and its report.
            collector: takes the predictions.

        Returns:
            False where one fails and `federation.on_error` is `fail`, under which it ends the testing.
        """
        exchange.report.metrics["adapt_seconds"] = 0.0
        for work in works:
            for number in work.personal:
                rows = self.sets.own_rows(number, work)
                if not rows:
                    continue

                # The features of the sets are the generic model's. Where the last client's hooks have changed shared
                # weights, the generic model is loaded again; loading private ones does not count as a change.
                if self.context.flat.edits() != self._edits:
                    sets = self._load_generic(exchange)

                if not self._test_client(number, rows, sets, exchange, collector):
                    if self.context.fails_fast:
                        return False
                    self.context.recover()
        return True

    def _test_client(
        self, number: int, rows: dict[int, Tensor], sets: list[TestSet], exchange: Exchange, collector: Collector
    ) -> bool:
        """Make the model the client's own, and test it.

        Args:
            rows: those that it is tested on, by the number of the set.

        Returns:
            False where its code fails; the report then says why.
        """
        context, report = self.context, exchange.report
        failed = len(report.failures)
        with guard([number], "evaluate", report.failures, context.limit([number])):
            client = context.client(number, exchange, "evaluate")

            # For the schedule of the next exchange, no result.
            started = time.perf_counter()
            context.strategy.adapt(client)
            report.metrics["adapt_seconds"] += time.perf_counter() - started

            for which, own in rows.items():
                evaluate_personal(context.strategy, client, sets[which], own, collector)
            context.flat.settle()  # raises where a hook has put other tensors in the place of the model's
        return len(report.failures) == failed

    def _load_generic(self, exchange: Exchange) -> list[TestSet]:
        """Load the generic model.

        Returns:
            The test set, then the validation set if there is one, with their features under it.
        """
        context = self.context
        context.flat.load_shared(exchange.shared)
        context.flat.load_private(context.initial_private)  # what clients keep for themselves is at its start here
        context.model.eval()

        sets = self.sets.under(context.model, exchange.job)
        self._edits = context.flat.edits()
        return sets
