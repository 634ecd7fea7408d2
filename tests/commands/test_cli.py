"""The command line: what the commands print, their exit codes, and what becomes of broken scenarios."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.commands.listing import rows_text, versions_tested
from fedlt.comparing.compare import compare
from fedlt.config.scenario import load_scenario
from fedlt.results.runs import open_run


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny scenario as a file in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text("# A small one.\n" + load_scenario(tiny).to_yaml(), encoding="utf-8")
    return "small.yaml"


QUICK = ["federation.rounds=2", "federation.clients=6", "model=mlp", "local.epochs=1", "evaluation.every=1"]

# run ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_run_ends_with_the_path_of_the_run_folder(scenario: str) -> None:
    lines = ok("run", scenario).splitlines()
    folder = Path(lines[-1])
    assert folder.parent == Path("runs")  # as one would type it here; whole where it lies elsewhere
    run = open_run(folder)
    assert run.status == "finished"
    assert run.summary["command"].startswith("fedlt ")
    assert lines[0].startswith("small: fedavg, mlp, 6 clients with ")
    assert "of the source's 1,497, under a long tail: exponential), 2 rounds" in lines[0]
    assert [line.split()[1] for line in lines if re.match(r"round \d/\d", line)] == ["1/2", "2/2"]
    assert lines[-2].startswith("next: fedlt run small")
    text = "\n".join(lines)
    assert all(word in text for word in ("generic model", "personal models, masked", "head (many)", "tail (few)"))
    assert ok("run", scenario).splitlines()[0] == "already finished; --force runs it again"
    assert ok("run", scenario, "--force").splitlines()[0].startswith("small: fedavg")


def test_run_takes_overrides_an_output_folder_and_a_backend(scenario: str) -> None:
    out = ok(
        "run",
        scenario,
        "strategy=fedprox",
        "strategy.mu=0.5",
        "--out",
        "there",
        "--backend",
        "inline",
        "--workers",
        "3",
    )
    folder = Path(out.splitlines()[-1])
    assert folder.parent.name == "there"
    found = open_run(folder)
    assert found.scenario["strategy"] == {"name": "fedprox", "mu": 0.5}
    assert found.scenario["resources"]["workers"] == 3
    assert found.summary["grid"] == "InlineGrid"


def test_run_shows_where_the_time_goes_when_asked(scenario: str) -> None:
    plain = ok("run", scenario)
    profiled = ok("run", scenario, "--force", "--profile")
    assert len(profiled.splitlines()) > len(plain.splitlines())
    assert "aggregat" in profiled


def test_an_override_in_the_scenarios_place_means_the_default_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = ok("run", *QUICK).splitlines()
    assert first[0].startswith("digits_lt: fedavg, mlp, 6 clients")
    assert Path(first[-1]).name.startswith("digits_lt-fedavg-s0-")
    assert json.loads(ok("show", "~federation", "--json"))["federation"]["clients"] == 40


@pytest.mark.slow
def test_several_seeds_are_several_runs(scenario: str) -> None:
    ok("run", scenario, "--seeds", "0-1,4")
    runs = fedlt.load_runs("runs")
    assert sorted(run.summary["seed"] for run in runs) == [0, 1, 4]
    assert len({run.summary["model_hash"] for run in runs}) == 3


@pytest.mark.slow
def test_several_seeds_end_with_their_mean_and_spread_as_compare_has_them(scenario: str) -> None:
    lines = ok("run", scenario, "--seeds", "0-1").splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith("accuracy in %, mean ± standard deviation over 2"))
    cells = {
        line.split("  ")[1].strip(): line.split("  ") for line in lines[start:] if "models" in line or "model " in line
    }
    row = compare("runs", metrics=["generic/accuracy", "personal_masked/few", "personal/worst_decile"]).rows[0]
    for model, metric in (
        ("generic model", "generic/accuracy"),
        ("personal models, masked", "personal_masked/few"),
        ("personal models", "personal/worst_decile"),
    ):
        cell = row.cells["last"][metric]
        assert any(f"{100 * cell.mean:.1f} ± {100 * cell.std:.1f}" in text for text in cells[model])
    assert "Seeds 0, 1;" in "\n".join(lines)
    assert sum(line.startswith("next: ") for line in lines) == 1
    assert [line for line in lines if line.startswith("runs/")][-1] == lines[-1]
    assert lines[-2].startswith("next: fedlt run small.yaml --seeds 0-1 ")
    assert {open_run(line).summary["seed"] for line in lines if line.startswith("runs/")} == {0, 1}


@pytest.mark.slow
def test_quiet_prints_the_run_folders_alone(scenario: str) -> None:
    (line,) = ok("run", scenario, "-q").splitlines()
    assert open_run(line).status == "finished"
    assert len(ok("run", scenario, "--seeds", "0-2", "--quiet").splitlines()) == 3
    several = ok("sweep", scenario, "strategy=fedavg,fedprox", "-q").splitlines()
    assert [open_run(line).summary["strategy"] for line in several] == ["fedavg", "fedprox"]
    assert ok("check", scenario, "-q") == ""
    wrong = call("run", scenario, "local.lr=-1", "-q")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: ")


@pytest.mark.slow
def test_verbose_prints_every_round_evaluations_of_a_sweep_and_whole_tracebacks(scenario: str) -> None:
    lines = ok("run", scenario, "-v").splitlines()
    assert [re.sub(r"\d+\.\d+|\d+ samples", "#", line) for line in lines if "training loss" in line] == [
        f"round {number}/2  training loss #, 3 clients, #, # s" for number in (1, 2)
    ]
    said = ok("sweep", scenario, "strategy=fedavg,fedprox", "--verbose")
    assert re.search(r"^strategy=fedprox seed 0: round 2/2  generic ", said, re.MULTILINE)

    plain = call("run", scenario, "local.lr=-1")
    whole = call("run", scenario, "local.lr=-1", "-v")
    assert (plain.exit_code, whole.exit_code) == (2, 2)
    assert "Traceback" not in plain.stderr
    assert whole.stderr.startswith("Traceback")
    assert whole.stderr.endswith(plain.stderr)


def test_a_scenario_that_is_broken_for_one_seed_runs_for_none(scenario: str) -> None:
    result = call("run", scenario, "federation.partition.seed=${seed}", "federation.block=${seed}", "--seeds", "0-1")
    assert result.exit_code == 2
    assert "federation.block: expected a whole number >= 1, got 0" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_failing_client_is_exit_code_1_with_the_traceback(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file("class Bad(Strategy):\n    def fit(self, client):\n        raise OSError('no luck')\n")
    result = call("run", scenario, "strategy=./mine.py:Bad")
    assert result.exit_code == 1
    assert re.search(r"error: client \d failed in round 1: OSError: no luck", result.stderr)
    assert "raise OSError('no luck')" in result.stderr
    (folder,) = Path("runs").iterdir()
    assert open_run(folder).status == "failed"


@pytest.mark.slow
def test_interrupting_is_exit_code_130_and_the_run_is_marked(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file("class Stop(Strategy):\n    def fit(self, client):\n        raise KeyboardInterrupt\n")
    result = call("run", scenario, "strategy=./mine.py:Stop")
    assert (result.exit_code, result.stderr.strip()) == (130, "interrupted")
    (folder,) = Path("runs").iterdir()
    assert open_run(folder).status == "failed"


# show, check, ls, cp, doctor ------------------------------------------------------------------------------------------


def test_show_fills_in_every_default(scenario: str) -> None:
    plain = ok("show", scenario, "seed=4")
    Path("shown.yaml").write_text(plain, encoding="utf-8")
    assert load_scenario("shown.yaml").to_dict() == load_scenario(scenario, ["seed=4"]).to_dict()
    assert json.loads(ok("show", scenario, "seed=4", "--json")) == load_scenario(scenario, ["seed=4"]).to_dict()
    assert "momentum: 0.9" in plain


def test_show_draws_the_partition(scenario: str) -> None:
    figures = json.loads(ok("show", scenario, "--partition", "--json"))
    assert figures["class_counts"] == [sum(column) for column in zip(*figures["client_class_counts"], strict=True)]
    assert figures["client_sizes"] == [sum(row) for row in figures["client_class_counts"]]
    assert (len(figures["client_sizes"]), len(figures["class_counts"])) == (6, 10)
    assert figures["class_counts"][0] == 60
    assert figures["class_counts"][-1] == 6
    assert figures["test_total"] == sum(figures["test_sizes"])
    assert sum(figures["groups_count"]) == sum(figures["groups_mass"]) == 10
    text = ok("show", scenario, "--partition").splitlines()
    assert text[0].startswith(f"digits: {sum(figures['client_sizes'])} training samples, 6 clients")
    rows = [line for line in text if re.match(r" +\d  ", line)]
    assert [int(row.split()[-2]) for row in rows] == figures["client_sizes"]
    assert [int(row.split()[-1]) for row in rows] == figures["test_sizes"]
    blank = [row[8 + c] == " " for row in rows for c in range(10)]
    assert blank == [count == 0 for row in figures["client_class_counts"] for count in row]


@pytest.mark.slow
def test_show_draws_a_picture(scenario: str) -> None:
    ok("show", scenario, "--partition", "--plot", "p.png")
    assert Path("p.png").read_bytes()[:4] == b"\x89PNG"
    refused = call("show", scenario, "--partition", "--plot", "p.nonsense")
    assert refused.exit_code == 2
    assert "--plot: cannot draw into p.nonsense" in refused.stderr
    alone = call("show", scenario, "--plot", "q.png")
    assert (alone.exit_code, Path("q.png").exists()) == (2, False)
    assert "--plot: goes with --partition" in alone.stderr


def test_the_partition_that_is_shown_is_the_one_that_is_run(scenario: str) -> None:
    shown = json.loads(ok("show", scenario, "--partition", "--json"))["partition_hash"]
    run = open_run(ok("run", scenario).splitlines()[-1])
    assert run.summary["partition_hash"] == shown


def test_check_says_what_would_run(scenario: str) -> None:
    said = ok("check", scenario)
    assert said.startswith("small: ok. 6 clients, ")
    assert "10 classes; 1,210 numbers travel per client and round; backend inline; run name small-fedavg-s0-" in said
    time, memory = said.splitlines()[-2:]
    assert re.fullmatch(r"time: about \S+ s, 2 rounds of \S+ s and 2 evaluations of \S+ s on 1 worker; from .*", time)
    assert re.fullmatch(r"memory: about \S+ (MB|GB)", memory)
    said = ok("check", scenario, "federation.clients=1", "strategy=flower:FedTrimmedAvg")
    assert said.startswith("small: ok. 1 client, ") and "cuts nothing off: 0.2 of 1 clients" in said
    assert not Path("runs").exists()
    result = call("check", scenario, "federation.clients=9999")
    assert result.exit_code == 2


def test_check_takes_weights_to_begin_with(scenario: str) -> None:
    wrong = call("check", scenario, "--init-from", "nowhere", "-q")
    assert wrong.exit_code == 2
    assert "init_from" in wrong.stderr
    folder = ok("run", scenario, "-q").splitlines()[-1]
    said = ok("check", scenario, "--init-from", folder, "--quiet")
    assert said == ""


def test_ls_lists_everything() -> None:
    everything = json.loads(ok("ls", "--json"))
    assert {"scenarios", "strategies", "learners", "models", "partitions", "datasets"} <= set(everything)
    assert all(row["name"] and row["summary"] for rows in everything.values() for row in rows)
    strategies = {row["name"]: row for row in json.loads(ok("ls", "strategies", "--json"))}
    assert strategies["fedprox"]["fields"] == "mu=0.01"
    assert "FedProx" in strategies["fedprox"]["summary"]
    assert "noise_multiplier=?" in strategies["flower:DifferentialPrivacyServerSideFixedClipping"]["fields"]
    text = ok("ls")
    assert "scenarios:\n" in text
    assert re.search(r"^  digits_lt +Handwritten digits", text, re.MULTILINE)
    assert re.search(r"^cross_entropy  +Cross-entropy", ok("ls", "learners"), re.MULTILINE)
    result = call("ls", "strategeis")
    assert result.exit_code == 2
    assert "ls: unknown kind 'strategeis'; did you mean 'strategies'?" in result.stderr


def test_ls_describes_everything_in_words() -> None:
    everything = json.loads(ok("ls", "--json"))
    told = {kind: {row["name"]: row["summary"] for row in rows} for kind, rows in everything.items()}
    assert told["strategies"]["fednh"].startswith("FedNH: class prototypes serve as the head")
    assert told["strategies"]["apfl"].startswith("APFL: the personal model is a mixture")
    assert told["adapters"]["bitfit"].startswith("BitFit: the biases of a model are trained")
    assert told["schedules"]["StepLR"].startswith("local.lr times gamma after every step_size rounds")
    named = ("strategies", "learners", "partitions", "models", "adapters", "links", "schedules", "scenarios")
    symbols = [row for kind in named for row in told[kind].values() if re.search(r"<-|\|\||[_^]\{|\bsum\(", row)]
    assert symbols == []


def test_ls_breaks_summaries_at_the_width_of_a_terminal() -> None:
    rows = [{"name": "a", "summary": "one two three"}, {"name": "much_too_long", "summary": "four"}]
    assert rows_text(rows, "", None) == "a              one two three\nmuch_too_long  four"
    assert rows_text(rows, "  ", 13) == "  a  one two\n     three\n  much_too_long\n     four"


def test_ls_shows_data_found_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.npz").write_bytes(b"")
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path))
    found = {row["name"]: row["summary"] for row in json.loads(ok("ls", "datasets", "--json"))}
    assert found["digits"] == "embedded"
    assert found["own"] == f"found: {tmp_path / 'own.npz'}"
    assert found["cifar10"].startswith("hub: ")


def test_cp_copies_a_scenario_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ok("cp", "digits_lt").splitlines() == ["digits_lt.yaml", "run it: fedlt run digits_lt.yaml"]
    assert load_scenario("digits_lt.yaml").hash == load_scenario("digits_lt").hash
    Path("folder").mkdir()
    assert ok("cp", "digits_lt", "folder").startswith("folder/digits_lt.yaml")
    assert ok("cp", "digits_lt", "mine.yaml").startswith("mine.yaml")
    for arguments, message in (
        (["digits_lt"], "target: digits_lt.yaml exists; give another name"),
        (["digits_lt", "no/where.yaml"], "target: there is no folder no"),
        (["digit_lt"], "did you mean 'digits_lt'?"),
    ):
        result = call("cp", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr


def test_doctor_reports_versions_machine_and_data() -> None:
    report = json.loads(ok("doctor", "--json"))
    assert set(report) == {"versions", "tested", "machine", "data"}
    assert set(report["versions"]) == {"fedlt", *report["tested"]}
    assert report["versions"]["fedlt"] == fedlt.__version__
    assert int(report["machine"]["cores"]) >= 1
    assert report["data"]["digits"] == "embedded"
    assert re.search(r"^  torch +\d", ok("doctor"), re.MULTILINE)


def test_doctor_says_where_a_version_was_not_tested() -> None:
    tested = ["1.41.0", "1.42.0"]
    assert versions_tested(tested, "1.42.3") == "1.41.0, 1.42.0"
    assert versions_tested(tested, "1.43.0") == "1.41.0, 1.42.0; not 1.43.0"
    assert versions_tested(tested, "1.9.0") == "1.41.0, 1.42.0; not 1.9.0"
    assert versions_tested(["3.11.7"], "3.14.0") == "3.11.7; not 3.14.0"
    assert versions_tested(["2.6.0+cu124", "2.13.0+cpu"], "2.10.0") == "2.6.0+cu124, 2.13.0+cpu"
    assert versions_tested([], "0.1") == "none"
    assert versions_tested(tested, "missing: pip install -e .") == "1.41.0, 1.42.0"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["fedlt", "fedlt.commands.cli"])
def test_python_runs_the_command_as_a_module(module: str) -> None:
    """Without a guard the module would be imported, and nothing said."""
    command = [sys.executable, "-m", module]
    shown = subprocess.run([*command, "ls", "models"], capture_output=True, text=True, check=True)
    assert re.search(r"^resnet8  ", shown.stdout, re.MULTILINE)
    wrong = subprocess.run([*command, "ls", "nonsense"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "unknown kind 'nonsense'" in wrong.stderr


def test_no_command_shows_the_help() -> None:
    assert "Usage" in call().output
    assert call("--help").exit_code == 0
    assert call("nonsense").exit_code == 2


# Broken scenarios -----------------------------------------------------------------------------------------------------

BROKEN = {
    "a value of the wrong type": (["local.epochs=many"], r"local\.epochs: expected a whole number, got 'many'"),
    "an unknown key": (
        ["federation.client=3"],
        r"federation\.client: unknown key; did you mean federation\.clients=3\?",
    ),
    "an unknown strategy": (["strategy=fedporx"], r"strategy: unknown strategy 'fedporx'; did you mean 'fedprox'\?"),
    "a strategy's unknown field": (
        ["strategy=fedprox", "strategy.mew=1"],
        r"strategy\.mew: unknown key of fedprox; known: mu",
    ),
    "a negative alpha": (
        ["federation.partition.alpha=-0.5"],
        r"federation\.partition\.alpha: expected a number > 0, got -0\.5",
    ),
    "an unknown partition": (
        ["federation.partition=dirichlett"],
        r"federation\.partition: unknown partition 'dirichlett'; did you mean 'dirichlet'\?",
    ),
    "an unknown model": (["model=resnet9"], r"model: unknown model 'resnet9'; did you mean 'resnet8'\?"),
    "an unknown learner": (["learner=crossentropy"], r"learner: unknown learner .*did you mean 'cross_entropy'\?"),
    "participation out of range": (
        ["federation.participation=30"],
        r"federation\.participation: expected a number > 0 and <= 1, got 30\.0",
    ),
    "more clients than samples": (
        ["federation.clients=5000"],
        r"federation\.clients: 5000 clients cannot share \d+ training samples; use at most \d+",
    ),
    "clients without a sample": (
        ["federation.clients=200", "federation.empty=error"],
        r"federation\.partition: \d+ of 200 clients got no sample; use a larger alpha or fewer clients",
    ),
    "a natural partition without groups": (
        ["federation.partition={name: natural, column: site}", "federation.clients=null"],
        r"federation\.partition\.column: the training set has no group column 'site'; it has: none \(name them in",
    ),
    "a missing data file": (["data.name=./missing.npz"], r"data\.name: no such file: .*missing\.npz"),
    "an unknown data set": (["data.name=cifar11"], r"data\.name: 'cifar11' was not found .*in one of three ways"),
    "an override without a value": (["rounds"], "rounds: an override is written key=value"),
    "an unreadable override": (["local.lr=["], r"local\.lr: cannot read the value '\['"),
    "a deletion of nothing": (["~federation.round"], r"federation\.round: nothing to delete; did you mean 'rounds'\?"),
    "a reference to nothing": (["local.lr=${local.rate}"], r"local\.lr: .*'local\.rate' not found"),
    "seeds that are no range": (["--seeds", "a-b"], r"--seeds: expected a range such as 0-2 or a list"),
    "seeds from high to low": (["--seeds", "3-1"], r"--seeds: names no seed: '3-1'; write the smaller number first"),
    "an unknown backend": (["--backend", "rya"], r"resources\.backend: expected one of .*did you mean 'ray'\?"),
    "no workers": (["--workers", "0"], r"resources\.workers: expected a whole number >= 1 or one of auto, got 0"),
    "a missing strategy file": (["strategy=./none.py:Mine"], r"strategy: there is no file .*give the path from"),
    "an unknown class in a file": (["strategy=./mine.py:Mime"], r"strategy: .*no class 'Mime'; did you mean 'Mine'\?"),
    "an unwritable folder": (["--out", "small.yaml/x"], r"--out: cannot write to .*give another folder"),
}


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Any:
    """The hub's client must not look for a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        yield


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_broken_scenarios_end_with_key_and_remedy_and_leave_nothing(
    scenario: str, own_file: Callable[..., Path], case: str
) -> None:
    own_file("class Mine(Strategy):\n    pass\n")
    arguments, message = BROKEN[case]
    result = call("run", scenario, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert re.search(message, result.stderr), result.stderr
    assert "Traceback" not in result.output
    assert {path.name for path in Path.cwd().iterdir()} == {"small.yaml", "mine.py"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.yaml", "federation: {clients: 3\n", r"bad\.yaml\n  unreadable YAML: .*line 2"),
        ("list.yaml", "- 1\n", r"list\.yaml\n  expected keys and values at the top"),
        ("no.yaml", None, r"there is no scenario file no\.yaml"),
        ("digit_lt", None, r"there is no scenario 'digit_lt'; did you mean 'digits_lt'\?"),
    ],
)
def test_broken_files_do_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text, encoding="utf-8")
    result = call("run", name)
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not Path("runs").exists()


def test_a_users_file_that_is_not_a_strategy_is_refused(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file("class Mine:\n    pass\n")
    result = call("run", scenario, "strategy=./mine.py:Mine")
    assert result.exit_code == 2
    assert re.search(r"strategy: .*mine\.py:Mine is no subclass of fedlt\.Strategy", result.stderr)
    assert not Path("runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["an unknown key", "more clients than samples", "a missing data file"])
def test_errors_come_within_two_seconds(scenario: str, case: str) -> None:
    """Processor time of a process of its own: errors in the data are found before torch is imported."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from fedlt.commands.cli import main; main()", "run", scenario, *BROKEN[case][0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert re.search(BROKEN[case][1], done.stderr)
    assert after.ru_utime - before.ru_utime < 2.0
