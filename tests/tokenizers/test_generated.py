"""Generated texts beside a client's own: where they stand, who sees them, and where they have no meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_words import save, sentences

import fedlt
from clients.context import Context, Exchange
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.generated import Followed, own_texts, with_texts
from fedlt.data.inputs.tokens import TokenKind, Tokens
from fedlt.data.site import Rows
from fedlt.errors import ScenarioError
from fedlt.exchange import Job


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    return {
        "data": {"name": str(save(tmp_path))},
        "federation": {
            "clients": 3,
            "participation": 1.0,
            "rounds": 2,
            "partition": {"name": "dirichlet_per_class", "alpha": 1.0},
            "empty": "redraw",
        },
        "local": {"epochs": 1, "batch_size": 16, "lr": 0.1, "generated": {"name": "markov", "keep": 0.8}},
        "model": {"name": "hash_bag", "width": 8, "depth": 0},
        "evaluation": {"every": 2},
        "resources": {"backend": "inline"},
    }


def rows() -> Rows:
    ids = torch.tensor([[1, 2, -1], [3, 4, 5], [6, -1, -1]], dtype=torch.int32)
    return Rows(Tokens(TokenKind(10, 3, True), ids), torch.tensor([1, 0, 1]), torch.tensor([0, 2]))


def test_generated_rows_stand_behind_the_data_set() -> None:
    data, counts = with_texts(rows(), torch.tensor([0, 2]), torch.tensor([[7, 8, -1]]), torch.tensor([1]))
    assert counts.tolist() == [0, 3]
    assert data.x().tolist() == [[1, 2, -1], [6, -1, -1], [7, 8, -1]]
    assert data.y.tolist() == [1, 1, 1]
    assert data.batch(torch.tensor([2, 0])).x.tolist() == [[7, 8, -1], [1, 2, -1]]
    assert isinstance(data.inputs, Followed) and len(data.inputs) == 4

    further = Rows(rows().inputs, torch.tensor([-1, -1, -1]), torch.tensor([1]))
    assert Rows(data.inputs, data.targets, torch.tensor([1])).y.tolist() == [0]
    assert data.labelled(torch.tensor([0, 1, 0])).y.tolist() == [0, 1, 0]
    assert data.joined(further).y.tolist() == [1, 1, 1, -1]


def test_own_texts_are_without_padding() -> None:
    assert {label: [text.tolist() for text in own] for label, own in own_texts(rows()).items()} == {1: [[1, 2], [6]]}


def context(given: dict[str, Any]) -> tuple[Context, Exchange]:
    scenario = load_scenario(given)
    made = Context(scenario, federate(scenario))
    job = Job({}, "", 1, [], made.flat.shared.clone(), {}, {}, {})
    return made, Exchange.on(made.device, job)


def test_a_client_trains_on_them_and_is_tested_without(words: dict[str, Any]) -> None:
    made, exchange = context(words)
    before = made.federation.counts(0)
    trained, tested = (made.client(0, exchange, purpose) for purpose in ("train", "evaluate"))
    assert tested.num_samples == before.sum() and tested.class_counts.tolist() == before.tolist()

    after = trained.class_counts.numpy()
    assert trained.num_samples == after.sum() > before.sum()
    assert (after >= before).all() and after.max() == before.max()
    assert trained.epoch_size == before.sum()
    own = {tuple(x.tolist()) for x in tested.data.x()}
    new = [tuple(x.tolist()) for x in trained.data.x()[before.sum() :]]
    assert len(set(new)) == len(new) and own.isdisjoint(new)

    # Of a class, only words that the client's texts of it have.
    for label in np.flatnonzero(after > before):
        held = {int(word) for x, y in zip(tested.data.x(), tested.data.y, strict=True) if y == label for word in x}
        texts, labels = trained.data.x()[before.sum() :], trained.data.y[before.sum() :]
        assert {int(word) for word in texts[labels == label].flatten()} <= held | {-1}


def test_they_follow_from_seed_and_client_alone(words: dict[str, Any]) -> None:
    first, exchange = context(words)
    second, other = context(words)
    second.client(2, other, "train")
    here, there = first.client(1, exchange, "train"), second.client(1, other, "train")
    again = first.client(1, exchange, "train")
    assert torch.equal(here.data.x(), there.data.x()) and torch.equal(here.data.x(), again.data.x())
    changed, third = context({**words, "seed": 1, "federation": {**words["federation"], "partition": "iid"}})
    assert len(changed.client(1, third, "train").data.x()) > 0


def test_runs_differ_by_them_and_hashes_of_others_stay(words: dict[str, Any], tmp_path: Path) -> None:
    plain = {**words, "local": {**words["local"], "generated": None}}
    assert "generated" not in load_scenario(plain).to_dict()["local"]
    assert load_scenario(plain).hash != load_scenario(words).hash
    with_them, without = (fedlt.run(each, out=tmp_path / "runs") for each in (words, plain))
    figures = [run.rounds["train_loss"].tolist() for run in (with_them, without)]
    assert figures[0] != figures[1]
    assert with_them.rounds["samples"].tolist() == without.rounds["samples"].tolist()


def test_one_of_your_own(words: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "backwards.py").write_text(
        "from dataclasses import dataclass\nfrom fedlt import TextGenerator\n\n\n@dataclass(frozen=True)\n"
        "class Backwards(TextGenerator):\n    def texts(self, own, count, length, rng):\n"
        "        return [own[row][::-1] for row in rng.integers(len(own), size=count)]\n"
    )
    words["local"]["generated"] = {"name": f"{tmp_path}/backwards.py:Backwards", "keep": 1.0}
    made, exchange = context(words)
    client = made.client(0, exchange, "train")
    own = int(made.federation.counts(0).sum())
    last = client.data.x()[-1]
    assert tuple(last[last >= 0].flip(0).tolist()) in {tuple(x[x >= 0].tolist()) for x in client.data.x()[:own]}
    assert load_scenario(words).hash != load_scenario({**words, "local": {**words["local"], "generated": None}}).hash


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": {"name": "digits"}, "model": "mlp"}, r"local\.generated: writes texts, and the inputs are"),
        (
            {"local": {"generated": "markov", "together": 2}},
            r"local\.together: .*local\.generated adds to them; take 1",
        ),
        (
            {"local": {"generated": {"name": "markov", "up_to": 1}}},
            r"local\.generated\.up_to: expected a whole number >= 2",
        ),
        ({"local": {"generated": "markow"}}, "unknown generator 'markow'.*markov"),
        ({"local": {"generated": "transformers:./nowhere"}}, r"no config\.json in"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(words: dict[str, Any], change: dict[str, Any], told: str) -> None:
    scenario = {**words, **change}
    with pytest.raises(ScenarioError, match=told):
        made = load_scenario(scenario)
        Context(made, federate(made))


def test_several_labels_are_refused(words: dict[str, Any], tmp_path: Path) -> None:
    x, mask, y = sentences(60, 0)
    labels = np.eye(3, dtype=np.int64)[y]
    arrays: dict[str, Any] = {"x_train": x, "mask_train": mask, "y_train": labels}
    arrays |= {"x_test": x, "mask_test": mask, "y_test": labels, "vocabulary": 40}
    np.savez(tmp_path / "several.npz", **arrays)
    made = load_scenario({**words, "data": {"name": str(tmp_path / "several.npz"), "targets": "multilabel"}})
    with pytest.raises(ScenarioError, match=r"local\.generated: writes texts of one class, .* multilabel; remove it"):
        Context(made, federate(made))
