"""A GPU is not waited for within the training loop: what would wait for it happens once for a client, not in each step.

On the CPU nothing waits, but the calls that would can be counted: numbers read out of tensors, and copies to a device
that are not told to go on meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from conftest import TrainOne
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

READING = ("item", "__float__", "__int__", "__bool__", "__index__", "tolist", "numpy", "cpu")
EPOCHS = (1, 3)


class Waits(TorchFunctionMode):
    """Counts calls after which a GPU has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        named = any(isinstance(value, torch.device | torch.Tensor) for value in args[1:])
        if name in READING or (name == "to" and named and not kwargs.get("non_blocking")):
            self.counts[name] += 1
        if name in ("tensor", "as_tensor") and "device" in kwargs:
            self.counts[name] += 1
        return func(*args, **kwargs)


def items(work: Callable[[], object]) -> int:
    """Numbers that are read out of tensors, by whatever call."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    return sum(event.count for event in found.key_averages() if event.key == "aten::_local_scalar_dense")


def test_no_number_is_read_in_a_step(train_one: TrainOne) -> None:
    rich = "local={augment: crop_flip, clip: 1.0, momentum: 0.9, schedule: cosine}"
    few, many = (items(lambda n=n: train_one(0, rich, f"local.epochs={n}")) for n in EPOCHS)  # type: ignore[misc]
    assert 0 < few == many


@pytest.mark.parametrize(
    "method",
    [
        *("learner=cross_entropy", "learner=mixup", "learner=tlc", "learner=value_of_labels", "learner=ride"),
        *("learner=bbn", "learner={name: cmo, probability: 1.0, plain: 0.0}", "learner=resampling"),
        *("strategy=fedavg_la", "strategy=fedgrab", "strategy=fedir", "strategy=fedyoyo"),
    ],
)
def test_no_copy_is_waited_for_in_a_step(method: str, train_one: TrainOne) -> None:
    counts = []
    for epochs in EPOCHS:
        with Waits() as waits:
            train_one(0, method, "model.depth=2", f"local.epochs={epochs}")
        counts.append(waits.counts)
    assert counts[0]
    assert counts[1] == counts[0]
