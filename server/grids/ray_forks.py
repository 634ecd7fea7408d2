"""Forks Ray's workers of one machine from one process that has imported what all of them need.

A worker that starts by itself imports Ray, Flower and PyTorch into memory of its own, each for a second or two on cores
that the others import on. A fork has all of it at once, and shares the memory. Ray starts `ray_forked`, which asks for
one. Nothing that is imported here may start a thread: it would stay behind in a fork.
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
    """

    def __init__(self) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")  # the system finds one that is free
            listener.listen()
            self.address = listener.getsockname().decode().removeprefix("\0")
            command = [sys.executable, __file__, str(listener.fileno())]
            self._process = subprocess.Popen(
                command,
                env=os.environ | variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the parent
            )

    def end(self) -> None:
        """End it; the workers go with Ray."""
        self._process.kill()
        self._process.communicate()


def forks_here() -> Forks | None:
    """The process that forks, on Linux. Elsewhere there is none, and workers start by themselves."""
    return Forks() if sys.platform == "linux" else None


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
    _load(EARLY)  # who calls meanwhile, waits
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker
    known: dict[str, str] = {}

    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
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
                _load(LATE)

            if call.variables == known and not os.fork():
                listener.close()
                _work(caller, call)
            for stream in call.streams:
                os.close(stream)


def _load(modules: tuple[str, ...]) -> None:
    """Import the modules that every worker needs, before any is forked."""
    for module in modules:
        import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a worker would write to the pages of all this, and so copy them


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
