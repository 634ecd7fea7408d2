"""A worker: one process that hosts any number of simulated clients, one after the other, on one model in place."""

from __future__ import annotations

import time

from clients.asking import Asking
from clients.context import Context, Exchange
from clients.fitting import Fitting
from clients.testing import Testing
from fedlt.config.scenario import Scenario
from fedlt.data.federation import Federation
from fedlt.exchange import Job, Report
from fedlt.process.memory import keep_freed
from fedlt.process.threads import one_thread


class Worker:
    """Trains and evaluates clients of one scenario. Everything that a client does is a function of the job alone.

    Args:
        scenario: whose clients are hosted.
        federation: its data, dealt to the clients.
    """

    def __init__(self, scenario: Scenario, federation: Federation) -> None:
        keep_freed()
        self.context = Context(scenario, federation)
        self.asking, self.fitting, self.testing = Asking(self.context), Fitting(self.context), Testing(self.context)

    def run(self, job: Job) -> Report:
        """Do what the job asks for. With `on_error=fail` the first failing client ends it.

        Args:
            job: names clients and models; brings the generic model and what the clients have kept.

        Returns:
            Updates, statistics and failures, and what the clients keep until they are sampled again.
        """
        exchange = Exchange.on(self.context.device, job)
        report = exchange.report
        with one_thread():
            started = time.perf_counter()

            # The models of the round before are tested before training changes any of them.
            self.asking.run(exchange)
            self.testing.run(exchange)
            evaluated = time.perf_counter()

            if not (report.failures and self.context.fails_fast):
                self.fitting.run(exchange)

            report.metrics["evaluate_seconds"] = evaluated - started
            report.metrics["train_seconds"] = time.perf_counter() - evaluated
            report.metrics["asked_rounds"] = self.context.parts.task.horizon.asked
        return report
