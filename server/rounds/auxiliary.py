"""Labelled data of the server's own (`data.auxiliary`), for strategies that declare the need."""

from __future__ import annotations

import torch

from fedlt.data.federation import Federation
from fedlt.data.inputs import make_inputs
from fedlt.data.site import Rows


def auxiliary_rows(federation: Federation, device: torch.device, channels_last: bool) -> Rows:
    """The server's data, without a view of anybody else's."""
    rows = federation.auxiliary
    inputs = make_inputs(federation.x_train[rows], federation.mean, federation.std, device, channels_last)
    targets = federation.train_targets.take(rows, device)
    return Rows(inputs, targets, torch.arange(len(rows), device=device))
