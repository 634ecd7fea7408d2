"""What clients' models make of the server's samples: for strategies that teach the generic model by all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Rows
from fedlt.nn.net import Net
from fedlt.strategy import Server

CHUNK = 512  # samples that a model is asked about at once


@torch.no_grad()
def ask(server: Server, vectors: Sequence[Tensor], rows: Rows, of: Callable[[Net, Tensor], Tensor]) -> Tensor:
    """[K, n, ...] what `of(model, x)` gives for each of the rows under each shared vector, such as a client's.

    Models are in evaluation mode, and the server's own is afterwards what it was.

    Args:
        server: whose model is used.
        vectors: K of them, [S] each.
        rows: n samples at the server.
        of: (model, x) -> [B, ...].
    """
    own = server.weights.clone()
    positions = torch.arange(len(rows), device=rows.index.device)
    found = []
    try:
        for vector in vectors:
            server.weights = vector
            server.model.eval()
            found.append(torch.cat([of(server.model, rows.batch(part).x) for part in positions.split(CHUNK)]))
    finally:
        server.weights = own
    return torch.stack(found)


def distinct(rows: Rows, drawn: Tensor) -> tuple[Rows, Tensor]:
    """The rows at the positions drawn [n], each once, and where each of the n stands among them: for `ask`."""
    asked, order = drawn.unique(return_inverse=True)
    return replace(rows, index=rows.index[asked]), order


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """KL of the softmax of the student's logits [B, C] from that of the teacher's, the mean over the batch.

    Args:
        temperature: both are divided by it; the divergence is not multiplied by its square.
    """
    taught = (teacher / temperature).softmax(1)
    return F.kl_div((student / temperature).log_softmax(1), taught, reduction="batchmean")
