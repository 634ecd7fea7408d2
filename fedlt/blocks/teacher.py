"""A model that stays as it is while a client trains, and is asked what it makes of the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import functional_call

from fedlt.nn.net import LossModule, Net
from fedlt.strategy import Client


class Teacher:
    """A client's model with the weights and buffers of a moment.

    Args:
        client: whose model it is.
        vector: [S] the shared weights and buffers; as they are now unless given.
    """

    def __init__(self, client: Client, vector: Tensor | None = None) -> None:
        self.model, self.tensors = client.model, client.tensors(vector)

    def ask(self, of: Callable[[Net, Tensor], Tensor], x: Tensor) -> Tensor:
        """What `of(model, x)` gives, in evaluation mode and without gradients; the client's model stays as it is."""
        given = {f"model.{name}": tensor for name, tensor in self.tensors.items()}
        with torch.no_grad(), evaluating(self.model):
            return functional_call(LossModule(self.model, of), given, (self.model, x))  # type: ignore[no-any-return]


@contextmanager
def evaluating(model: Net) -> Iterator[None]:
    """For a while the model is in evaluation mode; after it each part is in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
