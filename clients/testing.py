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
    """Tests the models that a job names.

    Features of the sets by the generic model are computed once a round and kept, as a round may bring several jobs.

    Args:
        context: the scenario in this process: data, strategy, and the one model into which all tested weights go.

    Attributes:
        sets: the test set and, where there is one, the validation set.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        chunk = context.scenario.evaluation.batch_size
        by_length = context.scenario.local.batches == "bucketed"  # sequences of like lengths, as in training
        self.sets = EvaluationSets(
            context.federation, context.parts.task.inputs, context.train_inputs, context.device, chunk, by_length
        )
        self._edits = 0  # what `Flat.edits` gave when the generic model was loaded last

    def run(self, exchange: Exchange) -> None:
        """Test what the job's works name, and put statistics and failures into the report.

        A failure that ends the testing leaves no statistics: they would be those of a part of the models.

        Args:
            exchange: the job, and its report.
        """
        works = [work for work in exchange.job.works if work.chunks or work.personal]
        if not works:
            return

        collector = Collector(self.context.parts.statistics, self.context.parts.task)
        test_sets = self._load_generic(exchange)

        # All works test the generic model first, before any client's parameters are loaded.
        arguments = works, test_sets, exchange, collector
        if self._test_generic(*arguments) and self._test_personal(*arguments):
            exchange.report.statistics = collector.arrays()

    def _test_generic(
        self, works: list[Work], test_sets: list[TestSet], exchange: Exchange, collector: Collector
    ) -> bool:
        """Test the generic model on the works' chunks of the sets.

        Args:
            works: those of the job that test.
            test_sets: test set and validation set, with their features by the generic model.
            exchange: the job, and its report.
            collector: takes the predictions.

        Returns:
            False where it cannot be tested, which ends the testing here, and at the server the run.
        """
        report, parts = exchange.report, self.context.parts
        failures_before = len(report.failures)

        # The strategy's `generic` gets a stand-in for the server, with the model and the outbox as they were received.
        # The job's round is the next one to train: the model is the one that the round before it has left.
        server = Server(parts.model, parts.flat, parts.task, round=exchange.job.round, learner=parts.learner)
        server.outbox = exchange.outbox

        for work in works:
            if not work.chunks:
                continue

            # No time limit here: `federation.timeout` is for clients, and `generic` is the server's code.
            test = test_sets[1 if work.validation else 0]
            with guard([GENERIC], "generic", report.failures, limit=None):
                evaluate_generic(self.context.strategy, server, test, work.chunks, collector)
            if len(report.failures) > failures_before:
                return False

            # Statistics that read features are of the test set only.
            if collector.reads_features and not work.validation:
                self.sets.collect_features(work, collector)
        return True

    def _test_personal(
        self, works: list[Work], test_sets: list[TestSet], exchange: Exchange, collector: Collector
    ) -> bool:
        """Test the personal models of the works' clients on their own rows of the sets.

        Args:
            works: those of the job that test.
            test_sets: test set and validation set, with their features by the generic model.
            exchange: the job, and its report.
            collector: takes the predictions.

        Returns:
            False where a client fails and `federation.on_error` is `fail`: the testing ends with it.
        """
        exchange.report.metrics["adapt_seconds"] = 0.0  # summed over the clients below
        for work in works:
            for number in work.personal:
                rows = self.sets.own_rows(number, work)
                if not rows:
                    continue

                # Each client starts from the generic model's shared weights, for which the features hold. Hooks of the
                # client before may have changed them; private weights, which are loaded for each client, do not count.
                if self.context.flat.edits() != self._edits:
                    test_sets = self._load_generic(exchange)

                if not self._test_client(number, rows, test_sets, exchange, collector):
                    if self.context.fails_fast:
                        return False
                    self.context.recover()  # from whatever the failed client has left in the model
        return True

    def _test_client(
        self, number: int, rows: dict[int, Tensor], test_sets: list[TestSet], exchange: Exchange, collector: Collector
    ) -> bool:
        """Make the model the client's own, and test it.

        Args:
            number: the client's id.
            rows: those that it is tested on, by the index of their set in `test_sets`.
            test_sets: test set and validation set, with their features by the generic model.
            exchange: the job, and its report.
            collector: takes the predictions.

        Returns:
            False where its code fails; the report then says why.
        """
        context, report = self.context, exchange.report
        failures_before = len(report.failures)
        with guard([number], "evaluate", report.failures, limit=context.limit([number])):
            client = context.client(number, exchange, "evaluate")

            # Timed for the server, which spreads the next tests by their costs. No result depends on it.
            started = time.perf_counter()
            context.strategy.adapt(client)
            report.metrics["adapt_seconds"] += time.perf_counter() - started

            for index, own in rows.items():
                evaluate_personal(context.strategy, client, test_sets[index], own, collector)
            context.flat.settle()  # raises where a hook has put another tensor in the place of a parameter
        return len(report.failures) == failures_before

    def _load_generic(self, exchange: Exchange) -> list[TestSet]:
        """Load the generic model.

        Returns:
            The test set, then the validation set if there is one, with their features under it.
        """
        context = self.context
        context.flat.load_shared(exchange.shared)
        context.flat.load_private(context.initial_private)  # it has none of its own: what clients begin with
        context.model.eval()

        test_sets = self.sets.under(context.model, exchange.job)
        self._edits = context.flat.edits()
        return test_sets
