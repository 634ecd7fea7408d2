"""The study in fluke (PyPI fluke-fl 0.8.1), one method after the other: `python -m benchmarks.studies.in_fluke FOLDER ROUNDS`.

Prints one line of JSON: by method, the steps of its optimisers and the generic model's last accuracy, where it has one.
The last evaluation of all clients is left out, which the study in FedLT does not make.
"""  # noqa: E501

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.studies.net import DIM, encoder
from benchmarks.studies.setting import (
    BATCH,
    CLASSES,
    CLIENTS,
    COHORT,
    EPOCHS,
    EVERY,
    IMAGE,
    METHODS,
    RATE,
    SEED,
    Method,
)
from benchmarks.systems.fluke_run import fit_torchvision

MODULE = "benchmarks.studies.in_fluke"  # where fluke finds the models


def main(folder: Path, rounds: int) -> None:
    """Run all methods, and say what they did."""
    fit_torchvision()
    with np.load(folder / "fluke.npz") as content:
        arrays = {name: torch.from_numpy(content[name]) for name in content.files}
    print(json.dumps({name: _run(method, arrays, rounds) for name, method in METHODS.items()}))


def network() -> Any:
    """The study's model in fluke's form, which is told of it by name and makes as many as it needs."""
    from fluke.nets import EncoderHeadNet

    return EncoderHeadNet(encoder(*IMAGE), torch.nn.Linear(DIM, CLASSES))


def shared_encoder() -> torch.nn.Module:
    """What is shared where each client has a head of its own."""
    return encoder(*IMAGE)


def _run(method: Method, arrays: dict[str, torch.Tensor], rounds: int) -> dict[str, float]:
    from fluke import DDict, FlukeENV
    from fluke.data import DataSplitter
    from fluke.evaluation import ClassificationEval
    from fluke.utils import FederationObserver
    from torchmetrics import Accuracy

    module, _, name = method.algorithm.partition(".")
    algorithm = getattr(import_module(f"fluke.algorithms.{module}"), name)
    accuracy, steps = [float("nan")], [0]

    class Heard(FederationObserver):  # type: ignore[misc]
        def server_evaluation(self, round: int, eval_type: str, evals: dict[str, Any], **rest: Any) -> None:
            accuracy.append(evals.get("accuracy", accuracy[-1]))

    class WithoutLastEvaluation(algorithm):  # type: ignore[misc, valid-type]
        def finalize(self) -> None:
            FlukeENV().close_cache()

    def counted(*_: Any) -> None:
        steps[0] += 1

    environment = FlukeENV()
    environment.set_seed(SEED)
    environment.set_evaluator(ClassificationEval(EVERY, CLASSES, accuracy=Accuracy("multiclass", num_classes=CLASSES)))
    environment.set_eval_cfg(pre_fit=False, post_fit=True, locals=False, server=True)
    own = {"model": f"{MODULE}.network"} if method.own else {}
    settings = DDict(
        model=f"{MODULE}.{'shared_encoder' if method.head else 'network'}",
        client=DDict(
            batch_size=BATCH,
            local_epochs=EPOCHS,
            loss="CrossEntropyLoss",
            optimizer=DDict(name="SGD", lr=RATE),
            scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
            **own,
            **method.client,
        ),
        server=DDict(weighted=True, **method.server),
    )
    federation = WithoutLastEvaluation(CLIENTS, DataSplitter(_dealt(arrays)), settings)
    federation.set_callbacks(Heard())
    hook = register_optimizer_step_post_hook(counted)
    federation.run(rounds, COHORT / CLIENTS)
    hook.remove()
    return {"steps": steps[0], "accuracy": accuracy[-1]}


def _dealt(arrays: dict[str, torch.Tensor]) -> Any:
    """fluke's container of data that are dealt already."""
    from fluke.data import DummyDataContainer, FastDataLoader

    def loader(x: torch.Tensor, y: torch.Tensor, size: int, shuffle: bool) -> Any:
        return FastDataLoader(x, y, num_labels=CLASSES, batch_size=size, shuffle=shuffle)

    clients = arrays["clients"].split(arrays["client_sizes"].tolist())
    tests = arrays["tests"].split(arrays["test_sizes"].tolist())
    return DummyDataContainer(
        [loader(arrays["x"][rows], arrays["y"][rows], BATCH, True) for rows in clients],
        [loader(arrays["x_test"][rows], arrays["y_test"][rows], 256, False) for rows in tests],
        loader(arrays["x_test"], arrays["y_test"], 256, False),
        CLASSES,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
