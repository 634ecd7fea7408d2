"""A teacher: the weights and running statistics of a moment, whatever becomes of the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fedlt.blocks.teacher import Teacher
from fedlt.config.sections import Local
from fedlt.nn.net import Net


def test_it_answers_as_the_model_did_and_leaves_the_model_alone(make_client: Any) -> None:
    """Weight 2 under running mean 0 and variance 1: -2 and 6, not -1 and 1 as of the batch's own statistics."""
    net = Net(nn.BatchNorm1d(1, affine=False, eps=0.0), nn.Linear(1, 2, bias=False), 1)
    client = make_client(net, [[-1.0], [3.0]], [0, 1], Local())
    with torch.no_grad():
        client.flat.tensors["head.weight"].copy_(torch.tensor([[2.0], [0.0]]))
    teacher = Teacher(client)
    other = Teacher(client, torch.tensor([5.0, 0.0, 0.0, 1.0]))

    with torch.no_grad():
        client.flat.tensors["head.weight"].fill_(7.0)
    net.train()
    net.backbone.eval()
    before = client.flat.shared.clone()
    found = teacher.ask(Net.forward, client.data.x())
    assert found[:, 0].tolist() == [-2.0, 6.0] and not found.requires_grad
    assert other.ask(Net.forward, client.data.x())[:, 0].tolist() == [-5.0, 15.0]
    assert torch.equal(client.flat.shared, before)
    assert net.training and not net.backbone.training
