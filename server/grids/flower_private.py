"""All that is used of Flower without its promise: names that are not in its documentation, and options of its programs.

Another release may drop or change them without a word, so this module refuses those that were not tried.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from flwr.app import Message

from fedlt.errors import FedLTError

TESTED = ((1, 41), (1, 42))
"""Releases, major and minor number, with which everything in this module was tried; pyproject.toml allows the same."""


def check_release(version: str) -> bool:
    """True; raises `FedLTError` for a release of Flower that was not tried."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) not in TESTED:
        (oldest_major, oldest), (major, newest) = TESTED[0], TESTED[-1]
        raise FedLTError(
            f"Flower {version} is installed, and FedLT uses parts of it that may change with every release; it was "
            f"tested with {oldest_major}.{oldest} to {major}.{newest}: "
            f"pip install 'flwr>={oldest_major}.{oldest},<{major}.{newest + 1}'"
        )
    return True


if check_release(importlib.metadata.version("flwr")):
    from flwr.common.constant import SType
    from flwr.supercore.run import Run as Run  # for type hints elsewhere
    from flwr.supercore.task_identity import TaskIdentity

NUMPY = SType.NUMPY
"""How an array's bytes are laid out: in the .npy format."""


def set_identity(run_id: int, node_id: int) -> None:
    """Flower builds a Message only in a process that knows which task it is; its own runtimes set this."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, run_id


def empty_run(run_id: int) -> Run:
    """What a grid says of its run, where no SuperLink knows it."""
    return Run.create_empty(run_id)


def set_message_id(message: Message, name: str) -> None:
    """Name the message as a SuperLink does, so that its reply says what it replies to."""
    message.metadata.__dict__["_message_id"] = name


def superlink_options(port: int, control_port: int) -> list[str]:
    """Options of `flower-superlink` for simulations on this machine alone.

    Args:
        port: of its API for the processes that it starts.
        control_port: of its API for the `flwr` command.
    """
    addresses = ["--control-api-address", f"127.0.0.1:{control_port}", "--host", "127.0.0.1", "--port", str(port)]
    return ["--insecure", "--simulation", "--isolation", "subprocess", *addresses]


def runtime_variables(home: Path, port: int, control_port: int) -> dict[str, str]:
    """Environment of Flower's programs: a folder and ports (see `superlink_options`) of their own, nothing installed
    anew.

    Args:
        home: its folder.
        port, control_port: see `superlink_options`.
    """
    return {
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_LOCAL_CONTROL_API_PORT": str(control_port),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
