"""Six images of two classes, and a site that holds them, for tests of learners that need views."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.inputs.pixels import Images
from fedlt.data.site import Rows, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net

Y = np.array([0, 0, 0, 0, 1, 1])
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)


def site_of(make_client: Any, learner: Learner, features: int, **fields: Any) -> Site:
    """A site with these images, under a linear model of so many features."""
    torch.manual_seed(0)
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(48, features)), nn.Linear(features, 2), features)
    learner.build(net, Task("single", 2, (3, 4, 4)))
    local = Local(epochs=1, batch_size=6, lr=0.1)
    made: Site = make_client(net, np.zeros((6, 1)), Y.copy(), local, learner=learner, **{"span": 0.1, **fields})
    inputs = Images(torch.as_tensor(PIXELS), torch.zeros(3), torch.ones(3), channels_last=False)
    made.data = Rows(inputs, made.data.targets, made.data.index)
    return made
