"""Clauses that vote, and the rules that are made of them: by hand, without the package that finds clauses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedlt.checks.models import ModelSuite
from fedlt.data.inputs.kind import Given
from fedlt.data.inputs.tabular import TabularKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.task import Task
from fedlt.nn.clauses import PLACES, ClauseModel, Clauses
from fedlt.nn.net import Net
from fedlt.nn.rules import Rule, rows, rules_of, votes
from fedlt.strategy import Update
from strategies.joined_clauses import JoinedClauses

VOCABULARY = 40
WORDS = TokenKind(VOCABULARY, 12, shorter=True)


def by_hand() -> Clauses:
    """Of 20 features: `3 and not 17` for class 1, `17` for class 0, the first one again, an empty one, a silent one."""
    found = Clauses(5, 20, 2)
    features = torch.tensor([3, 17])
    included = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    weights = torch.tensor([[-2, 5], [4, -1], [0, 3], [9, 9], [0, 0]])
    found.fill(slice(0, 5), features, included, weights)
    return found


SAMPLES = torch.tensor([[3, 3, 5], [3, 17, 1], [17, -1, -1], [8, -1, -1]])


def test_votes_are_the_weights_of_the_clauses_that_hold() -> None:
    found = by_hand()(SAMPLES.clamp(min=0), SAMPLES >= 0)
    assert found.tolist() == [[-2, 8], [4, -1], [4, -1], [0, 0]]

    # Padding is no feature: the last sample would else have feature 0.
    zero = Clauses(1, 20, 2)
    zero.fill(slice(0, 1), torch.tensor([0]), torch.tensor([[True, False]]), torch.tensor([[1, 0]]))
    assert zero(SAMPLES.clamp(min=0), SAMPLES >= 0)[:, 0].tolist() == [0, 0, 0, 0]


def test_rules_say_all_that_clauses_do() -> None:
    found = rules_of(by_hand())
    assert found == [Rule((3,), (17,), (-2, 8)), Rule((17,), (), (4, -1))]
    assert [rule.text({3: "wheat", 17: "dividend"}) for rule in found] == ["wheat and not dividend", "dividend"]
    assert found[0].text() == "3 and not 17"
    assert list(rows(found, ["earn", "grain"], {3: "wheat", 17: "dividend"}))[:2] == [
        {"rule": "wheat and not dividend", "class": "earn", "weight": -2},
        {"rule": "wheat and not dividend", "class": "grain", "weight": 8},
    ]
    assert votes(found, {3, 5}, 2) == [-2, 8]


def test_rules_reproduce_the_votes_of_any_clauses() -> None:
    rng = np.random.default_rng(0)
    found = Clauses(30, VOCABULARY, 3)
    found.fill(
        slice(0, 30),
        torch.arange(VOCABULARY),
        torch.from_numpy(rng.random((30, 2 * VOCABULARY)) < 0.04),
        torch.from_numpy(rng.integers(-9, 10, (30, 3))),
    )
    x = torch.from_numpy(rng.integers(0, VOCABULARY, (50, 12)))
    rules = rules_of(found)
    assert found(x, x >= 0).tolist() == [votes(rules, set(row.tolist()), 3) for row in x]
    assert len({tuple(row) for row in found(x, x >= 0).tolist()}) > 5


# Rows of 0 and 1 ------------------------------------------------------------------------------------------------------


def table(values: Any) -> tuple[TabularKind, Tensor]:
    """Rows of numbers as a model gets them."""
    given = Given(np.array(values, np.float32))
    kind, stored, _ = TabularKind.read("bits", given, given)
    return kind, kind.open(stored, "cpu").take(torch.arange(len(stored)))


def test_rows_of_bits_are_features_and_constant_ones_stay_what_they_are() -> None:
    kind, x = table([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]])
    found = ClauseModel(count=2).build(Task("single", 2, kind.shape, inputs=kind)).backbone
    assert isinstance(found, Clauses)
    assert found.holds(x).int().tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]


def test_what_has_no_boolean_features_is_refused() -> None:
    def refusal(task: Task, **keys: Any) -> str:
        with pytest.raises(ValueError) as caught:
            ClauseModel(**keys).build(task)
        return str(caught.value)

    assert "and the inputs are images of shape (1, 8, 8); give token ids" in refusal(Task("single", 3, (1, 8, 8)))
    kind, _ = table([[0, 1], [0.5, 0], [1, 1]])
    assert "and the column 0 has other numbers than 0 and 1" in refusal(Task("single", 2, kind.shape, inputs=kind))
    kind, _ = table([[0, 1], [1, 0], [np.nan, 1]])
    assert "some columns have other numbers than 0 and 1, or missing ones; give a column" in refusal(
        Task("single", 2, kind.shape, inputs=kind)
    )
    words = Task("single", 3, (12,), inputs=WORDS)
    assert "model.freeze and model.adapter mean nothing" in refusal(words, freeze=True)


def test_the_model_keeps_the_contract_of_models() -> None:
    ModelSuite("clauses", {}).run(Task("single", 3, (12,), inputs=WORDS))


# Joined ---------------------------------------------------------------------------------------------------------------


def test_clients_have_places_of_their_own_and_replace_what_they_sent_before() -> None:
    model = Net(Clauses(5, 20, 2), torch.nn.Identity(), 2)
    strategy = JoinedClauses()
    places = []
    for number in range(3):
        client: Any = SimpleNamespace(model=model, id=number, state={})
        client.received = {"joined_clauses/clients": torch.tensor([3])}
        strategy.begin(client)
        places.append(client.state[PLACES].tolist())
        assert model.backbone.places(client) == slice(*places[-1])
    assert places == [[0, 2], [2, 4], [4, 5]]

    class Server:
        model, num_clients = SimpleNamespace(backbone=Clauses(5, 20, 2)), 3

        @property
        def weights(self) -> Tensor:
            return self.model.backbone.weights[:, 0].float()

        @weights.setter
        def weights(self, value: Tensor) -> None:
            self.model.backbone.weights[:, 0] = value.int()

    server: Any = Server()
    strategy.aggregate(server, [Update((0, 2), 2.0, torch.tensor([1.0, 2, 0, 0, 5]))])
    again = [Update((1,), 1.0, torch.tensor([0.0, 0, 3, 4, 0])), Update((0,), 1.0, torch.zeros(5))]
    strategy.aggregate(server, again)
    assert server.weights.tolist() == [0, 0, 3, 4, 5]
