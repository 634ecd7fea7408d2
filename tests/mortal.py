"""A user's strategy whose workers die, or wait for the end of their node, when a test has asked for it by a file."""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedlt import Client, Server, Strategy, Update, combine
from fedlt.data.task import Task
from fedlt.learner import headline
from fedlt.nn.net import Net

SERVER = "FEDLT_TEST_SERVER"
"""The variable that names the process which must not die."""


@dataclass(frozen=True)
class Mortal(Strategy):
    """Private heads; clients and server keep something, an outbox, draws.

    folder: a worker that finds a file of its phase there (`train4.1`) removes it and dies; one that finds a file of its
    Ray node (`node.ID`) notes that in `reached` and waits, so that the node can be taken away.
    """

    private: ClassVar[tuple[str, ...]] = ("head.*",)
    folder: str = ""

    def build(self, model: Net, task: Task) -> None:
        self.die("start")

    def begin(self, client: Client) -> None:
        client.state["memory"] = torch.rand(4)

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.state["memory"] = client.state["memory"] * 0.5 + float(client.rng.random())
        client.extras["memory"] = client.state["memory"] + client.received.get("mean", torch.zeros(4))
        self.die(f"train{client.id}")
        self.wait()

    def personal(self, client: Client, x: Tensor) -> Tensor:
        self.die(f"evaluate{client.id}")
        return headline(super().personal(client, x)) + client.received.get("mean", torch.zeros(4)).sum()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        whole = combine(updates)
        server.weights = whole.mean
        server.state["sum"] = server.state.get("sum", torch.zeros(4)) + whole.sums["memory"]
        server.outbox["mean"] = server.state["sum"] / 100 + float(server.rng.random())

    def die(self, phase: str) -> None:
        if os.environ.get(SERVER) != str(os.getpid()) and self.take(f"{phase}.*"):
            os.kill(os.getpid(), signal.SIGKILL)

    def wait(self) -> None:
        if self.waiting():
            import ray

            if self.take(f"node.{ray.get_runtime_context().get_node_id()}"):
                (Path(self.folder) / "reached").touch()
                time.sleep(100)
            while self.waiting():  # until that node has been given a client
                time.sleep(0.05)

    def waiting(self) -> bool:
        return any(Path(self.folder).glob("node.*"))

    def take(self, pattern: str) -> bool:
        for path in Path(self.folder).glob(pattern):
            try:
                path.unlink()
                return True
            except FileNotFoundError:
                continue
        return False


MORTAL = f"{Path(__file__).resolve()}:Mortal"
"""What a scenario names it by."""
