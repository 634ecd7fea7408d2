"""What a worker holds of its scenario, and what it has of the job under way: shared by its two halves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.vectors import Vectors
from fedlt.config.scenario import Scenario
from fedlt.data.federation import Federation
from fedlt.data.generated import generated_texts, with_texts
from fedlt.data.inputs import Inputs
from fedlt.data.inputs.on_disk import opened
from fedlt.data.site import Rows
from fedlt.exchange import UNION, Job, Report
from fedlt.learner import overrides
from fedlt.links import chain as links
from fedlt.process import seeding
from fedlt.strategy import Client, Strategy
from fedlt.training.assembly import Assembly, assemble, pick_device
from fedlt.training.trainer import Trainer


@dataclass
class Exchange:
    """A job that is being answered.

    Attributes:
        job: as it came.
        shared: [S] the generic model's vector, on the worker's device.
        outbox: what the server sends with it, there too.
        for_links: of this, what links send to their client halves.
        report: the answer so far.
    """

    job: Job
    shared: Tensor
    outbox: dict[str, Tensor]
    for_links: dict[str, Tensor]
    report: Report = field(default_factory=Report)

    def received(self, client: int) -> dict[str, Tensor]:
        """What the strategy's server sends to a client beside the model: to all, and to it alone."""
        letter = self.job.letters.get(client)
        if letter is None:
            return self.outbox
        return self.outbox | {name: value.to(self.shared.device) for name, value in letter.items()}

    @classmethod
    def on(cls, device: torch.device, job: Job) -> Exchange:
        """The exchange that a job opens, its tensors moved to the device."""
        outbox, for_links = links.split({name: value.to(device) for name, value in job.outbox.items()})
        return cls(job, job.shared.to(device), outbox, for_links)


class Context:
    """One scenario in one process: its data, one model that is reset in place, and whatever else is built only once.

    Args:
        scenario: whose clients are hosted.
        federation: its data set, dealt to the clients.

    Attributes:
        parts: strategy, learner, model and layout.
        vectors: memory for updates.
        initial_private: what a client's private parameters are before its first round.
        initial_frozen: the parameters that are equal everywhere, and never trained.
    """

    def __init__(self, scenario: Scenario, federation: Federation) -> None:
        self.scenario, self.federation = scenario, federation
        self.device = pick_device(scenario.resources.device)
        self.parts: Assembly = assemble(scenario, federation, self.device)
        self.flat, self.model, self.strategy = self.parts.flat, self.parts.model, self.parts.strategy
        self.trainer = Trainer(self.flat, scenario.local, self.device, scenario.resources.precision)
        self.vectors = Vectors(len(self.flat.shared), self.device)
        self.initial_private, self.initial_frozen = self.flat.private.clone(), self.flat.frozen.clone()

        self.train_inputs: Inputs = opened(self.parts.task.inputs, federation.x_train, self.device)
        self.train_targets = federation.train_targets.take(device=self.device)
        unknown = torch.tensor(self.parts.task.target.unknown, device=self.device)
        self._no_targets = unknown.expand(self.train_targets.shape)
        self._texts: dict[int, tuple[Tensor, Tensor]] = {}  # generated token ids and their labels, by client

    @property
    def fails_fast(self) -> bool:
        """Whether the first failing client ends the job (`federation.on_error=fail`)."""
        return self.scenario.federation.on_error == "fail"

    def limit(self, clients: list[int]) -> float | None:
        """Seconds that the work of so many clients may take; None: any."""
        limit = self.scenario.federation.timeout
        return None if limit is None else limit * len(clients)

    def recover(self) -> None:
        """Put the model in order after a client that was interrupted; the rest is loaded for each client anyway."""
        self.model.eval()
        self.flat.recover(self.initial_frozen)

    def client(self, number: int, exchange: Exchange, purpose: str) -> Client:
        """The client with its data and its state, its private parameters in the model.

        Args:
            number: its id; `UNION` is the one site that holds all data.
            exchange: what it has received.
            purpose: "train", "conclude", "evaluate" or "select"; each draws from a generator of its own. Who is only
                asked for a selection brings its data alone.
        """
        union = number == UNION
        rows = self.federation.union() if union else self.federation.clients[number]
        others = np.sort(self.federation.unlabelled.values) if union else self.federation.unlabelled[number]
        counts = self.federation.seen_counts() if union else self.federation.counts(number)

        data, class_counts = Rows(self.train_inputs, self.train_targets, self._moved(rows)), self._moved(counts)
        if purpose == "train" and self.parts.generator is not None:
            data, class_counts = self._with_texts(number, data, class_counts)

        # Generators follow the round and the client alone, so it does not matter where it is computed.
        job = exchange.job
        path = (job.round, number + 1)
        state = job.states.get(number)
        self.flat.load_private(self.initial_private if state is None else state.get("private", self.initial_private))
        total = self.scenario.federation.rounds
        client = Client(
            model=self.model,
            flat=self.flat,
            task=self.parts.task,
            learner=self.parts.learner,
            data=data,
            class_counts=class_counts,
            rng=seeding.generator(self.scenario.seed, purpose, *path),
            trainer=self.trainer,
            epoch_size=len(rows),
            progress=(job.round - 1) / total,
            span=1 / total if purpose == "train" else 0.0,
            continuous=union,
            groups=self.federation.train_targets.groups,
            unlabelled=Rows(self.train_inputs, self._no_targets, self._moved(others)),
            id=number,
            start=exchange.shared[: self.flat.num_trainable],
            received=exchange.received(number),
        )

        if purpose in ("train", "select"):
            self.parts.chain.prepare(client)
        if purpose == "select":  # it predicts by the generic model
            return client

        # What it has kept, or what a new client begins with.
        if state is None:
            if overrides(self.strategy, Strategy.begin):
                seeding.torch_generators(self.device, self.scenario.seed, "begin", number + 1)
                self.strategy.begin(client)
        else:
            prefix = "state/"
            kept = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
            client.state = {name: value.to(self.device, non_blocking=True, copy=True) for name, value in kept.items()}

        # For dropout and for strategies that draw from PyTorch's global generator: seeded per client, never shared.
        seeding.torch_generators(self.device, self.scenario.seed, purpose, *path)
        return client

    def _with_texts(self, number: int, data: Rows, class_counts: Tensor) -> tuple[Rows, Tensor]:
        """The client's data and class counts with the texts that are generated for it: in every round the same ones.

        Args:
            number: the client's id.
            data: its rows.
            class_counts: [C] of them.
        """
        if number not in self._texts:
            seeding.torch_generators(self.device, self.scenario.seed, "generated", number + 1)
            rng = seeding.generator(self.scenario.seed, "generated", number + 1)
            assert self.parts.generator is not None
            self._texts[number] = generated_texts(data, self.parts.generator, self.parts.task.inputs, rng)
        return with_texts(data, class_counts, *self._texts[number])

    def _moved(self, array: NDArray[Any]) -> Tensor:
        """The array on the worker's device. A GPU is not waited for: the call has read the array when it returns."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)
