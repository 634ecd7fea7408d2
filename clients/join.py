"""Clients that join a finished run: what its generic model is worth to those who took no part, and what helps them.

The scenario's `federation.held_out` keeps the last clients out of every round. Afterwards they receive the model and
the server's outbox, as any client does, and are tested as any personal model is, masked and unmasked:

    received    the strategy's personal model of a client that has not trained yet
    prior       the generic model's logits plus the log of the client's own class frequencies; no training
    trained     after rounds of the strategy's own local work; of it, only what is private or state is kept
    tuned       the model's own head, fine-tuned on the client's features; the experiment of FedLoGe's authors
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Attack
from fedlt.data.federation import federate
from fedlt.data.provenance import refuse_changed
from fedlt.data.site import Batch
from fedlt.errors import FedLTError, Problem, ScenarioError, UsageError
from fedlt.exchange import Job, Report, States, Work
from fedlt.measures.evaluate import named_logits
from fedlt.measures.evaluation import figures, known, merged
from fedlt.results.runs import Run
from fedlt.strategy import Client, Server, Strategy


@dataclass(frozen=True)
class Prior(Strategy):
    """The generic model's variants, each with the client's own prior."""

    trained: Strategy

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The generic model's variants, adjusted by the newcomer's own class prior."""
        server = Server(client.model, client.flat, client.task, {}, client.received)
        generic = named_logits(self.trained.generic(server, x))
        prior = (client.class_counts / client.num_samples).log()
        return {name: logits + prior for name, logits in generic.items()}


@dataclass(frozen=True)
class Tuned(Strategy):
    """The model's own head after `epochs` passes of plain cross-entropy; the backbone stays as it is."""

    epochs: int

    def adapt(self, client: Client) -> None:
        client.encoded().train(_usual_loss, only=("head.*",), epochs=self.epochs)


def join(run: Run, rounds: int, epochs: int) -> dict[str, float]:
    """Metrics of the newcomers' models, named `trained/accuracy`, `trained_masked[phi]/few` and so on.

    Args:
        rounds: of the strategy's local work, for `trained`.
        epochs: of fine-tuning, for `tuned`.

    Raises:
        UsageError: for a run that is not finished.
        ScenarioError: where it held nobody out.
    """
    if run.status != "finished":
        raise UsageError(f"{run.folder} is {run.status}, not finished: there is no model to receive")
    scenario = load_scenario(run.scenario)
    honest = replace(scenario.federation, attack=Attack(), links=[])  # newcomers do not attack, and send nothing
    scenario = replace(scenario, federation=honest)
    federation = replace(federate(scenario, newcomers=True), class_counts=federate(scenario).class_counts)
    remedy = "put it back, or run again with --force"
    refuse_changed(run.summary.get("inputs") or federation.made_of, federation.made_of, "the run was made", remedy)
    if not len(federation.clients):
        raise ScenarioError(Problem("federation.held_out", f"{run.folder} held no client out; run it with 1 or more"))

    worker = Worker(scenario, federation)
    if worker.context.strategy.scope == "personal":
        raise ScenarioError(
            Problem("strategy", f"{scenario.strategy.name} has no generic model that could be received")
        )

    newcomers = Newcomers(worker, run.folder)
    metrics = newcomers.test("received", worker.context.strategy, {})
    if worker.context.parts.task.target.one_label:  # a prior is added to the logits of a softmax
        metrics |= newcomers.test("prior", Prior(worker.context.strategy), {})
    metrics |= newcomers.test("trained", worker.context.strategy, newcomers.train(rounds))
    metrics |= newcomers.test("tuned", Tuned(epochs), {})

    return metrics


class Newcomers:
    """Sends jobs to a worker in the server's place."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        from safetensors.torch import load_file

        self.worker, flat = worker, worker.context.flat
        for name, tensor in load_file(folder / "model.safetensors").items():
            flat.tensors[name].copy_(tensor)
        self.shared = flat.shared.clone()
        outbox = folder / "outbox.safetensors"
        self.outbox = load_file(outbox) if outbox.is_file() else {}
        self.about = known(worker.context.federation)
        self.everyone = list(range(len(worker.context.federation.clients)))
        self.content, self.key = worker.context.scenario.to_dict(), worker.context.scenario.hash

    def train(self, rounds: int) -> States:
        """What the newcomers keep after so many rounds, in each of which they receive the same generic model."""
        states: States = {}
        for number in range(1, rounds + 1):
            states |= self._send(Work(blocks={0: self.everyone}), states, number).states
        return states

    def test(self, name: str, strategy: Strategy, states: States) -> dict[str, float]:
        """Metrics of every variant of the newcomers' personal models under a strategy.

        Args:
            name: of the way to join.
            strategy: that predicts.
            states: what the newcomers have kept.
        """
        trained, self.worker.context.strategy = self.worker.context.strategy, strategy
        report = self._send(Work(personal=self.everyone), states, 0)
        self.worker.context.strategy = trained
        parts = self.worker.context.parts
        headline = next(iter(parts.statistics))
        statistics = merged([report.statistics], parts.statistics, parts.task)
        values = figures({key: one for key, one in statistics.items() if key[0] == headline}, self.about)
        return {f"{name}{figure.removeprefix('personal')}": value for figure, value in values.items()}

    def _send(self, work: Work, states: States, number: int) -> Report:
        """Let the worker do a piece of work for the newcomers.

        Args:
            work: what is asked for.
            states: of the newcomers.
            number: of the exchange, from 0.

        Raises:
            FedLTError: where the code of one fails.
        """
        round = self.worker.context.scenario.federation.rounds + 1 + number
        report = self.worker.run(Job(self.content, self.key, round, [work], self.shared, self.outbox, states))
        if report.failures:
            raise FedLTError(f"newcomer {report.failures[0].client} failed\n{report.failures[0].traceback}")
        return report


def _usual_loss(client: Client, batch: Batch) -> Tensor:
    return client.task.target.loss(client.model(batch.x), batch.y)
