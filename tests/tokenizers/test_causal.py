"""A causal language model of the library as a generator: loaded from a folder, tuned, refused where it cannot serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients.context import Context
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.tokenizers.causal import Causal, _model

transformers = pytest.importorskip("transformers", reason="pip install transformers")

WORDS = ["<end>", "<unk>", "how", "far", "is", "the", "moon", "who", "was", "she"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ten words and one layer with its tokenizer, and data of two classes."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    place = tmp_path_factory.mktemp("causal") / "tiny"
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="<end>").save_pretrained(
        place
    )
    torch.manual_seed(0)
    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "eos_token_id": 0, "bos_token_id": 0}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(WORDS), **sizes)).save_pretrained(place)

    rows = [{"text": "how far is the moon", "label": "a"}] * 6 + [{"text": "who was she", "label": "b"}] * 3
    for split in ("train", "test"):
        (place.parent / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return place


def scenario(folder: Path, tokenizer: Any, generator: str) -> dict[str, Any]:
    return {
        "data": {"name": str(folder.parent), "tokenizer": tokenizer},
        "federation": {"clients": 1, "participation": 1.0, "partition": "iid"},
        "local": {"generated": generator},
        "model": "hash_bag",
    }


def test_it_goes_on_from_own_beginnings_as_it_was_tuned(folder: Path) -> None:
    own = [np.array([2, 3, 4, 5, 6]), np.array([7, 8, 9])]
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    made = Causal(entry=str(folder), steps=80, lr=0.03, begin=2, temperature=0.1)
    written = {tuple(text.tolist()) for text in made.texts(own, 12, 8, rng)}
    assert written == {(2, 3, 4, 5, 6), (7, 8, 9)}  # it has learnt both by heart, their ends included

    before = _model(str(folder)).state_dict()
    fresh = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(before[name], fresh[name]) for name in fresh)  # what was tuned are copies


def test_untuned_it_writes_what_it_would(folder: Path) -> None:
    torch.manual_seed(0)
    written = Causal(entry=str(folder), steps=0, batch_size=2, begin=4).texts(
        [np.array([2, 3])], 5, 6, np.random.default_rng(0)
    )
    assert len(written) == 5
    assert all(text[:2].tolist() == [2, 3] and 2 <= len(text) <= 6 and 0 not in text for text in written)


def test_it_serves_where_the_tokens_are_its_own(folder: Path) -> None:
    name = f"transformers:{folder}"
    made = load_scenario(scenario(folder, name, name))
    context = Context(made, federate(made))
    assert context.parts.generator == catalog.find("generator", name).create({})
    with pytest.raises(
        ScenarioError, match=r"local\.generated: writes tokens of its own tokenizer.* set data\.tokenizer="
    ):
        other = load_scenario(scenario(folder, "hashing", name))
        Context(other, federate(other))


def test_folders_start_where_the_scenario_file_lies(folder: Path, tmp_path: Path) -> None:
    file = folder.parent / "mine.yaml"
    file.write_text(json.dumps(scenario(folder, "transformers:./tiny", "transformers:./tiny")))
    found = load_scenario(file)
    assert found.local.generated is not None and found.data.tokenizer is not None
    assert found.local.generated.name == found.data.tokenizer.name == f"transformers:{folder}"


def test_a_folder_that_holds_no_such_model_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match=r"cannot be loaded .*causal language model: transformers:\./folder"):
        _model(str(tmp_path))
