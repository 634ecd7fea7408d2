from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedlt.data.groups import Grouping
from fedlt.data.targets import Targets
from fedlt.errors import FedLTError
from fedlt.measures.confusion import Confusions
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.metrics import Confusion
from fedlt.process.files import replace_file
from fedlt.results.runs import Run, RunWriter, load_runs, open_run
from fedlt.results.tables import write_json
from tests.evaluations import evaluation as evaluated

SCENARIO = "data:\n  name: toy\nlocal:\n  lr: 1e-3\nseed: 3\n"
META = {"command": "fedlt run toy", "scenario": "toy", "strategy": "fedavg", "seed": 3, "partition_hash": "abc"}


def split() -> SimpleNamespace:
    """Two clients: client 0 trains on rows 0, 1, 2 (classes 0, 0, 1), client 1 on rows 4, 5 (classes 1, 1)."""
    y_train, y_test = np.array([0, 0, 1, 2, 1, 1]), np.array([0, 1, 2, 0])
    held = [np.array([0, 1, 2]), np.array([4, 5])]
    return SimpleNamespace(
        class_names=("cat", "dog", "owl"),
        class_counts=np.array([2, 3, 0]),
        train_targets=Targets.of_classes(y_train),
        test_targets=Targets.of_classes(y_test),
        clients=SimpleNamespace(values=np.concatenate(held), offsets=np.array([0, 3, 5])),
        tests=SimpleNamespace(values=np.array([0, 1, 3, 1]), offsets=np.array([0, 3, 4])),
        validation=None,
        grouping=Grouping(),
        counts=lambda k: np.bincount(y_train[held[k]], minlength=3),
    )


def evaluation(round: int, right: int = 2) -> Evaluation:
    """Generic: `right` of 4 right. Client 0: 1 of 3 right, masked 2 of 3. Client 1: 1 of 1 right."""
    generic = Confusion.from_predictions([0, 0, 1, 2], [0, 0, 1, 2][:right] + [1, 1, 0, 0][right:], 3)
    first = {0: Confusion.from_predictions([0, 1, 0], [0, 2, 2], 3), 1: Confusion.from_predictions([1], [1], 3)}
    masked = {0: Confusion.from_predictions([0, 1, 0], [0, 1, 1], 3), 1: first[1]}
    return evaluated(round, {"": generic}, {"": first}, {"": masked})


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    writer = RunWriter(tmp_path / "runs" / "toy", SCENARIO, META)
    writer.start()
    writer.partition(split())
    return writer


def test_nothing_is_on_disk_before_the_start(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "runs" / "toy", SCENARIO, META)
    writer.fail("data set not found")
    assert not (tmp_path / "runs").exists()


def test_a_finished_run_reads_back(writer: RunWriter) -> None:
    writer.log("round 1")
    writer.log("round 2 ±")
    writer.round({"round": 1, "seconds": 0.5, "train_loss": 2.0, "skipped": 1})
    metrics = writer.evaluation(evaluation(1))
    writer.round({"round": 2, "seconds": 0.25, "train_loss": 1.5, "skipped": 2, "bytes_up": 10})
    writer.finish(model_hash="def", timings={"total": 0.75})

    run = open_run(writer.folder)
    assert run.status == "finished"
    assert run.scenario == {"data": {"name": "toy"}, "local": {"lr": 0.001}, "seed": 3}
    expected = {**META, "model_hash": "def", "timings": {"total": 0.75}, "rounds": 2, "skipped": 3}
    expected |= {"evaluations": 1, "final_round": 1}
    assert {key: run.summary[key] for key in expected} == expected
    assert run.summary["started"] <= run.summary["ended"]
    assert run.summary["versions"].keys() == {"python", "fedlt", "torch", "flwr", "ray", "numpy"}
    assert run.summary["versions"]["numpy"] == np.__version__
    assert run.summary["host"]["cpus"] == os.cpu_count()
    assert os.uname().nodename not in json.dumps(run.summary["host"])
    assert (writer.folder / "log.txt").read_text(encoding="utf-8") == "round 1\nround 2 ±\n"

    assert run.final == pytest.approx(metrics, nan_ok=True)
    assert run.final["generic/accuracy"] == 0.5
    assert run.final["personal/accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert run.final["personal_masked/accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert run.rounds["train_loss"].tolist() == [2.0, 1.5]
    assert run.rounds["bytes_up"].isna().tolist() == [True, False]
    long = run.metrics[run.metrics.metric == "generic/accuracy"]
    assert long[["round", "value"]].values.tolist() == [[1, 0.5]]


def test_tables_of_clients_and_classes(writer: RunWriter) -> None:
    writer.evaluation(evaluation(1))
    run = open_run(writer.folder)
    clients = run.clients
    assert clients[["round", "variant", "client", "train_samples", "test_samples"]].values.tolist() == [
        [1, "", 0, 3, 3],
        [1, "", 1, 2, 1],
    ]
    assert clients.accuracy.tolist() == pytest.approx([1 / 3, 1])
    assert clients.accuracy_masked.tolist() == pytest.approx([2 / 3, 1])
    # client 0 holds 2 samples of class 0 and 1 of class 1: class 0 is 67 % < 75 %, so both are its head classes
    assert clients.many.tolist() == pytest.approx([1 / 3, 1])
    classes = run.classes
    assert classes.name.tolist() == ["cat", "dog", "owl"]
    assert classes.model.tolist() == ["generic"] * 3
    assert classes.train_count.tolist() == [2, 3, 0]
    assert classes.test_count.tolist() == [2, 1, 1]
    assert classes.recall.tolist() == [1.0, 0.0, 0.0]
    assert classes.group_count.tolist() == ["few"] * 3
    # summed local tests 2, 2, 0 of classes 0, 1, 2: half the mass is no head yet, so the second class joins it
    assert classes.group_mass.tolist() == ["many", "many", "few"]


def test_the_confusion_table_holds_every_matrix(writer: RunWriter) -> None:
    shown = {
        (subject.name, client): matrix
        for (_, subject), statistic in evaluation(4).statistics.items()
        if isinstance(statistic, Confusions)
        for client, matrix in statistic.by_client().items()
    }
    writer.evaluation(evaluation(4))
    table = open_run(writer.folder).confusion
    assert set(table["round"]) == {4}
    assert set(table.model) == {"generic", "personal", "personal_masked"}
    assert len(shown) == 5
    for (model, client), confusion in shown.items():
        rows = table[(table.model == model) & (table.client == client)]
        assert rows[["true", "pred", "count"]].values.tolist() == confusion.encode().tolist()


def test_variants_have_their_own_names(writer: RunWriter) -> None:
    right = Confusion.from_predictions([0, 1], [0, 1], 3)
    wrong = Confusion.from_predictions([0, 1], [1, 0], 3)
    personal = {"": {1: right}, "psi": {1: wrong}}
    metrics = writer.evaluation(evaluated(1, generic={"": right, "psi": wrong}, personal=personal))
    assert metrics["generic/accuracy"] == 1.0
    assert metrics["generic[psi]/accuracy"] == 0.0
    assert metrics["personal[psi]/accuracy"] == 0.0
    run = open_run(writer.folder)
    assert run.client_variants[["variant", "accuracy"]].values.tolist() == [["", 1.0], ["psi", 0.0]]
    assert run.clients[["variant", "accuracy"]].values.tolist() == [["", 1.0]]  # the headline alone
    assert run.clients.accuracy_masked.isna().all()  # no masked evaluation was given
    assert run.classes.model.unique().tolist() == ["generic", "generic[psi]"]


def test_a_run_shows_its_table(writer: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 of 4 of the global test samples are right; clients have 1 of 3 and 1 of 1, masked 2 of 3 and 1 of 1."""
    writer.evaluation(evaluation(1))
    run = open_run(writer.folder)
    assert repr(run) == "Run('toy', running, round 0, generic 50.0 %, personal 66.7 %)"  # no path of other folders
    monkeypatch.chdir(tmp_path)
    assert repr(run).startswith("Run('runs/toy', ")

    rows = [line.split() for line in str(run).splitlines() if line.strip().startswith(("generic", "personal"))]
    firsts = [next(word for word in row if "." in word) for row in rows]
    assert firsts == ["50.0", "66.7", "83.3"]
    page = run._repr_html_()
    assert "<td" in page and ">66.7</td>" in page and ">personal models, masked</td>" in page
    assert str(tmp_path) not in page
    assert page.count("<tr>") == 1 + len(rows)


def test_an_empty_run_shows_itself_too(tmp_path: Path) -> None:
    RunWriter(tmp_path / "new", SCENARIO, META).start()
    run = open_run(tmp_path / "new")
    assert repr(run) == "Run('new', running, round 0)"
    assert "not evaluated yet" in str(run) and "not evaluated yet" in run._repr_html_()


def test_the_partition_is_kept_with_labels(writer: RunWriter) -> None:
    with np.load(writer.folder / "partition.npz", allow_pickle=False) as kept:
        assert kept["clients_values"].tolist() == [0, 1, 2, 4, 5]
        assert kept["clients_offsets"].tolist() == [0, 3, 5]
        assert kept["clients_labels"].tolist() == [0, 0, 1, 1, 1]
        assert kept["tests_values"].tolist() == [0, 1, 3, 1]
        assert kept["tests_offsets"].tolist() == [0, 3, 4]
        assert kept["tests_labels"].tolist() == [0, 1, 0, 1]
        assert kept["class_names"].tolist() == ["cat", "dog", "owl"]
        assert kept["class_counts"].tolist() == [2, 3, 0]
    summary = open_run(writer.folder).summary
    assert (summary["clients"], summary["num_classes"]) == (2, 3)
    assert summary["groups_count"] == [0, 0, 3]
    assert summary["groups_mass"] == [2, 0, 1]
    assert summary["groups_untested"] == [0, 0, 0]


def test_a_run_that_starts_over_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    old = ("tensorboard/events.out.tfevents.1", "model.safetensors", "clients.safetensors", "join.json")
    for name in old:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of an earlier run")
    (tmp_path / "notes.txt").write_text("mine")
    RunWriter(tmp_path, SCENARIO, META).start()
    assert not any((tmp_path / name).exists() for name in old)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_classes_without_a_test_sample_are_counted_in_the_summary(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, SCENARIO, META)
    writer.start()
    held = split()
    held.test_targets = Targets.of_classes(np.array([0, 1, 0, 0]), 3)
    writer.partition(held)
    assert open_run(tmp_path).summary["groups_untested"] == [0, 0, 1]


def test_an_unfinished_run_has_empty_tables(tmp_path: Path) -> None:
    RunWriter(tmp_path, SCENARIO, META).start()
    run = open_run(tmp_path)
    assert run.status == "running"
    assert run.final == run.last_five == {}
    assert list(run.clients)[:3] == ["round", "variant", "client"]
    assert list(run.metrics) == ["round", "metric", "value"]
    for table in (run.rounds, run.clients, run.classes, run.metrics, run.confusion):
        assert len(table) == 0
    assert "train_loss" in run.rounds
    assert run.clients.accuracy.dtype == np.float64


def test_an_evaluation_in_the_middle_is_already_readable(writer: RunWriter) -> None:
    writer.round({"round": 1, "seconds": 1.0})
    writer.evaluation(evaluation(1))
    run = open_run(writer.folder)
    assert run.status == "running"
    assert run.final["generic/accuracy"] == 0.5
    assert len(run.rounds) == 1
    writer.evaluation(evaluation(2, right=4))
    assert open_run(writer.folder).final["generic/accuracy"] == 1.0
    assert open_run(writer.folder).clients["round"].tolist() == [1, 1, 2, 2]


def test_an_evaluation_needs_the_partition(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, SCENARIO, META)
    writer.start()
    with pytest.raises(RuntimeError, match="partition"):
        writer.evaluation(evaluation(1))


def test_what_is_not_defined_becomes_null(writer: RunWriter) -> None:
    assert math.isnan(writer.evaluation(evaluation(1))["generic/many"])  # no class has more than 100 samples
    writer.finish(timings={"first": float("inf")})

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    raw = json.loads((writer.folder / "run.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert raw["final"]["generic/many"] is None
    assert raw["timings"]["first"] is None
    assert math.isnan(open_run(writer.folder).final["generic/many"])


def test_json_takes_numpy_values_and_paths(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.float32("nan"), "a": np.array([1.5]), "p": Path("b")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n "n": 3')
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 3, "x": None, "a": [1.5], "p": "b"}


def test_last_five_is_the_mean_of_the_last_never_the_best(writer: RunWriter) -> None:
    for round, right in enumerate([4, 4, 0, 1, 2, 3, 1], start=1):  # of 4; the best evaluations are the first two
        writer.evaluation(evaluation(round, right))
    run = open_run(writer.folder)
    assert run.final["generic/accuracy"] == 1 / 4
    assert run.last_five["generic/accuracy"] == pytest.approx((0 + 1 + 2 + 3 + 1) / 4 / 5)


def test_a_failed_run_keeps_what_it_measured(writer: RunWriter) -> None:
    writer.round({"round": 1, "seconds": 1.0})
    writer.fail(ValueError("loss is not finite"))
    run = open_run(writer.folder)
    assert run.status == "failed"
    assert run.summary["error"] == "loss is not finite"
    assert len(run.rounds) == 1


def test_a_crash_while_writing_leaves_the_older_file(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.evaluation(evaluation(1))
    before = {path.name: path.read_bytes() for path in writer.folder.rglob("*.*")}

    def crash(*_: object) -> None:
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="killed"):
        writer.evaluation(evaluation(2))
    with pytest.raises(OSError, match="killed"):
        write_json(writer.folder / "run.json", {"status": "broken"})
    assert {path.name: path.read_bytes() for path in writer.folder.rglob("*.*")} == before
    assert open_run(writer.folder).metrics["round"].unique().tolist() == [1]


def test_a_file_is_moved_into_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def write(temporary: Path) -> None:
        assert temporary.parent == tmp_path  # one file system, else the move is no single step
        temporary.write_text("new")
        assert path.read_text() == "old"

    replace_file(path, write)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("run.json", "new")]


def test_starting_again_removes_the_earlier_results(writer: RunWriter) -> None:
    writer.log("old")
    writer.round({"round": 1})
    writer.evaluation(evaluation(1))
    (writer.folder / "notes.txt").write_text("mine")
    again = RunWriter(writer.folder, "seed: 4\n", META)
    again.start()
    assert sorted(path.name for path in writer.folder.iterdir()) == ["notes.txt", "run.json", "scenario.yaml"]
    assert open_run(writer.folder).scenario == {"seed": 4}


def test_what_a_run_takes_away_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the parts of a checkpoint are, while others look for runs."""
    (tmp_path / "one" / "checkpoints").mkdir(parents=True)
    (tmp_path / "one" / "run.json").write_text("{}")
    scan = os.scandir

    def gone(path: Any) -> Any:
        if Path(path).name == "checkpoints":
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", gone)
    assert [run.folder.name for run in load_runs(tmp_path)] == ["one"]


def test_runs_are_found_by_path_folder_and_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs/b", "runs/a", "runs/sweep/c"):
        RunWriter(tmp_path / name, SCENARIO, META).start()
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)

    def names(runs: list[Run]) -> list[str]:
        return [run.folder.as_posix() for run in runs]

    every = ["runs/a", "runs/b", "runs/sweep/c"]
    assert names(load_runs("runs/a")) == ["runs/a"]
    assert names(load_runs("runs")) == names(load_runs("runs/**")) == names(load_runs("runs/*")) == every
    assert names(load_runs("runs/sweep", "runs/[ab]", Path("runs/a"))) == every
    assert load_runs("nothing/*") == []
    with pytest.raises(FedLTError, match="nothing does not exist"):
        load_runs("nothing")
    with pytest.raises(FedLTError, match=r"not a run folder.*run\.json"):
        open_run("runs/empty")


@pytest.mark.slow
def test_importing_costs_numpy_only() -> None:
    heavy = "{'pandas', 'pyarrow', 'torch', 'rich', 'omegaconf', 'sklearn', 'flwr', 'ray'}"
    code = f"import sys, fedlt.results.runs, fedlt.results.summary; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
