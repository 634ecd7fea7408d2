"""What Ray starts in the place of a worker: has `ray_forks` fork it, and waits for its end in next to no memory.

Ray knows a worker by the process that registers, which is the fork. Where nobody forks it, this process is the worker.
"""

from __future__ import annotations

import json
import os
import socket
import sys

ADDRESS = "FEDLT_RAY_FORKS"
"""The variable with the address to call."""

WORKER = "FEDLT_RAY_WORKER"
"""The variable with the file of Ray's own worker."""


def main(arguments: list[str]) -> None:
    """Never returns.

    Args:
        arguments: those of the worker.
    """
    command = [os.environ[WORKER], *arguments]
    caller = socket.socket(socket.AF_UNIX)
    if not _forked(caller, command):
        os.execv(sys.executable, [sys.executable, *command])
    os.dup2(caller.fileno(), 0)
    os.execvp("cat", ["cat"])


def _forked(caller: socket.socket, command: list[str]) -> bool:
    """Whether there is a fork that holds the other end of the connection."""
    try:
        caller.connect(f"\0{os.environ[ADDRESS]}")
        said = json.dumps([command, dict(os.environ), os.getcwd()]).encode()
        sent = socket.send_fds(caller, [said], [1, 2])
        caller.sendall(said[sent:])
        caller.shutdown(socket.SHUT_WR)
        return bool(caller.recv(1))
    except OSError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
