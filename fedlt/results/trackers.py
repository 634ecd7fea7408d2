"""What follows a run elsewhere: TensorBoard, MLflow, Weights & Biases, or a class of one's own.

Each is imported when it is asked for:

    fedlt run digits_lt --track tensorboard,mlflow,./mine.py:Mine

A tracker hears of every round and of every evaluation. A failing tracker ends the run: a run that was to be followed
and was not would be found out only at its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from fedlt.config.catalog import own_class
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError

METHODS = ("start", "log", "finish")


class Tracker(Protocol):
    """One callback. start: the run's folder, and its scenario as flat keys. log: finite figures of a round by name."""

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None: ...
    def log(self, round: int, figures: Mapping[str, float]) -> None: ...
    def finish(self, status: str) -> None: ...


class TensorBoard:
    """Event files in the run folder: `tensorboard --logdir runs`."""

    package = "tensorboard"
    folder = "tensorboard"  # within the run's

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / self.folder))
        rows = "\n".join(f"| `{key}` | {value} |" for key, value in keys.items())
        self._writer.add_text("scenario", f"| key | value |\n|---|---|\n{rows}")

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, round)

    def finish(self, status: str) -> None:
        self._writer.close()


class MLflow:
    """A run of the experiment `fedlt`, where `MLFLOW_TRACKING_URI` says; MLflow's default is the working folder."""

    package = "mlflow"

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        import mlflow
        from mlflow.entities import Metric, Param

        self._metric = Metric
        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name("fedlt")
        experiment = found.experiment_id if found else self._client.create_experiment("fedlt")
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        params = [Param(key, str(value)[:500]) for key, value in keys.items()]  # longer values are refused
        for start in range(0, len(params), 100):  # and so are more of them at once
            self._client.log_batch(self._run, params=params[start : start + 100])

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        allowed = ((name.replace("[", ".").replace("]", ""), value) for name, value in figures.items())  # no brackets
        self._client.log_batch(self._run, metrics=[self._metric(name, value, now, round) for name, value in allowed])

    def finish(self, status: str) -> None:
        self._client.set_terminated(self._run, "FINISHED" if status == "finished" else "FAILED")


class WandB:
    """A run of the project `fedlt`. `WANDB_MODE=offline` keeps it on this machine."""

    package = "wandb"

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project="fedlt", name=folder.name, dir=str(folder), config=dict(keys))

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "round": round}, step=round)

    def finish(self, status: str) -> None:
        self._run.finish(0 if status == "finished" else 1)


TRACKERS: dict[str, type[TensorBoard] | type[MLflow] | type[WandB]] = {
    "tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB,
}  # fmt: skip


def trackers(names: Sequence[str]) -> list[Tracker]:
    """The trackers of these names; `./mine.py:Mine` is a class of one's own, made without arguments.

    Raises `ScenarioError` for one that is unknown, not installed, or no tracker.
    """
    problems, made = [], dict[str, Tracker]()
    for name in dict.fromkeys(names):
        if ".py:" in name:
            made[name] = _own(name)
        elif name not in TRACKERS:
            hint = f"{suggest(name, TRACKERS)} (your own: './file.py:Tracker')"
            problems.append(Problem("--track", f"unknown tracker {name!r}{hint}"))
        elif find_spec(TRACKERS[name].package) is None:
            problems.append(Problem("--track", f"{name} is not installed: pip install 'fedlt[{name}]'"))
        else:
            made[name] = TRACKERS[name]()
    if problems:
        raise ScenarioError(problems)
    return list(made.values())


def _own(name: str) -> Tracker:
    """A tracker of a user's file."""
    try:
        tracker: Tracker = own_class("--track", name)()
    except TypeError as error:
        raise ScenarioError(Problem("--track", f"{name} is made without arguments: {error}")) from error
    lacking = [method for method in METHODS if not callable(getattr(tracker, method, None))]
    if lacking:
        raise ScenarioError(
            Problem("--track", f"{name} has no {', '.join(lacking)}; a tracker has {', '.join(METHODS)}")
        )
    return tracker


class Followed:
    """The trackers of one run. scenario: as `Scenario.to_dict` gives it."""

    def __init__(self, followers: Sequence[Tracker], scenario: Mapping[str, Any]) -> None:
        self.followers, self.keys = list(followers), dict(_flat(scenario))

    def start(self, folder: Path) -> None:
        """The run begins."""
        for tracker in self.followers:
            tracker.start(folder, self.keys)

    def log(self, round: int, figures: Mapping[str, Any], prefix: str = "") -> None:
        """Figures of a round; what is no finite number is left out."""
        finite = {
            f"{prefix}{name}": float(value)
            for name, value in figures.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        for tracker in self.followers:
            tracker.log(round, finite)

    def finish(self, status: str) -> None:
        """The run has ended. A tracker's error does not hide that of a run that goes down."""
        for tracker in self.followers:
            with nullcontext() if status == "finished" else suppress(Exception):
                tracker.finish(status)


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
