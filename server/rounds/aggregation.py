"""The server's half of a strategy, called: what it must leave behind is looked at, and told where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from fedlt.config.hook_results import expect_tensors, given, name_of
from fedlt.config.own_lines import before_work
from fedlt.errors import FedLTError, HookError
from fedlt.learner import overrides
from fedlt.nn.flat import is_finite
from fedlt.strategy import Server, Strategy, Update
from server.rounds.failures import at_server
from server.rounds.progress import Progress


def set_up(strategy: Strategy, server: Server) -> None:
    """The strategy's `setup`.

    Raises:
        ScenarioError: where that fails, since nothing has been done yet.
    """
    with before_work("strategy", name_of((strategy, "setup"))):
        strategy.setup(server)
        expect_boxes(server)


def strategy_remarks(strategy: Strategy, cohort: int) -> list[str]:
    """The strategy's `remarks` for so many sampled clients.

    Raises:
        ScenarioError: for what is no list of lines.
    """
    name = name_of((strategy, "remarks"))
    with before_work("strategy", name):
        remarks: object = strategy.remarks(cohort)
        lines = list(remarks) if isinstance(remarks, Iterable) and not isinstance(remarks, str) else [None]
        if not all(isinstance(line, str) for line in lines):
            raise HookError(f"{name} gave {given(remarks)}; return a list of lines, or []")
    return [str(line) for line in lines]


class Aggregation:
    """The strategy's step of each round.

    One is, the run's first.

    Attributes:
        looked: whether a step has been looked at for having given a model at all.
    """

    def __init__(self, strategy: Strategy, progress: Progress) -> None:
        self.strategy, self.progress = strategy, progress
        self.looked = not overrides(strategy, Strategy.aggregate) or strategy.scope == "personal"

    def step(self, round: int, updates: Sequence[Update]) -> None:
        """Turn the round's updates, at least one, into the next generic model.

        Raises `CodeError`, with hook and line, where the strategy's code fails or leaves no model.
        """
        server = self.progress.server
        first = not self.looked and not self.progress.round and bool(len(server.weights))
        before = (server.flat.edits(), server.weights._version, server.weights.clone()) if first else None

        with at_server(round):
            aggregate: Callable[..., object] = self.strategy.aggregate  # whatever a user's own may return
            returned = aggregate(server, updates)
            expect_boxes(server)
            if before is not None:
                self._expect_assigned(returned, *before)
            self.progress.separate()
        self.looked = True
        self._expect_finite(round)

    def _expect_assigned(self, returned: object, edits: int, version: int, weights: Tensor) -> None:
        """The first step has assigned the weights, or edited them in place.

        One that means to leave them as they are has to say so. Later steps are not looked at: they may well.

        Args:
            returned: what the hook returned.
            edits, version: counters of the weights before the step.
            weights: [S] those before the step.
        """
        server, name = self.progress.server, name_of((self.strategy, "aggregate"))
        touched = server.flat.edits() != edits or server.weights._version != version
        if touched or not weights.equal(server.weights):
            return

        if returned is not None:
            remedy = "write server.weights = ... in place of return"
            raise HookError(f"{name} gave {given(returned)} and left the model as it was; {remedy}")
        remedy = "assign the next one, as in server.weights = combine(updates).mean"
        raise HookError(f"{name} left the model as it was; {remedy} (server.weights = server.weights if it is to stay)")

    def _expect_finite(self, round: int) -> None:
        """Raise `FedLTError` where the model is no longer finite; the updates were, or they would not be here."""
        weights = self.progress.server.weights
        if is_finite(weights):
            return
        if overrides(self.strategy, Strategy.aggregate):
            name, count = name_of((self.strategy, "aggregate")), int((~weights.isfinite()).sum())
            what = f"{name} gave {count} of {len(weights)} weights that are not finite, of updates that are"
            raise FedLTError(f"the server failed in round {round}: {what}; look for a division by 0, or a large step")
        raise FedLTError(f"the generic model is not finite after round {round}; a smaller local.lr may help")


def expect_boxes(server: Server) -> None:
    """Raise `HookError` where the server holds anything but tensors by name."""
    expect_tensors(server.state, "server.state")
    expect_tensors(server.outbox, "server.outbox")
    for client, letter in server.letters.items():
        if not isinstance(client, int) or not isinstance(letter, dict):
            remedy = "write server.letters[3] = {'name': tensor}"
            raise HookError(f"server.letters[{client!r}] is {given(letter)}; {remedy}")
        expect_tensors(letter, f"server.letters[{client}]")
