"""Starts Ray for one command on this machine: its scheduler, its table of actors, its workers, and nothing else.

`ray.init` starts five more processes of Python, for a person who watches a cluster, for one that grows, and for workers
that each need an environment of their own. It waits for three of them, and they hold 300 MB; Ray has no option to leave
them out. What is private to Ray is used here alone, and tests/server/test_ray_start.py sees that it still works.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
import ray._private.node
import ray._private.services
import ray._raylet

from server.grids import ray_forked
from server.grids.ray_forks import Forks, forks_here, variables

private: Any = ray._raylet  # compiled, without types

PORTS = (
    private.METRICS_AGENT_PORT_NAME,
    private.METRICS_EXPORT_PORT_NAME,
    private.DASHBOARD_AGENT_LISTEN_PORT_NAME,
    private.RUNTIME_ENV_AGENT_PORT_NAME,
)
"""Ports that a node's two agents tell it before it is ready; -1 where there is none."""

IDLE = ["sh", "-c", "exec cat"]
"""Stands for an agent. A node ends when an agent ends; this one ends when its input does, which the node holds."""

SETTINGS = {
    "RAY_worker_niceness": "0",  # equal priority; Ray's default is 15
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # No worker before one is asked for: `ray.init` would wait for these, and for ever where one dies while it starts.
    "RAY_prestart_worker_first_driver": "0",
}
"""Variables for Ray's processes; what the user has set is kept."""

HELD = {"RAY_enable_pipe_based_agent_to_parent_health_check": "1"}
"""Has a node hold the input of its agents."""


def start_ray(workers: int, forks: Forks | None = None) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine: loopback only, no dashboard.

    Args:
        forks: forks the workers; started here unless it is given.
    """
    gc.collect()  # references of an earlier session, for the reason told in `ray_pool._end`
    needed = variables()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if "RAY_ADDRESS" in os.environ:
        if forks is not None:
            forks.end()
        ray.init(runtime_env={"env_vars": needed}, **quiet)
        return

    forks = forks or forks_here()
    before = dict(os.environ)
    os.environ.update(SETTINGS | before | needed | HELD)  # inherited; a runtime environment would need an agent
    try:
        # "local": without an address Ray would join whatever cluster was last started on this machine
        with _alone(forks):
            ray.init("local", num_cpus=workers, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    except BaseException:
        if forks is not None:
            forks.end()
        raise
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _alone(forks: Forks | None) -> Iterator[None]:
    """Within it, `ray.init` starts a `_Node`, whose workers have the environment of this process: where `uv run` or a
    hook of the user would have Ray build one for them, it would need an agent, too.
    """
    with (
        _replaced(ray._private.node, "Node", partial(_Node, forks)),
        _replaced(ray._private.worker, "_maybe_modify_runtime_env", lambda environment, skip: environment),
    ):
        yield


class _Node(ray._private.node.Node):  # type: ignore[misc]
    """A node without those who watch it, with `IDLE` in the place of its agents, and `ray_forked` in that of a worker
    where something forks it.
    """

    def __init__(self, forks: Forks | None, *arguments: Any, **options: Any) -> None:
        self._forks = forks
        super().__init__(*arguments, **options)

    def start_monitor(self) -> None:
        """No autoscaler."""

    def start_log_monitor(self) -> None:
        """No reader of the workers' log files."""

    def start_api_server(self, **options: Any) -> None:
        """No dashboard."""

    def start_raylet(self, *arguments: Any, **options: Any) -> None:
        """Start the node's daemon without agents, and with workers that are forked."""
        if self._forks is not None:
            os.environ[ray_forked.ADDRESS] = self._forks.address
            os.environ[ray_forked.WORKER] = self._ray_params.worker_path
            self._ray_params.worker_path = ray_forked.__file__
        for port in PORTS:
            private.persist_port(self._session_dir, self._node_id, port, -1)
        with _replaced(ray._private.services, BUILD, lambda *component, **how: IDLE):  # other words follow: unread
            super().start_raylet(*arguments, **options)

    def kill_all_processes(self, *arguments: Any, **options: Any) -> None:
        """End the node, and what forks its workers."""
        super().kill_all_processes(*arguments, **options)
        if self._forks is not None:
            self._forks.end()


BUILD = "_build_python_executable_command_memory_profileable"
"""Gives the first words of an agent's command."""


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block, the attribute has another value."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
