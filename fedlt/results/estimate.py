"""What a run will take, as `fedlt check` says it; `server.estimate` finds it out."""

from __future__ import annotations

from dataclasses import dataclass

from fedlt.process.wording import counted, duration, memory
from fedlt.results.long_runs import costly_evaluations, idle_cores, long_run


@dataclass(frozen=True)
class Estimate:
    """Time and memory of one run.

    Attributes:
        rounds, round: how many rounds there are, and the seconds of one on so many `workers`.
        evaluations, evaluation: likewise; one after `every` rounds, of the personal models of `models` clients.
        clients: whose work was timed.
        steps: of how many steps each, None: of a whole round.
        tested: share of an evaluation that was timed.
        held: bytes of a process with data and model.
        copies: further bytes of each worker that trains and tests.
    """

    rounds: int
    round: float
    evaluations: int
    evaluation: float
    every: int
    models: int
    workers: int
    clients: int
    steps: int | None
    tested: float
    held: int
    copies: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.rounds * self.round + self.evaluations * self.evaluation

    def lines(self, cohort: int, device: str) -> list[str]:
        """Time with what it was taken from, memory, and what shortens a run of hours, or one that tests more than it
        trains.

        Args:
            cohort: clients of a round.
            device: `resources.device`.
        """
        trained = f"{counted(self.steps, 'step')} of" if self.steps else "a round of"
        tested = "an evaluation" if self.tested >= 1 else f"{max(1, round(100 * self.tested))} % of an evaluation"
        done = f"{counted(self.rounds, 'round')} of {duration(self.round)}"
        seen = f"{counted(self.evaluations, 'evaluation')} of {duration(self.evaluation)}"
        based = f"from {trained} {counted(self.clients, 'client')} and {tested}, timed now"
        time = f"time: about {duration(self.seconds)}, {done} and {seen} on {counted(self.workers, 'worker')}; {based}"
        each = f", {memory(self.copies)} of it for each of {self.workers} workers" if self.workers > 1 else ""
        whole = f"memory: about {memory(self.held + self.workers * self.copies)}{each}"
        cores = idle_cores(self.workers, cohort, device)
        training, testing = self.rounds * self.round, self.evaluations * self.evaluation
        hours = long_run("A run takes", self.seconds, self.rounds, testing, cores)
        costly = costly_evaluations(training, testing, self.every, self.evaluations, self.models, goes="goes")
        return [time, whole, *filter(None, [hours, costly])]
