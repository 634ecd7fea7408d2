"""Hand-sized updates on their way: as a client is about to send them, and as they arrive at the server."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.links.link import Arrival, Sending, Setting
from fedlt.strategy import Strategy, Update


def make_setting(shared: int = 3, trainable: int = 2, **changes: Any) -> Setting:
    """Four clients with 10, 20, 30 and 40 samples, two of whom are sampled in a round."""
    fields = {
        "seed": 0,
        "sizes": np.array([10, 20, 30, 40]),
        "cohort": 2,
        "strategy": Strategy(),
        "learner": Learner(),
        "task": Task("single", 10, (4,)),
    }
    return Setting(shared=shared, trainable=trainable, **{**fields, **changes})


def sending(start: Sequence[float], vector: Sequence[float], id: int = 1, **changes: Any) -> Sending:
    """Of a client that began from `start` [T] and has found `vector` [S]; it weighs 20."""
    client: Any = SimpleNamespace(id=id, start=torch.tensor(start), extras={}, values={})
    fields = {"setting": make_setting(len(vector), len(start)), "round": 1, "weight": 20.0, **changes}
    return Sending(client=client, vector=torch.tensor(vector), **fields)


def arrival(weights: Sequence[float], updates: Sequence[tuple[int, float, Sequence[float]]], **changes: Any) -> Arrival:
    """Of clients, each with its weight and its vector, at a server whose model is `weights`."""
    cohort = tuple(client for client, _, _ in updates)
    server: Any = SimpleNamespace(weights=torch.tensor(weights), round=1, cohort=cohort)
    held = [Update((client,), weight, weight * torch.tensor(vector)) for client, weight, vector in updates]
    setting = make_setting(len(weights), len(weights))
    return Arrival(**{"setting": setting, "server": server, "sampled": cohort, "updates": held, **changes})
