"""The round loop. Each exchange trains round t and evaluates the models that round t-1 left, in one message."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from fedlt.data.provenance import in_short
from fedlt.errors import FedLTError
from fedlt.exchange import UNION, Job, Report
from fedlt.learner import overrides
from fedlt.links.chain import Fates
from fedlt.measures.evaluation import Evaluation
from fedlt.process import seeding
from fedlt.strategy import Server, Strategy
from fedlt.training.assembly import Assembly
from server.grids.local import LocalGrid
from server.grids.nodes import wait_for_nodes
from server.records import pack_common, pack_job, pack_states, unpack_report, with_room
from server.rounds import schedule
from server.rounds.aggregation import Aggregation, set_up
from server.rounds.choosing import Choosing
from server.rounds.closing import close
from server.rounds.failures import Failures, at_server
from server.rounds.gather import evaluated_clients, gather
from server.rounds.own_data import give_own_data
from server.rounds.progress import Progress
from server.rounds.row import round_row, with_columns
from server.rounds.schedule import Unit, cut, deal, evaluation_units, in_order, train_units, validation_units
from server.rounds.timing import Timing
from server.state.states import StateStore

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.strategy import Update


class Rounds:
    """Runs the rounds of a scenario over a grid.

    Args:
        grid: carries messages to the workers.
        scenario, federation, parts: what runs: its keys, its data, its code.
        states: what clients keep between rounds.
        on_round: hears of each round, as a row of the table of rounds.
        on_evaluation: hears of each evaluation.
        log: takes lines about clients that are skipped.

    Attributes:
        progress: what a checkpoint holds: the server, the clients' states, the last round that is over.
        on_reply: hears of every answer of a worker; set by the app, which makes this object first.
        stopped: says whether a callback has asked for the run's end; set by the app as well.
        evaluated: the clients whose personal models are tested.
        nodes: ids of the grid's nodes, one for each worker.
    """

    def __init__(
        self,
        grid: Grid,
        scenario: Scenario,
        federation: Federation,
        parts: Assembly,
        states: StateStore,
        on_round: Callable[[dict[str, Any]], None],
        on_evaluation: Callable[[Evaluation], None],
        log: Callable[[str], None],
    ) -> None:
        self.grid, self.scenario, self.federation, self.parts = grid, scenario, federation, parts
        self.on_round, self.on_evaluation = on_round, on_evaluation
        self.on_reply: Callable[[], object] = bool  # bool() does nothing
        self.stopped: Callable[[], bool] = bool  # bool() is False

        self.failures = Failures(scenario.federation.on_error, log)
        self.sizes = federation.clients.sizes
        self.test_sizes = federation.tests.sizes

        # What every job says of the run: its scenario, the scenario's hash, and a digest of its files.
        self.content, self.key, self.inputs = scenario.to_dict(), scenario.hash, in_short(federation.made_of)

        # The server as the strategy prepares it for the first round.
        server = Server(parts.model, parts.flat, parts.task, num_clients=len(self.sizes), learner=parts.learner)
        server.num_samples = int(self.sizes.sum())
        give_own_data(server, scenario, federation, parts)
        server.rng = seeding.generator(scenario.seed, "server", 0)
        set_up(parts.strategy, server)

        self.progress = Progress(server, states, links=parts.chain.begin())
        self.choosing = Choosing(scenario, federation, parts)
        self.timing = Timing(parts.timed, self.choosing, parts.chain.setting.cohort)  # how many clients are sampled
        self.aggregation = Aggregation(parts.strategy, self.progress)
        self.evaluated = evaluated_clients(scenario, parts, len(self.sizes))
        self.nodes = wait_for_nodes(grid)

        self._pace: float | None = None  # a worker's seconds for a sample's forward pass, in the last exchange
        self._adapting = 0.0  # cost of what `adapt` does, for each training sample of a client
        self._weights = with_room(len(server.weights)) if isinstance(grid, LocalGrid) and grid.moves else None

    def run(self) -> Progress:
        """All rounds after that of the progress, then the evaluation of the last one's models.

        A callback that asks for the end after a round makes it the last one; its models are still tested. One that asks
        after an evaluation ends the run with the models that were tested.
        """
        total, every = self.scenario.federation.rounds, self.scenario.evaluation.every
        for round in range(self.progress.round + 1, total + 1):
            if self.stopped():
                break
            due = round > 1 and (round - 1) % every == 0
            if self._exchange(round, train=True, evaluate=due):
                return self.progress

        # Strategies with `conclude` ask all clients once more: a full run in its last `_step`, a shorter one here.
        if 0 < self.progress.round < total:
            close(self, self.progress.round)
        self.evaluate()
        return self.progress

    def evaluate(self) -> None:
        """Test the models that the progress holds."""
        self._exchange(self.progress.round + 1, train=False, evaluate=True)

    def cohort(self, round: int) -> list[int]:
        """The clients that are sampled in a round, ascending; `server.cohort` are those of them that take part."""
        return self.choosing.cohort(round, self._ask)

    def expected_units(self, round: int) -> list[Unit]:
        """What a round is cut into, as far as it is known before it runs, for `server/estimate.py`.

        A selection that goes by the clients' losses is told that all of them are the same.
        """
        cohort = self.choosing.cohort(round, lambda units: dict.fromkeys(self.choosing.asked, 0.0))
        return self.choosing.units(self.choosing.asked) + self.train_units(self._fates(round, cohort))

    def _fates(self, round: int, sampled: Sequence[int]) -> Fates:
        """What becomes of the sampled clients: who trains, and whose updates must reach the server one by one.

        Updates are otherwise added up at the workers. Attacks, robust aggregation and stragglers need each by itself.
        """
        return self.timing.apart(self.parts.chain.fates(round, sampled))

    def _ask(self, units: list[Unit]) -> dict[int, float]:
        """The losses of the generic model that the units' clients tell, by client."""
        server = self.progress.server
        boxes = server.outbox, self.parts.chain.outbox(self.progress.links)
        self.choosing.received = server.weights.nbytes + sum(value.nbytes for box in boxes for value in box.values())
        reports = self.send(units)
        self.failures.settle(server.round, reports)
        return dict(sorted(told for report in reports for told in report.losses.items()))

    def rehearse(self, round: int, units: list[Unit]) -> float:
        """Seconds that the units take, for `server/estimate.py`: their results are thrown away.

        Raises:
            ClientError: where a client fails.
        """
        server = self.progress.server
        server.round, server.cohort = round, tuple(client for unit in units for client in unit.clients)
        started = time.perf_counter()
        reports = self.send(units)
        seconds = time.perf_counter() - started
        self.failures.settle(round, reports)
        return seconds

    def _exchange(self, round: int, train: bool, evaluate: bool) -> bool:
        """Train a round and evaluate the models before it, in one message to each worker.

        Returns:
            Whether the run ends with the evaluation, without what was trained.
        """
        started = time.perf_counter()
        server = self.progress.server

        # 1. Who trains: the sampled clients (`sampled`) without those that drop out (`server.cohort`).
        server.round = round
        sampled = self.cohort(round) if train else []
        fate = self._fates(round, sampled)
        server.cohort = fate.asked
        server.rng = seeding.generator(self.scenario.seed, "server", round)

        # 2. The work, in units that any worker may take. A worker tests before it trains, whatever their order here.
        units = self.train_units(fate) if train else []
        if evaluate:
            units += self.evaluation_units()

        # 3. There and back. A client that failed ends the run in `settle`, or is skipped there.
        sent = time.perf_counter()
        reports = self.send(units)
        seconds = time.perf_counter() - sent
        self._learn_costs(units, reports, seconds, adapting=train and evaluate)
        self.failures.settle(round, reports)

        # A finished run can be lengthened, unless something read the number of rounds, here or at a worker.
        if self.parts.task.horizon.asked or any(report.metrics.get("asked_rounds") for report in reports):
            self.progress.open_ended = False

        # 4. The figures are those of the round before: its models were tested before they were trained further.
        if evaluate:
            tested = [client for client in self.evaluated if self.test_sizes[client]]
            self.on_evaluation(gather(round - 1, reports, self.parts, tested))
            if self.stopped():
                return True  # what was trained for this round is discarded

        # 5. The next models.
        if train:
            self._step(round, sampled, fate, reports, started, seconds)
        return False

    def _learn_costs(self, units: list[Unit], reports: list[Report], seconds: float, adapting: bool) -> None:
        """Note how quick workers are, and what `adapt` costs, for the units of the next exchange.

        Args:
            seconds: that the exchange took.
            adapting: whether it trained and tested, so that the two can be compared.
        """
        if cost := sum(unit.cost for unit in units):
            self._pace = seconds * len(self.nodes) / cost
        if adapting:
            self._adapting = schedule.cost_of_adapting(units, self.sizes, [report.metrics for report in reports])

    def _step(
        self, round: int, sampled: list[int], fate: Fates, reports: list[Report], started: float, seconds: float
    ) -> None:
        """Make the next models of a round's updates, and tell of the round.

        Args:
            sampled: the clients of the round, whether they took part or not.
            started: when the round began, by `time.perf_counter`.
            seconds: that the exchange took.
        """
        # 1. The updates that came in time, as the links let them through. Stragglers have trained, but came too late.
        updates = self.take(reports)
        trained = [client for update in updates for client in update.clients]
        updates, timed = self.timing.close(reports, sampled, updates)
        with at_server(round):
            arrival = self.parts.chain.receive(self.progress.server, sampled, updates, self.progress.links)

        # 2. The strategy's step. Without any update the models stay.
        aggregating = time.perf_counter()
        if arrival.updates:
            self.aggregation.step(round, arrival.updates)
        aggregated = time.perf_counter()

        # 3. The exchange after the last round, which counts as a part of it.
        cost_of_closing = close(self, round) if round == self.scenario.federation.rounds else {}
        cost_of_choosing = self.choosing.columns(round, fate.asked)
        self.progress.round = round

        # 4. The row of the table of rounds.
        sites = 1 if self.parts.strategy.scope == "centralized" else len(fate.asked)
        measured = {
            "ended": time.time(),
            "seconds": time.perf_counter() - started,
            "exchange_seconds": seconds,
            "aggregate_seconds": aggregated - aggregating,
            "skipped": sites - len(trained),
        }
        row = round_row(round, reports, arrival.updates, len(self.nodes), measured) | timed
        self.on_round(with_columns(row, arrival.columns, (cost_of_choosing, cost_of_closing)))

    def train_units(self, fate: Fates) -> list[Unit]:
        """One for each block of those whose updates may be added up, then one for each whose may not."""
        block, local = self.scenario.federation.block, self.scenario.local
        sizes, epochs = self.sizes, local.epochs
        if local.steps is not None:  # the cost of one epoch of as many samples, equally many for all clients
            sizes, epochs = np.full_like(sizes, local.steps * local.batch_size), 1

        units = train_units(fate.together, sizes, block, epochs)
        if self.parts.strategy.scope != "centralized":
            return units + train_units(fate.apart, sizes, 1, epochs, first=len(units))

        # The one site that holds the data of the whole cohort does as much work as the cohort would.
        whole = units[0]
        whole.cost = sum(unit.cost for unit in units)
        whole.work.blocks, whole.clients = {0: [UNION]}, [UNION]
        whole.work.samples = int(sizes[list(fate.together)].sum())
        return [whole]

    def evaluation_units(self) -> list[Unit]:
        """What an evaluation is cut into."""
        strategy, flat = self.parts.strategy, self.parts.flat
        one_backbone = not flat.private_backbone and not overrides(strategy, Strategy.adapt)
        generic = strategy.scope != "personal"
        rows, chunk = len(self.federation.test_targets), self.scenario.evaluation.batch_size
        costs = self.test_sizes + self._adapting * self.sizes
        units = evaluation_units(rows, chunk, generic, self.evaluated, costs, one_backbone)

        validation = self.federation.validation
        if validation is not None:
            rows = len(validation.rows)
            units += validation_units(rows, validation.size, chunk, generic, self.evaluated, one_backbone)
        return units

    def send(self, units: list[Unit]) -> list[Report]:
        """The workers' answers to all units, in the order in which they came."""
        # 1. A bundle of units for each worker, or several small ones where a worker asks for the next.
        bundles = deal(units, len(self.nodes))
        if isinstance(self.grid, LocalGrid) and self.grid.eager:
            bundles = [piece for bundle in bundles for piece in cut(bundle, self._pace)]

        # 2. Messages. What all workers receive is packed once, and so are the states of the same clients.
        common = self._pack_common()
        packed: dict[tuple[int, ...], ArrayRecord] = {}
        messages = [self._message(number, bundle, common, packed) for number, bundle in enumerate(bundles)]

        # 3. Answers.
        reports = []
        for reply in self.grid.send_and_receive(messages):
            if reply.has_error():
                raise FedLTError(f"a worker failed: {reply.error.reason}")
            reports.append(unpack_report(reply.content))
            self.on_reply()

        if len(reports) != len(messages):
            raise FedLTError(f"{len(messages) - len(reports)} of {len(messages)} workers gave no answer")
        return reports

    def _message(
        self, number: int, bundle: list[Unit], common: ArrayRecord, packed: dict[tuple[int, ...], ArrayRecord]
    ) -> Message:
        """A bundle's message, of the type "train" also where it only tests: one handler does all work.

        Args:
            number: of the bundle, which decides the node.
            common: what every worker receives.
            packed: a cache over the messages of an exchange, added to here: by tuple of clients, the states that they
                keep and the tensors that the server has for them alone (`server.letters`).
        """
        server, states = self.progress.server, self.progress.states
        bundle = in_order(bundle)

        # What its clients have kept, and what the server has written to them alone.
        named = {client for unit in bundle for client in unit.clients}
        clients = tuple(sorted(client for client in named if client in states or client in server.letters))
        if clients not in packed:
            letters = {client: server.letters[client] for client in clients if client in server.letters}
            packed[clients] = pack_states(states.read([client for client in clients if client in states]), letters)

        job = Job(self.content, self.key, server.round, [unit.work for unit in bundle], server.weights)
        job.inputs = self.inputs
        job.cost = sum(unit.cost for unit in bundle)
        content = pack_job(job, common, packed[clients])
        return Message(content, self.nodes[number % len(self.nodes)], "train", group_id=str(server.round))

    def _pack_common(self) -> ArrayRecord:
        """What every worker receives: the generic model's weights, and what the server has for all.

        Where the grid copies what it sends, all messages share one buffer of weights.
        """
        server = self.progress.server
        outbox = server.outbox | self.parts.chain.outbox(self.progress.links)
        if self._weights is None:
            return pack_common(server.weights, outbox)
        return pack_common(self._weights.copy_(server.weights), outbox, in_place=True)

    def take(self, reports: Sequence[Report]) -> list[Update]:
        """The round's updates in the order of their blocks, whoever computed them and whenever they came.

        Keeps the states that clients sent, also of those whose updates turn out to be late.
        """
        for report in reports:
            self.progress.states.update(report.states)

        blocks = {number: updates for report in reports for number, updates in report.updates.items()}
        updates = [update for number in sorted(blocks) for update in blocks[number]]
        device = self.progress.server.weights.device
        for update in updates:
            update.total = update.total.to(device)
            update.sums = {name: value.to(device) for name, value in update.sums.items()}
            update.values = {name: value.to(device) for name, value in update.values.items()}
        return updates
