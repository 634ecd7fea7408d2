"""Statistics of targets that are not one class a sample: average precision, ordinal errors, tags of tokens."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

import fedlt
from fedlt.data.kinds.single import Single
from fedlt.data.ragged import Ragged
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Prediction
from fedlt.measures.defaults import statistics
from fedlt.measures.ordinal import OrdinalError
from fedlt.measures.precision import AveragePrecision, average_precisions
from fedlt.measures.tokens import TokenConfusions
from fedlt.plots import draw
from fedlt.plots.classes import class_chart
from fedlt.plots.clients import client_chart
from fedlt.plots.curves import curve_chart
from fedlt.report.tables import class_table, client_table
from fedlt.results.summary import final_table, plain
from fedlt.statistic import NOBODY, Known, Predicted, Statistic, Subject
from fedlt.target import Target

pytestmark = pytest.mark.slow


def known(counts: list[int], clients: dict[int, list[int]] | None = None) -> Known:
    """Training counts of all, and of each client."""
    names, of_all, none = [str(number) for number in range(len(counts))], np.array(counts), np.zeros(0, np.int64)
    return Known(names, of_all, of_all, of_all, lambda k: np.array((clients or {})[k]), none, none)


def of(kind: Statistic, classes: int, model: str, *batches: tuple[int, int, Any, Any]) -> Any:
    """The statistic of batches: client, first row, logits, targets."""
    found = kind.empty(Task("single", classes, (1,)), Subject(model))
    for client, first, logits, targets in batches:
        said, y = Prediction(torch.tensor(logits, dtype=torch.float32)), torch.tensor(targets)
        found.add(Predicted(said, y, torch.arange(first, first + len(y)), client))
    return found


# Several labels a sample ----------------------------------------------------------------------------------------------


def test_average_precision_by_hand() -> None:
    # Class 0: positives at ranks 1 and 3 of 4. Class 1: the positive shares its score with a negative: one threshold.
    # Class 2: the top sample is unknown, so the positive is first. Class 3: no positive.
    scores = np.array([[4, 1, 9, 1], [3, 1, 5, 2], [2, 0, 4, 3], [1, 0, 3, 4]], np.float32)
    labels = np.array([[1, 1, -1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, -1]])
    found = average_precisions(scores, labels)
    assert found[:3] == pytest.approx([(1 + 2 / 3) / 2, 1 / 2, 1])
    assert math.isnan(found[3])


def test_scikit_learn_agrees() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 30, (200, 5)).astype(np.float32), (rng.random((200, 5)) < 0.2).astype(np.int8)
    expected = [average_precision_score(labels[:, c], scores[:, c]) for c in range(5)]
    assert average_precisions(scores, labels) == pytest.approx(expected)


GENERIC = (NOBODY, 0, [[4.0, 1, 9], [3, 1, 5]], [[1, 1, -1], [0, 0, 1]]), (NOBODY, 2, [[2.0, 0, 4]], [[1, 0, 0]])


def test_the_mean_over_classes_and_over_groups() -> None:
    # Average precisions (1 + 2/3) / 2, 1/2, 1 of a head, a medium and a tail class.
    found = of(AveragePrecision(), 3, "generic", *GENERIC)
    head = (1 + 2 / 3) / 2
    assert found.figures(known([500, 50, 5])) == pytest.approx(
        {"map": (head + 1.5) / 3, "map_many": head, "map_medium": 0.5, "map_few": 1.0}
    )
    classes = found.rows(known([500, 50, 5]))["classes"]
    assert classes["test_count"].tolist() == [2, 1, 1]
    assert classes["average_precision"] == pytest.approx([head, 0.5, 1])
    assert math.isnan(found.figures(known([500, 500, 500]))["map_few"])


def test_personal_models_are_averaged_over_clients() -> None:
    # Client 2: class 0 has AP 1. Client 5: class 0 has AP 1/2, class 1 AP 1. Own groups: client 2 holds class 0 only.
    batches = (2, 7, [[1.0, 0]], [[1, 0]]), (5, 0, [[2.0, 3], [1, 0]], [[0, 1], [1, 0]])
    found = of(AveragePrecision(), 2, "personal", *batches)
    about = known([9, 9], {2: [5, 0], 5: [96, 4]})
    figures = found.figures(about)
    assert figures["map"] == pytest.approx((1 + 0.75) / 2)
    assert (figures["worst_decile"], figures["clients"]) == (pytest.approx(0.75), 2)
    assert figures["map_many"] == pytest.approx((1 + 0.5) / 2)
    assert figures["map_few"] == pytest.approx(1.0)  # client 5's alone: client 2 has no positive of class 1
    clients = found.rows(about)["clients"]
    assert clients["client"].tolist() == [2, 5]
    assert clients["test_samples"].tolist() == [1, 2]
    assert clients["map"] == pytest.approx([1, 0.75])
    found.forget([5])
    assert found.figures(about)["map"] == 1


def test_scores_come_home_in_the_order_of_their_rows() -> None:
    whole = of(AveragePrecision(), 3, "generic", *GENERIC)
    first, second = (of(AveragePrecision(), 3, "generic", batch) for batch in GENERIC)
    second.merge(first)
    for name, value in whole.to_arrays().items():
        assert value.tolist() == second.to_arrays()[name].tolist()
        assert value.dtype == second.to_arrays()[name].dtype
    back = AveragePrecision().empty(whole.task, whole.subject)
    back.from_arrays(whole.to_arrays())
    assert back.figures(known([9, 9, 9])) == whole.figures(known([9, 9, 9]))


# An order of the classes ----------------------------------------------------------------------------------------------


def test_steps_from_the_truth() -> None:
    # Class 0: predictions 0, 0, 2: errors 0, 0, 2. Class 2: prediction 1: error 1.
    batch = (NOBODY, 0, [[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]], [0, 0, 0, 2])
    found = of(OrdinalError(), 3, "generic", batch)
    assert found.figures(known([1, 1, 1])) == pytest.approx({"mae": 3 / 4, "macro_mae": (2 / 3 + 1) / 2})


def test_steps_of_personal_models_are_averaged_over_clients() -> None:
    far, right = (1, 0, [[0.0, 0, 1]], [0]), (4, 3, [[1.0, 0, 0], [1, 0, 0]], [0, 0])
    found, other = of(OrdinalError(), 3, "personal", far), of(OrdinalError(), 3, "personal", right)
    found.merge(other)
    assert found.figures(known([1, 1, 1])) == {"mae": 1.0, "macro_mae": 1.0}  # over samples it would be 2 / 3
    assert found.cells.tolist() == [[1, 0, 1, 2], [4, 0, 2, 0]]
    found.forget([1])
    assert found.figures(known([1, 1, 1]))["mae"] == 0


# Tags of tokens -------------------------------------------------------------------------------------------------------


def test_every_tagged_token_counts_once() -> None:
    # Two rows of three tokens; the last of the second is padding. Predictions 0 1 1 / 1 0, tags 0 1 0 / 1 1.
    padding = -100
    logits = [[[1.0, 0], [0, 1], [0, 1]], [[0, 1], [1, 0], [1, 0]]]
    tags = torch.tensor([[0, 1, 0], [1, 1, padding]])

    class Tagged(Single):
        unknown = padding

    found = TokenConfusions().empty(Task("tags", 2, (3,), target=Tagged()), Subject("generic"))
    found.add(Predicted(Prediction(torch.tensor(logits)), tags, torch.arange(2)))
    matrix = found.by_client()[NOBODY]
    assert matrix.dense().tolist() == [[1, 1], [1, 2]]
    assert found.figures(known([500, 5]))["accuracy"] == 3 / 5
    assert found.figures(known([500, 5]))["few"] == 2 / 3


# Which ones -----------------------------------------------------------------------------------------------------------


class Odd(Target):
    read = labels = loss = None  # type: ignore[assignment]


class Graded(Single):
    """A kind of a user's own that is derived from one which is known."""


def test_a_kind_has_the_statistics_of_what_it_is_derived_from() -> None:
    expected = ["confusion", "confidence", "experts", "own_rows", "features"]
    assert list(statistics(Graded())) == list(statistics(Single())) == expected


def test_a_kind_of_which_nothing_would_be_measured_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics: there is none for targets of kind odd; name"):
        statistics(Odd())  # type: ignore[abstract]
    assert list(statistics(Odd(), [OrdinalError()])) == ["own.0"]  # type: ignore[abstract]


# In a run -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Rows of eight numbers, of which the first four say which of four classes hold; the last one does seldom."""
    rng = np.random.default_rng(0)
    x = rng.random((300, 8))
    y = (x[:, :4] > [0.3, 0.5, 0.6, 0.9]).astype(np.int8)
    y[y.sum(axis=1) == 0, 0] = 1
    np.savez(tmp_path / "several.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    tiny["data"] = {"name": str(tmp_path / "several.npz")}
    tiny["local"] |= {"epochs": 5, "lr": 0.5}
    return tiny


def test_the_generic_model_is_measured_on_the_clients_own_rows() -> None:
    """Ranks of the positives among rows 0, 1 and among 1, 2, of two classes; client 1 has no row, row 7 is unknown."""
    scores, labels = np.array([[3, 1], [2, 2], [1, 3]]), np.array([[1, 0], [0, 1], [1, 0]])
    found = of(AveragePrecision(), 2, "generic", (NOBODY, 0, scores, labels))
    tests = Ragged.from_rows([np.array([0, 1]), np.array([], np.int64), np.array([1, 2, 7])])
    told = found.rows(replace(known([500, 5]), tests=tests))["clients"]
    assert told["client"].tolist() == [0, 1, 2]
    assert told["generic"] == pytest.approx([1, math.nan, 0.5], nan_ok=True)  # rows 1, 2: (1/2 + 1/2) / 2
    masked = of(AveragePrecision(), 2, "personal_masked", (4, 0, scores, labels))
    columns = masked.rows(known([500, 5], {4: [3, 0]}))["clients"]
    assert columns["client"].tolist() == [4] and columns["map_masked"] == pytest.approx([((1 + 2 / 3) / 2 + 0.5) / 2])


def test_a_run_of_several_labels_has_a_headline_everywhere(several: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(several, "federation.rounds=5", "federation.participation=1", out=tmp_path, backend="inline")
    last = run.classes[run.classes["round"] == 5]
    chance = last.test_count.mean() / 100  # a guess's average precision
    assert run.final["generic/map"] > chance + 0.1
    assert run.final["personal/map"] > chance
    assert "generic/accuracy" not in run.final
    assert run.final["generic/map"] == pytest.approx(last.average_precision.mean())
    assert run.clients["map"].notna().all() and run.clients["accuracy"].isna().all()
    shown = f"{100 * run.final['generic/map']:.1f}"
    assert shown in str(fedlt.compare(run)) and shown in plain(final_table(run))
    assert shown in (run.folder / "log.txt").read_text(encoding="utf-8")

    by_group = [f"{100 * run.final[f'generic/map_{group}']:.1f}" for group in ("many", "medium")]  # no class is few
    assert all(value in text for value in by_group for text in (str(fedlt.compare(run)), plain(final_table(run))))
    assert run.clients.generic.to_numpy() == pytest.approx(run.clients["map"].to_numpy())  # FedAvg: the same model
    methods = {"mine": [run]}
    assert curve_chart(methods, "generic/map_many").title == "generic model, mAP of head classes"
    by_class = class_chart(methods, "generic")
    values = 100 * last.sort_values("train_count", ascending=False, kind="stable").average_precision.to_numpy()
    assert by_class.y.text == "average precision, %" and by_class.lines[0].y == pytest.approx(values)
    by_client = client_chart(methods)
    assert by_client.x.text == "generic model, mAP, %" and "6 clients" in str(by_client.marks[0])
    with pytest.raises(ScenarioError, match="of ranked items, keep no accuracies of clients by class"):
        draw("accuracies", run)
    classes, clients = class_table(methods), client_table(methods)
    assert "Average precision by class, %" in classes and all(f">{value:.1f}<" in classes for value in values)
    tested = run.clients[run.clients["round"] == 5]["map"]
    assert ">mAP, masked, %<" in clients and all(f">{100 * value:.1f}<" in clients for value in tested)


def test_equal_bits_of_scores_that_are_floats(several: dict[str, Any], tmp_path: Path) -> None:
    several["evaluation"]["batch_size"] = 7
    inline = fedlt.run(several, out=tmp_path / "inline", backend="inline")
    spread = fedlt.run(several, out=tmp_path / "processes", backend="processes", workers=2)
    assert json.dumps(spread.final) == json.dumps(inline.final)
    assert spread.classes.equals(inline.classes) and spread.clients.equals(inline.clients)


def test_a_run_may_stop_early_by_its_headline(several: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(several, "data.validation=0.2", "evaluation.patience=1", out=tmp_path, backend="inline")
    assert run.summary["early_stopping"]["figure"] == "validation/generic/map"


def test_ordinal_errors_stand_beside_the_accuracy(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "data.targets=ordinal", out=tmp_path, backend="inline")
    held = run.confusion[(run.confusion.model == "generic") & run.confusion["round"].eq(2)]
    steps = (held.true - held.pred).abs() * held["count"]
    assert run.final["generic/mae"] == pytest.approx(steps.sum() / held["count"].sum())
    assert "personal/accuracy" in run.final and "personal_masked/macro_mae" in run.final
