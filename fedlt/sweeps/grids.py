"""The workers of one command: made for a run, or kept from run to run. Flower and Ray are reached by late imports."""

from __future__ import annotations

import os
from concurrent.futures import Future
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from fedlt.config.scenario import Scenario

if TYPE_CHECKING:
    from fedlt.data.federation import Federation
    from server.grids.local import LocalGrid
    from server.grids.ray_forks import Forks
    from server.grids.ray_grid import RayGrid

IMPORTS = Lock()
"""Held while modules that import Flower are loaded: its packages import each other in a circle, and two threads that
load them at once may find half of one (flwr 1.42)."""


class Grids:
    """Grids by the way they are needed; Ray's workers are kept from run to run until the block ends, forked ones are
    made for each run.
    """

    def __init__(self) -> None:
        self._ray: tuple[tuple[int | str, str], Future[RayGrid]] | None = None
        self._ended = Event()
        self._forked: LocalGrid | None = None

    def __enter__(self) -> Grids:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_forked()
        self._end_ray()

    def _end_forked(self) -> None:
        if self._forked is not None:
            self._forked.close()
            self._forked = None

    def _end_ray(self) -> None:
        if self._ray is not None:
            self._ray[1].result().close()
            self._ended.set()
            self._ray = None

    def start_ray(self, scenario: Scenario) -> None:
        """Begin to start the workers, unless they run already: they import while this process goes on."""
        wanted = scenario.resources.workers, scenario.resources.device
        if self._ray is not None and self._ray[0] != wanted:
            self._end_ray()
        if self._ray is None:
            self._ray, self._ended = (wanted, Future()), Event()
            arguments = *wanted, forks_for(scenario.resources.device), self._ray[1], self._ended
            Thread(target=_hold_ray, args=arguments, daemon=True).start()

    def get(self, backend: str, scenario: Scenario, federation: Federation) -> LocalGrid:
        """The grid for one run, its workers holding the run's data. Processes of the run before are ended, those of Ray
        stay.

        Args:
            backend: `inline`, `processes` or `ray`.
            scenario: of the run.
            federation: its data, which forked workers share with this process.
        """
        if backend == "inline":
            from clients.app import app
            from clients.host import install
            from server.grids.local import InlineGrid

            install(scenario, federation)
            return InlineGrid(app)
        if backend == "processes":
            from clients.app import app
            from clients.host import install
            from server.grids.process_grid import ProcessGrid

            self._end_forked()
            self._forked = ProcessGrid(app, worker_count(scenario), partial(install, scenario, federation))
            return self._forked
        self.start_ray(scenario)
        assert self._ray is not None
        grid = self._ray[1].result()
        grid.install("clients.host:install", (scenario, federation))
        return grid


def forks_for(device: str) -> Forks | None:
    """What forks Ray's workers, but for those of a cluster, which has started already. Where they may need a GPU, it
    shares nothing with this process, which may use one.
    """
    if "RAY_ADDRESS" in os.environ:
        return None
    from fedlt.process.gpus import may_have_gpus
    from server.grids.ray_forks import forks_here

    with IMPORTS:
        return forks_here(shares=device == "cpu" or not may_have_gpus())


def _hold_ray(workers: int | str, device: str, forks: Forks | None, grid: Future[RayGrid], ended: Event) -> None:
    """Start Ray in this thread and stay: its processes are told to die with the thread that started them."""
    try:
        with IMPORTS:
            from server.grids.ray_grid import RayGrid

        count = None if isinstance(workers, str) else workers
        grid.set_result(RayGrid("clients.app:app", count, device != "cpu", forks))
    except BaseException as error:
        grid.set_exception(error)
    ended.wait()


def worker_count(scenario: Scenario) -> int:
    """The workers that `resources.workers` stands for."""
    from fedlt.process.cores import available_cores

    count = scenario.resources.workers
    return available_cores() if isinstance(count, str) else count
