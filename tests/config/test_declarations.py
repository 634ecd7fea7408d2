"""Words by which strategies and learners declare themselves: old ones name the new, misspelt ones the nearest."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import fedlt
from fedlt.config import catalog
from fedlt.config.declarations import LEARNER_PARTS, RENAMED, SCOPES
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.learner import Learner, overrides
from fedlt.strategy import Client, Strategy
from fedlt.training.assembly import assemble

OwnFile = Callable[..., Path]
OLD = [(kind, old) for kind, words in RENAMED.items() for old in words]
REMEDY = {
    ("strategy", "has_generic"): 'write scope = "personal"',
    ("strategy", "union"): 'write scope = "centralized"',
    ("strategy", "uses_learner"): "write learner_parts = ()",
    ("strategy", "apart"): 'write learner_parts = ("loss", "head", "prediction")',
    ("strategy", "own_head"): 'write learner_parts = ("loss", "stages", "prediction")',
    ("strategy", "own_prediction"): 'write learner_parts = ("loss", "stages")',
    ("strategy", "linear_head"): 'write needs = ("linear_head",)',
    ("strategy", "prompt"): 'write needs = ("prompt_updates",)',
    ("learner", "linear_head"): 'write needs = ("linear_head",)',
    ("learner", "alone"): "write vectorizable = False",
}


@pytest.mark.parametrize(("kind", "old"), OLD)
@pytest.mark.parametrize("line", ["{}: ClassVar[bool] = True", "{} = False"])
def test_an_old_class_variable_names_the_new_one(own_file: OwnFile, kind: str, old: str, line: str) -> None:
    """Found in the source text: the file raises where it is imported."""
    base = f"from fedlt.{kind} import {kind.capitalize()}"
    text = f"{base}\n\nraise RuntimeError\n\n@dataclass(frozen=True)\nclass Mine({kind.capitalize()}):\n"
    path = own_file(text + f"    {line.format(old)}\n")
    with pytest.raises(ScenarioError) as caught:
        load_scenario("digits_lt", [f"{kind}={path}:Mine"])
    (problem,) = caught.value.problems
    assert problem.key == kind
    assert f"the class variable {old} of Mine is no longer known" in problem.message
    assert REMEDY[kind, old] in problem.message


@pytest.mark.parametrize(("kind", "old"), OLD)
def test_what_replaces_an_old_class_variable_is_known(kind: str, old: str) -> None:
    """The remedy's own words stand in the tables and on the contract, so that following it ends the matter."""
    contract: type = {"strategy": Strategy, "learner": Learner}[kind]
    assert not hasattr(contract, old)
    for name, value in re.findall(r"(\w+) = (\([^)]*\)|\"\w+\"|False)", RENAMED[kind][old]):
        assert hasattr(contract, name)
        found = ast.literal_eval(value)
        if name == "learner_parts":
            assert set(found) <= LEARNER_PARTS.keys()
        elif name == "scope":
            assert found in SCOPES


def test_old_words_are_found_in_base_classes_and_all_at_once(own_file: OwnFile) -> None:
    path = own_file(
        "class Base(Strategy):\n    prompt: ClassVar[str] = 'why'\n\n"
        "@dataclass(frozen=True)\nclass Mine(Base):\n    union: ClassVar[bool] = True\n"
    )
    with pytest.raises(ScenarioError) as caught:
        catalog.find("strategy", f"{path}:Mine")
    assert [re.findall(r"variable (\w+) of (\w+)", p.message)[0] for p in caught.value.problems] == [
        ("union", "Mine"),
        ("prompt", "Base"),
    ]


def test_fields_and_methods_may_have_the_old_names(own_file: OwnFile) -> None:
    path = own_file(
        "@dataclass(frozen=True)\nclass Mine(Strategy):\n    apart: float = 1.0\n\n"
        "    def union(self):\n        prompt = 1\n        return prompt\n"
    )
    assert [field.name for field in catalog.find("strategy", f"{path}:Mine").fields] == ["apart"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        (
            "strategy",
            "needs = ('class_priors',)",
            "Mine: needs has no word 'class_priors'; did you mean 'class_prior'?",
        ),
        ("strategy", "needs = ('linear_head')", "Mine: needs must be a tuple of words: needs = ('linear_head',)"),
        ("strategy", "private = ('head.*')", "Mine: private must be a tuple of patterns: private = ('head.*',)"),
        ("strategy", "frozen = 'head.*'", "Mine: frozen must be a tuple of patterns: frozen = ('head.*',)"),
        ("strategy", "learner_parts = ('losses',)", "learner_parts has no word 'losses'; did you mean 'loss'?"),
        ("strategy", "scope = 'local'", "scope has no word 'local'; known: centralized, federated, personal"),
        ("learner", "needs = ('unlabeled',)", "Mine: needs has no word 'unlabeled'; did you mean 'unlabelled'?"),
    ],
)
def test_a_word_that_nobody_knows_is_refused_before_any_work(
    tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path, kind: str, line: str, message: str
) -> None:
    base = "" if kind == "strategy" else "from fedlt.learner import Learner\n"
    path = own_file(f"{base}@dataclass(frozen=True)\nclass Mine({kind.capitalize()}):\n    {line}\n")
    with pytest.raises(ScenarioError, match=f"^1 problem\n  {kind}: .*{re.escape(message)}"):
        fedlt.run(tiny, f"{kind}={path}:Mine", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_built_in_declarations_hold_seven_class_variables() -> None:
    declared = {name for name, kind in Strategy.__annotations__.items() if kind.startswith("ClassVar")}
    assert declared == {"private", "frozen", "foldable", "scope", "learner_parts", "needs", "young"}


@dataclass(frozen=True)
class _Hooked(Strategy):
    marks: ClassVar[int] = 0

    def adapt(self, client: Client) -> None:
        """Nothing."""


@dataclass(frozen=True)
class _Heir(_Hooked):
    """Inherits the hook."""


def test_whether_a_hook_is_overridden() -> None:
    found = [overrides(kind(), Strategy.adapt) for kind in (Strategy, _Hooked, _Heir)]
    assert found == [False, True, True]
    assert not overrides(_Heir(), Strategy.fit)
    assert overrides(fedlt.load_scenario("digits_lt", ["learner=ncm"]).learner.create(), Learner.predict)


def test_conditions_are_no_knowledge_of_a_method(tiny: dict[str, Any], tmp_path: Path) -> None:
    """A run's record, and the line under a comparison, tell what a method knows or sends; not what model it takes."""
    run = fedlt.run(tiny, "strategy=creff", "strategy.match_steps=1", "strategy.head_epochs=1", out=tmp_path)
    assert run.summary["needs"] == ["class_gradients"]


def test_a_learner_that_needs_a_linear_head_is_not_put_inside_a_strategy_that_replaces_it(
    tiny: dict[str, Any],
) -> None:
    scenario = load_scenario(tiny, ["strategy=fednh", "learner=tau_norm"])
    with pytest.raises(ScenarioError, match="normalises the linear head, which the strategy replaces"):
        assemble(scenario, federate(scenario), torch.device("cpu"))
