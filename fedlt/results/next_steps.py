"""What to try after a run: commands that run as printed, with the scenario and the overrides of the run itself.

After FedAvg with its plain learner it is FedLoGe, alone and in a comparison of both; after another learner the
comparison with cross-entropy; after another strategy the comparison with FedAvg, and a picture of the clients. A sweep
skips the run that is finished. After a sweep it is a picture of the clients, what each gains over the reference, and a
report.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.config import catalog
from fedlt.errors import ScenarioError
from fedlt.results.runs import load_runs

if TYPE_CHECKING:
    from fedlt.results.runs import Run


def next_steps(run: Run, words: Sequence[str] = (), seeds: Sequence[Run] = ()) -> list[str]:
    """Commands that fit what was run.

    Args:
        seeds: all the runs where the command ran several, which pictures take in.
        words: what `fedlt run` was given, the scenario first, then overrides and options. Without them the scenario is
            the one that lies in the run folder, which gives the runs another name: there is then no sweep.
    """
    strategy, learner = run.summary["strategy"], run.summary["learner"]
    base = [*words] or [os.path.relpath(run.folder / "scenario.yaml")]
    plain = learner == "cross_entropy"

    if strategy != "fedavg":
        comparison = _sweep(run, words, "strategy", "fedavg")
        alone = _command("run", [*_without(base, "strategy"), "strategy=fedavg"])
        where = _where(seeds, run.folder.parent) if len(seeds) > 1 else ""
        drawn = [where] if where else [os.path.relpath(one.folder) for one in seeds or [run]]
        clients = _command("plot", [*drawn, "--kind", "clients", "-o", "clients.png"])
        return [comparison or alone, clients]

    if not plain:
        alone = _command("run", [*_without(base, "learner"), "learner=cross_entropy"])
        return [_sweep(run, words, "learner", "cross_entropy") or alone]

    other = "fedloge" if _fits_fedloge(run) else "fedprox"
    alone = _command("run", [*_without(base, "strategy"), f"strategy={other}"])
    return [alone, *filter(None, [_sweep(run, words, "strategy", other, reference="fedavg")])]


def after_sweep(runs: Sequence[Run], out: Path, methods: int, reference: str = "") -> list[str]:
    """Commands about the runs of a sweep, which lie in `out`; none where others lie there that they would take in.

    Args:
        methods: that the sweep compares in one table; 0: in several.
        reference: the row that the others are compared with.
    """
    where = _where(runs, out)
    if not where:
        return []
    steps = []
    if methods > 1 and any("personal/accuracy" in run.final for run in runs):
        steps.append(_command("plot", [where, "--kind", "clients", "-o", "clients.png"]))
        if reference:
            steps.append(_command("plot", [where, "--kind", "gain", "--reference", reference, "-o", "gain.png"]))
    if find_spec("plotly") is not None:
        against = ["--reference", reference] if reference and methods else []
        steps.append(_command("report", [where, *against]))
    return steps


def _where(runs: Sequence[Run], out: Path) -> str:
    """A path or a glob that names these runs and no others; "" where there is none."""
    mine = {run.folder.resolve() for run in runs}
    place = Path(os.path.relpath(out))
    scenarios = {str(run.summary["scenario"]) for run in runs}
    for pattern in (str(place), *(str(place / f"{name}-*") for name in scenarios)):
        if {run.folder.resolve() for run in load_runs(pattern)} == mine:
            return pattern
    return ""


def _sweep(run: Run, words: Sequence[str], kind: str, other: str, reference: str = "") -> str:
    """The comparison of the run's component of this kind with another one; "" where it cannot be written.

    Args:
        reference: to which of the two differences are taken; the other one unless given.
    """
    rest = _without(words, kind)
    if not words or not all(_is_one_value(word.partition("=")[2]) for word in rest[1:]):
        return ""
    own = _value(run, words, kind)
    return _command("sweep", [*rest, f"{kind}={own},{other}", "--reference", reference or other])


def _is_one_value(text: str) -> bool:
    """Whether a sweep would take an override's value as one value, as a run does."""
    from fedlt.sweeps.grid import split_values

    try:
        return len(split_values(text)) == 1
    except ValueError:  # a bracket in a file's name
        return False


def _without(words: Sequence[str], kind: str) -> list[str]:
    """The words but those that choose the strategy or the learner, or set a key of it."""
    return [word for word in words if not word.lstrip("~").startswith((f"{kind}=", f"{kind}.")) and word != f"~{kind}"]


def _value(run: Run, words: Sequence[str], kind: str) -> str:
    """The run's strategy or learner as one value: its name, in braces with the keys that are not at their defaults."""
    chosen: dict[str, Any] = dict(run.scenario[kind])
    name = str(chosen.pop("name"))
    try:
        defaults = {field.name: field.default for field in catalog.find(kind, name).fields}
    except ScenarioError:  # a user's file that is no longer there
        defaults = {}
    changed = {key: value for key, value in chosen.items() if key not in defaults or value != defaults[key]}

    typed = [word.partition("=")[2] for word in words if word.startswith(f"{kind}=")]
    short = typed[-1] if typed and not typed[-1].startswith("{") else name  # ./mine.py:Mine as the user wrote it
    if not changed:
        return short
    options = "".join(f", {key}: {json.dumps(value)}" for key, value in changed.items())
    return f"{{name: {short}{options}}}"


def _fits_fedloge(run: Run) -> bool:
    """Whether FedLoGe can train the run's model: it needs one class a sample, as many features as classes, and private
    parameters.
    """
    path = Path(run.folder) / "model.safetensors"
    if not run.summary.get("single_label", True) or run.scenario["local"]["together"] > 1 or not path.is_file():
        return False
    from safetensors import safe_open

    with safe_open(path, "numpy") as tensors:
        names = set(tensors.keys())
        shape = tensors.get_slice("head.weight").get_shape() if "head.weight" in names else []
    return len(shape) == 2 and 2 <= shape[0] <= shape[1]


def _command(name: str, words: Sequence[str]) -> str:
    return f"fedlt {name} {shlex.join(words)}"
