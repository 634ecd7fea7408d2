"""The grid of a sweep: every combination of the values on the command line, checked before the first run.

    plan("digits_lt", ["strategy=fedavg,{name: fedprox, mu: 0.1}", "local.lr=0.01,0.1"], seeds=[0, 1])

Commas separate values, except within brackets, braces and quotation marks: `counts=[9,3,1]` is one value. A key that
only one component has is written into that component's braces, so that it is set where it applies.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from fedlt.comparing.short_names import without_folders
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.errors import Problem, ScenarioError

_PAIRS = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class Job:
    """One run of the grid.

    Attributes:
        label: the keys that the grid varies, `strategy=fedprox local.lr=0.1`.
        scenario: checked, with its seed.
        command: what would run it alone, kept in the run's folder.
        track: names of the trackers that follow it.
        keep: whether it keeps what it trained for others (`fedlt.sweeps.sharing`).
    """

    label: str
    scenario: Scenario
    command: str
    track: tuple[str, ...] = ()
    keep: bool = False

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.scenario.seed

    @property
    def name(self) -> str:
        """The run in a line of text."""
        return f"{self.label} seed {self.seed}".strip()


def plan(scenario: str | Path | dict[str, Any], words: Iterable[str], seeds: Sequence[int] = ()) -> list[Job]:
    """The runs of a grid, seed by seed, so that whatever has finished can be compared.

    Args:
        words: overrides with one or more values each.

    Raises:
        ScenarioError: with the problems of all combinations.
    """
    problems: list[Problem] = []
    axes = [_axis(word, problems) for word in words]
    if seeds and any(key == "seed" for key, _ in axes):
        problems.append(Problem("seed", "is given as a key and as --seeds; keep one of them"))
    if problems:
        raise ScenarioError(problems, source="the grid")
    if seeds:
        axes.append(("seed", [f"seed={seed}" for seed in seeds]))

    axes.sort(key=lambda axis: axis[0] != "seed")  # the slowest one first; the others keep their order
    varied = {key for key, values in axes if len(values) > 1 and key != "seed"}
    shown = _without_folders([word for _, values in axes for word in values])
    jobs: dict[str, Job] = {}
    found: dict[Problem, None] = {}

    for chosen in product(*(values for _, values in axes)):
        overrides = [*(o for o in chosen if not o.startswith("seed=")), *(o for o in chosen if o.startswith("seed="))]
        label = " ".join(shown[word] for word in overrides if word.partition("=")[0] in varied)
        try:
            checked = load_scenario(scenario, overrides)
        except ScenarioError as error:
            found |= dict.fromkeys(error.problems)
            continue
        name = "SCENARIO" if isinstance(scenario, dict) else str(scenario)
        job = Job(label, checked, "fedlt " + shlex.join(["run", name, *overrides]))
        twin = jobs.setdefault(checked.run_name, job)
        if twin is not job:
            found[Problem("", f"{job.name!r} is the same run as {twin.name!r}; name each once")] = None

    if found:
        raise ScenarioError(list(found), source="the grid")
    return list(jobs.values())


def _without_folders(words: Sequence[str]) -> dict[str, str]:
    """What stands in labels for each word: absolute paths without their folders, unless two would then be alike."""
    short = {word: without_folders(word) for word in words}
    return short if len(set(short.values())) == len(short) else dict(zip(words, words, strict=True))


def split_values(text: str) -> list[str]:
    """The values between commas that stand outside of brackets, braces and quotation marks.

    Raises:
        ValueError: where a bracket or a quotation mark is not closed, or a value is empty.
    """
    values, start = [], 0
    closers: list[str] = []
    for place, letter in enumerate(text):
        if closers and letter == closers[-1]:
            closers.pop()
        elif closers and closers[-1] in "'\"":
            continue
        elif letter in _PAIRS or (letter in "'\"" and not text[start:place].strip()) or (letter in "'\"" and closers):
            closers.append(_PAIRS.get(letter, letter))
        elif letter == "," and not closers:
            values.append(text[start:place])
            start = place + 1

    if closers:
        raise ValueError(f"a {closers[-1]} is missing in {text!r}")
    values.append(text[start:])
    if len(values) > 1 and not all(value.strip() for value in values):
        raise ValueError(f"a value is empty between the commas of {text!r}")

    return [value.strip() for value in values] if len(values) > 1 else values


def _axis(word: str, problems: list[Problem]) -> tuple[str, list[str]]:
    """A key and the overrides that it takes in turn."""
    key, equals, text = word.partition("=")
    if not equals:
        return word, [word]  # ~key, or a mistake that loading the scenario tells
    try:
        return key, [f"{key}={value}" for value in split_values(text)]
    except ValueError as error:
        problems.append(Problem(key, f"cannot read the values: {error}"))
        return key, []
