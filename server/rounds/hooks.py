"""Calls the callbacks of a run in their order, and says which of them failed where."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedlt.callback import Callback, RunState, Stop
from fedlt.config.own_lines import told
from fedlt.errors import CodeError, FedLTError, Interrupted

if TYPE_CHECKING:
    from fedlt.measures.evaluation import Evaluation


class Hooks:
    """The callbacks of one run.

    first: those that come before the user's own: they measure, write and tell.

    Attributes:
        own: the user's, whose state is kept.
        last: those that come after: a checkpoint holds what all others have become.
    """

    def __init__(self, run: RunState, own: Sequence[Callback]) -> None:
        self.run, self.own, self.names = run, own, _names(own)
        self.first: Sequence[Callback] = ()
        self.last: Sequence[Callback] = ()
        self._begun = False

    def start(self, round: int) -> None:
        """The run begins, or goes on after a round."""
        self.run.round, self._begun = round, True
        self._call("on_start")

    def round(self, row: Mapping[str, Any]) -> None:
        """A round is over."""
        self.run.row, self.run.round = row, row["round"]
        self._call("on_round")

    def evaluation(self, evaluation: Evaluation) -> None:
        """The models of a round were tested."""
        self.run.evaluation, self.run.round = evaluation, evaluation.round
        self._call("on_evaluation")
        self.run.evaluation = None  # as large as there are clients

    def stopped(self) -> bool:
        """Whether one of them has asked for the end."""
        return self.run.stopped is not None

    def early_stop(self) -> dict[str, Any] | None:
        """Which of the user's callbacks ended the run before its last round, and why; None where none did."""
        stopped = self.run.stopped
        if stopped is None or not stopped.by or stopped.round == self.run.total_rounds:
            return None
        return asdict(stopped)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Tell the user's callbacks how the block ended: all of them, also where one raises.

        An error of the block goes before theirs.
        """
        try:
            yield
        except BaseException as error:
            self.run.status = "interrupted" if isinstance(error, Interrupted) else "failed"
            self.run.error = str(error) or type(error).__name__
            self._end()
            raise

        self.run.status = "finished"
        if failures := self._end():
            raise failures[0]

    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the user's callbacks; empty where there are none.

        Raises:
            FedLTError: for a state that JSON cannot hold.
        """
        if not self.own:
            return {}

        stopped = self.run.stopped
        states = {}
        for name, callback in zip(self.names, self.own, strict=True):
            try:
                states[name] = json.loads(json.dumps(callback.state))
            except (TypeError, ValueError) as error:
                message = f"the state of callback {name} cannot be kept: {error}; put numbers, texts and lists there"
                raise FedLTError(message) from error

        return {"states": states, "stopped": None if stopped is None else asdict(stopped)}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Give the callbacks what `kept` held, and nothing to those that were not among them."""
        states = kept.get("states", {})
        for name, callback in zip(self.names, self.own, strict=True):
            vars(callback)["state"] = dict(states.get(name, {}))  # so that a frozen dataclass takes it, too

        stopped = kept.get("stopped")
        if stopped is not None and stopped["by"] in self.names:
            self.run.stopped = Stop(**stopped)

    def _call(self, hook: str) -> None:
        """Call a hook of every callback. What a user's own raises names callback, hook and round."""
        for callback in self.first:
            self._ask(callback, "", hook)

        for name, callback in zip(self.names, self.own, strict=True):
            try:
                self._ask(callback, name, hook)
            except Exception as error:
                raise _failure(name, hook, self.run, error) from error

        for callback in self.last:
            self._ask(callback, "", hook)

    def _ask(self, callback: Callback, name: str, hook: str) -> None:
        """Call one hook, during which `run.stop` knows who asks.

        Args:
            callback: whose hook is called.
            name: of it; empty for one of the run's own.
            hook: `on_start` and so on.
        """
        self.run.calling = name, hook
        getattr(callback, hook)(self.run)
        self.run.calling = "", ""

    def _end(self) -> list[FedLTError]:
        """Call every `on_end`, if there was a start; what the user's raised."""
        failures: list[FedLTError] = []
        if not self._begun:
            return failures
        for name, callback in zip(self.names, self.own, strict=True):
            try:
                self._ask(callback, name, "on_end")
            except Exception as error:
                failure = _failure(name, "on_end", self.run, error)
                failure.__cause__ = error
                failures.append(failure)
        return failures


def _names(callbacks: Sequence[Callback]) -> list[str]:
    """The classes of the callbacks; of several of one class, the later ones with a number: `Plateau 2`."""
    classes = [type(callback).__name__ for callback in callbacks]
    numbers = [classes[:place].count(name) + 1 for place, name in enumerate(classes)]
    return [name if number == 1 else f"{name} {number}" for name, number in zip(classes, numbers, strict=True)]


def _failure(name: str, hook: str, run: RunState, error: Exception) -> CodeError:
    """The error that ends a run where a callback's hook has raised, with the line of the callback's own file.

    Args:
        name: of the callback.
        hook: that has raised.
        run: as the hook saw it.
        error: what was raised.
    """
    when = f"of round {run.round}" if run.round else "before the first round"
    text = "".join(traceback.format_exception(error))
    return CodeError(f"callback {name} failed in {hook} {when}: {told(error)}", text)
