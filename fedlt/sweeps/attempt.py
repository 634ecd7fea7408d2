"""One run of a sweep, whose failure ends neither the sweep nor the worker that it happens in."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.errors import FedLTError
from fedlt.results.console import Console
from fedlt.results.summary import evaluation_line
from fedlt.sweeps.grid import Job
from fedlt.sweeps.grids import Grids
from fedlt.sweeps.run import run_scenario

if TYPE_CHECKING:
    from fedlt.callback import RunState
    from fedlt.sweeps.view import Listener


def attempt(job: Job, out: Path, force: bool, view: Listener, grids: Grids, share: bool) -> bool:
    """Run one job; whether it went well. Ctrl-C goes through.

    Args:
        job: of the grid.
        out: folder of runs.
        force: start over where there is a run of it.
        view: hears of rounds, evaluations, the end and the failure.
        grids: gives the workers.
        share: whether it may take what another has trained.
    """
    view.started(job)
    heard = _Heard(view, job)
    try:
        run = run_scenario(
            job.scenario, out, heard, force, job.command, grids, job.track, keep=job.keep, share=share or not force
        )
        view.ended(job, run)
    except FedLTError as error:
        view.failed(job, str(error))
    except Exception as error:  # one broken run must not end the others
        view.failed(job, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return job.name not in view.failures


class _Heard(Console):
    """The console of one run of a sweep: silent itself, it tells the view."""

    def __init__(self, view: Listener, job: Job) -> None:
        super().__init__(quiet=True)
        self.view, self.job = view, job

    def on_round(self, run: RunState) -> None:
        super().on_round(run)
        self.view.round(self.job, run.round, run.total_rounds)

    def on_evaluation(self, run: RunState) -> None:
        super().on_evaluation(run)
        self.view.line(self.job, evaluation_line(run.round, run.total_rounds, run.figures))
