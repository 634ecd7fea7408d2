"""Comparisons: means and intervals against SciPy's own, what is refused, and what is written down."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import make_run
from scipy import stats
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.comparing.cells import paired
from fedlt.comparing.compare import compare_each
from fedlt.comparing.comparison import Comparison, Row
from fedlt.comparing.table import render
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError

pytestmark = pytest.mark.slow

FEDAVG, FEDPROX = [61, 58, 64, 61], [66, 60, 71, 67]  # right of 100, seeds 0 to 3


@pytest.fixture
def runs(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """Two strategies over four seeds."""
    for strategy, rights in (("fedavg", FEDAVG), ("fedprox", FEDPROX)):
        for seed, right in enumerate(rights):
            make_run(tmp_path / "runs", tiny, f"strategy={strategy}", f"seed={seed}", right=[10, right - 4, right])
    return tmp_path / "runs"


def row(comparison: Comparison, name: str) -> Row:
    return next(found for found in comparison.rows if found.name == name)


def test_means_and_deviations_over_seeds(runs: Path) -> None:
    found = fedlt.compare(runs)
    assert found.by == ("strategy",)
    assert [r.name for r in found.rows] == ["fedavg", "fedprox"]
    assert row(found, "fedavg").seeds == (0, 1, 2, 3)
    cell = row(found, "fedavg").cells["last"]["generic/accuracy"]
    assert (cell.mean, cell.std, cell.n) == (pytest.approx(0.61), pytest.approx(np.std(FEDAVG, ddof=1) / 100), 4)
    averaged = row(found, "fedavg").cells["last_five"]["generic/accuracy"]
    assert averaged.mean == pytest.approx(np.mean([(10 + r - 4 + r) / 300 for r in FEDAVG]))
    assert found.averaged == 3
    cells = row(found, "fedavg").cells["last"]
    assert cells["personal/accuracy"].mean == pytest.approx(0.6)
    assert cells["personal/worst_decile"].mean == pytest.approx(0.5)
    assert cells["generic/many"].mean == 1.0  # the first 50 right ones are of the head class
    assert math.isnan(cells["generic/few"].mean)
    assert cells["cost/seconds"].mean == 0.5
    assert (cells["cost/mb_up"].mean, cells["cost/mb_down"].mean) == (1.5, 2.5)


def test_the_interval_of_paired_differences_is_scipys(runs: Path) -> None:
    found = fedlt.compare(runs, reference="fedavg", level=0.9)
    pair = row(found, "fedprox").cells["last"]["generic/accuracy"].paired
    assert pair is not None
    expected = stats.ttest_rel(np.array(FEDPROX) / 100, np.array(FEDAVG) / 100).confidence_interval(0.9)
    assert (pair.low, pair.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert pair.mean == pytest.approx(0.05)
    assert (pair.n, pair.mark) == (4, 1)
    assert row(found, "fedavg").cells["last"]["generic/accuracy"].paired is None
    assert row(found, "fedprox").cells["last"]["cost/seconds"].paired is None
    turned = fedlt.compare(runs, reference="fedprox", level=0.9)
    back = row(turned, "fedavg").cells["last"]["generic/accuracy"].paired
    assert back is not None
    assert (back.low, back.high, back.mark) == (pytest.approx(-pair.high), pytest.approx(-pair.low), -1)


def test_the_mark_is_where_the_interval_excludes_zero() -> None:
    d = [1.0, 2.0, 3.0, 6.0]
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert interval.low < 0 < interval.high
    assert paired(d).mark == 0
    assert paired(d, 0.9).mark == 1
    assert stats.ttest_1samp(d, 0).pvalue == pytest.approx(0.0691, abs=1e-4)
    assert (paired([0.25, 0.25]).low, paired([0.25, 0.25]).mark) == (0.25, 1)
    assert paired([5.0]).mark == 0
    assert math.isnan(paired([5.0]).low)
    assert (paired([]).n, paired([]).mark) == (0, 0)


def test_one_strategy_under_two_labels_is_not_marked(tiny: dict[str, Any], tmp_path: Path, own_file: Any) -> None:
    """Real runs of ten seeds: FedAvg, and FedAvg under another name. Then two labels that differ by chance alone."""
    own_file("class Twin(Strategy):\n    pass\n")
    for strategy in ("fedavg", f"{tmp_path}/mine.py:Twin"):
        for seed in range(10):
            fedlt.run(tiny, f"strategy={strategy}", f"seed={seed}", "federation.rounds=1", out=tmp_path / "runs")
    found = fedlt.compare(tmp_path / "runs", reference="fedavg")
    (twin,) = (r for r in found.rows if r.name != "fedavg")
    pairs = [cell.paired for cells in twin.cells.values() for cell in cells.values() if cell.paired]
    assert len(pairs) == 14
    assert {pair.mark for pair in pairs} == {0}
    assert {pair.n for pair in pairs if not math.isnan(pair.mean)} == {10}

    rng = np.random.default_rng(0)
    marks = [paired(rng.normal(0, 0.02, 10).tolist()).mark for _ in range(2000)]
    assert np.mean(np.abs(marks)) == pytest.approx(0.05, abs=0.015)


def test_rounding_is_no_difference() -> None:
    assert paired([1.1e-16, 1.1e-16, 1.1e-16]).mark == 0


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("federation.partition.alpha=5", "federation.partition.alpha: 0.5 (4 runs), 5.0 (1 run)"),
        ("federation.partition=iid", "federation.partition: dirichlet_per_class (4 runs), iid (1 run)"),
        ("federation.clients=7", "federation.clients: 6 (4 runs), 7 (1 run)"),
        ("federation.local_test=official", "federation.local_test: matched (4 runs), official (1 run)"),
        ("data.longtail.imbalance_factor=20", "data.longtail.imbalance_factor: 10.0 (4 runs), 20.0 (1 run)"),
        ("data.longtail.seed=9", "data.longtail.seed: null (4 runs), 9 (1 run)"),
        ("evaluation.every=2", "evaluation.every: 1 (4 runs), 2 (1 run)"),
        ("evaluation.clients=2", "evaluation.clients: null (4 runs), 2 (1 run)"),
    ],
)
def test_runs_of_different_settings_are_refused_with_the_keys(
    tiny: dict[str, Any], tmp_path: Path, override: str, key: str
) -> None:
    made = [make_run(tmp_path / "runs", tiny, f"seed={seed}") for seed in range(4)]
    made.append(make_run(tmp_path / "runs", tiny, "strategy=fedprox", override))
    with pytest.raises(ScenarioError) as refused:
        fedlt.compare(made)
    assert [str(problem).partition(";")[0] for problem in refused.value.problems] == [key]
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert key.partition(":")[0] in result.stderr


def test_an_equal_setting_with_another_partition_is_refused_for_its_seed(tiny: dict[str, Any], tmp_path: Path) -> None:
    """As when the data behind a name have changed between two runs."""
    first = make_run(tmp_path, tiny, "seed=1")
    other = make_run(tmp_path, tiny, "seed=1", "strategy=fedprox", partition_hash="0123456789")
    make_run(tmp_path, tiny, "seed=2")
    with pytest.raises(ScenarioError) as refused:
        fedlt.compare(tmp_path)
    (problem,) = refused.value.problems
    assert problem.key == "partition_hash"
    assert problem.message.startswith("seed 1 has different partitions: ")
    assert first.folder.name in problem.message
    assert f"01234567 ({other.folder.name})" in problem.message


def test_a_partition_whose_seed_follows_the_scenarios_is_one_setting(tiny: dict[str, Any], tmp_path: Path) -> None:
    for seed in (1, 2):
        make_run(tmp_path, tiny, f"seed={seed}", "federation.partition.seed=${seed}", "data.longtail.seed=${seed}")
        make_run(tmp_path, tiny, f"seed={seed}", "strategy=fedprox")
    assert [r.seeds for r in fedlt.compare(tmp_path).rows] == [(1, 2), (1, 2)]


def test_runs_older_than_a_key_had_its_default(tiny: dict[str, Any], tmp_path: Path) -> None:
    old = make_run(tmp_path, tiny, "strategy=fedprox")
    make_run(tmp_path, tiny)
    text = (old.folder / "scenario.yaml").read_text(encoding="utf-8")
    assert "  local_test: matched\n" in text
    shorter = text.replace("  local_test: matched\n", "").replace("  mu: 0.01\n", "")
    (old.folder / "scenario.yaml").write_text(shorter, encoding="utf-8")
    assert [r.name for r in fedlt.compare(tmp_path, by="strategy,strategy.mu").rows] == ["fedavg", "fedprox 0.01"]


def test_rows_follow_the_keys_that_differ(tiny: dict[str, Any], tmp_path: Path) -> None:
    for strategy, mus in (("fedavg", [None]), ("fedprox", [0.1, 1.0, 10.0])):
        for mu in mus:
            extra = [] if mu is None else [f"strategy.mu={mu}"]
            make_run(tmp_path, tiny, f"strategy={strategy}", *extra, "resources.workers=3")
    found = fedlt.compare(tmp_path)
    assert found.by == ("strategy", "strategy.mu")
    assert [r.labels for r in found.rows] == [
        ("fedavg", "-"),
        ("fedprox", "0.1"),
        ("fedprox", "1.0"),
        ("fedprox", "10.0"),
    ]
    with pytest.raises(ScenarioError, match=r"strategy\.mu: the row 'fedprox' mixes .*add the key to --by"):
        fedlt.compare(tmp_path, by="strategy")
    with pytest.raises(ScenarioError, match=r"strategy\.mew: no run has this key; did you mean 'strategy\.mu'"):
        fedlt.compare(tmp_path, by="strategy.mew")
    assert fedlt.compare(tmp_path, reference="fedavg").reference == "fedavg"
    assert fedlt.compare(tmp_path, reference="fedavg -").reference == "fedavg"
    assert fedlt.compare(tmp_path, reference="fedprox 1.0").reference == "fedprox 1.0"
    with pytest.raises(ScenarioError, match=r"'fedprox' names no single row: it may be any of 'fedprox 0\.1', "):
        fedlt.compare(tmp_path, reference="fedprox")


def test_a_seed_counts_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    made = [make_run(tmp_path / name, tiny) for name in ("a", "b")]
    with pytest.raises(ScenarioError, match="has 2 runs of seed 0"):
        fedlt.compare(made)
    assert fedlt.compare(made[0], made[0].folder).rows[0].seeds == (0,)


def test_variants_are_rows_when_asked_for(tiny: dict[str, Any], tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, tiny, f"seed={seed}", right=[60], variants={"plain": 60, "psi": 70 + seed, "raw": 59 + seed})
        make_run(tmp_path, tiny, f"seed={seed}", "strategy=fedprox", right=[62])
    assert [r.name for r in fedlt.compare(tmp_path).rows] == ["fedavg", "fedprox"]
    found = fedlt.compare(tmp_path, variants="*", reference="fedavg")
    assert [r.name for r in found.rows] == ["fedavg", "fedavg [psi]", "fedavg [raw]", "fedprox"]
    assert row(found, "fedavg [psi]").cells["last"]["generic/accuracy"].mean == pytest.approx(0.705)
    assert math.isnan(row(found, "fedavg [psi]").cells["last"]["personal/accuracy"].mean)
    assert [r.name for r in fedlt.compare(tmp_path, variants=["ps*"]).rows][1:] == ["fedavg [psi]", "fedprox"]
    assert fedlt.compare(tmp_path, variants="*", reference="fedavg [psi]").reference == "fedavg [psi]"
    # `plain` is the headline, which has its row; `raw` agrees with it in one seed of two:
    assert [r.name for r in fedlt.compare(tmp_path, variants="plain").rows] == ["fedavg", "fedavg [plain]", "fedprox"]


def test_unfinished_runs_are_left_out_and_named(tiny: dict[str, Any], tmp_path: Path) -> None:
    make_run(tmp_path, tiny, "seed=0")
    going = make_run(tmp_path, tiny, "seed=1", finish=False)
    found = fedlt.compare(tmp_path)
    assert found.rows[0].seeds == (0,)
    assert found.excluded == (f"{going.folder} (running, round 3)",)
    assert f"left out: {going.folder} (running, round 3)" in str(found)
    with pytest.raises(ScenarioError, match="there is no finished run; left out: "):
        fedlt.compare(going)


def test_what_a_method_has_beyond_the_model_stands_beneath_the_table(tiny: dict[str, Any], tmp_path: Path) -> None:
    for name in ("fedavg", "fedir", "fednh"):
        make_run(tmp_path, tiny, f"strategy={name}")
    found = fedlt.compare(tmp_path)
    assert "Beyond the model these have or send: fedir: class_prior; fednh: prototypes." in str(found)
    assert json.loads(render([found], "json"))["needs"] == {
        "fedavg": [], "fedir": ["class_prior"], "fednh": ["prototypes"],
    }  # fmt: skip
    assert "Beyond" not in str(fedlt.compare(tmp_path / load_scenario(tiny, ["strategy=fedavg"]).run_name))


def test_a_table_for_each_setting(tiny: dict[str, Any], tmp_path: Path) -> None:
    for alpha in (0.5, 5.0):
        for strategy in ("fedavg", "fedprox"):
            made = f"federation.partition.alpha={alpha}", f"strategy={strategy}"
            make_run(tmp_path, tiny, *made, partition_hash=f"of {alpha}")
    tables = compare_each(tmp_path, each=["federation.partition.alpha"])
    assert sorted(table.title for table in tables) == [f"federation.partition.alpha={alpha}" for alpha in (0.5, 5.0)]
    assert [len(table.rows) for table in tables] == [2, 2]
    assert [table.title for table in compare_each(tmp_path)] == [table.title for table in tables]


# What is written down -------------------------------------------------------------------------------------------------


def written(runs: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["compare", str(runs), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_terminal_table(runs: Path) -> None:
    text = written(runs, "--reference", "fedavg")
    lines = text.splitlines()
    assert lines[0] == "accuracy in %, last evaluation"
    assert [line.split()[0] for line in lines if line.startswith("  fed")] == ["fedavg", "fedprox"] * 8, (
        "each table in two parts"
    )
    assert "61.0 ± 2.4" in text
    assert "66.0 ± 4.5 ↑" in text
    assert "+5.0 [+1.6, +8.4] ↑" in text
    assert "Some runs have only 3 evaluations" in text
    assert "excludes zero" in text


def test_classes_without_a_test_sample_are_told(runs: Path) -> None:
    assert "no test sample" not in str(fedlt.compare(runs))
    for path in runs.glob("*/run.json"):
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary |= {"groups_count": [1, 0, 2], "groups_untested": [0, 0, 1]}
        path.write_text(json.dumps(summary), encoding="utf-8")
    assert "In no figure, as they have no test sample: 1 of the 2 tail classes." in str(fedlt.compare(runs))


def test_markdown_and_latex(runs: Path) -> None:
    page = written(runs, "--format", "markdown", "--metrics", "generic/accuracy")
    assert "| strategy | n | generic |\n| :-- | --: | --: |\n| fedavg | 4 | 61.0 ± 2.4 |\n" in page
    tex = written(runs, "--format", "latex", "--metrics", "generic/accuracy,personal_masked/accuracy")
    assert "\\begin{tabular}{lrrr}\n\\toprule\nstrategy & n & generic & masked \\\\\n\\midrule\n" in tex
    assert r"fedavg & 4 & 61.0 $\pm$ 2.4 & 60.0 $\pm$ 0.0 \\" in tex


def test_csv_and_json_hold_the_same_figures(runs: Path, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(written(runs, "--reference", "fedavg", "--format", "csv"))))
    written(runs, "--reference", "fedavg", "-o", str(tmp_path / "table.json"))
    document = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert document["seeds"] == {"fedavg": [0, 1, 2, 3], "fedprox": [0, 1, 2, 3]}
    assert len(lines) == len(document["rows"]) == 2 * 2 * 10
    for line, entry in zip(lines, document["rows"], strict=True):
        assert {name: str(entry[name]) for name in ("strategy", "metric", "n", "mark")}.items() <= line.items()
        for name in ("mean", "std", "low", "high"):
            assert (float(line[name]) if line[name] else None) == (
                None if entry[name] is None else pytest.approx(entry[name])
            )
    frame = fedlt.compare(runs, reference="fedavg").frame()
    assert frame[frame.mark != 0].strategy.unique().tolist() == ["fedprox"]


def test_the_formats_of_files_and_what_is_refused(runs: Path, tmp_path: Path) -> None:
    for ending, start in ((".md", "**accuracy"), (".tex", "% accuracy"), (".csv", "setting,"), (".txt", "accuracy")):
        assert written(runs, "-o", str(tmp_path / f"t{ending}")) == f"{tmp_path / f't{ending}'}\n"
        assert (tmp_path / f"t{ending}").read_text(encoding="utf-8").startswith(start)
    for options, message in (
        (["--format", "html"], "--format: expected one of text, markdown, latex, csv, json, got 'html'"),
        (["--level", "95"], "--level: expected a number between 0 and 1"),
        (["-o", str(tmp_path / "no" / "t.md")], f"--output: there is no folder {tmp_path / 'no'}"),
        (["-o", str(tmp_path / "t.docx")], "t.docx ends in none of .md, .tex, .csv, .json, .txt; give it one, or"),
        (["--reference", "fedpox"], "--reference: 'fedpox' names no single row; did you mean 'fedprox'?"),
    ):
        result = CliRunner().invoke(app, ["compare", str(runs), *options])
        assert result.exit_code == 2
        assert message in result.stderr
    assert CliRunner().invoke(app, ["compare", str(tmp_path / "nowhere")]).exit_code == 2


def test_a_notebook_shows_markdown(runs: Path) -> None:
    found = fedlt.compare(runs)
    assert found._repr_markdown_() == render([found], "markdown")
    assert str(found).startswith("accuracy in %, last evaluation")


def test_the_best_of_each_column_is_bold_in_latex(runs: Path) -> None:
    """fedprox is ahead in accuracy; all have the same head recall, traffic and time."""
    tex = written(runs, "--format", "latex", "--metrics", "generic/accuracy,generic/many,cost/seconds")
    assert r"fedavg & 4 & 61.0 $\pm$ 2.4 & 100.0 $\pm$ 0.0 & 0.50 $\pm$ 0.00 \\" in tex
    assert r"fedprox & 4 & \textbf{66.0} $\pm$ 4.5 & 100.0 $\pm$ 0.0 & 0.50 $\pm$ 0.00 \\" in tex


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("generic/accuracyx", "did you mean 'generic/accuracy'?"),
        ("many", "did you mean 'generic/many' or 'personal/many' or 'personal_masked/many'?"),
        ("generic/nc1", "; "),
        ("qqq", "`fedlt explain` lists them"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "plot"])
def test_a_metric_that_no_run_has_is_refused(runs: Path, command: str, metric: str, hint: str) -> None:
    """`generic/nc1` is a metric, and these runs did not record it."""
    result = CliRunner().invoke(app, [command, str(runs), "--metrics", metric])
    assert result.exit_code == 2
    assert f"--metrics: no run has {metric!r}; " in result.stderr
    assert hint in result.stderr
    assert not Path("fedlt.png").exists()


def test_a_variants_metric_is_recorded(tiny: dict[str, Any], tmp_path: Path) -> None:
    make_run(tmp_path / "runs", tiny)
    with pytest.raises(ScenarioError, match="no run has 'generic\\[psi\\]/accuracy'"):
        fedlt.compare(tmp_path / "runs", metrics=["generic[psi]/accuracy"])
    assert fedlt.compare(tmp_path / "runs", metrics=["cost/seconds"]).metrics == ("cost/seconds",)


@pytest.mark.parametrize("reference", ["balanced.py", "./balanced.py", "balanced.py:Balanced", "Balanced"])
def test_a_reference_is_found_as_it_is_typed(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("balanced.py").write_text(
        "from dataclasses import dataclass\nfrom fedlt import Strategy\n\n\n"
        "@dataclass(frozen=True)\nclass Balanced(Strategy):\n    pass\n", encoding="utf-8",
    )  # fmt: skip
    for strategy in ("fedavg", "./balanced.py:Balanced"):
        make_run(Path("runs"), tiny, f"strategy={strategy}")
    assert fedlt.compare("runs", reference=reference).reference == "Balanced"
    shown = CliRunner().invoke(app, ["compare", "runs", "--reference", reference])
    assert "difference to Balanced in points" in shown.stdout
    wrong = CliRunner().invoke(app, ["compare", "runs", "--reference", "Balancd"])
    assert wrong.exit_code == 2
    assert "did you mean 'Balanced'? The rows are: Balanced, fedavg" in wrong.stderr
