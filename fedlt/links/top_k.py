"""Only the largest numbers of each client's change travel; the rest is kept and added to its next change.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory. NeurIPS 2018 (Algorithm 1 with top-k), with the client's change of
the weights over a whole round in place of a gradient; Karimireddy, Rebjock, Stich, Jaggi: Error Feedback Fixes SignSGD
and other Gradient Compression Schemes. ICML 2019:

    v = w_k - w + e,   sent: the k numbers of v that are largest by magnitude,   e <- v - sent

The memory e is of the client, and waits until it is sampled again. A number that travels costs 4 bytes, and 4 for its
position. Buffers, and what a strategy sends beside its weights, travel whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from fedlt.links.link import Link, Sending, Setting

POSITION = 4
"""Bytes that name one of the weights."""


@dataclass(frozen=True)
class TopK(Link):
    """share of the trained weights; 1 sends all of them, whole, and keeps nothing."""

    share: Annotated[float, "> 0", "<= 1"] = 0.01  # of the trained weights' changes, that travels
    feedback: bool = True  # the rest is kept, and added to the client's next change; false: it is lost

    def obstacle(self, setting: Setting) -> str | None:
        return super().obstacle(setting) or setting.untrained

    def send(self, sending: Sending) -> None:
        """Send the largest entries of the change, and keep the others for the next time."""
        total = sending.setting.trainable
        k = max(1, int(self.share * total + 0.5))
        if k == total:
            return

        change = sending.change
        if "error" in sending.state:
            change = change + sending.state["error"]
        largest = change.abs().topk(k).indices.sort().values
        sent = torch.zeros_like(change)
        sent[largest] = change[largest]
        if self.feedback:
            sending.state["error"] = change - sent

        sending.replace(sent)
        sending.positions, sending.numbers = largest, k
        sending.overhead += k * POSITION
