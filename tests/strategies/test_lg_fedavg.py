"""LG-FedAvg: what travels, and how clients count."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.lg_fedavg import LGFedAvg


def test_the_head_travels_and_the_body_stays(make_client: Any) -> None:
    """Both are trained; a client of three samples counts as much as any other."""
    net = Net(nn.Linear(2, 3), nn.Linear(3, 2), 3)
    local = Local(epochs=1, batch_size=3, lr=0.5)
    client = make_client(net, np.eye(3, 2), [0, 1, 1], local, private=LGFedAvg.private)
    before = {name: tensor.clone() for name, tensor in client.flat.tensors.items()}
    LGFedAvg().fit(client)
    assert len(client.vector) == 2 * 3 + 2
    assert not any(torch.equal(tensor, before[name]) for name, tensor in client.flat.tensors.items())
    assert LGFedAvg().weight(client) == 1.0
