"""Exact sums of counts: what clients have counted adds up to what one site counts, each client once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from few_words import scenario
from safetensors.torch import load_file
from torch import Tensor

import fedlt
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.runs import Run
from fedlt.strategy import Update
from strategies.exact_sum import COUNTED, ExactSum

RULES = ["ss3", "{name: naive_bayes, kind: multinomial}", "{name: naive_bayes, kind: complement}"]


@pytest.fixture
def words(tmp_path: Path) -> dict[str, Any]:
    return scenario(tmp_path)


def counted(run: Run) -> dict[str, Tensor]:
    """The tables of a run's generic model."""
    held = load_file(run.folder / "model.safetensors")
    return {name: held[name] for name in ("backbone.words", "backbone.documents")}


def assert_same_model(one: Run, other: Run) -> None:
    assert all(torch.equal(value, counted(other)[name]) for name, value in counted(one).items())
    assert counted(one)["backbone.documents"].sum() == 245


@pytest.mark.parametrize("model", RULES)
def test_ten_skewed_clients_have_the_model_and_the_predictions_of_one_site(
    words: dict[str, Any], tmp_path: Path, model: str
) -> None:
    federated = fedlt.run(words, f"model={model}", out=tmp_path)
    central = fedlt.run(words, f"model={model}", "strategy=centralized", out=tmp_path)
    assert_same_model(federated, central)
    assert federated.confusion.equals(central.confusion)
    shared = [name for name in central.final if name.endswith("/accuracy")]
    assert [federated.final[name] for name in shared] == [central.final[name] for name in shared]
    assert federated.final["generic/accuracy"] > 0.55

    alone = fedlt.run(words, f"model={model}", "strategy=local", out=tmp_path)
    assert "generic/accuracy" not in alone.final
    assert alone.final["personal/accuracy"] != federated.final["personal/accuracy"]


def test_each_client_counts_once_however_often_it_is_asked(words: dict[str, Any], tmp_path: Path) -> None:
    once = fedlt.run(words, out=tmp_path)
    thrice = fedlt.run(words, "federation.rounds=3", out=tmp_path)
    assert_same_model(once, thrice)
    seldom = ["federation.participation=0.3", "federation.rounds=40", "evaluation.every=40"]
    assert_same_model(once, fedlt.run(words, *seldom, out=tmp_path))
    first = fedlt.run(words, "federation.participation=0.3", out=tmp_path)
    assert 0 < counted(first)["backbone.documents"].sum() < 245


def test_counts_that_were_lost_on_their_way_enter_later(words: dict[str, Any], tmp_path: Path) -> None:
    lossy = ["federation.dropout=0.4", "federation.rounds=8", "evaluation.every=8"]
    run = fedlt.run(words, *lossy, out=tmp_path)
    assert run.summary["dropped"] > 0
    assert_same_model(fedlt.run(words, out=tmp_path), run)


def test_the_blocks_in_which_clients_are_added_do_not_matter(words: dict[str, Any], tmp_path: Path) -> None:
    runs = [fedlt.run(words, f"federation.block={block}", out=tmp_path) for block in (1, 10)]
    assert runs[0].summary["model_hash"] == runs[1].summary["model_hash"]


def test_the_personal_model_counts_its_own_samples_again(words: dict[str, Any], tmp_path: Path) -> None:
    model = "model=naive_bayes"
    plain = fedlt.run(words, model, out=tmp_path)
    own = fedlt.run(words, model, "strategy={name: exact_sum, own: 10}", out=tmp_path)
    assert_same_model(plain, own)
    assert own.final["generic/accuracy"] == plain.final["generic/accuracy"]
    assert own.final["personal/accuracy"] > plain.final["personal/accuracy"] + 0.03

    client = SimpleNamespace(vector=torch.tensor([5.0, 1.0]))
    client.learner = SimpleNamespace(finish=lambda client: setattr(client, "vector", torch.tensor([1.0, 0.0])))
    ExactSum(own=2).adapt(client)  # type: ignore[arg-type]
    assert client.vector.tolist() == [7.0, 1.0]


def test_a_count_that_float32_would_round_is_refused() -> None:
    server: Any = SimpleNamespace(weights=torch.tensor([2.0**24 - 3, 0.0]), outbox={COUNTED: torch.zeros(3).bool()})
    ExactSum().aggregate(server, [Update((1,), 1.0, torch.tensor([2.0, 1.0]))])
    assert server.weights.tolist() == [2.0**24 - 1, 1.0]
    assert server.outbox[COUNTED].tolist() == [False, True, False]
    with pytest.raises(FedLTError, match="a word stands 16777216 times or more"):
        ExactSum().aggregate(server, [Update((0,), 1.0, torch.tensor([1.0, 0.0]))])


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["strategy=fedavg"], "learner", "counts are added up, not averaged; take strategy=exact_sum"),
        (["learner=cross_entropy"], "learner", "ss3 is counted, and cross_entropy trains; take learner=counting"),
        (["model=hash_bag"], "model", "counting counts, and hash_bag is trained; take model=ss3"),
        (["model=hash_bag", "learner=cross_entropy"], "model", "exact_sum counts, and hash_bag is trained"),
        (["model={name: ss3, freeze: true}"], "model", "SS3 has no weights: model.freeze and model.adapter"),
        (["learner={name: counting, read: [0]}"], "learner.read", "expected"),
        (["federation.links=[quantise]"], "federation.links", "it acts on trained weights, and none travel"),
        (["federation.links=[top_k]"], "federation.links", "it acts on trained weights, and none travel"),
        (["federation.links=[{name: dp, clip: 1.0, noise: 1.0}]"], "federation.links", "buffers travel unclipped"),
        (["federation.attack={kind: scaled, share: 0.5}"], "federation.attack", "it acts on trained weights"),
        (["federation.late.chance=0.2"], "federation.late", "ExactSum needs every update in its round"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(
    words: dict[str, Any], tmp_path: Path, changes: list[str], key: str, message: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        fedlt.run(words, *changes, out=tmp_path)
    (problem,) = caught.value.problems
    assert problem.key.startswith(key)
    assert message in problem.message


def test_a_run_says_that_no_key_of_local_is_read(words: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    fedlt.run(words, "local.optimizer=adam", "local.schedule=cosine", out=tmp_path, quiet=False)
    assert "ss3 is counted in one pass over the samples; no key of local is read" in capsys.readouterr().out


def test_samples_are_predicted_after_some_of_their_words_too(words: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(words, "learner={name: counting, read: [2, 12]}", out=tmp_path)
    assert run.final["generic[first2]/accuracy"] < run.final["generic/accuracy"]
    assert run.final["generic[first12]/accuracy"] == run.final["generic[all]/accuracy"] == run.final["generic/accuracy"]
