from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fedlt.data.groups import by_count, by_mass
from fedlt.measures.metrics import (
    Confusion,
    generic_metrics,
    mean_of_last,
    personal_columns,
    personal_summary,
)
from fedlt.statistic import Subject

# Ten test samples of three classes. Class 0: 4 of 5 right, one taken for class 1. Class 1: 2 of 4 right, two taken for
# class 0. Class 2: its only sample is taken for class 0, and class 2 is never predicted.
TRUE = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
PRED = [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]


@pytest.fixture
def ten() -> Confusion:
    return Confusion.from_predictions(TRUE, PRED, num_classes=3)


def cells(confusion: Confusion) -> list[list[int]]:
    return confusion.encode().tolist()


def random_confusion(rng: np.random.Generator, samples: int, classes: int = 6) -> Confusion:
    true, pred = rng.integers(classes - 1, size=samples), rng.integers(classes, size=samples)
    return Confusion.from_predictions(true, pred, classes)


def test_cells_are_sorted_and_unique(ten: Confusion) -> None:
    assert cells(ten) == [[0, 0, 4], [0, 1, 1], [1, 0, 2], [1, 1, 2], [2, 0, 1]]
    shuffled = Confusion.from_predictions(TRUE[::-1], PRED[::-1], 3)
    assert cells(shuffled) == cells(ten)
    assert ten.true.dtype == ten.pred.dtype == ten.count.dtype == np.int64


def test_derived_figures_by_hand(ten: Confusion) -> None:
    assert ten.dense().tolist() == [[4, 1, 0], [2, 2, 0], [1, 0, 0]]
    assert ten.support.tolist() == [5, 4, 1]
    assert ten.predicted.tolist() == [7, 3, 0]
    assert ten.correct.tolist() == [4, 2, 0]
    assert ten.total == 10
    assert ten.accuracy == pytest.approx(6 / 10)
    assert ten.recall().tolist() == pytest.approx([4 / 5, 2 / 4, 0 / 1])
    assert ten.balanced_accuracy == pytest.approx((0.8 + 0.5 + 0.0) / 3)
    # F1 = 2 correct / (support + predicted): 8 / 12, 4 / 7, and 0 for the class that is never predicted
    assert ten.macro_f1 == pytest.approx((8 / 12 + 4 / 7 + 0) / 3)


def test_classes_absent_from_the_truth_do_not_count() -> None:
    # class 2 is predicted once and never true: recall 1/2, 1, undefined; F1 2/(2+1), 2/(1+1), left out
    confusion = Confusion.from_predictions([0, 0, 1], [0, 2, 1], num_classes=3)
    recall = confusion.recall()
    assert recall[:2].tolist() == [0.5, 1.0]
    assert math.isnan(recall[2])
    assert confusion.balanced_accuracy == pytest.approx(0.75)
    assert confusion.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_group_accuracy_is_the_mean_recall_of_the_group(ten: Confusion) -> None:
    many, medium, few = ten.group_accuracy(np.array([0, 2, 2], dtype=np.int8))
    assert many == pytest.approx(4 / 5)
    assert math.isnan(medium)  # no class in it
    assert few == pytest.approx((0.5 + 0) / 2)  # not pooled, (2 + 0) / (4 + 1): class 1 has four samples, class 2 one
    no_test_sample = Confusion.from_predictions([0], [0], 3).group_accuracy(np.array([0, 1, 2], dtype=np.int8))
    assert no_test_sample[0] == 1.0
    assert math.isnan(no_test_sample[1])


def test_an_empty_test_set_defines_nothing() -> None:
    empty = Confusion.from_predictions([], [], num_classes=3)
    assert empty.total == 0
    assert empty.dense().shape == (3, 3)
    assert all(math.isnan(value) for value in (empty.accuracy, empty.balanced_accuracy, empty.macro_f1))


def test_merging_is_associative_and_equals_the_whole(ten: Confusion) -> None:
    a, b, c = (Confusion.from_predictions(TRUE[i:j], PRED[i:j], 3) for i, j in ((0, 3), (3, 7), (7, 10)))
    assert cells((a + b) + c) == cells(a + (b + c)) == cells(c + b + a) == cells(ten)
    assert cells(Confusion.merge([b, c, a])) == cells(ten)
    doubled = ten + ten
    assert doubled.dense().tolist() == [[8, 2, 0], [4, 4, 0], [2, 0, 0]]


def test_transport_returns_the_same(ten: Confusion) -> None:
    rows = ten.encode()
    assert rows.shape == (5, 3)
    assert rows.dtype == np.int64
    back = Confusion.decode(rows, num_classes=3)
    assert cells(back) == cells(ten)
    assert back.num_classes == 3
    assert Confusion.decode(np.zeros((0, 3), dtype=np.int64), 3).total == 0


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([0, 3], [0, 0], "expected true classes in 0..2, found 0..3"),
        ([0, 0], [-1, 0], "expected predicted classes in 0..2, found -1..0"),
        ([0, 0], [0], "expected equal lengths"),
    ],
)
def test_impossible_predictions_are_refused(true: list[int], pred: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Confusion.from_predictions(true, pred, 3)


def test_matrices_of_different_tasks_do_not_merge(ten: Confusion) -> None:
    with pytest.raises(ValueError, match="same number of classes"):
        ten + Confusion.from_predictions([0], [0], 4)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_scikit_learn_agrees() -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

    rng = np.random.default_rng(0)
    true, pred = rng.integers(5, size=200), rng.integers(6, size=200)  # class 5 is predicted but never true
    confusion = Confusion.from_predictions(true, pred, 6)
    assert confusion.dense().tolist() == confusion_matrix(true, pred, labels=range(6)).tolist()
    assert confusion.accuracy == pytest.approx(accuracy_score(true, pred))
    assert confusion.balanced_accuracy == pytest.approx(balanced_accuracy_score(true, pred))
    assert confusion.macro_f1 == pytest.approx(f1_score(true, pred, labels=range(5), average="macro"))


def test_generic_metrics_use_training_counts_and_mass(ten: Confusion) -> None:
    # Training counts 500, 50, 10: many, medium, few. Summed local tests 3, 70, 27: class 1 holds 70 %, with class 2
    # 97 %, so both are the head by mass, the medium group is empty, and class 0 is the tail.
    metrics = generic_metrics(ten, by_count(np.array([500, 50, 10])), np.array([3, 70, 27]))
    undefined = metrics.pop("mass_medium")
    assert math.isnan(undefined)
    assert metrics == pytest.approx(
        {
            "accuracy": 0.6,
            "balanced_accuracy": 1.3 / 3,
            "macro_f1": (8 / 12 + 4 / 7) / 3,
            "many": 0.8,
            "medium": 0.5,
            "few": 0.0,
            "mass_many": (0.5 + 0) / 2,  # a mean of recalls; 2 / 5 of the samples
            "mass_few": 0.8,
        }
    )


# Training counts of four clients. By the 75 / 95 % mass rule on its own counts, client 0 has class 0 (80 %) as head,
# class 1 as medium, class 2 as tail; client 3 class 2, 1, 0; client 7 class 2 as head.
COUNTS = {0: [80, 20, 0], 3: [0, 10, 90], 5: [1, 1, 1], 7: [0, 0, 5]}
PERSONAL = {
    7: Confusion.from_predictions([2, 2], [2, 2], 3),  # accuracy 1, head 1, balanced 1, F1 1
    # accuracy 4/5, head 3/4, medium 1/1, balanced (3/4 + 1) / 2, F1 (6/7 + 2/3) / 2
    0: Confusion.from_predictions([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], 3),
    5: Confusion.from_predictions([], [], 3),  # no test row: counts nowhere
    # accuracy 1/3, head 1/2, medium 0/1, balanced (1/2 + 0) / 2, F1 (2/3 + 0) / 2
    3: Confusion.from_predictions([2, 2, 1], [2, 1, 0], 3),
}


def counts_of(client: int) -> np.ndarray:
    return np.array(COUNTS[client], dtype=np.int64)


def test_personal_metrics_by_hand() -> None:
    metrics = personal_summary(personal_columns(PERSONAL, counts_of))
    assert math.isnan(metrics.pop("few"))  # no client has a test sample of its own tail
    mean = (1 + 4 / 5 + 1 / 3) / 3
    assert metrics == pytest.approx(
        {
            "accuracy": mean,  # over clients; over samples it would be 7 / 10
            "std": math.sqrt(((1 - mean) ** 2 + (4 / 5 - mean) ** 2 + (1 / 3 - mean) ** 2) / 3),
            "worst_decile": 1 / 3,  # one client of three
            "many": (1 + 3 / 4 + 1 / 2) / 3,
            "medium": (1 + 0) / 2,  # client 7 has no medium class
            "balanced_accuracy": (1 + 7 / 8 + 1 / 4) / 3,
            "macro_f1": (1 + (6 / 7 + 2 / 3) / 2 + (2 / 3) / 2) / 3,
            "clients": 3,
        }
    )


def test_a_test_class_that_the_client_never_trained_on_is_tail() -> None:
    metrics = personal_summary(personal_columns({0: Confusion.from_predictions([0, 2, 2], [0, 2, 0], 3)}, counts_of))
    assert metrics["many"] == 1.0
    assert metrics["few"] == 0.5


def test_worst_decile_rounds_the_number_of_clients_up() -> None:
    # eleven clients with 0, 1, ..., 10 of 10 test samples right: the worst ceil(1.1) = 2 have 0.0 and 0.1
    right = {k: Confusion.from_predictions([0] * 10, [0] * k + [1] * (10 - k), 2) for k in range(11)}
    metrics = personal_summary(personal_columns(right, lambda k: np.array([1, 1])))
    assert metrics["worst_decile"] == pytest.approx(0.05)
    del right[10]
    assert personal_summary(personal_columns(right, lambda k: np.array([1, 1])))["worst_decile"] == 0.0


def samples_right(one: Confusion, classes: NDArray[np.bool_]) -> float:
    """Share of the samples of some classes: personal figures are over samples, unlike the generic groups."""
    total = one.support[classes].sum()
    return one.correct[classes].sum() / total if total else float("nan")


def test_all_clients_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(1)
    confusions = {int(k): random_confusion(rng, int(rng.integers(0, 30))) for k in rng.permutation(100)[:40]}
    counts = rng.integers(0, 50, size=(100, 6)) * (rng.random((100, 6)) < 0.6)
    columns = personal_columns(confusions, lambda k: counts[k])
    assert columns["client"].tolist() == sorted(confusions)
    for row, k in enumerate(sorted(confusions)):
        one = confusions[k]
        groups = [samples_right(one, by_mass(counts[k]) == group) for group in range(3)]
        expected = [one.total, one.accuracy, one.balanced_accuracy, one.macro_f1, *groups]
        names = ("test_samples", "accuracy", "balanced_accuracy", "macro_f1", "many", "medium", "few")
        assert [columns[name][row] for name in names] == pytest.approx(expected, nan_ok=True)


def test_no_clients_define_nothing() -> None:
    summary = personal_summary(personal_columns({}, counts_of))
    assert summary.pop("clients") == 0
    assert all(math.isnan(value) for value in summary.values())


def test_mean_of_last_is_undefined_unless_always_defined() -> None:
    history = [{"a": 9.0, "b": 9.0}, {"a": 1.0, "b": float("nan"), "c": 1.0}, {"a": 3.0, "b": 1.0, "d": 2.0}]
    mean = mean_of_last(history, 2)
    assert mean["a"] == 2.0
    assert list(mean) == ["a", "b", "d"]
    assert math.isnan(mean["b"])
    assert math.isnan(mean["d"])


def test_variants_are_named_in_brackets() -> None:
    assert (Subject("generic").name, Subject("personal", "psi").name) == ("generic", "personal[psi]")
    validated = Subject("personal_masked", "psi", validation=True)
    assert (validated.full_name, validated.key) == ("validation/personal_masked[psi]", "validation/personal_masked:psi")
    assert Subject.parse(validated.key) == validated
    assert Subject.parse("generic:") == Subject("generic")
