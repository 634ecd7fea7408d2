"""How well a model fits a client's samples, as one number."""

from __future__ import annotations

import torch
from torch import Tensor

from fedlt.strategy import Client


def mean_loss(client: Client) -> Tensor:
    """Mean over the client's own samples of the learner's loss, of the model as it is, without augmentation."""
    losses = client.scan(lambda batch: client.learner.loss(client, batch) * len(batch))
    return torch.stack(losses).sum() / client.num_samples
