"""Nothing in an evaluation needs an array of all test samples, or all classes, times all classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.inputs.features import Encoded
from fedlt.data.task import Task
from fedlt.measures import collapse, evaluate, features
from fedlt.measures.collapse import NAMES, collapse_figures
from fedlt.measures.collect import Collector
from fedlt.measures.confidence import Confidence
from fedlt.measures.confusion import Confusions
from fedlt.measures.evaluate import TestSet, evaluate_personal
from fedlt.measures.features import FeatureMoments
from fedlt.nn.net import Net
from fedlt.statistic import FeatureBatch, Subject
from fedlt.strategy import Client, Strategy
from strategies import fedproto


def moments(count: int = 7) -> Any:
    rng = np.random.default_rng(0)
    found = FeatureMoments().empty(Task("single", count, (3,)), Subject("generic", "all"))
    targets, held = torch.from_numpy(rng.integers(0, count, 20)), [np.array([0, 3, 3, 9]), np.zeros(0, np.int64)]
    found.add(FeatureBatch(torch.from_numpy(rng.standard_normal((20, 3))), targets, torch.arange(20), (4, 6), held))
    return found.whole()


def test_moments_without_one_hot_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = moments()
    monkeypatch.setattr(features, "DENSE", 0)
    for name in NAMES:
        np.testing.assert_allclose(getattr(moments(), name), getattr(dense, name), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("pairs", [1, 20, 48])
def test_cosines_of_all_pairs_block_by_block(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head = np.random.default_rng(1).standard_normal((7, 3))
    whole = collapse_figures(moments(), head)
    monkeypatch.setattr(collapse, "PAIRS", pairs)
    assert collapse_figures(moments(), head) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 30, 2**26])
def test_distances_to_prototypes_some_classes_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    h, prototypes = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 3.0], [2.0, 2.0]])
    monkeypatch.setattr(fedproto, "AT_ONCE", at_once)
    assert fedproto.distances(h, prototypes).tolist() == [[0.5, 2.0, 2.5], [4.0, 2.5, 0.0]]


class Counted(Strategy):
    """Counts the samples that it is asked for."""

    rows = 0

    def personal(self, client: Client, x: Any) -> Tensor:
        type(self).rows += len(x)
        return super().personal(client, x)


@pytest.fixture
def client(make_client: Any) -> Iterator[Client]:
    net = Net(nn.Flatten(), nn.Linear(3, 5), 3)
    made: Client = make_client(net, np.zeros((2, 3)), [0, 1], Local())
    made.task, made.class_counts = Task("single", 5, (3,)), torch.tensor([0, 1, 1, 0, 0])
    yield made
    Counted.rows = 0


def test_personal_logits_are_made_twice_where_they_are_many(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))

    class Stored:
        def __len__(self) -> int:
            return len(x)

        def take(self, rows: Tensor, *others: Any) -> Tensor:
            return x[rows]

    test = TestSet(Encoded.of(Stored(), client.model, 4), torch.arange(10) % 5)  # type: ignore[arg-type]

    def collected() -> dict[Any, Any]:
        collector = Collector({"confusion": Confusions(), "confidence": Confidence()}, client.task)
        evaluate_personal(Counted(), client, test, torch.arange(10), collector)
        return {key: {name: value.tolist() for name, value in one.items()} for key, one in collector.arrays().items()}

    once = collected()
    assert Counted.rows == 10
    monkeypatch.setattr(evaluate, "AT_ONCE", 49)
    assert collected() == once
    assert Counted.rows == 30

    x[9] = torch.nan
    client.model.head.weight.data.mul_(1.0)  # another version: features are made anew
    test.encoded.version = None
    collector = Collector({"confusion": Confusions()}, client.task)
    with pytest.raises(FloatingPointError, match="1 of 10 samples"):
        evaluate_personal(Counted(), client, test, torch.arange(10), collector)
    assert not collector.arrays()
