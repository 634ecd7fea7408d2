"""Early exit of a trained TLC model: the threshold is chosen on training images that no client holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.centralized.trained import passed, trained
from clients.worker import Worker
from fedlt.data.inputs import Inputs
from fedlt.nn import evidence
from fedlt.nn.experts import ExpertHeads
from fedlt.results.runs import Run

PER_CLASS = 100  # validation images of each class
TOLERATED = 0.0025  # of validation accuracy


@dataclass(frozen=True)
class Exit:
    """saved: share of the experts' calls. lost: accuracy. wrong, right: mean joint uncertainty of such predictions."""

    saved: float
    lost: float
    wrong: float
    right: float


def early_exit(run: Run) -> Exit:
    """Choose on validation images the largest threshold that costs little, and say what it does on the test set."""
    worker = trained(run)
    federation = worker.context.federation
    unused = np.setdiff1d(np.arange(len(federation.y_train)), federation.clients.values)
    labels = federation.y_train[unused]
    held_out = np.concatenate([unused[labels == label][:PER_CLASS] for label in range(federation.num_classes)])
    eta = float(worker.context.scenario.learner.options["eta"])
    validation = _outputs(worker, worker.context.train_inputs, torch.from_numpy(held_out))
    y = torch.from_numpy(federation.y_train[held_out])
    best = 0.0
    full, _ = _accuracy(validation, y, 0.0, eta)

    for threshold in np.quantile(evidence.joint_uncertainty(validation)[1].numpy(), np.linspace(0, 1, 41)):
        accuracy, _ = _accuracy(validation, y, float(threshold), eta)
        if accuracy >= full - TOLERATED:
            best = float(threshold)

    test, y_test = (
        _outputs(worker, worker.testing.sets.inputs, torch.arange(len(federation.y_test))),
        worker.testing.sets.targets,
    )
    plain, _ = _accuracy(test, y_test, 0.0, eta)
    quick, asked = _accuracy(test, y_test, best, eta)
    fused = evidence.fuse(test, eta)
    assert fused.uncertainty is not None
    correct = fused.logits.argmax(1) == y_test
    wrong, right = float(fused.uncertainty[~correct].mean()), float(fused.uncertainty[correct].mean())

    return Exit(1 - asked / len(test), plain - quick, wrong, right)


def _outputs(worker: Worker, inputs: Inputs, rows: Tensor) -> Tensor:
    """[M, N, C] logits of each expert."""
    model, heads = worker.context.model, worker.context.model.head
    assert isinstance(heads, ExpertHeads)
    return passed(lambda x: heads.each(model.encode(x)).transpose(0, 1), inputs, rows).transpose(0, 1)


def _accuracy(each: Tensor, y: Tensor, threshold: float, eta: float) -> tuple[float, float]:
    """Accuracy, and experts asked per sample, where none is asked once the joint uncertainty is below the threshold."""
    left = evidence.joint_uncertainty(each)
    asked = 1 + (left[1:-1] >= threshold).cumprod(0).sum(0)
    logits = torch.stack([evidence.fuse(each[:count], eta).logits for count in range(1, len(each) + 1)])
    chosen = logits[asked - 1, torch.arange(each.shape[1])]
    return float((chosen.argmax(1) == y).float().mean()), float(asked.float().mean())
