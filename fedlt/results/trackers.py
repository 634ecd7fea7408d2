"""What follows a run elsewhere: TensorBoard, MLflow, Weights & Biases, or a callback of one's own.

Each is imported when it is asked for:

    fedlt run digits_lt --track tensorboard,mlflow,./mine.py:Mine

A tracker hears of every round and of every evaluation. A failing tracker ends the run: a run that was to be followed
and was not would be found out only at its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedlt.callback import HOOKS, Callback, RunState
from fedlt.config.catalog import own_class
from fedlt.config.hook_names import defined_otherwise
from fedlt.config.own_lines import told
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError

OLD_WORDS = {"start": "on_start", "log": "on_round and on_evaluation", "finish": "on_end"}
"""What trackers were made of before they were callbacks."""


class Tracker(Callback):
    """A callback that only takes figures by name: those of a round as `rounds/...`, and those of an evaluation."""

    package = ""  # that must be installed

    def on_start(self, run: RunState) -> None:
        self.start(run.folder, run.keys)

    def on_round(self, run: RunState) -> None:
        self.log(run.round, _finite({f"rounds/{name}": value for name, value in run.row.items() if name != "round"}))

    def on_evaluation(self, run: RunState) -> None:
        self.log(run.round, _finite(run.figures))

    def on_end(self, run: RunState) -> None:
        self.finish(run.status)

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        """The run's folder, and its scenario as flat keys."""
        raise NotImplementedError

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        """Finite figures of a round by name."""
        raise NotImplementedError

    def finish(self, status: str) -> None:
        """How the run ended."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """Event files in the run folder: `tensorboard --logdir runs`."""

    package = "tensorboard"
    folder = "tensorboard"  # within the run's

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        """Open TensorBoard's writer in the run folder, and write down the keys."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / self.folder))
        rows = "\n".join(f"| `{key}` | {value} |" for key, value in keys.items())
        self._writer.add_text("scenario", f"| key | value |\n|---|---|\n{rows}")

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, round)

    def finish(self, status: str) -> None:
        self._writer.close()


class MLflow(Tracker):
    """A run of the experiment `fedlt`, where `MLFLOW_TRACKING_URI` says; MLflow's default is the working folder."""

    package = "mlflow"

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        """Open a run in the experiment `fedlt`, and write down the keys."""
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


class WandB(Tracker):
    """A run of the project `fedlt`. `WANDB_MODE=offline` keeps it on this machine."""

    package = "wandb"

    def start(self, folder: Path, keys: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project="fedlt", name=folder.name, dir=str(folder), config=dict(keys))

    def log(self, round: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "round": round}, step=round)

    def finish(self, status: str) -> None:
        self._run.finish(0 if status == "finished" else 1)


KEY = "track"
"""What problems with trackers are told under."""

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


Track = str | Callback | Iterable[str | Callback] | None
"""What is to follow a run: names, as one text or several, and callbacks that are made already; one alone, or a list."""


def words(track: Track) -> list[str | Callback]:
    """The names and callbacks, one by one.

    Texts are cut at commas and spaces, and a name that stands there twice is taken once.
    """
    alone = track is None or isinstance(track, str | Callback | type) or not isinstance(track, Iterable)
    given: list[Any] = [track] if alone else list(track)  # type: ignore[arg-type]
    asked: list[str | Callback] = []
    for thing in given:
        parts = thing.replace(",", " ").split() if isinstance(thing, str) else [] if thing is None else [thing]
        asked += [part for part in parts if not (isinstance(part, str) and part in asked)]
    return asked


def trackers(track: Track) -> list[Callback]:
    """The callbacks of these names; `./mine.py:Mine` is a class of one's own, made without arguments.

    Raises:
        ScenarioError: under `track` for one that is unknown, not installed, or no callback.
    """
    problems: list[Problem] = []
    made: list[Callback] = []

    for word in words(track):
        if not isinstance(word, str):
            made.append(checked(KEY, word))
        elif ".py:" in word:
            made.append(_own(word))
        elif word not in TRACKERS:
            hint = f"{suggest(word, TRACKERS)} (your own: './file.py:Mine', with the name of its class)"
            problems.append(Problem(KEY, f"unknown tracker {word!r}{hint}"))
        elif find_spec(TRACKERS[word].package) is None:
            problems.append(Problem(KEY, f"{word} is not installed: pip install 'fedlt[{word}]'"))
        else:
            made.append(TRACKERS[word]())

    if problems:
        raise ScenarioError(problems)
    return made


def checked(key: str, thing: Any, name: str = "") -> Callback:
    """A callback of a user's own.

    Args:
        key: what a problem is told under.
        name: what it is called there.

    Raises:
        ScenarioError: for what is no callback, and for a hook that is spelt nearly like one.
    """
    name = name or (thing.__name__ if isinstance(thing, type) else type(thing).__name__)
    if isinstance(thing, type):
        raise ScenarioError(Problem(key, f"{name} is a class; give an instance of it: {name}()"))

    if not isinstance(thing, Callback):
        old = [f"{word} is now {new}" for word, new in OLD_WORDS.items() if callable(getattr(thing, word, None))]
        remedy = f" ({', '.join(old)}; each takes `run`)" if old else ""
        message = f"{name} is no callback; let it inherit fedlt.Callback, whose hooks are {', '.join(HOOKS)}{remedy}"
        raise ScenarioError(Problem(key, message))

    for text in defined_otherwise(thing, Callback):
        raise ScenarioError(Problem(key, text))
    for word in dir(thing):
        if word.startswith("on_") and word not in HOOKS and "did you mean" in (hint := suggest(word, HOOKS)):
            raise ScenarioError(Problem(key, f"{name} has a hook {word!r}, which nobody calls{hint}"))
    return thing


def _own(name: str) -> Callback:
    """A callback of a user's file."""
    made = own_class(KEY, name)
    try:
        callback = made()
    except Exception as error:
        message = f"{name} cannot be made without arguments: {told(error)}; give them defaults"
        raise ScenarioError(Problem(KEY, f"{message}, or pass an object in Python: track=[...]")) from error
    return checked(KEY, callback, name)


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    """Without what is no finite number."""
    return {
        name: float(value) for name, value in figures.items() if isinstance(value, int | float) and math.isfinite(value)
    }
