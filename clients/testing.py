"""The testing half of a worker: the generic model on pieces of the test sets, personal models on clients' own rows."""

from __future__ import annotations

from clients.context import Context, Exchange
from clients.evaluation_sets import EvaluationSets
from clients.guard import guard
from fedlt.exchange import GENERIC, Failure, Report
from fedlt.measures.evaluate import Confusions, TestSet, evaluate_generic, evaluate_personal
from fedlt.measures.meter import Meters
from fedlt.measures.own import OwnSums
from fedlt.strategy import Server


class Testing:
    """Tests models of a job; features of the test sets are computed once a round and kept over its messages."""

    def __init__(self, context: Context) -> None:
        self.context = context
        chunk = context.scenario.evaluation.batch_size
        self.sets = EvaluationSets(
            context.federation, context.parts.task.inputs, context.train_inputs, context.device, chunk
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
        meters = Meters(OwnSums(parts.metrics, parts.task) if parts.metrics else None)

        for work in works:  # all before any client's parameters are loaded
            if work.chunks:
                test = sets[work.validation]
                try:
                    found = evaluate_generic(self.context.strategy, server, test, work.chunks, meters)
                except FloatingPointError as error:
                    report.failures.append(Failure(GENERIC, str(error), "generic"))
                    return
                _add(report, f"{test.prefix}generic", -1, found)
                if not work.validation:
                    self.sets.measure_features(work, report)

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
                    self.context.strategy.adapt(client)
                    for which, rows in own.items():
                        plain, masked = evaluate_personal(self.context.strategy, client, sets[which], rows, meters)
                        _add(report, f"{sets[which].prefix}personal", number, plain)
                        _add(report, f"{sets[which].prefix}personal_masked", number, masked)
                    flat.settle()
                if len(report.failures) > failed:
                    if self.context.fails_fast:
                        return
                    self.context.recover()

        report.confidences = meters.results()
        report.own = {} if meters.own is None else meters.own.pieces

    def _sets(self, exchange: Exchange) -> list[TestSet]:
        """The test set, then the validation set if there is one, under the generic model, which is loaded."""
        context = self.context
        context.flat.load_shared(exchange.shared)
        context.flat.load_private(context.initial_private)
        context.model.eval()
        return self.sets.under(context.model, exchange.job)


def _add(report: Report, model: str, client: int, confusions: Confusions) -> None:
    for variant, confusion in confusions.items():
        key = f"{model}:{variant}", client
        report.confusions[key] = report.confusions[key] + confusion if key in report.confusions else confusion
