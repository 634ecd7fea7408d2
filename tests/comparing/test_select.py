"""Settings chosen on validation data: hand-made run folders whose test figures say the opposite of the validation's."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import make_run
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.comparing.select import check_scenarios, parse_figures
from fedlt.comparing.table import render
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError
from fedlt.results.runs import Run, open_run
from fedlt.sweeps.sweep import Sweep

GENERIC, PERSONAL = "validation/generic/accuracy", "validation/personal/accuracy"
VARIANT = "validation/generic[psi]/accuracy"
Make = Callable[..., Run]


@pytest.fixture
def make(tiny: dict[str, Any], tmp_path: Path) -> Make:
    """Makes a run of a given test accuracy in per cent and, at its last evaluation, of given validation figures."""

    def one(*overrides: str, right: int = 60, variants: Any = None, **percent: float | None) -> Run:
        run = make_run(tmp_path / "runs", tiny, *overrides, right=[right], variants=variants)
        path = run.folder / "run.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        for name, value in percent.items():
            figure = f"validation/{name.replace('__', '/')}"
            summary["final"][figure] = None if value is None else value / 100
            summary["last_five"][figure] = 0.01  # never looked at
        path.write_text(json.dumps(summary), encoding="utf-8")
        return open_run(run.folder)

    return one


@pytest.fixture
def runs(make: Make, tmp_path: Path) -> Path:
    """FedAvg at three rates and FedProx at two, over two seeds; the best on the test set is never the chosen one."""
    for lr, validation, test in (("0.01", (50, 52), 90), ("0.1", (60, 58), 70), ("1.0", (70, 40), 95)):
        for seed in (0, 1):
            make(f"local.lr={lr}", f"seed={seed}", right=test + seed, generic__accuracy=validation[seed])
    for lr, validation, test in (("0.01", (65, 67), 71), ("0.1", (30, 30), 99)):
        for seed in (0, 1):
            words = "strategy=fedprox", f"local.lr={lr}", f"seed={seed}"
            make(*words, right=test + (seed == 1), generic__accuracy=validation[seed])
    return tmp_path / "runs"


def refused(*runs: Any, **options: Any) -> str:
    with pytest.raises(ScenarioError) as error:
        fedlt.compare(*runs, **options)
    return str(error.value)


@pytest.mark.slow
def test_each_method_is_compared_at_its_best_setting_on_validation_data(runs: Path) -> None:
    found = fedlt.compare(runs, select=GENERIC, reference="fedavg")
    assert found.by == ("strategy",)
    assert [(row.labels, row.setting, row.tried) for row in found.rows] == [
        (("fedavg",), "local.lr=0.1", 3),  # (60 + 58) / 2 = 59, against 51 and 55
        (("fedprox",), "local.lr=0.01", 2),
    ]
    test = [row.cells["last"]["generic/accuracy"] for row in found.rows]
    assert [cell.mean for cell in test] == [pytest.approx(0.705), pytest.approx(0.715)]
    assert test[1].paired is not None
    assert test[1].paired.mean == pytest.approx(0.01)

    assert found.selection is not None
    trials = [(trial.method[0], trial.setting[0], trial.chosen) for trial in found.selection.trials]
    assert trials == [
        ("fedavg", "0.01", False), ("fedavg", "0.1", True), ("fedavg", "1.0", False),
        ("fedprox", "0.01", True), ("fedprox", "0.1", False),
    ]  # fmt: skip
    assert [trial.cells[0].mean for trial in found.selection.trials] == pytest.approx([0.51, 0.59, 0.55, 0.66, 0.3])


def test_a_method_is_what_the_keys_say(make: Make) -> None:
    made = [
        make(f"learner={learner}", f"local.lr={lr}", generic__accuracy=value)
        for learner, lr, value in (
            ("cross_entropy", 0.1, 60), ("cross_entropy", 0.2, 50), ("focal", 0.1, 40), ("focal", 0.2, 45),
        )
    ]  # fmt: skip
    rows = fedlt.compare(made, select=GENERIC).rows
    assert [(row.name, row.setting) for row in rows] == [
        ("fedavg cross_entropy", "local.lr=0.1"),
        ("fedavg focal", "local.lr=0.2"),
    ]
    (row,) = fedlt.compare(made, select=GENERIC, by="strategy").rows
    assert (row.setting, row.tried) == ("learner=cross_entropy, local.lr=0.1", 4)
    rows = fedlt.compare(made, select=GENERIC, by=["local.lr"]).rows
    assert [(row.name, row.setting) for row in rows] == [
        ("0.1", "learner=cross_entropy"),
        ("0.2", "learner=cross_entropy"),
    ]


def test_a_strategy_s_own_fields_are_settings_of_it_alone(make: Make) -> None:
    made = [make("strategy=fedprox", f"strategy.mu={mu}", generic__accuracy=50 + mu) for mu in (1, 2, 3)]
    made.append(make(generic__accuracy=10))
    found = fedlt.compare(made, select=GENERIC)
    assert [(row.name, row.setting, row.tried) for row in found.rows] == [
        ("fedavg", "-", 1),
        ("fedprox", "strategy.mu=3.0", 3),
    ]
    text = str(found)
    assert "Unequal numbers of settings were tried (fedavg 1, fedprox 3)" in text
    assert "fedprox: the best strategy.mu, 3.0, is the largest tried; a larger one may be better." in text

    # Where strategies are settings, too, a field that one of them lacks has its edge all the same.
    (row,) = fedlt.compare(made, select=GENERIC, by="learner").rows
    assert row.setting == "strategy=fedprox, strategy.mu=3.0"
    assert "cross_entropy: the best strategy.mu, 3.0, is the" in str(fedlt.compare(made, select=GENERIC, by="learner"))


@pytest.mark.slow
def test_an_edge_of_the_grid_is_told(runs: Path) -> None:
    text = str(fedlt.compare(runs, select=GENERIC))
    assert "fedprox: the best local.lr, 0.01, is the smallest tried; a smaller one may be better." in text
    assert "fedavg: the best" not in text  # 0.1 lies between 0.01 and 1.0


def test_a_weighted_mean_of_figures(make: Make) -> None:
    made = [
        make("local.lr=0.1", generic__accuracy=60, personal__accuracy=70),
        make("local.lr=0.2", generic__accuracy=50, personal__accuracy=90),
    ]
    assert fedlt.compare(made, select=GENERIC).rows[0].setting == "local.lr=0.1"
    both = fedlt.compare(made, select=f"{GENERIC}, {PERSONAL}")
    assert both.rows[0].setting == "local.lr=0.2"  # 70 against 65
    assert both.selection is not None
    assert [cell.mean for cell in both.selection.trials[1].cells] == pytest.approx([0.5, 0.9, 0.7])
    assert "highest 0.5 validation/generic/accuracy + 0.5 validation/personal/accuracy (mean" in str(both)
    # 0.7 * 60 + 0.3 * 70 = 63 against 0.7 * 50 + 0.3 * 90 = 62:
    assert fedlt.compare(made, select=f"0.7*{GENERIC},0.3*{PERSONAL}").rows[0].setting == "local.lr=0.1"
    assert parse_figures(f"3 * {GENERIC}, 1*{PERSONAL}") == {GENERIC: 0.75, PERSONAL: 0.25}


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (
            "generic/accuracy",
            "nothing is chosen on the test set: expected validation/generic/accuracy, got 'generic/ac",
        ),
        (f"{GENERIC},personal/few", "nothing is chosen on the test set: .* got 'personal/few'"),
        ("validation/generic/nll", "expected a figure of which more is better, got 'validation/generic/nll'"),
        (f"{GENERIC},{GENERIC}", "'validation/generic/accuracy' is named twice"),
        (f"0.7*{GENERIC},{PERSONAL}", "give every figure a weight or none"),
        (f"-1*{GENERIC}", "expected a weight > 0 before 'validation/generic/accuracy', got '-1'"),
        (f"x*{GENERIC}", "expected a weight > 0 before 'validation/generic/accuracy', got 'x'"),
        (f"{GENERIC},", "nothing is chosen on the test set: .* got ''"),
    ],
)
def test_what_cannot_choose_is_refused(figures: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        parse_figures(figures)


@pytest.mark.slow
def test_an_unknown_figure_and_runs_without_validation_are_refused(make: Make, runs: Path) -> None:
    text = refused(runs, select="validation/generic/acuracy")
    assert "unknown figure 'validation/generic/acuracy'; did you mean 'validation/generic/accuracy'?" in text
    bare = make("strategy=fedavgm")
    assert (
        f"data.validation: 1 of 11 runs has no validation figures ({bare.folder.name}); "
        "set data.validation, for example data.validation=0.2, and run again"
    ) in refused(runs, select=GENERIC)


def test_nan_never_wins(make: Make) -> None:
    made = [
        make("local.lr=0.1", "seed=0", generic__accuracy=None),
        make("local.lr=0.1", "seed=1", generic__accuracy=99),
        make("local.lr=0.2", "seed=0", generic__accuracy=1),
        make("local.lr=0.2", "seed=1", generic__accuracy=1),
    ]
    found = fedlt.compare(made, select=GENERIC)
    assert found.rows[0].setting == "local.lr=0.2"
    assert found.selection is not None
    assert math.isnan(found.selection.trials[0].cells[-1].mean)


def test_a_tie_goes_to_the_first_value_however_the_runs_were_found(make: Make) -> None:
    # Sums of 0.1, 0.2 and 0.3 differ by their order; these means are equal all the same.
    values = {"10.0": (10, 20, 30), "2.0": (30, 20, 10)}
    made = [
        make(f"local.lr={lr}", f"seed={seed}", generic__accuracy=value)
        for lr, found in values.items()
        for seed, value in enumerate(found)
    ]
    assert fedlt.compare(made, select=GENERIC).rows[0].setting == "local.lr=2.0"
    assert fedlt.compare(made[::-1], select=GENERIC).rows[0].setting == "local.lr=2.0"


def test_settings_are_compared_on_the_seeds_that_all_of_them_have(make: Make) -> None:
    made = [make("local.lr=0.1", f"seed={seed}", generic__accuracy=value) for seed, value in ((0, 60), (1, 10))]
    made.append(make("local.lr=0.2", "seed=0", generic__accuracy=50))
    found = fedlt.compare(made, select=GENERIC)
    (row,) = found.rows
    assert row.setting == "local.lr=0.1"  # 60 against 50 in seed 0; its mean over both seeds would be 35
    assert row.seeds == (0, 1)
    note = "fedavg: settings are compared on seed 0, which all of them have; missing: local.lr=0.2 seed 1."
    assert note in str(found)

    text = refused(made[1], made[2], make("local.lr=0.3", "seed=1", generic__accuracy=50), select=GENERIC)
    assert (
        "seed: the settings of fedavg share no seed, over which they could be compared; run what is missing: " in text
    )
    assert "local.lr=0.1 seed 0; local.lr=0.2 seed 1; local.lr=0.3 seed 0" in text


def test_a_method_without_the_figure_is_left_out_and_named(make: Make) -> None:
    local = [make("strategy=local", f"local.lr={lr}", personal__accuracy=70) for lr in (0.1, 0.2)]
    fedavg = [make(f"local.lr={lr}", generic__accuracy=60, personal__accuracy=100 * lr) for lr in (0.1, 0.2)]
    for figures in (GENERIC, f"0.1*{GENERIC},0.9*{PERSONAL}"):  # never judged by what is left of the mean
        found = fedlt.compare(local, fedavg, select=figures)
        assert [row.name for row in found.rows] == ["fedavg"]
        note = "left out: local, none of whose settings has validation/generic/accuracy in every seed; select by"
        assert note in str(found)
    assert [row.name for row in fedlt.compare(local, fedavg, select=PERSONAL).rows] == ["fedavg", "local"]

    # Where nothing is to be chosen, no figure is needed.
    assert [row.name for row in fedlt.compare(local[0], fedavg, select=GENERIC).rows] == ["fedavg", "local"]
    nothing = [make("strategy=fedper", f"local.lr={lr}", generic__accuracy=None) for lr in (0.1, 0.2)]
    assert "validation/generic/accuracy is not defined for any method" in refused(nothing, select=GENERIC)


def test_runs_of_different_settings_are_refused_as_ever(make: Make) -> None:
    made = [make(f"federation.partition.alpha={alpha}", generic__accuracy=50) for alpha in (0.5, 5.0)]
    assert "federation.partition.alpha: 0.5 (1 run), 5.0 (1 run); choose" in refused(made, select=GENERIC)


def test_variants_of_the_chosen_run_have_their_validation_figures(make: Make) -> None:
    made = [
        make("local.lr=0.1", variants={"psi": 90}, generic__accuracy=50, **{"generic[psi]__accuracy": 55}),
        make("local.lr=0.2", variants={"psi": 80}, generic__accuracy=40, **{"generic[psi]__accuracy": 65}),
    ]
    for figure, validation, test in ((GENERIC, [0.5, 0.55], [0.6, 0.9]), (VARIANT, [0.4, 0.65], [0.6, 0.8])):
        found = fedlt.compare(made, select=figure, variants="psi", metrics=[GENERIC, "generic/accuracy"])
        assert [row.variant for row in found.rows] == ["", "psi"]
        assert [row.cells["last"][GENERIC].mean for row in found.rows] == validation
        assert [row.cells["last"]["generic/accuracy"].mean for row in found.rows] == test


# What is written down -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_formats_hold_what_was_tried_and_chosen(runs: Path) -> None:
    def written(format: str) -> str:
        options = ["--select", GENERIC, "--metrics", "generic/accuracy", "--format", format]
        result = CliRunner().invoke(app, ["compare", str(runs), *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = written("text")
    assert text.startswith("settings tried, validation figures in %, last evaluation\n")
    rows = [line.split() for line in text.splitlines()]
    assert ["fedavg", "0.1", "yes", "2", "59.0", "±", "1.4"] in rows
    assert ["fedavg", "1.0", "2", "55.0", "±", "21.2"] in rows
    assert ["fedavg", "local.lr=0.1", "3", "2", "70.5", "±", "0.7"] in rows
    assert "Each method has the setting with the highest validation/generic/accuracy (mean over seeds" in text

    page = written("markdown")
    assert "| strategy | local.lr | chosen | n | validation/generic/accuracy |" in page
    assert "| strategy | chosen setting | tried | n | generic |\n| :-- | :-- | --: | --: | --: |\n" in page
    assert "| fedprox | local.lr=0.01 | 2 | 2 | 71.5 ± 0.7 |" in page
    assert r"fedprox & local.lr=0.01 & 2 & 2 & \textbf{71.5} $\pm$ 0.7 \\" in written("latex")

    lines = list(csv.DictReader(io.StringIO(written("csv"))))
    assert {(line["strategy"], line["chosen"], line["tried"]) for line in lines} == {
        ("fedavg", "local.lr=0.1", "3"),
        ("fedprox", "local.lr=0.01", "2"),
    }
    document = json.loads(written("json"))
    assert document["selection"]["figures"] == {GENERIC: 1.0}
    assert [trial["chosen"] for trial in document["selection"]["trials"]] == [False, True, False, True, False]
    assert document["rows"][0]["chosen"] == "local.lr=0.1"


def test_without_selection_nothing_is_written_of_it(make: Make) -> None:
    found = fedlt.compare(make())
    assert "selection" not in json.loads(render([found], "json"))
    assert {"chosen", "tried"}.isdisjoint(found.frame().columns)
    assert "tried" not in str(found)


# Sweeps ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_selects_within_each_setting(make: Make) -> None:
    made = [
        make(f"federation.partition.alpha={alpha}", f"local.lr={lr}", generic__accuracy=value)
        for alpha, lr, value in ((0.5, 0.1, 60), (0.5, 0.2, 50), (5.0, 0.1, 50), (5.0, 0.2, 60))
    ]
    tables = Sweep(tuple(made), {}).compare(select=GENERIC)
    assert [(table.title, table.rows[0].setting) for table in tables] == [
        ("federation.partition.alpha=0.5", "local.lr=0.1"),
        ("federation.partition.alpha=5.0", "local.lr=0.2"),
    ]


def test_a_sweep_that_could_not_select_does_not_start(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    for figures, message in (
        (GENERIC, "data.validation: --select needs validation data; set data.validation"),
        ("validation/generic/acuracy", "unknown figure 'validation/generic/acuracy'; did you mean"),
        ("generic/accuracy", "nothing is chosen on the test set"),
    ):
        result = CliRunner().invoke(app, ["sweep", "small.yaml", "local.lr=0.1,0.2", "--select", figures])
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert not Path("runs").exists()


@pytest.mark.parametrize("figure", [GENERIC, "validation/personal_masked[psi]/few", "validation/personal/worst_decile"])
def test_a_sweep_may_select_by_any_score_of_either_model(tiny: dict[str, Any], figure: str) -> None:
    check_scenarios(figure, [load_scenario(tiny, ["data.validation=0.2"])])


@pytest.mark.slow
def test_a_sweep_ends_with_the_selection(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real runs: at a rate of 0.00001 two rounds teach nothing."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    words = ["data.validation=0.2", "strategy=fedavg,local", "local.lr=0.00001,0.1", "--parallel", "1"]
    figures = "validation/personal/accuracy,validation/personal_masked/accuracy"
    result = CliRunner().invoke(app, ["sweep", "small.yaml", *words, "--select", figures, "--reference", "fedavg"])
    assert result.exit_code == 0, result.output

    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["strategy", "local.lr", "chosen", "n", *figures.split(",")] in rows
    assert ["strategy", "local.lr", "chosen", "weighted", "mean"] in rows, "what is too wide goes on below"
    assert [row[:3] for row in rows if row[2:3] == ["yes"]] == [["fedavg", "0.1", "yes"], ["local", "0.1", "yes"]] * 2
    # Two tables of figures and two of differences hold the method at its chosen rate, one of two, over one seed.
    assert sum(row[:4] == ["local", "local.lr=0.1", "2", "1"] for row in rows) == 4
    assert "local: the best local.lr, 0.1, is the largest tried; a larger one may be better." in result.stdout
