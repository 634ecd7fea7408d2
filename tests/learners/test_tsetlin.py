"""A Tsetlin machine at one site, at each client, and of all clients' clauses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_words import VOCABULARY, scenario, sentences
from torch import Tensor

import fedlt
from fedlt.errors import ScenarioError
from fedlt.learners.tsetlin import Tsetlin
from fedlt.nn.clauses import Clauses
from fedlt.nn.rules import rules_of, votes

tsetlin = pytest.importorskip("green_tsetlin", reason="pip install 'fedlt[rules]' for these tests")

KEYS = (
    "model={name: clauses, count: 60}",
    "learner={name: tsetlin, threshold: 20, specificity: 3.0, features: 30}",
    "local.epochs=5",
)


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    return scenario(tmp_path)


def run(words: dict[str, Any], folder: Path, strategy: str, *changes: str) -> Any:
    return fedlt.run(words, *KEYS, f"strategy={strategy}", *changes, out=folder)


def clauses_of(found: Any) -> Clauses:
    table = found.model().net.backbone
    assert isinstance(table, Clauses)
    return table


def test_one_site_learns_and_its_rules_reproduce_the_votes_exactly(words: dict[str, Any], tmp_path: Path) -> None:
    found = run(words, tmp_path, "centralized")
    assert found.final["generic/accuracy"] > 0.8

    x, mask, y = sentences(84, 1)
    samples = [set(row[real].tolist()) for row, real in zip(x, mask, strict=True)]
    rules = rules_of(clauses_of(found))
    said = torch.tensor([votes(rules, sample, 3) for sample in samples])
    assert torch.equal(found.model().logits(x, mask=mask), said.float())
    assert float((said.argmax(1).numpy() == y).mean()) == pytest.approx(found.final["generic/accuracy"])

    # The package's own prediction from the same clauses.
    machine = tsetlin.TsetlinMachine(VOCABULARY, len(rules), 3, 3.0, 20)
    state = tsetlin.DenseState(VOCABULARY, len(rules), 3)
    state.c[:] = -1
    for place, rule in enumerate(rules):
        state.c[place, [*rule.present, *(VOCABULARY + one for one in rule.absent)]] = 0
        state.w[place] = rule.weights
    machine.load_state(state)
    predictor = machine.get_predictor()
    for sample, own in zip(samples, said.tolist(), strict=True):
        bits = np.isin(np.arange(VOCABULARY), list(sample)).astype(np.uint8)
        predictor.predict(bits)
        assert list(predictor.get_votes()) == own


def test_rounds_go_on_and_equal_runs_have_equal_clauses(words: dict[str, Any], tmp_path: Path) -> None:
    thrice = [run(words, tmp_path / name, "centralized", "federation.rounds=3") for name in ("a", "b")]
    assert thrice[0].summary["model_hash"] == thrice[1].summary["model_hash"]
    once = run(words, tmp_path / "c", "centralized")
    assert once.summary["model_hash"] != thrice[0].summary["model_hash"]


def test_the_last_state_is_kept_whatever_the_package_finds_best(
    words: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package tests after each pass, keeps the best state and stops at a perfect one, unless told not to."""
    seen: list[Any] = []
    states: list[Tensor] = []

    class Watched(tsetlin.Trainer):  # type: ignore[misc,name-defined]
        def train(self) -> Any:
            seen.append((len(self.x_eval), self.load_best_state, self.early_exit_acc))
            self.fn_epoch_callback = lambda *_: states.append(self.tm._load_state_from_backend(True).c.copy())
            return super().train()

    kept: list[Tensor] = []
    filled = Clauses.fill

    def fill(self: Clauses, places: slice, features: Tensor, included: Tensor, weights: Tensor) -> None:
        kept.append(included.clone())
        filled(self, places, features, included, weights)

    monkeypatch.setattr(tsetlin, "Trainer", Watched)
    monkeypatch.setattr(Clauses, "fill", fill)
    run(words, tmp_path, "centralized", "evaluation.every=1")
    assert len(seen) == len(states) == 5  # local.epochs, none left out
    assert set(seen) == {(1, False, 2.0)}
    assert np.array_equal(kept[-1].numpy(), states[-1] >= 0)
    assert not np.array_equal(kept[-1].numpy(), states[-2] >= 0)


def test_clients_clauses_stand_side_by_side(words: dict[str, Any], tmp_path: Path) -> None:
    """The joined votes are the sums of what each client's own clauses say."""
    found = run(words, tmp_path, "joined_clauses", "federation.clients=3")
    table, x = clauses_of(found), torch.from_numpy(sentences(84, 1)[0])
    parts = []
    for places in (slice(0, 20), slice(20, 40), slice(40, 60)):
        alone = Clauses(60, VOCABULARY, 3)
        alone.literals[places], alone.weights[places] = table.literals[places], table.weights[places]
        assert rules_of(alone)
        parts.append(alone(x, x >= 0))
    assert torch.equal(sum(parts), table(x, x >= 0))

    alone = run(words, tmp_path, "local", "federation.clients=3")
    assert "generic/accuracy" not in alone.final


def test_features_are_those_that_tell_the_classes_apart(words: dict[str, Any], tmp_path: Path) -> None:
    """Words 0 to 9 are common to the classes, and 10 to 39 belong to one each."""
    few = "learner={name: tsetlin, threshold: 20, features: 12}"
    literals, _ = clauses_of(run(words, tmp_path, "centralized", few)).included()
    assert {int(one) % VOCABULARY for one in literals} <= set(range(10, 40))
    assert len({int(one) % VOCABULARY for one in literals}) <= 12


def test_rare_classes_may_be_drawn_more_often(
    words: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    given = tsetlin.Trainer.set_train_data
    monkeypatch.setattr(
        tsetlin.Trainer, "set_train_data", lambda self, x, y: (seen.append(np.bincount(y).tolist()), given(self, x, y))
    )
    run(words, tmp_path, "centralized", "local.epochs=1")
    run(words, tmp_path, "centralized", "local.epochs=1", "learner.power=0")
    assert seen[0] == [140, 70, 35]
    assert sum(seen[1]) == 245 and max(seen[1]) < 110


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["strategy=fedavg"], "learner", "clauses cannot be averaged; take strategy=joined_clauses"),
        (["model=ss3"], "learner", "ss3 is counted, and tsetlin finds clauses; take learner=counting"),
        (["model=hash_bag"], "model", "tsetlin finds clauses, and hash_bag is trained; take model=clauses"),
        (["learner=counting", "strategy=local"], "learner", "clauses is made of clauses, and counting counts"),
        (["learner=cross_entropy"], "learner", "clauses is made of clauses, and cross_entropy trains"),
        (["model={name: clauses, count: 9}"], "model.count", "9 clauses are fewer than the 10 clients that share them"),
        (["federation.late.chance=0.2"], "federation.late", "JoinedClauses needs every update in its round"),
        (["federation.links=[quantise]"], "federation.links", "it acts on trained weights, and none travel"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(
    words: dict[str, Any], tmp_path: Path, changes: list[str], key: str, message: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        fedlt.run(words, *KEYS, "strategy=joined_clauses", *changes, out=tmp_path)
    assert message in "\n".join(problem.message for problem in caught.value.problems)
    assert caught.value.problems[0].key.startswith(key)


def test_several_labels_a_sample_are_refused(words: dict[str, Any], tmp_path: Path) -> None:
    x, mask, y = sentences(30, 0)
    hot = np.eye(3, dtype=np.int64)[y]
    hot[:, 0] = 1
    arrays = {f"{name}_{s}": v for name, v in (("x", x), ("mask", mask), ("y", hot)) for s in ("train", "test")}
    np.savez(tmp_path / "hot.npz", **arrays, vocabulary=np.int64(40))
    with pytest.raises(ScenarioError, match="tsetlin reads one class a sample, and the data set's targets are multi"):
        run(words, tmp_path, "centralized", f"data.name={tmp_path / 'hot.npz'}", "data.targets=multilabel")


def test_without_the_package_a_run_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.learners.tsetlin.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"tsetlin needs the package green_tsetlin: pip install 'fedlt\[rules\]'"):
        Tsetlin().build(None, None)  # type: ignore[arg-type]
