"""Count models: values by hand, the official code and scikit-learn as oracles, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from few_words import CLASSES, VOCABULARY, sentences
from torch import Tensor

from fedlt.checks.models import ModelSuite
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.task import Task
from fedlt.nn.text.naive_bayes import NaiveBayes
from fedlt.nn.text.ss3 import SS3
from fedlt.nn.text.word_counts import CountModel, WordCounts

KIND = TokenKind(VOCABULARY, 12, shorter=True)


def table(counts: list[list[int]], rule: CountModel, documents: list[int] | None = None) -> WordCounts:
    """A table that holds these counts."""
    found = WordCounts(rule, len(counts), len(counts[0]))
    found.words.copy_(torch.tensor(counts))
    found.documents.copy_(torch.tensor(documents or [1] * len(counts[0])))
    return found


def values(counts: list[list[int]], rule: CountModel) -> list[list[float]]:
    return rule.values(torch.tensor(counts).double(), table(counts, rule)).tolist()  # type: ignore[no-any-return]


def tokens(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    x, mask, y = sentences(rows, seed)
    return torch.from_numpy(np.where(mask, x, -1)), torch.from_numpy(y)


def learnt(rule: CountModel) -> WordCounts:
    found = WordCounts(rule, VOCABULARY, CLASSES)
    for x, y in zip(*(part.split(50) for part in tokens(245, 0)), strict=True):
        found.add(x, y)
    return found


# By hand --------------------------------------------------------------------------------------------------------------


def test_words_and_documents_are_counted_class_by_class() -> None:
    found = WordCounts(SS3(), 3, 2)
    found.add(torch.tensor([[0, 2, 2], [2, -1, -1], [1, 0, -1]]), torch.tensor([1, 0, 1]))
    assert found.words.tolist() == [[0, 2], [0, 1], [1, 2]]
    assert found.documents.tolist() == [1, 2]
    found.clear()
    assert not found.words.any() and not found.documents.any()


def test_values_of_three_words_for_three_classes_by_hand() -> None:
    """Shares of the most frequent word, 8, 4 and 4 times: word 0 has 1, 0 (seen once) and 0 (never), word 1 1/2, 1 and
    1; word 2 was seen once by all who have it.
    """
    rule = SS3(smoothness=1.0, significance=1.0, sanction=2.0, formula="paper")
    counts = [[8, 1, 0], [4, 4, 4], [0, 1, 0]]

    spread = (1 + 0 + 0) / 3  # mean distance of 1, 0, 0 from their median 0
    high, low = (math.tanh(3 * local / spread - 3) / 2 + 0.5 for local in (1.0, 0.0))
    sanction = (3 - (low + 1)) / (2 * (low + 1))
    assert values(counts, rule)[0] == pytest.approx([high * sanction**2, 0.0, 0.0], abs=1e-12)

    spread = (0.5 + 0 + 0) / 3  # of 1/2, 1, 1 about 1
    low, middle = (math.tanh(3 * (local / spread) - 3) / 2 + 0.5 for local in (-0.5, 0.0))
    sanctions = [((3 - (s + 1)) / (2 * (s + 1))) ** 2 for s in (2 * middle, middle + low, middle + low)]
    expected = [0.5 * low * sanctions[0], middle * sanctions[1], middle * sanctions[2]]
    assert values(counts, rule)[1] == pytest.approx(expected, abs=1e-12)

    assert values(counts, rule)[2] == [0.0, 0.0, 0.0]  # seen once
    once = values(counts, SS3(smoothness=1.0, noise=0, formula="paper"))[2]
    assert once[1] > 0.2 and once[0] == once[2] == 0


def test_for_two_classes_the_smaller_value_is_median_and_deviation() -> None:
    rule = SS3(smoothness=1.0, formula="paper")  # significance .5
    high, low = (math.tanh(3 * (local - 0.5) / (0.5 * 0.5) - 3) / 2 + 0.5 for local in (1.0, 0.5))
    expected = [high * (2 - (low + 1)) / (low + 1), 0.5 * low * (2 - (high + 1)) / (high + 1)]
    assert values([[4, 2], [0, 4]], rule)[0] == pytest.approx(expected, abs=1e-12)
    assert values([[4, 2], [0, 4]], rule)[1] == [0.0, 1.0]  # no deviation: a class that has the word at all counts


def test_words_common_to_the_classes_say_nothing_under_the_codes_formula_and_the_largest_value_is_one() -> None:
    """Word 0 has a median of 1; word 1 is in all classes above .09, but spread by more than .1; word 2 is the first
    class's alone, and its most telling one.
    """
    counts = [[9, 8, 9], [9, 2, 2], [9, 0, 0], [3, 0, 0], [0, 9, 0]]
    found = values(counts, SS3(smoothness=1.0))
    assert found[0] == [0.0, 0.0, 0.0]
    assert found[1] != [0.0, 0.0, 0.0]
    assert found[2] == [1.0, 0.0, 0.0]
    assert 0.2 < found[3][0] < 0.4
    assert values(counts, SS3(smoothness=1.0, formula="paper"))[0] != [0.0, 0.0, 0.0]


def test_values_up_to_the_least_are_dropped() -> None:
    found = values([[8, 0, 0], [4, 4, 4], [0, 1, 0]], SS3())
    smallest = min(value for row in found for value in row if value)
    dropped = values([[8, 0, 0], [4, 4, 4], [0, 1, 0]], SS3(least=smallest))
    assert [value for row in dropped for value in row] == [
        value if value > smallest else 0.0 for row in found for value in row
    ]


def test_a_sample_whose_words_say_nothing_goes_to_the_class_with_most_words() -> None:
    found = table([[0, 3, 2], [0, 3, 2], [0, 1, 1]], SS3(formula="paper"))
    x = torch.tensor([[2, -1], [0, 2]])
    scores = found(x, x >= 0)
    assert scores[0].tolist() == pytest.approx([0, 7 / 12, 5 / 12])
    assert scores[1].argmax() == 1 and scores[1].tolist() != scores[0].tolist()


def test_a_class_without_samples_is_not_predicted_and_nothing_counted_is_no_error() -> None:
    for kind in ("multinomial", "complement"):
        rule = NaiveBayes(kind=kind)  # type: ignore[arg-type]
        x = torch.tensor([[0]])
        scores = table([[2, 0], [1, 0]], rule, [3, 0])(x, x >= 0)
        assert scores[0, 0].isfinite() and scores[0, 1] == -math.inf
        empty = WordCounts(rule, 2, 2)(x, x >= 0)
        assert empty[0, 0] == empty[0, 1] and empty.isfinite().all()


def test_scores_after_each_word_end_at_those_of_the_whole() -> None:
    x, _ = tokens(20, 1)
    for rule in (SS3(), NaiveBayes(), NaiveBayes(kind="complement")):
        found = learnt(rule)
        running, mask = found.running(x, x >= 0), x >= 0
        assert running[:, -1].numpy() == pytest.approx(found(x, mask).numpy(), rel=1e-5)
        for count in (1, 4):
            begun = x.masked_fill(torch.arange(12) >= count, -1)
            assert running[:, count - 1].numpy() == pytest.approx(found(begun, begun >= 0).numpy(), rel=1e-5)


# Oracles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "modes"), [("paper", ("vanilla", "gv")), ("undivided", ("xai", "gv")), ("code", ("xai", "norm_gv_xai"))]
)
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("keys", [{}, {"smoothness": 0.32, "significance": 1.24, "sanction": 1.1}])
def test_every_value_and_every_prediction_is_the_official_codes(
    classes: int, keys: dict[str, float], formula: str, modes: tuple[str, str]
) -> None:
    pyss3 = pytest.importorskip("pyss3", reason="the official code is not installed")
    x, y = tokens(245, 0)
    y = torch.where(torch.arange(245) % 9 > 6, 3, y)  # a fourth class of a bit of all
    x, y = x[y < classes], y[y < classes]
    rule = SS3(formula=formula, **keys)  # type: ignore[arg-type]
    found = WordCounts(rule, VOCABULARY, classes)
    found.add(x, y)

    texts = [" ".join(f"w{word}" for word in row if word >= 0) for row in x.tolist()]
    pyss3.set_verbosity(0)
    names = {"s": rule.smoothness, "l": rule.significance, "p": rule.sanction}
    official = pyss3.SS3(sg_m=modes[0], cv_m=modes[1], **names)
    official.train(texts, [f"c{label}" for label in y.tolist()], prep=False, leave_pbar=False)

    own = rule.values(found.words.double(), found)
    for word in range(VOCABULARY):
        if found.words[word].any():
            expected = [official.cv(f"w{word}", f"c{label}") for label in range(classes)]
            assert own[word].tolist() == pytest.approx(expected, abs=1e-9), word
    predicted = official.predict(texts, prep=False, leave_pbar=False)
    assert [f"c{label}" for label in found(x, x >= 0).argmax(1).tolist()] == predicted


@pytest.mark.parametrize("kind", ["multinomial", "complement"])
def test_naive_bayes_is_that_of_scikit_learn(kind: str) -> None:
    from sklearn import naive_bayes

    rule = NaiveBayes(kind=kind, smoothing=0.5)  # type: ignore[arg-type]
    official: Any = {"multinomial": naive_bayes.MultinomialNB, "complement": naive_bayes.ComplementNB}[kind](alpha=0.5)

    def bags(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(x.clamp(min=0), VOCABULARY).mul((x >= 0)[..., None]).sum(1)

    (x, y), (other, _) = tokens(245, 0), tokens(84, 1)
    official.fit(bags(x).numpy(), y.numpy())
    found = learnt(rule)(other, other >= 0)
    assert found.numpy() == pytest.approx(official.predict_joint_log_proba(bags(other).numpy()), rel=1e-5)
    assert found.argmax(1).tolist() == official.predict(bags(other).numpy()).tolist()


# Refused --------------------------------------------------------------------------------------------------------------


def test_inputs_other_than_words_and_keys_of_weights_are_refused() -> None:
    words = Task("single", CLASSES, (12,), inputs=KIND)
    with pytest.raises(ValueError, match=r"SS3 counts words, and the inputs are images"):
        SS3().build(Task("single", CLASSES, (1, 8, 8)))
    with pytest.raises(ValueError, match=r"NaiveBayes has no weights: model\.freeze"):
        NaiveBayes(freeze=True).build(words)


@pytest.mark.parametrize("name", ["ss3", "naive_bayes"])
def test_count_models_keep_the_contract_of_models(name: str) -> None:
    ModelSuite(name, {}).run(Task("single", CLASSES, (12,), inputs=KIND))
