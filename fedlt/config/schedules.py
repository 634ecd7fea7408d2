"""The schedules of the learning rate that a scenario can name: three of this project, and those of PyTorch that fit.

`local.schedule=cosine`, or `{name: StepLR, step_size: 30, gamma: 0.1}`. A class of `torch.optim.lr_scheduler` has its
own name, and its arguments are the keys, but for the rate itself, which is `local.lr`. One step of it is one round.
"""

from __future__ import annotations

from typing import Any

from fedlt.config.schema import Field, suggest
from fedlt.errors import Problem, ScenarioError

USUAL = "constant"

OURS = {
    "constant": "local.lr in every round",
    "cosine": "half a cosine from local.lr to 0 over the run, step by step",
    "step": "local.lr x 0.01 from 80 % of the run on, x 0.0001 from 90 % on",
}

_ROUNDS = 'Annotated[int, ">= 1"]'
_SHARE = 'Annotated[float, ">= 0", "<= 1"]'
_FACTOR = 'Annotated[float, "> 0"]'
_RATE = 'Annotated[float, ">= 0"]'

TORCH: dict[str, tuple[Field, ...]] = {
    "ConstantLR": (Field("factor", _SHARE, 1.0 / 3), Field("total_iters", _ROUNDS, 5)),
    "CosineAnnealingLR": (Field("T_max", f"{_ROUNDS} | None"), Field("eta_min", _RATE, 0.0)),
    "CosineAnnealingWarmRestarts": (
        Field("T_0", _ROUNDS, required=True),
        Field("T_mult", _ROUNDS, 1),
        Field("eta_min", _RATE, 0.0),
    ),
    "ExponentialLR": (Field("gamma", _FACTOR, required=True),),
    "LinearLR": (
        Field("start_factor", 'Annotated[float, "> 0", "<= 1"]', 1.0 / 3),
        Field("end_factor", _SHARE, 1.0),
        Field("total_iters", _ROUNDS, 5),
    ),
    "MultiStepLR": (Field("milestones", f"list[{_ROUNDS}]", required=True), Field("gamma", _FACTOR, 0.1)),
    "OneCycleLR": (
        Field("total_steps", f"{_ROUNDS} | None"),
        Field("pct_start", _SHARE, 0.3),
        Field("anneal_strategy", 'Literal["cos", "linear"]', "cos"),
        Field("div_factor", _FACTOR, 25.0),
        Field("final_div_factor", _FACTOR, 1e4),
        Field("three_phase", "bool", False),
    ),
    "PolynomialLR": (Field("total_iters", f"{_ROUNDS} | None"), Field("power", _FACTOR, 1.0)),
    "StepLR": (Field("step_size", _ROUNDS, required=True), Field("gamma", _FACTOR, 0.1)),
}
"""Keys of each class, at PyTorch's defaults, but for those of `LENGTH`."""

WORDS = {
    "ConstantLR": "local.lr times a factor in the first total_iters rounds, then local.lr",
    "CosineAnnealingLR": "half a cosine from local.lr to eta_min over T_max rounds",
    "CosineAnnealingWarmRestarts": "half cosines from local.lr to eta_min in turn, each T_mult times as long",
    "ExponentialLR": "local.lr times gamma after every round",
    "LinearLR": "local.lr times a factor that moves evenly from start_factor to end_factor in total_iters rounds",
    "MultiStepLR": "local.lr times gamma at each of the rounds that milestones lists",
    "OneCycleLR": "up to local.lr in the first share pct_start of the rounds, then down far below where it began",
    "PolynomialLR": "local.lr times (1 - round / total_iters) to the power given, and 0 from then on",
    "StepLR": "local.lr times gamma after every step_size rounds",
}
"""What each of them does to the rate."""

LENGTH = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps", "PolynomialLR": "total_iters"}
"""The keys that say how many rounds a schedule goes on; null, the default, stands for all rounds of the run."""

UNFIT = {
    "ReduceLROnPlateau": "waits for a figure to stop improving, and a client has none that all clients share; take a "
    "schedule over the rounds, or end the run by evaluation.patience",
    "CyclicLR": "swings within tens of steps, and a step is a round here; take CosineAnnealingWarmRestarts",
    **dict.fromkeys(
        ("LambdaLR", "MultiplicativeLR"),
        "takes a function, which a scenario cannot hold; take MultiStepLR, or another schedule",
    ),
    **dict.fromkeys(
        ("SequentialLR", "ChainedScheduler"),
        "is made of other schedules; local.warmup can be given beside any schedule",
    ),
}
"""Classes of PyTorch that cannot be had, and why."""


def names() -> list[str]:
    """The schedules that a scenario can name, sorted."""
    return sorted([*OURS, *TORCH])


def fields(name: str) -> tuple[str, tuple[Field, ...]]:
    """The line about it, and its keys.

    Raises:
        ScenarioError: where there is none of that name.
    """
    if name in OURS:
        return OURS[name], ()
    if name in TORCH:
        return f"{WORDS[name]} (torch.optim.lr_scheduler)", TORCH[name]
    why = f"{name} {UNFIT[name]}" if name in UNFIT else f"unknown schedule {name!r}{suggest(name, names())}"
    raise ScenarioError(Problem("local.schedule", why))


def create(name: str, options: dict[str, Any]) -> Any:
    """The class of `torch.optim.lr_scheduler`. Imports PyTorch's optimisers, which takes a second."""
    from importlib import import_module

    return getattr(import_module("torch.optim.lr_scheduler"), name)
