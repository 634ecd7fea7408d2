"""Labelled data of the server's own (`data.auxiliary`), for strategies that declare the need."""

from __future__ import annotations

import torch

from fedlt.data.federation import Federation
from fedlt.data.inputs import InputKind
from fedlt.data.site import Rows


def auxiliary_rows(federation: Federation, kind: InputKind, device: torch.device) -> Rows:
    """The server's data, without a view of anybody else's."""
    rows = federation.auxiliary
    inputs = kind.open(federation.x_train[rows], device)
    targets = federation.train_targets.take(rows, device)
    return Rows(inputs, targets, torch.arange(len(rows), device=device))
