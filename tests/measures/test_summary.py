from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedlt.data.groups import Grouping
from fedlt.data.targets import Targets
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.metrics import Confusion
from fedlt.results.runs import Run, RunWriter, open_run
from fedlt.results.summary import WIDTH, evaluation_line, final_table, plain
from tests.evaluations import evaluation as evaluated

METRICS = {
    "generic/accuracy": 0.6314,
    "generic/many": 0.81,
    "generic/medium": 0.602,
    "generic/few": 0.3149,
    "personal/accuracy": 0.7118,
    "personal_masked/accuracy": 0.74,
}


def line(*prefixes: str) -> str:
    return evaluation_line(20, 100, {name: value for name, value in METRICS.items() if name.split("/")[0] in prefixes})


def test_one_line_per_evaluation() -> None:
    assert evaluation_line(20, 100, METRICS) == (
        "round 20/100  generic 63.1 % (head 81.0, medium 60.2, tail 31.5)  personal 71.2 % (masked 74.0)"
    )


def test_the_line_names_only_the_models_that_there_are() -> None:
    assert line("generic") == "round 20/100  generic 63.1 % (head 81.0, medium 60.2, tail 31.5)"
    assert line("personal") == "round 20/100  personal 71.2 %"
    assert line("personal", "personal_masked") == "round 20/100  personal 71.2 % (masked 74.0)"
    assert line() == "round 20/100"


def test_an_undefined_figure_is_a_dash() -> None:
    text = evaluation_line(1, 2, {**METRICS, "generic/few": float("nan"), "personal/accuracy": float("nan")})
    assert "tail -)" in text
    assert "personal - % (masked 74.0)" in text


def write_run(folder: Path, evaluation: Evaluation | None) -> Run:
    """Two clients and three classes with 150, 50, 10 training samples; client 1 holds class 0 only."""
    y_train = np.repeat([0, 1, 2], [150, 50, 10])
    y_test = np.array([0, 0, 1, 2, 1, 2])  # balanced; the clients' rows are the first four
    writer = RunWriter(folder, "seed: 0\n", {})
    writer.start()
    writer.partition(
        SimpleNamespace(
            class_names=("a", "b", "c"),
            class_counts=np.array([150, 50, 10]),
            train_targets=Targets.of_classes(y_train),
            test_targets=Targets.of_classes(y_test),
            clients=SimpleNamespace(values=np.roll(np.arange(210), -20), offsets=np.array([0, 190, 210])),
            tests=SimpleNamespace(values=np.array([0, 1, 2, 3]), offsets=np.array([0, 4, 4])),
            validation=None,
            grouping=Grouping(),
            counts=lambda k: np.array([[130, 50, 10], [20, 0, 0]])[k],
        )
    )
    writer.round({"round": 9})
    if evaluation:
        writer.evaluation(evaluation)
    return open_run(folder)


def cells(text: str, row: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(row + "  ")]
    return found.split(row)[1].split()


def test_the_final_table(tmp_path: Path) -> None:
    good = Confusion.from_predictions([0, 0, 1, 2], [0, 0, 1, 0], 3)
    poor = Confusion.from_predictions([0, 0, 1, 2], [0, 1, 1, 2], 3)
    empty = Confusion.from_predictions([], [], 3)
    run = write_run(
        tmp_path,
        evaluated(
            7,
            generic={"": good, "psi": poor},
            personal={"": {0: poor, 1: empty}},
            masked={"": {0: good, 1: empty}},
        ),
    )
    text = plain(final_table(run))
    header = next(line for line in text.splitlines() if "accuracy  " in line)
    assert header.split() == ["accuracy", "head", "(many)", "medium", "tail", "(few)", "worst", "decile", "spread"]
    assert cells(text, "generic model") == ["75.0", "100.0", "100.0", "0.0", "-", "-"]
    assert cells(text, "generic model [psi]") == ["75.0", "50.0", "100.0", "100.0", "-", "-"]
    # client 0's own groups: class 0 has 68 % of its samples, with class 1 94.7 %: both are head, and class 2 is medium
    assert cells(text, "personal models") == ["75.0", "66.7", "100.0", "-", "75.0", "0.0"]
    assert cells(text, "personal models, masked") == ["75.0", "100.0", "0.0", "-", "75.0", "0.0"]
    assert "round 7" in text
    assert "1 head class (> 100 training samples), 1 medium (20..100), 1 tail (< 20)" in text
    assert "1 of 2 clients" in text
    assert "each client's own training samples" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "\x1b" not in text


def test_the_final_table_without_a_generic_model(tmp_path: Path) -> None:
    poor = Confusion.from_predictions([0, 0, 1, 2], [0, 1, 1, 2], 3)
    text = plain(final_table(write_run(tmp_path, evaluated(7, personal={"": {0: poor}}))))
    assert cells(text, "generic model") == ["-"] * 6
    assert cells(text, "personal models")[0] == "75.0"
    assert cells(text, "personal models, masked") == ["-"] * 6


@pytest.mark.parametrize("partitioned", [True, False])
def test_the_table_of_a_run_that_was_not_evaluated(tmp_path: Path, partitioned: bool) -> None:
    if partitioned:
        run = write_run(tmp_path, None)
    else:
        RunWriter(tmp_path, "seed: 0\n", {}).start()
        run = open_run(tmp_path)
    text = plain(final_table(run))
    assert cells(text, "generic model") == ["-"] * 6
    assert "not evaluated yet" in text
    assert ("2 clients" in text) == partitioned


def test_words_stay_whole_on_a_narrow_terminal(tmp_path: Path) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(final_table(write_run(tmp_path, None)))
    text = console.export_text()
    assert "personal models, masked" in text
    assert {"accuracy", "(many)", "medium", "(few)", "decile", "spread"} <= set(text.split())
