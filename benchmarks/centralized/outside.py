"""Images of another data set: does a trained model say that it does not know them?"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.centralized.separation import auroc, uncertainty
from benchmarks.centralized.trained import passed, trained
from fedlt.results.runs import Run


def outside_auroc(run: Run, name: str, variant: str = "") -> float:
    """Area under the ROC curve of the uncertainty, in %: the run's test images against those of another data set.

    name: an .npz file in $FEDLT_DATA with `x_test` of the same shape. The images are prepared as the model's own.
    variant: of the model's predictions, the headline unless given.
    """
    worker = trained(run)
    with np.load(Path(os.environ["FEDLT_DATA"]) / f"{name}.npz") as content:
        images = content["x_test"]
    others = worker.context.parts.task.inputs.open(images, worker.context.device)
    learner, model = worker.context.parts.learner, worker.context.model

    def doubt(x: Tensor) -> Tensor:
        found = learner.predict(model, x)
        return uncertainty(found[variant] if isinstance(found, dict) and variant else found)

    known, unknown = (
        passed(doubt, inputs, torch.arange(size))
        for inputs, size in ((worker.testing.sets.inputs, len(worker.testing.sets.targets)), (others, len(images)))
    )
    return 100 * auroc(known, unknown)
