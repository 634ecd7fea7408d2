"""A scenario: everything that a run is a function of, in one YAML file.

    load_scenario("digits_lt", "strategy=fedprox", "strategy.mu=0.1", "~local.augment")
    load_scenario("digits_lt", {"strategy": "fedprox", "strategy.mu": 0.1, "federation": {"rounds": 5}}, seed=1)

Every problem is found at once, before any work, without importing torch, ray or flwr.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Unpack

from fedlt.config.component import Choice
from fedlt.config.overrides import Override, Sections, as_words
from fedlt.config.reader import Reader
from fedlt.config.rules import check_initial, cross_check
from fedlt.config.scenario_file import anchor, apply, as_yaml, locate, read
from fedlt.config.sections import Data, Evaluation, Federation, InitFrom, Local, Resources
from fedlt.errors import Problem, ScenarioError


@dataclass(frozen=True)
class Scenario:
    """A checked scenario. `name` is the file's stem; all else is the file's content with every default filled in."""

    young: ClassVar[tuple[str, ...]] = ("init_from",)

    name: str
    data: Data = field(default_factory=Data)
    federation: Federation = field(default_factory=Federation)
    local: Local = field(default_factory=Local)
    model: Annotated[Choice, "model"] = "cnn"  # type: ignore[assignment]  # see: fedlt ls models
    strategy: Annotated[Choice, "strategy"] = "fedavg"  # type: ignore[assignment]  # see: fedlt ls strategies; or ./file.py:Class
    learner: Annotated[Choice, "learner"] = "cross_entropy"  # type: ignore[assignment]  # see: fedlt ls learners; or ./file.py:Class
    init_from: InitFrom = field(default_factory=InitFrom)
    evaluation: Evaluation = field(default_factory=Evaluation)
    resources: Resources = field(default_factory=Resources)
    seed: Annotated[int, ">= 0"] = 0  # everything that is random follows from it

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as a YAML file would hold them."""
        return {name: value for name, value in _plain(self).items() if name != "name"}

    def to_yaml(self) -> str:
        """The resolved scenario as YAML text that `load_scenario` takes back."""
        return as_yaml(self.to_dict())

    @property
    def hash(self) -> str:
        """Hash of everything that the result depends on: neither the file's name, nor where it is computed."""
        content = self.to_dict()
        content["resources"] = {"precision": self.resources.precision}
        choices = [self.strategy, self.learner, self.model]
        made = (self.data.targets, self.data.encoder, self.data.tokenizer)
        choices += [choice for choice in made if choice is not None]
        nested = [inner for choice in choices for _, inner in choice.nested()]
        own = (self.federation.selection, self.federation.clock, self.local.generated)
        nested += [each for each in own if each is not None]
        choices += [inner for inner in nested if inner.component.code_digest()]
        content["code"] = [choice.component.code_digest() for choice in choices]
        text = json.dumps(content, sort_keys=True)
        for choice, digest in zip(choices, content["code"], strict=True):
            if digest:  # known by its content, not by the folder that it lies in
                text = text.replace(json.dumps(choice.name), json.dumps(choice.name.rpartition("/")[2]))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def numerics(self) -> str:
        """The arithmetic of the training where it is not the usual one: results of two kinds are not comparable."""
        together = f", {self.local.together} clients at once" if self.local.together > 1 else ""
        return f"{self.resources.precision}{together}"

    @property
    def run_name(self) -> str:
        """Name of the run's folder: scenario, strategy, learner where it is not the usual one, seed, hash."""
        parts = [self.name, _short(self.strategy.name), *(_short(inner.name) for _, inner in self.strategy.nested())]
        if self.learner.name != "cross_entropy":
            parts.append(_short(self.learner.name))
        return "-".join([*parts, f"s{self.seed}", self.hash[:8]])


def load_scenario(
    scenario: str | Path | dict[str, Any],
    *overrides: Override | Iterable[Override],
    base: Path | None = None,
    **sections: Unpack[Sections],
) -> Scenario:
    """Read a scenario by name, path or dictionary, apply the overrides in order, and check all of it.

    Relative paths in a file start at `base`, its folder unless given; in overrides and dictionaries, at the current
    folder.

    Args:
        overrides: `key=value`, `~key`, dictionaries of keys and values, or lists of these.
        sections: the same by keyword, after them.

    Raises:
        ScenarioError: that lists every problem with its key, what was expected, and the nearest right spelling.
    """
    words = as_words([*overrides, sections])
    if isinstance(scenario, dict):
        name, raw = "scenario", copy.deepcopy(scenario)  # overrides are set in it
    else:
        path = locate(scenario)
        name, raw = path.stem, read(path)
        anchor(raw, base or path.parent)

    problems: list[Problem] = []
    content = apply(raw, words, problems)
    reader = Reader(problems, content)
    chosen = reader.section(Scenario, content, "", skip=("name",))
    if problems:
        raise ScenarioError(problems, source=name)
    result = Scenario(name=name, **chosen)
    cross_check(result.data, result.federation, result.local, result.evaluation, problems)
    check_initial(result.init_from, problems)
    if problems:
        raise ScenarioError(problems, source=name)

    return result


def _plain(value: Any) -> Any:
    """A value of a scenario as plain data, as `to_dict` gives it."""
    if isinstance(value, Choice):  # a schedule without keys is a word, as in scenarios from when it was one of three
        written = value.written()
        return value.name if value.component.kind == "schedule" and len(written) == 1 else written
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if not _left_out(f.name, value)}
    return value


def _left_out(name: str, owner: Any) -> bool:
    """Whether a section's field is younger than the scenarios that lie about, and at its default."""
    if name not in getattr(owner, "young", ()):
        return False
    value, usual = getattr(owner, name), _usual(owner, name)
    plain = value.name if isinstance(value, Choice) and len(value.written()) == 1 else value
    return bool(plain == usual)


def _usual(owner: Any, name: str) -> Any:
    """The default of a section's field."""
    spec = next(f for f in fields(owner) if f.name == name)
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def _short(name: str) -> str:
    return name.rsplit(":", 1)[-1].lower()
