"""The Ray grid: long-lived workers, one per CPU slot or GPU share, on this machine or on a Ray cluster."""

from __future__ import annotations

import math
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from flwr.app import Message
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedlt.config.catalog import ROOT
from fedlt.errors import FedLTError
from fedlt.process.cores import available_cores
from fedlt.process.wording import counted
from server.grids.local import LocalGrid
from server.grids.ray_forks import Forks
from server.grids.ray_pool import Pool
from server.grids.ray_start import start_ray
from server.grids.ray_transport import Files, Store
from server.state.memory_folder import MemoryFolder

WORKERS_PER_GPU = 4  # small clients leave a GPU idle between their kernels


class RayGrid(LocalGrid):
    """Messages are dealt to the workers by their cost.

    Attributes:
        app: `module:name` of the ClientApp, which the workers import.
        workers: None for as many as the cores or GPUs of the machine or cluster carry.
        gpus: whether to use its GPUs, if it has some. Workers start at once and import while the caller goes on; they
            are kept until `close`, so that several runs can share them.
        forks: what forks the workers where Ray is started here; started then, unless it is given.
    """

    eager = True
    moves = True

    def __init__(self, app: str, workers: int | None = None, gpus: bool = False, forks: Forks | None = None) -> None:
        self._owned = not ray.is_initialized()
        if self._owned:
            start_ray(workers or available_cores(), forks)
        elif forks is not None:
            forks.end()

        held = ray.cluster_resources()
        count, share = divide(workers, int(held.get("CPU", 0)), int(held.get("GPU", 0)) if gpus else 0)
        super().__init__(num_nodes=count)

        # Workers on this machine get large arrays through files in memory, those of a cluster through Ray's store.
        self._folder = MemoryFolder() if _alone() else None
        transport = Store() if self._folder is None else Files(self._folder.path)

        where = "DEFAULT" if self._folder is None else _here()
        host: Any = ray.remote(num_cpus=1, num_gpus=share, scheduling_strategy=where)(_host())
        arguments = str(ROOT), app, pickle.dumps(transport)
        self._transport, self._pool = transport, Pool(lambda: host.remote(*arguments), count)

    def install(self, function: str, payload: Any) -> None:
        """Call `module:name` with the payload in every worker.

        It is put into Ray's store once; arrays are shared. On one machine, arrays that are files mapped into memory
        travel as the names of these files.
        """
        with _mapped_by_name(on=self._folder is not None):
            stored = ray.put(payload)
        self._pool.install(function, [stored])

    @property
    def replaced(self) -> int:
        """Workers that were lost and replaced."""
        return self._pool.replaced

    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        """Let the pool answer, and clear up after workers that were lost."""
        with self._transport.sending(messages) as call:
            yield from map(self._transport.read, self._pool.answer(messages, call))
        while self._pool.lost:  # not before all answers have been read
            self._transport.clear_after(self._pool.lost.pop())

    def close(self) -> None:
        """End the workers, and Ray where it was started here."""
        self._pool.close()
        if self._folder is not None:
            self._folder.delete()
        if self._owned:
            ray.shutdown()


@contextmanager
def _mapped_by_name(on: bool) -> Iterator[None]:
    """Within it, whole memory-mapped files are pickled as their names."""
    if on:
        ray.util.register_serializer(np.memmap, serializer=_place, deserializer=_open)
    try:
        yield
    finally:
        if on:
            ray.util.deregister_serializer(np.memmap)


def _place(array: np.memmap[Any, Any]) -> Any:
    """Where a mapped array lies, in the place of its content; a copy in memory is given as it is."""
    if array.filename is None or array.base is not array._mmap:  # type: ignore[attr-defined]  # a copy, or a part
        return np.array(array)
    return str(array.filename), str(array.dtype), array.offset, array.shape


def _open(place: Any) -> NDArray[Any]:
    """Inverse of `_place`, in a worker."""
    if isinstance(place, np.ndarray):
        return place
    name, dtype, offset, shape = place
    return np.memmap(name, dtype, "r", offset, shape)


def divide(workers: int | None, cpus: int, gpus: int) -> tuple[int, float]:
    """The number of workers, and the share of a GPU that each gets; no worker lies across two GPUs.

    Args:
        workers: None for one per core, and not more than `WORKERS_PER_GPU` where there are GPUs.

    Raises:
        FedLTError: where there are fewer cores than workers: Ray would wait for others to join.
    """
    if workers is None:
        workers = max(1, min(cpus, WORKERS_PER_GPU * gpus) if gpus else cpus)
    if workers > cpus:
        raise FedLTError(
            f"resources.workers={workers}, and Ray has {counted(cpus, 'core')}; take at most as many workers"
        )
    return workers, 1 / math.ceil(workers / gpus) if gpus else 0.0


def _host() -> type:
    """The class of the workers, `server.grids.ray_host.Host` without its module.

    Ray puts the folders of the user's script first on the workers' path, and one of them may hold a `server.py`, or
    even a `fedlt.py`. A class of a function travels by value: nothing of this project is imported before its root is
    known.
    """

    class _Host:
        def __init__(self, root: str, app: str, transport: bytes) -> None:
            import pickle
            import sys

            sys.path.insert(0, root)
            import fedlt  # noqa: F401  # from now on its packages are found wherever they lie

            sys.path.remove(root)
            from server.grids.ray_host import Host

            self.host = Host(app, pickle.loads(transport))

        def install(self, function: str, payload: list[Any]) -> int:
            return self.host.install(function, payload)

        def answer(self, *call: Any) -> Any:
            return self.host.answer(*call)

    return _Host


def _alone() -> bool:
    """Whether the cluster is this machine, so that its workers read the files of this process."""
    hosts = [node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]]
    return bool(hosts == [socket.gethostname()])


def _here() -> NodeAffinitySchedulingStrategy:
    """Workers start on this node, others that join it notwithstanding."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
