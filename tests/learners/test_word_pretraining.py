"""Hidden and replaced words: which tokens are told, both losses by hand, and what is trained when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fedlt
from clients.context import Context, Exchange
from fedlt.blocks import hidden_words
from fedlt.blocks.hidden_words import Generator, Words, chosen, masked_words, replaced_words
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.exchange import Job
from fedlt.nn.text.encoder import Embedding, TokenEncoder
from fedlt.nn.text.transformer import Transformer

VOCABULARY = 12


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def reader(**options: Any) -> TokenEncoder:
    torch.manual_seed(0)
    return Transformer(width=8, heads=2, depth=1, dropout=0.0).tokens(Embedding(VOCABULARY, 8, **options), 6)


IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0]])
MASK = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])


def test_a_share_of_the_real_tokens_is_to_be_told_and_one_at_least() -> None:
    mask = torch.ones(100, 50, dtype=torch.bool)
    mask[:, 30:] = False
    told = chosen(mask, rng())
    assert not told[:, 30:].any()
    assert told.sum() / mask.sum() == pytest.approx(0.15, abs=0.02)
    for seed in range(10):
        assert chosen(torch.tensor([[True, False]]), np.random.default_rng(seed)).tolist() == [[True, False]]


def test_hidden_words_are_told_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hidden: what the encoder reads is the same vector everywhere, and the scores are by the table itself."""
    monkeypatch.setattr(hidden_words, "SHARE", 1.0)
    monkeypatch.setattr(hidden_words, "HIDDEN", 1.0)
    encoder = reader(buckets=None)
    words = Words(encoder.embedding, 8)  # type: ignore[arg-type]
    loss, told, scores = masked_words(encoder, words, encoder.embedding, IDS, MASK, rng())  # type: ignore[arg-type]
    assert torch.equal(told, MASK)
    states = encoder.states(words.hidden.expand(2, 6, 8), MASK)[MASK]
    expected = words.into(states) @ encoder.embedding.table.weight.T  # type: ignore[union-attr, operator]
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(loss, F.cross_entropy(expected, IDS[MASK]))


@pytest.mark.parametrize(("hidden", "replaced", "read"), [(0.0, 0.0, "own"), (0.0, 1.0, "other")])
def test_some_are_replaced_by_any_word_and_some_stay(
    monkeypatch: pytest.MonkeyPatch, hidden: float, replaced: float, read: str
) -> None:
    for name, value in (("SHARE", 1.0), ("HIDDEN", hidden), ("REPLACED", replaced)):
        monkeypatch.setattr(hidden_words, name, value)
    encoder, seen = reader(buckets=None), []

    class Watching(nn.Module):
        def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
            seen.append(vectors)
            return encoder.states(vectors, mask)

    masked_words(Watching(), Words(encoder.embedding, 8), encoder.embedding, IDS, MASK, rng())  # type: ignore[arg-type]
    assert torch.equal(seen[0][MASK], encoder.embedding(IDS)[MASK]) == (read == "own")


def test_words_of_one_bucket_are_one_answer() -> None:
    encoder = reader(buckets=5)
    words = Words(encoder.embedding, 8)  # type: ignore[arg-type]
    assert words.bias.shape == (5,)
    one, other = (
        masked_words(encoder, words, encoder.embedding, ids, MASK, rng())[0]  # type: ignore[arg-type]
        for ids in (IDS, IDS + 5 * (IDS < 5))
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("right", [True, False])
def test_a_word_that_is_written_where_it_was_is_no_replaced_one(monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    """A generator that always writes word 3, in a text of words 3, or 4."""
    monkeypatch.setattr(hidden_words, "SHARE", 1.0)
    encoder = reader(buckets=None)
    generator, judge = Generator(encoder.embedding, 6), nn.Linear(8, 1)  # type: ignore[arg-type]
    with torch.no_grad():
        generator.words.bias[3] = 1000.0
    ids = torch.full((1, 4), 3 if right else 4)
    mask = torch.tensor([[True, True, True, False]])
    found = replaced_words(encoder, judge, generator, ids, mask, rng())
    told = masked_words(generator, generator.words, encoder.embedding, ids, mask, rng())[0]  # type: ignore[arg-type]
    written = encoder.states(encoder.embedding(torch.tensor([[3, 3, 3, ids[0, 3]]])), mask)
    expected = F.binary_cross_entropy_with_logits(judge(written)[mask][:, 0], torch.full((3,), 0.0 if right else 1.0))
    torch.testing.assert_close(found, told + 50 * expected)


def test_no_gradient_of_the_judgement_reaches_the_generator() -> None:
    encoder = reader(buckets=None)
    generator, judge = Generator(encoder.embedding, 6), nn.Linear(8, 1)  # type: ignore[arg-type]
    replaced_words(encoder, judge, generator, IDS, MASK, rng()).backward()
    found = generator.words.bias.grad
    generator.words.bias.grad = None
    masked_words(generator, generator.words, encoder.embedding, IDS, MASK, rng())[0].backward()  # type: ignore[arg-type]
    assert found is not None and generator.words.bias.grad is not None
    assert torch.equal(found, generator.words.bias.grad)
    assert judge.weight.grad is not None and encoder.embedding.table.weight.grad is not None  # type: ignore[union-attr]


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repeated(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A scenario of 60 texts, each of one word over and over, which tells the class."""
    draw, arrays = rng(), {"vocabulary": np.array(VOCABULARY)}
    for split, rows in (("train", 60), ("test", 24)):
        arrays[f"y_{split}"] = np.arange(rows) % 3
        arrays[f"x_{split}"] = np.repeat(arrays[f"y_{split}"][:, None] + 3 * draw.integers(4, size=(rows, 1)), 8, 1)
        arrays[f"mask_{split}"] = np.arange(8) < draw.integers(3, 9, size=(rows, 1))
    np.savez(tmp_path / "words.npz", **arrays)  # type: ignore[arg-type]
    return {
        **tiny,
        "data": {"name": str(tmp_path / "words.npz")},
        "federation": {"clients": 2, "participation": 1.0, "rounds": 6, "partition": {"name": "iid"}},
        "local": {"epochs": 3, "batch_size": 10, "lr": 0.01, "optimizer": "adam"},
        "model": {"name": "transformer", "width": 16, "heads": 2, "depth": 1, "dropout": 0.0},
        "learner": "word_pretraining",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("task", "left"), [("mlm", 0.8), ("rtd", 0.9)])
def test_words_are_learnt_and_then_labels(repeated: dict[str, Any], tmp_path: Path, task: str, left: float) -> None:
    run = fedlt.run(repeated, f"learner.pretrain={task}", out=tmp_path, backend="inline")
    loss = run.rounds["train_loss"]
    assert loss[2] < left * loss[0]
    assert run.final["generic/accuracy"] > 0.9


@pytest.mark.parametrize(("round", "read"), [(1, True), (6, False)])
def test_texts_without_labels_are_read_before_the_labels(repeated: dict[str, Any], round: int, read: bool) -> None:
    scenario = load_scenario(repeated, "data.unlabelled.hidden=0.5", "federation.clients=1")
    context = Context(scenario, federate(scenario))
    job = Job({}, "", round, [], context.flat.shared.clone(), {}, {}, {})
    client = context.client(0, Exchange.on(context.device, job), "train")
    labelled = client.num_samples
    client.learner.begin(client)
    assert client.num_samples - labelled == (len(client.unlabelled or ()) if read else 0)
    assert labelled == len(client.unlabelled or ()) == 30
    assert client.epoch_size == 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model=hash_bag"], "needs a model that has a state of each token, from the others; take bilstm"),
        (["model={name: chunked, inside: bilstm}"], "needs a model that has a state of each token"),
        (["data.name=digits", "model=mlp"], "word_pretraining needs token ids, and the inputs are images"),
    ],
)
def test_what_has_no_states_of_words_is_refused(
    repeated: dict[str, Any], tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run({**repeated, "model": "hash_bag"}, *changes, out=tmp_path, backend="inline")
