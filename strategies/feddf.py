"""FedDF: the mean of the clients' models is taught, on unlabelled samples at the server, by what they predict together.

Lin, Kong, Stich, Jaggi: Ensemble Distillation for Robust Model Fusion in Federated Learning. NeurIPS 2020. The teacher
of a sample is the softmax of the mean of the cohort's logits; the student begins as FedAvg's mean. As in the official
code Adam begins anew in every round, its rate falls by a cosine over the budget of steps, and with validation data the
best student is kept and the steps end early. Differences: the teacher sees samples without augmentation, and each of
them once a round; the mean itself is among the students that validation chooses from; the budget is small unless set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.blocks.ensemble import ask, distinct, divergence
from fedlt.data.site import Rows
from fedlt.learner import headline
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.strategy import Server, Strategy, Update, combine
from fedlt.training.at_server import ServerTrainer, passes


@dataclass(frozen=True)
class FedDF(Strategy):
    """KL(softmax of the mean of the clients' logits || softmax of the student's), after each round's mean."""

    foldable: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("server_unlabelled", "server_validation", "single_label")

    steps: Annotated[int, ">= 0"] = 30  # of distillation in each round; published: up to 10000; 0: FedAvg
    batch: Annotated[int, ">= 1"] = 64  # unlabelled samples in a step; published: 128
    lr: Annotated[float, "> 0"] = 0.001  # of Adam, at the first step
    check: Annotated[int, ">= 1"] = 10  # steps between two looks at validation data, if there are; published: 100
    patience: Annotated[int, ">= 1"] = 20  # steps without a better student after which it ends; published: 1000

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model, then distillation from the ensemble of the clients' models on data without labels."""
        apart = list(updates)
        server.weights = combine(apart).mean
        if self.steps:
            with one_thread():
                self.distil(server, [update.mean for update in apart])

    def distil(self, server: Server, clients: Sequence[Tensor]) -> None:
        """Teach the model.

        Args:
            clients: [S] their shared vectors.
        """
        rows, predict = server.unlabelled, predictor(server)
        assert rows is not None  # the need is declared
        size = min(self.batch, len(rows))
        used = passes(server.rng, len(rows), self.steps * size, rows.index.device)
        rows, order = distinct(rows, used)
        teacher = ask(server, clients, rows, predict).mean(0)

        def loss(positions: Tensor) -> Tensor:
            return divergence(teacher[positions], predict(server.model, rows.batch(positions).x))

        rates = [self.lr / 2 * (1 + math.cos(math.pi * step / self.steps)) for step in range(self.steps)]
        trainer, batches = ServerTrainer(server, "adam"), order.split(size)
        if server.validation is None:
            trainer.train(loss, batches, rates)
            return

        best, best_weights, last = accuracy(server, server.validation), server.weights.clone(), 0
        for done in range(0, self.steps, self.check):
            part = slice(done, done + self.check)
            trainer.train(loss, batches[part], rates[part])
            now = accuracy(server, server.validation)
            if now > best:
                best, best_weights, last = now, server.weights.clone(), part.stop
            elif part.stop - last >= self.patience:
                break
        server.weights = best_weights


def accuracy(server: Server, rows: Rows) -> float:
    """Share of the labelled rows that the generic model classifies rightly."""
    logits = ask(server, [server.weights.clone()], rows, predictor(server))[0]
    return (logits.argmax(1) == rows.y).double().mean().item()


def predictor(server: Server) -> Callable[[Net, Tensor], Tensor]:
    """[B, C] what a model predicts as its clients' learner has it."""
    return lambda model, x: headline(server.learner.predict(model, x))
