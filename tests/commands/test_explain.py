"""`fedlt explain`: figures, keys, components and scenarios, and what becomes of other names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.commands.explain import wrapped
from fedlt.commands.listing import explained_names
from fedlt.commands.words import WORDS
from fedlt.measures import glossary


def explained(name: str) -> str:
    result = CliRunner().invoke(app, ["explain", name], env={"COLUMNS": "118"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_is_told_with_its_default_and_what_is_allowed() -> None:
    assert explained("federation.rounds").splitlines() == [
        "federation.rounds (key of a scenario)",
        "  rounds of training",
        "  Default: 100.",
        "  Allowed: a whole number >= 1.",
    ]
    schedule = explained("local.schedule")
    assert "  Default: constant.\n  Allowed: one of ConstantLR, CosineAnnealingLR, " in schedule
    assert explained("rounds").startswith("federation.rounds (key of a scenario)")
    assert "\n\nfederation.late.rounds (key of a scenario)\n" in explained("rounds")
    assert explained("seed").count("(key of") == 1, "the key of that very name, and no other's last part"


def test_a_key_of_components_is_told_once_for_those_that_mean_the_same() -> None:
    mu = "strategy.mu (key of strategy=fedprox)\n  weight of the proximal term\n  Default: 0.01.\n  Allowed: a number"
    assert explained("strategy.mu") == explained("mu")
    assert explained("mu").startswith(f"{mu} >= 0.\n\nstrategy.mu (key of strategy=moon)\n  weight of the contrast; ")
    alpha = explained("partition.alpha")
    assert "(key of federation.partition=dirichlet, dirichlet_equal, dirichlet_per_class)\n" in alpha
    assert "learner.alpha" not in alpha
    assert "Default: none: it must be given." in explained("local.schedule.step_size")


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("tail", ["tail", "generic/few", "personal/few"]),
        ("head (many)", ["generic/many", "personal/many"]),
        ("masked", ["masked", "personal_masked/accuracy"]),
        ("Worst 10 %", ["worst", "personal/worst_decile"]),
        ("spread", ["personal/std", "federation.clock.spread"]),
        ("MB up", ["cost/mb_up"]),
        (
            "medium",
            ["medium", "generic/medium", "personal/medium", "clients.medium", "evaluation.groups.medium"],
        ),
        ("class_prior", ["class_prior"]),
    ],
)
def test_what_stands_in_a_table_of_runs_is_explained(heading: str, names: list[str]) -> None:
    assert [entry.split()[0] for entry in explained(heading).split("\n\n")] == names


def test_a_word_of_the_field_is_told_by_any_of_its_names() -> None:
    told = explained("cohort")
    assert told.startswith("cohort (word)\n  The clients that are asked in a round.")
    assert explained("Selected Clients") == told
    assert explained("few-shot").startswith("tail classes (word)\n")
    assert "Also: late client, slow client," in explained("straggler")
    wrong = CliRunner().invoke(app, ["explain", "stragler"])
    assert wrong.exit_code == 2
    assert "did you mean 'straggler'" in wrong.output


def test_the_glossary_leads_to_pages_that_are_there() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    assert [word.name for word in WORDS if not (docs / word.page).is_file()] == []


def test_a_section_lists_its_keys() -> None:
    late = explained("federation.late")
    assert late.startswith(
        "federation.late (section of a scenario)\n  Sampled clients whose answers arrive rounds later"
    )
    assert re.findall(r"^    (\S+)", late, re.MULTILINE) == [
        "federation.late.chance", "federation.late.rounds", "federation.late.weight",
    ]  # fmt: skip


def test_a_component_is_told_with_its_text_its_needs_and_its_keys() -> None:
    text = explained("fedprox")
    assert text.startswith("fedprox (strategy)\n  FedProx: FedAvg whose clients are held near the received model")
    assert "chosen by: strategy=fedprox\n" in text
    assert "    strategy.mu [0.01] weight of the proximal term\n" in text
    assert explained("FedLoGe") == explained("fedloge")
    assert "  needs linear_head: the model's head is one linear layer" in explained("fedloge")
    assert "  trains: personal models only" in explained("local")
    assert "chosen by: model.adapter=lora\n" in explained("lora")
    assert "chosen by: federation.links=[dp], or [{name: dp, KEY: VALUE}]\n" in explained("dp")
    assert "chosen by: strategy=flower:FedAdam\n" in explained("flower:FedAdam")
    both = explained("mlp")
    assert "mlp (adapter)\n" in both
    assert "mlp (model)\n" in both


def test_a_scenario_says_what_it_is_and_how_it_is_run() -> None:
    text = explained("digits_lt")
    assert text.startswith("digits_lt (scenario)\n  Handwritten digits (8 x 8 pixels")
    assert text.endswith("  all its keys: fedlt show digits_lt\n")


@pytest.mark.slow
def test_everything_that_fedlt_lists_is_explained() -> None:
    figures = {figure.name for figure in glossary.entries()}  # of which tests/measures/test_glossary.py knows
    for name in explained_names().keys() - figures:
        assert explained(name), name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("fedporx", "'fedprox'"),
        ("federation.round", "'federation.rounds'"),
        ("digit_lt", "'digits_lt'"),
        ("ecce", "'ece'"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(name: str, near: str) -> None:
    result = CliRunner().invoke(app, ["explain", name], env={"COLUMNS": "118"})
    assert result.exit_code == 2
    assert f"explain: there is nothing called '{name}'; did you mean {near}" in result.stderr


@pytest.mark.slow
def test_a_users_strategy_is_explained_by_its_own_text(
    own_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "@dataclass(frozen=True)",
        "class Mine(Strategy):",
        '    """Mine: nothing new."""',
        "    tau: float = 0.5  # how",
    ]
    path = own_file("\n".join(lines))
    text = explained(f"{path}:Mine")
    assert "  Mine: nothing new.\n" in text
    assert "    strategy.tau [0.5] how\n" in text
    monkeypatch.chdir(path.parent)
    assert explained(f"./{path.name}:Mine").startswith(f"./{path.name}:Mine (strategy)\n")
    assert str(path.parent) not in explained(f"./{path.name}:Mine")
    wrong = CliRunner().invoke(app, ["explain", f"{path}:Mime"])
    assert (wrong.exit_code, "did you mean 'Mine'?" in wrong.stderr) == (2, True)


def test_formulas_and_lists_keep_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped("one two three four five") == "  one two three four\n  five"
    assert wrapped("- one two three four five\n- six") == "  - one two three four five\n  - six"
