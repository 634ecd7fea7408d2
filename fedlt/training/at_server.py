"""Training of the generic model at the server, for strategies that fine-tune it there or distil clients into it.

trainer = ServerTrainer(server, "adam", weight_decay=2e-4, keep="mine/student")
trainer.train(loss, batches(server.rng, server.unlabelled, size=128, steps=100), lr=1e-3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from fedlt.process.threads import one_thread
from fedlt.training.vector_steps import Adam, Descent, Steps

if TYPE_CHECKING:
    from fedlt.data.site import Batch, Rows
    from fedlt.strategy import Server

T = TypeVar("T")


class ServerTrainer:
    """Steps on the shared weights of the server's model. What clients keep, and what is frozen, stays as it is.

    Args:
        server: whose model it is. Everything random follows from `server.rng`.
        optimizer: "sgd" or "adam".
        momentum: of sgd.
        weight_decay: times the weights, added to the gradient.
        keep: name under which the optimiser's state stands in `server.state`, so that it goes on from trainer to
            trainer and from round to round, whatever the weights have become; "": each trainer begins anew.
        moving: train in training mode: batch normalisation takes the batch's statistics and moves its running ones,
            and dropout acts. Else in evaluation mode: the running statistics are used and stay, and nothing drops.
    """

    def __init__(
        self,
        server: Server,
        optimizer: Literal["sgd", "adam"] = "adam",
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        keep: str = "",
        moving: bool = True,
    ) -> None:
        self.server, self.keep, self.moving = server, keep, moving
        prefix = f"{keep}/"
        kept = {name.removeprefix(prefix): t for name, t in server.state.items() if keep and name.startswith(prefix)}
        self._steps: Steps = Adam(weight_decay, kept) if optimizer == "adam" else Descent(momentum, weight_decay, kept)

    def train(self, loss: Callable[[T], Tensor], batches: Iterable[T], lr: float | Sequence[float]) -> None:
        """One step for each batch; the model is left in evaluation mode.

        Args:
            loss: of what `batches` gives, a scalar.
            lr: of all steps, or of each; it ends with the shorter of the two.
        """
        server = self.server
        rates = repeat(lr) if isinstance(lr, float | int) else lr
        with one_thread(), torch.enable_grad(), _seeded(server):
            for rate, batch in zip(rates, batches, strict=False):
                server.model.train(self.moving)
                for module in server.flat.still:
                    module.eval()
                self._step(loss(batch), float(rate))
        server.model.eval()
        if self.keep:
            server.state |= {f"{self.keep}/{name}": value.clone() for name, value in self._steps.kept.items()}

    def _step(self, loss: Tensor, lr: float) -> None:
        """One step along the loss's gradient, in the layout of the flat vector."""
        flat = self.server.flat
        gradients = torch.autograd.grad(loss, list(flat.shared_parameters().values()), allow_unused=True)
        weights = self.server.weights[self.server.trainable]
        whole = torch.zeros_like(weights)
        for view, gradient in zip(flat.trainable_views(whole).values(), gradients, strict=True):
            if gradient is not None:
                view.copy_(gradient)
        self._steps.step(weights, whole, lr)
        flat.stepped()


def passes(rng: np.random.Generator, samples: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Positions of samples: one shuffled pass after the other, the last of them cut short.

    Args:
        rng: shuffles each pass anew.
        samples: n.
        count: positions in all.
        device: where they are wanted.

    Returns:
        int64 [count] in 0..n-1.
    """
    rounds = -(-count // samples)
    order = np.concatenate([rng.permutation(samples) for _ in range(rounds)]) if count else np.empty(0, np.int64)
    return torch.from_numpy(order[:count]).to(device)


def batches(rng: np.random.Generator, rows: Rows, size: int, steps: int) -> Iterator[Batch]:
    """So many batches of so many samples, which may end one pass over the rows and begin the next.

    A batch has at most as many samples as there are rows. Labels of `server.unlabelled` are -1.

    Args:
        rng: shuffles each pass anew.
        rows: what the server holds.
        size: samples of a batch.
        steps: batches in all.
    """
    size = min(size, len(rows))
    for positions in passes(rng, len(rows), size * steps, rows.index.device).split(size):
        yield rows.batch(positions)


@contextmanager
def _seeded(server: Server) -> Iterator[None]:
    """PyTorch's global generators, from which dropout draws, are seeded by the server's, and put back afterwards."""
    device = server.weights.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        number = int(server.rng.integers(2**62))
        torch.default_generator.manual_seed(number)
        if device.type == "cuda":
            torch.cuda.manual_seed(number)
        yield
