"""Forks Ray's workers of one machine from one process that has imported what all of them need.

A worker that starts by itself imports Ray, Flower and PyTorch into memory of its own, each for a second or two on cores
that the others import on. A fork has all of it at once, and shares the memory. Ray starts `ray_forked`, which asks for
one. Nothing that is imported here may start a thread: it would stay behind in a fork.

The process that forks is a fork of this one where that is safe, and shares PyTorch's memory with it as well.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from fedlt.config.catalog import ROOT

EARLY = ("torch", "clients.app")
"""What a worker needs whatever the scenario, but Ray."""

LATE = ("ray", "ray.actor", "ray._private.runtime_env.setup_hook", "server.grids.ray_host")
"""What is imported in the environment of the first caller: Ray reads its variables, the job's among them, only then."""

STREAMS = (1, 2)
"""Descriptors of the caller that its fork takes over: its output, which Ray has led to a file."""


class Forks:
    """The process that forks, until `end`.

    Attributes:
        address: where it is called, an abstract one.
        pid: its process id.
    """

    def __init__(self, shares: bool = False) -> None:
        """Start it, or with `shares` fork it from this process, which must have imported what is `EARLY`."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")  # the system finds one that is free
            listener.listen()
            self.address = listener.getsockname().decode().removeprefix("\0")
            self._process = _Fork(listener) if shares else _started(listener)
        self.pid = self._process.pid

    def end(self) -> None:
        """End it; the workers go with Ray."""
        self._process.kill()
        self._process.communicate()


def _started(listener: socket.socket) -> subprocess.Popen[bytes]:
    """A process of its own, with nothing of this one."""
    return subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno())],
        env=os.environ | variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,  # a terminal's Ctrl-C is for the parent
    )


class _Fork:
    """A fork of this process that forks on, with as much of a `Popen` as `Forks` needs.

    Attributes:
        pid: its process id.
    """

    def __init__(self, listener: socket.socket) -> None:
        theirs, self._held = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # which it is where the descriptor is closed
                stream.flush()  # what is not yet written would be written twice

        # Frozen until the end: collections in this process would copy the pages, too, some 35 MB of them.
        self._freezes = not gc.get_freeze_count()  # else somebody else has frozen what was there
        _freeze()
        with warnings.catch_warnings():  # threads of libraries may exist; a fork uses none of their locks
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
            self.pid = os.fork()
        if not self.pid:
            _live(listener, theirs)
        os.close(theirs)

    def kill(self) -> None:
        """End it, as `Popen.kill` does."""
        if self._held:
            with suppress(ProcessLookupError):  # somebody else has waited for it
                os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> None:
        """Wait for its end."""
        if self._held:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            os.close(self._held)
            self._held = 0
            if self._freezes:
                gc.unfreeze()


def _live(listener: socket.socket, lifeline: int) -> None:
    """In a fork of the parent: what a process of its own would be, without the parent's files. Never returns.

    Args:
        listener: where callers call.
        lifeline: end of a pipe whose other end the parent holds.
    """
    code = 1
    try:
        os.setsid()  # a terminal's Ctrl-C is for the parent
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent's handlers stay with it
            signal.signal(kind, signal.SIG_DFL)

        # Nothing of the parent's may stay open in here, locks on its files least of all.
        streams = lifeline, os.open(os.devnull, os.O_WRONLY), 2
        for stream, number in zip(streams, (0, *STREAMS), strict=True):
            os.dup2(stream, number)
        kept = listener.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # until the end

        import torch

        torch.set_num_threads(1)  # OpenMP's threads stay behind in a fork: it would wait for them for ever
        os.environ.update(variables())
        main(listener)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def forks_here(shares: bool = False) -> Forks | None:
    """The process that forks, on Linux. Elsewhere there is none, and workers start by themselves.

    Args:
        shares: have it share memory with this process where nothing keeps it from that: another thread, whose locks
            a fork would find closed for ever, or Ray, which a fork must import in the environment of the workers.
    """
    if sys.platform != "linux":
        return None
    if not shares or threading.active_count() > 1 or "ray" in sys.modules:
        return Forks()
    _import(EARLY)
    return Forks(shares=threading.active_count() == 1)


def variables() -> dict[str, str]:
    """What workers of this machine need in their environment."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@dataclass
class _Call:
    """What is to be forked.

    Attributes:
        arguments: the worker's file, and its own.
        streams: descriptors of the caller's output.
    """

    arguments: list[str]
    variables: dict[str, str]
    folder: str
    streams: list[int]


def main(listener: socket.socket) -> None:
    """Fork a worker for each process of this user that calls, until the standard input ends, which the parent holds.

    Who comes from another environment than the first caller is sent away, and works by itself.
    """
    _import(EARLY)  # who calls meanwhile, waits
    _freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker
    known: dict[str, str] = {}

    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            return
        caller, _ = listener.accept()
        with caller:
            if _user(caller) != os.getuid():
                continue
            call = _hear(caller)
            if not known:
                known = call.variables
                os.environ.clear()
                os.environ.update(known)
                _import(LATE)
                _freeze()

            if call.variables == known and not os.fork():
                listener.close()
                _work(caller, call)
            for stream in call.streams:
                os.close(stream)


def _import(modules: tuple[str, ...]) -> None:
    """Import the modules that every worker needs, before any is forked."""
    for module in modules:
        import_module(module)


def _freeze() -> None:
    """Keep a collection in a fork from writing to the pages of all that is there, which would copy them."""
    gc.collect()
    gc.freeze()


def _user(caller: socket.socket) -> int:
    """Who it is, as the system knows."""
    found = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", found)
    return int(user)


def _hear(caller: socket.socket) -> _Call:
    """A call: the worker's arguments, its environment and folder, and the descriptors of its output."""
    said, streams, _, _ = socket.recv_fds(caller, 2**16, len(STREAMS))
    while part := caller.recv(2**16):
        said += part
    arguments, environment, folder = json.loads(said)
    return _Call(arguments, environment, folder, streams)


def _work(caller: socket.socket, call: _Call) -> None:
    """In a fork: be the worker that the caller was to be, which waits for the end of the connection. Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)  # as Ray's workers have: of one that dies, Ray ends the whole group
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for stream, number in zip([os.open(os.devnull, os.O_RDONLY), *call.streams], (0, *STREAMS), strict=True):
            os.dup2(stream, number)
            os.close(stream)
        caller.send(b"!")

        os.chdir(call.folder)
        sys.argv = call.arguments
        sys.path[0] = str(Path(sys.argv[0]).parent)  # as where Python itself is given the file
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main(socket.socket(fileno=int(sys.argv[1])))
