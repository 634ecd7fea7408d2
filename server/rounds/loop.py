"""The loop over a run's rounds.

An exchange is a set of messages to the workers, with their answers. It trains round t and, in the same messages, tests
the models that round t-1 left; after the last round, one more exchange tests only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import Grid

from fedlt.data.provenance import in_short
from fedlt.errors import FedLTError
from fedlt.exchange import UNION, Job, Report, Work
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
from server.rounds.schedule import Unit
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
        scenario: the settings of the run.
        federation: its data, dealt to the clients.
        parts: what is built from both: strategy, learner, model, and the links that updates pass (`fedlt.links`).
        states: what clients keep between rounds.
        on_round: called after each round, with its row of the table of rounds.
        on_evaluation: called after each evaluation.
        log: called with lines about clients that are skipped.

    Attributes:
        progress: what a checkpoint holds: the server, what clients and links keep, the last round that is over.
        on_reply: called after every answer of a worker; `server/app.py` assigns it after it has made this object.
        stopped: tells whether a callback has asked for the end of the run; assigned there, too.
        sizes, test_sizes: [K] training and test samples of all clients.
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
        self.on_reply: Callable[[], object] = bool  # until the app assigns both: bool() does nothing and is False
        self.stopped: Callable[[], bool] = bool

        self.failures = Failures(scenario.federation.on_error, log)
        self.sizes = federation.clients.sizes
        self.test_sizes = federation.tests.sizes

        # Sent in every job: the scenario, its hash, and a digest of the files that the run reads.
        self.content, self.key, self.inputs = scenario.to_dict(), scenario.hash, in_short(federation.made_of)

        # The server before the first round. Data and generator come first: the strategy's `setup` may use them.
        server = Server(parts.model, parts.flat, parts.task, num_clients=len(self.sizes), learner=parts.learner)
        server.num_samples = int(self.sizes.sum())
        give_own_data(server, scenario, federation, parts)
        server.rng = seeding.generator(scenario.seed, "server", 0)
        set_up(parts.strategy, server)

        self.progress = Progress(server, states, links=parts.chain.begin())
        self.choosing = Choosing(scenario, federation, parts)
        self.timing = Timing(parts.timed, self.choosing, wanted=parts.chain.setting.cohort)
        self.aggregation = Aggregation(parts.strategy, self.progress)
        self.evaluated = evaluated_clients(scenario, parts, len(self.sizes))
        self.nodes = wait_for_nodes(grid)

        self._pace: float | None = None  # a worker's seconds for one forward pass of a sample, in the last exchange
        self._adapt_cost = 0.0  # forward passes that `Strategy.adapt` is worth, for each training sample of a client
        self._send_buffer = with_room(len(server.weights)) if isinstance(grid, LocalGrid) and grid.moves else None

    def run(self) -> Progress:
        """Run the rounds that are left, then test the models of the last one.

        A callback that asks for the end after a round makes that round the last one; its models are still tested. One
        that asks after an evaluation ends the run with the models that were tested.
        """
        total, every = self.scenario.federation.rounds, self.scenario.evaluation.every
        for round in range(self.progress.round + 1, total + 1):
            if self.stopped():
                break
            evaluate = round > 1 and (round - 1) % every == 0  # the models of the round before
            if self._exchange(round, train=True, evaluate=evaluate):
                return self.progress

        # `conclude` asks all clients once more. A full run has done so in its last `_step`; a shorter one does it here.
        if 0 < self.progress.round < total:
            close(self, self.progress.round)
        self.evaluate()
        return self.progress

    def evaluate(self) -> None:
        """Test the models that the progress holds."""
        self._exchange(self.progress.round + 1, train=False, evaluate=True)

    def cohort(self, round: int) -> list[int]:
        """The clients that are sampled in a round, ascending. Some may drop out: `server.cohort` is without those."""
        return self.choosing.cohort(round, self._ask)

    def expected_units(self, round: int) -> list[Unit]:
        """What a round is cut into, for `server/estimate.py`: units that ask clients for a loss, then those that train.

        Nobody is asked here: a selection that goes by losses is told that all of them are 0.
        """
        cohort = self.choosing.cohort(round, lambda units: dict.fromkeys(self.choosing.asked, 0.0))
        return self.choosing.units(self.choosing.asked) + self.train_units(self._fates(round, cohort))

    def _fates(self, round: int, sampled: Sequence[int]) -> Fates:
        """What becomes of the sampled clients: who trains, and whose updates must reach the server one by one.

        The others' updates may be added up at the workers. Single ones are needed where a link holds some of them back
        (`Link.apart`), or a clock may end the round before all are here.
        """
        return self.timing.apart(self.parts.chain.fates(round, sampled))

    def _ask(self, units: list[Unit]) -> dict[int, float]:
        """Let the units' clients test the generic model on their training samples: their mean losses, by client."""
        server = self.progress.server
        boxes = server.outbox, self.parts.chain.outbox(self.progress.links)
        download = server.weights.nbytes + sum(value.nbytes for box in boxes for value in box.values())
        self.choosing.received = download  # for the bytes in the table of rounds, and for the clock

        reports = self.send(units)
        self.failures.settle(server.round, reports)
        return dict(sorted(item for report in reports for item in report.losses.items()))

    def rehearse(self, round: int, units: list[Unit]) -> float:
        """Seconds that the units take, for `server/estimate.py`: their results are thrown away.

        The server's round and cohort are set, since jobs carry the one and strategies may read both.

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
        """Train a round and evaluate the models that it starts from, both in the same messages.

        Returns:
            Whether the run ends with the evaluation, without what was trained.
        """
        started = time.perf_counter()
        server = self.progress.server

        # 1. Who trains: the sampled clients without those that drop out.
        server.round = round
        sampled = self.cohort(round) if train else []
        fates = self._fates(round, sampled)
        server.cohort = fates.asked
        server.rng = seeding.generator(self.scenario.seed, "server", round)

        # 2. The work, in units that any worker may take. A worker tests before it trains, whatever their order here.
        units = self.train_units(fates) if train else []
        if evaluate:
            units += self.evaluation_units()

        # 3. Messages and answers. For a client that failed, `settle` ends the run, or logs that it is skipped.
        sent = time.perf_counter()
        reports = self.send(units)
        seconds = time.perf_counter() - sent
        self._measure_costs(units, reports, seconds, mixed=train and evaluate)
        self.failures.settle(round, reports)

        # A finished run can be lengthened, unless some code read the number of rounds, here or at a worker.
        if self.parts.task.horizon.asked or any(report.metrics.get("asked_rounds") for report in reports):
            self.progress.open_ended = False

        # 4. The evaluation after the round before: its models were tested before they were trained further.
        if evaluate:
            tested = [client for client in self.evaluated if self.test_sizes[client]]
            self.on_evaluation(gather(round - 1, reports, self.parts, tested))
            if self.stopped():
                return True  # what was trained for this round is discarded

        # 5. The next models.
        if train:
            self._step(round, sampled, fates, reports, started, seconds)
        return False

    def _measure_costs(self, units: list[Unit], reports: list[Report], seconds: float, mixed: bool) -> None:
        """Note how fast workers are, and what `adapt` costs, to spread the next exchange evenly over the workers.

        Args:
            units: what the exchange did.
            reports: of the workers.
            seconds: that it took.
            mixed: whether it trained and tested, so that the seconds of `adapt` can be compared with training's.
        """
        if cost := sum(unit.cost for unit in units):
            self._pace = seconds * len(self.nodes) / cost
        if mixed:
            self._adapt_cost = schedule.cost_of_adapting(units, self.sizes, [report.metrics for report in reports])

    def _step(
        self, round: int, sampled: list[int], fates: Fates, reports: list[Report], started: float, seconds: float
    ) -> None:
        """Make the next models of a round's updates, and give the round's row to the callbacks.

        Args:
            round: its number.
            sampled: the clients of the round, whether they took part or not.
            fates: what became of them.
            reports: of the workers.
            started: when the round began, by `time.perf_counter`.
            seconds: that the exchange took.
        """
        # 1. The updates that came in time, as the links let them through. Clients that were too slow have trained all
        # the same, so they do not count as skipped below.
        updates = self.take(reports)
        trained = [client for update in updates for client in update.clients]
        updates, clock_columns = self.timing.close(reports, sampled, updates)
        with at_server(round):
            arrival = self.parts.chain.receive(self.progress.server, sampled, updates, self.progress.links)

        # 2. The strategy's step. Without any update the models stay as they are.
        aggregating = time.perf_counter()
        if arrival.updates:
            self.aggregation.step(round, arrival.updates)
        aggregated = time.perf_counter()

        # 3. What two other exchanges add to the row: the one after the last round, and the one that asked for losses.
        conclude_columns = close(self, round) if round == self.scenario.federation.rounds else {}
        choice_columns = self.choosing.columns(round, fates.asked)
        self.progress.round = round

        # 4. The row of the table of rounds.
        sites = 1 if self.parts.strategy.scope == "centralized" else len(fates.asked)
        measured = {
            "ended": time.time(),
            "seconds": time.perf_counter() - started,
            "exchange_seconds": seconds,
            "aggregate_seconds": aggregated - aggregating,
            "skipped": sites - len(trained),
        }
        row = round_row(round, reports, arrival.updates, len(self.nodes), measured) | clock_columns
        self.on_round(with_columns(row, own=arrival.columns, added=(choice_columns, conclude_columns)))

    def train_units(self, fates: Fates) -> list[Unit]:
        """What a round's training is cut into; in a centralized run, one unit for the one site.

        First come blocks of clients whose updates may be added up, then single clients: those whose updates may not.
        """
        block, local = self.scenario.federation.block, self.scenario.local
        sizes, epochs = self.sizes, local.epochs
        if local.steps is not None:  # the cost of one epoch of as many samples, equally many for all clients
            sizes, epochs = np.full_like(sizes, local.steps * local.batch_size), 1

        units = schedule.train_units(fates.together, sizes, block, epochs)
        if self.parts.strategy.scope != "centralized":
            return units + schedule.train_units(fates.apart, sizes, 1, epochs, first=len(units))

        # One site holds the data of all clients. In a round it passes as many samples as the cohort would.
        samples = int(sizes[list(fates.together)].sum())
        work = Work(blocks={0: [UNION]}, samples=samples)
        return [Unit(work, sum(unit.cost for unit in units), [UNION])]

    def evaluation_units(self) -> list[Unit]:
        """What an evaluation of the generic model, if there is one, and of the personal ones is cut into.

        Where all models have one backbone, each part of a set passes it once for all of them.
        """
        strategy, flat = self.parts.strategy, self.parts.flat
        one_backbone = not flat.private_backbone and not overrides(strategy, Strategy.adapt)
        generic = strategy.scope != "personal"

        rows, chunk = len(self.federation.test_targets), self.scenario.evaluation.batch_size
        costs = self.test_sizes + self._adapt_cost * self.sizes
        units = schedule.evaluation_units(rows, chunk, generic, self.evaluated, costs, one_backbone)

        if (held_out := self.federation.validation) is not None:
            rows, size = len(held_out.rows), held_out.size
            units += schedule.validation_units(rows, size, chunk, generic, self.evaluated, one_backbone)
        return units

    def send(self, units: list[Unit]) -> list[Report]:
        """The workers' answers to all units, in the order in which they came."""
        # 1. A bundle of units for each worker, or several small ones where free workers take the next message.
        bundles = schedule.deal(units, len(self.nodes))
        if isinstance(self.grid, LocalGrid) and self.grid.eager:
            bundles = [piece for bundle in bundles for piece in schedule.cut(bundle, self._pace)]

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
        """A message with a bundle of units. Its type is "train" even if it only tests: one handler does all work.

        Args:
            number: of the bundle, which decides the node.
            bundle: the units.
            common: what every worker receives.
            packed: a cache over the messages of an exchange, added to here: by tuple of clients, the states that they
                keep and the tensors that the server has for them alone (`server.letters`).
        """
        server, states = self.progress.server, self.progress.states
        bundle = schedule.in_order(bundle)

        # What its clients have kept, and what the server has written to them alone.
        in_bundle = {client for unit in bundle for client in unit.clients}
        clients = tuple(sorted(client for client in in_bundle if client in states or client in server.letters))
        if clients not in packed:
            letters = {client: server.letters[client] for client in clients if client in server.letters}
            packed[clients] = pack_states(states.read([client for client in clients if client in states]), letters)

        works, cost = [unit.work for unit in bundle], sum(unit.cost for unit in bundle)
        job = Job(self.content, self.key, server.round, works, server.weights, cost=cost, inputs=self.inputs)
        content = pack_job(job, common, packed[clients])
        return Message(content, self.nodes[number % len(self.nodes)], "train", group_id=str(server.round))

    def _pack_common(self) -> ArrayRecord:
        """What every worker receives: the generic model's weights, and tensors of the strategy and the links for all.

        Where the grid copies what it sends, one buffer holds the weights of every exchange, one after the other.
        """
        server = self.progress.server
        outbox = server.outbox | self.parts.chain.outbox(self.progress.links)
        if self._send_buffer is None:
            return pack_common(server.weights, outbox)
        return pack_common(self._send_buffer.copy_(server.weights), outbox, in_place=True)

    def take(self, reports: Sequence[Report]) -> list[Update]:
        """The round's updates in the order of their blocks, whoever computed them and whenever they came.

        Stores the states that clients sent, even of those whose updates turn out to be late. The updates are moved to
        the device of the server's weights, where they are aggregated.
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
