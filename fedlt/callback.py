"""Contract 3: what may listen to a run, and stop it. Read this file third.

    class Plateau(fedlt.Callback):
        def on_evaluation(self, run):
            few = run.figures["generic/few"]
            better = few > self.state.get("best", -1.0)
            self.state["best"] = few if better else self.state.get("best", -1.0)
            self.state["waited"] = 0 if better else self.state.get("waited", 0) + 1
            if self.state["waited"] == 3:
                run.stop("the tail was no better for 3 evaluations")

    fedlt.run("digits_lt", callbacks=[Plateau()])
    fedlt run digits_lt --track ./mine.py:Plateau

Hooks are called in the process of the server, on every backend, one callback after the other in the order given. A
round and an evaluation are written down before a hook hears of them, and a checkpoint follows the hooks. What a
callback must remember stands in `state`, so that a run that was killed and goes on ends where it would have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.measures.evaluation import Evaluation

HOOKS = ("on_start", "on_round", "on_evaluation", "on_end")
STOPPING = ("on_round", "on_evaluation")
"""Hooks that may ask for the end."""


@dataclass(frozen=True)
class Stop:
    """That a callback has asked for the end.

    Attributes:
        by: its class; "" for what the scenario itself asks for.
        reason: a sentence.
        round: whose models the run keeps.
    """

    by: str
    reason: str
    round: int


@dataclass
class RunState:
    """A run as hooks see it.

    Attributes:
        folder: the run folder.
        scenario, federation: what runs, and who holds what.
        remarks: lines said at the start.
        log: appends a line to the run's `log.txt`.
        round: the round that the hook is about; in `on_start` the last one of an earlier process, or 0.
        row: the last round's row of the table of rounds, by column.
        figures: those of the last evaluation, by name, as fractions; NaN where one is not defined.
        evaluation: the statistics that they follow from.
        status: `running`; in `on_end` `finished`, `failed` or `interrupted`.
        error: why it failed.
        stopped: who asked for an early end, and why.
    """

    folder: Path
    scenario: Scenario
    federation: Federation
    remarks: Sequence[str] = ()
    log: Callable[[str], None] = print
    round: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    status: str = "running"
    error: str = ""
    stopped: Stop | None = None
    calling: tuple[str, str] = ("", "")  # the callback and the hook that run now

    @property
    def total_rounds(self) -> int:
        """Rounds that the scenario asks for."""
        return self.scenario.federation.rounds

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The scenario as flat keys: `federation.partition.alpha`."""
        return dict(_flat(self.scenario.to_dict()))

    def stop(self, reason: str) -> None:
        """Ask for the end of the run, from `on_round` or `on_evaluation`; of several that ask, the first one is heard.

        The run ends as finished, with the models that the hook was told of: after `on_round` they are evaluated once
        more, after `on_evaluation` nothing is computed any more. A method and no return value, since a run that ends
        early has to say why, and since a hook that returns something by mistake must not end it.

        Raises:
            RuntimeError: in the other hooks.
        """
        by, hook = self.calling
        if hook not in STOPPING:
            raise RuntimeError(f"stop() has no meaning in {hook or 'no hook'}; call it in {' or '.join(STOPPING)}")
        if self.stopped is None:
            self.stopped = Stop(by, reason, self.round)


class Callback:
    """Base of what listens to a run. All hooks do nothing; override those that are needed.

    A hook that raises ends the run as failed, with a message that names callback, hook and round. The folder stays as
    it is, and the same call goes on from the last checkpoint.
    """

    @cached_property
    def state(self) -> dict[str, Any]:
        """What the callback remembers: plain values (those of JSON), kept in every checkpoint.

        Empty when a run begins; as it was after `run.round` when one goes on.
        """
        return {}

    def on_start(self, run: RunState) -> None:
        """The run begins, or goes on after `run.round`. Its folder is there, and who holds what is written."""

    def on_round(self, run: RunState) -> None:
        """A round is over: `run.row`."""

    def on_evaluation(self, run: RunState) -> None:
        """The models of `run.round` were tested: `run.figures`. The next round has not changed anything yet."""

    def on_end(self, run: RunState) -> None:
        """The run has ended, as `run.status` says. What is raised here for a run that failed hides nothing of it."""


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of nested mappings, joined by dots."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
