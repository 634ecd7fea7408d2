"""Runs side by side: processes of one thread each, which take one job after the other.

A worker holds one end of a pipe whose other end only the sweep holds. When the sweep ends, however it ends, the pipe
breaks, and the worker ends as if it had been interrupted. Workers are no members of the terminal's process group:
Ctrl-C reaches the sweep alone, which then ends them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from fedlt.process.own_packages import ROOT
from fedlt.results.runs import open_run

if TYPE_CHECKING:
    from fedlt.results.runs import Run
    from fedlt.sweeps.grid import Job
    from fedlt.sweeps.sharing import Shared
    from fedlt.sweeps.view import View

PATIENCE = 10.0
"""Seconds that an interrupted worker has to write down what it knows."""


class _Member:
    """One worker process, as the sweep sees it."""

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        begin = f"from fedlt.sweeps.workers import work; work({theirs.fileno()}, {sys.path!r})"
        command = [sys.executable, "-P", "-c", begin]  # -P: a `fedlt.py` of this folder is not the package
        self.process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], start_new_session=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        theirs.close()
        self.job: Job | None = None

    def take(self, job: Job, out: Path, force: bool, share: bool) -> None:
        self.job = job
        self.pipe.send((job, out, force, share))

    def end(self, deadline: float) -> None:
        """Wait for the process until the deadline (of the monotonic clock), then end it."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def side_by_side(shared: Shared, processes: int, out: Path, force: bool, view: View) -> None:
    """Run the jobs in that many processes.

    A process that dies fails its job, and another takes its place. A job that follows another's training waits for its
    end, others going before.
    """
    waiting = list(shared.jobs)
    members: dict[Any, _Member] = {}
    try:
        while waiting or members:
            # As many processes as there are jobs for, each with one.
            while len(members) < min(processes, len(waiting) + sum(m.job is not None for m in members.values())):
                member = _Member()
                members[member.pipe] = member
            for member in members.values():
                if member.job is None:
                    _next(member, members.values(), waiting, shared, out, force, view)

            # What those that are at work have to say.
            for pipe in wait([pipe for pipe, member in members.items() if member.job is not None]):
                member = members[pipe]
                if not _hear(member, view):
                    del members[pipe]
                    _bury(member, view)

            if not waiting:
                _dismiss_idle(members)
    finally:
        for member in members.values():
            member.pipe.close()
        deadline = time.monotonic() + PATIENCE
        for member in members.values():
            member.end(deadline)


def _dismiss_idle(members: dict[Any, _Member]) -> None:
    """End the processes that have no job, and for which there will be none."""
    for pipe, member in list(members.items()):
        if member.job is None:
            del members[pipe]
            member.pipe.send(None)
            member.end(time.monotonic() + PATIENCE)
            member.pipe.close()


def _next(
    member: _Member,
    members: Iterable[_Member],
    waiting: list[Job],
    shared: Shared,
    out: Path,
    force: bool,
    view: View,
) -> None:
    """Give a worker the first job that may begin, if there is one."""
    under_way = [*waiting, *(other.job for other in members if other.job is not None)]
    job = next((job for job in waiting if shared.ready(job, under_way)), None)
    if job is None:
        return
    waiting.remove(job)
    view.started(job)
    with suppress(BrokenPipeError):  # it died just now; reading from the pipe will tell
        member.take(job, out, force, job.name in shared.leaders)


def _hear(member: _Member, view: View) -> bool:
    """Pass one message of a worker on; False: the worker is gone."""
    try:
        what, *rest = member.pipe.recv()
    except (EOFError, OSError):
        return False

    assert member.job is not None
    if what in ("round", "line"):
        getattr(view, what)(member.job, *rest)
        return True

    # Whatever else it says is the end of its job.
    if what == "ended":
        view.ended(member.job, open_run(rest[0]))
    else:
        view.failed(member.job, rest[0])

    member.job = None
    return True


def _bury(member: _Member, view: View) -> None:
    member.pipe.close()
    member.end(time.monotonic() + PATIENCE)
    if member.job is not None:
        view.failed(member.job, f"its process ended with exit code {member.process.returncode}")


class _Reporter:
    """The view of a worker: it passes everything on."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.failures: dict[str, str] = {}

    def started(self, job: Job) -> None:
        """The sweep knows: it sent the job."""

    def round(self, job: Job, number: int, total: int) -> None:
        self._tell("round", number, total)

    def line(self, job: Job, text: str) -> None:
        self._tell("line", text)

    def _tell(self, *message: object) -> None:
        """Nothing where the sweep is gone: a signal ends the run then, and would meet it failing and not yet marked."""
        with suppress(ConnectionError):
            self.pipe.send(message)

    def ended(self, job: Job, run: Run) -> None:
        self.pipe.send(("ended", run.folder))

    def failed(self, job: Job, error: str) -> None:
        self.failures[job.name] = error
        self.pipe.send(("failed", error))


def work(descriptor: int, path: list[str]) -> None:
    """The life of a worker: jobs from the pipe, inline and on one thread, until the pipe is closed.

    Args:
        path: where the sweep's process looks for modules, so that a user's own import there what they import here.
    """
    sys.path[:] = path
    signal.signal(signal.SIGTERM, _interrupt)
    pipe = Connection(descriptor)
    jobs: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    from dataclasses import replace

    from fedlt.sweeps.attempt import attempt
    from fedlt.sweeps.grids import Grids

    reporter = _Reporter(pipe)
    with suppress(KeyboardInterrupt, ConnectionError), Grids() as grids:
        while (order := jobs.get()) is not None:
            job, out, force, share = order
            inline = replace(job.scenario, resources=replace(job.scenario.resources, backend="inline"))
            attempt(replace(job, scenario=inline), out, force, reporter, grids, share)
            reporter.failures.clear()


def _listen(pipe: Connection, jobs: SimpleQueue[Any]) -> None:
    """Hand the orders over; None is the last one. If the pipe breaks before, interrupt whatever goes on."""
    try:
        while True:
            order = pipe.recv()
            jobs.put(order)
            if order is None:
                return
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(1)


def _interrupt(*_: object) -> None:
    """As Ctrl-C, but once: the run is marked before the process ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
