"""The workers of one command, and the modules that two threads must not load at once."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest

from fedlt.sweeps.grids import IMPORTS, _hold_ray


def test_flower_is_not_loaded_by_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that starts Ray waits for whoever loads modules that import Flower, and then goes on."""
    stand_in: Any = ModuleType("server.grids.ray_grid")
    stand_in.RayGrid = lambda *_, **__: "grid"
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    grid: Future[Any] = Future()
    ended = Event()

    with IMPORTS:
        Thread(target=_hold_ray, args=(1, "cpu", None, grid, ended), daemon=True).start()
        with pytest.raises(TimeoutError):
            grid.result(timeout=0.2)
    assert grid.result(timeout=10) == "grid"
    ended.set()
