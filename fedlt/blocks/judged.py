"""How good models are on the server's validation data: for strategies that choose by that, never by test data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedlt.blocks.ensemble import ask
from fedlt.errors import Problem, ScenarioError
from fedlt.learner import headline
from fedlt.strategy import Server


def expect_validation(server: Server, why: str) -> None:
    """Raise `ScenarioError` where the server has no validation data.

    Args:
        why: what needs them, as a sentence begins.
    """
    if server.validation is None:
        message = f"{why} by samples that nobody trains on; say how many of each class, such as 20"
        raise ScenarioError(Problem("data.validation.per_class", message))


def judged(server: Server, vectors: Sequence[Tensor]) -> Tensor:
    """[n] macro-F1 of each shared vector's model on the server's validation data, by its headline logits."""
    rows = server.validation
    assert rows is not None
    logits = ask(server, vectors, rows, lambda model, x: headline(server.learner.predict(model, x)))
    return macro_f1(logits.argmax(2), rows.y, server.task.num_classes)


def macro_f1(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """[n] mean F1 over the classes that y [m] holds, for each row of predictions [n, m].

    Args:
        predicted: [n, m] classes, a row for each model.
        y: [m] the true ones.
        classes: their number.
    """
    true = torch.nn.functional.one_hot(y, classes).float()
    taken = torch.nn.functional.one_hot(predicted, classes).float()
    correct = (taken * true).sum(1)
    f1 = 2 * correct / (true.sum(0) + taken.sum(1)).clamp(min=1)
    return f1[:, true.sum(0) > 0].mean(1)
