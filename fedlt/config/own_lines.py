"""Where an error came from: the hook and the line of a user's own file that it was raised in."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import FrameType

from fedlt.config.whose import is_installed, is_ours
from fedlt.errors import FedLTError, HookError, Problem, ScenarioError

HOOKS = frozenset(
    {
        *("build", "remarks", "setup", "begin", "fit", "loss", "weight", "adapt", "personal", "aggregate", "generic"),
        *("conclude", "concluded", "obstacle", "stages", "epoch", "finish", "sampler", "gradient", "predict"),
        *("ask", "choose", "devices"),
        *("on_start", "on_round", "on_evaluation", "on_end"),
    }
)
"""The hooks of strategies, learners, selections and callbacks, by which the place of an error is named."""


def told(error: BaseException) -> str:
    """What was raised and where, on one line: `KeyError: 'm' (in Mine.fit; mine.py, line 12: client.state["m"] += 1)`.

    Errors of this project are sentences of their own, and their class is not named.
    """
    text = "; ".join(map(str, error.problems)) if isinstance(error, ScenarioError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = lines[0] if lines else "no message"
    if not isinstance(error, FedLTError):
        what = f"{type(error).__name__}: {what}" if lines else type(error).__name__
    if isinstance(error, FrozenInstanceError):
        what += "; strategies and learners are frozen: keep tensors in client.state or server.state"
    place = place_of(error)
    return f"{what} ({place})" if place else what


def place_of(error: BaseException) -> str:
    """The hook, and the innermost line of the user's own; "" where the error came through no such line.

    The hook is the innermost one that runs: `Mine.loss` also where a helper of it, or a base class, has raised.
    """
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_own(frame)]
    if not frames:
        return ""
    innermost, line = frames[-1]
    hooks = [frame.f_code.co_qualname for frame, _ in frames if frame.f_code.co_name in HOOKS]
    name = hooks[-1] if hooks else innermost.f_code.co_qualname

    file = innermost.f_code.co_filename
    text = linecache.getline(file, line, innermost.f_globals).strip()
    where = f"{Path(file).name}, line {line}" + (f": {text}" if text else "")
    return where if name.startswith("<") else f"in {name}; {where}"


@contextmanager
def before_work(key: str, hook: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """What a user's own code raises in the block, before any work, becomes a problem of a scenario's key.

    Errors of this project that are sentences already, and no hook's, are left as they are; so is `but`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, but) or (isinstance(error, FedLTError) and not isinstance(error, HookError)):
            raise
        what = str(error) if isinstance(error, HookError) and hook in str(error) else f"{hook} failed: {told(error)}"
        raise ScenarioError(Problem(key, what)) from error


def _is_own(frame: FrameType) -> bool:
    """Whether the code is neither this project's, nor installed, nor Python's."""
    name = frame.f_code.co_filename
    if name.startswith("<"):  # made as the program runs: dataclasses' methods, or a cell or a prompt
        return frame.f_globals.get("__name__") == "__main__" and not name.startswith("<frozen")
    path = Path(name)
    return not is_ours(path) and not is_installed(path)
