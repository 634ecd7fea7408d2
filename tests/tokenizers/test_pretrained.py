"""The tokenizer of a transformer, from a folder of the library's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.data.texts import identity
from fedlt.errors import ScenarioError
from fedlt.tokenizers.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="pip install transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight parts of words, and marks at both ends of a text."""
    from tokenizers import Tokenizer as Parts
    from tokenizers import models, normalizers, pre_tokenizers, processors

    parts = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "wor", "##ld", "##s"]
    made = Parts(models.WordPiece({part: place for place, part in enumerate(parts)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    place = tmp_path_factory.mktemp("library") / "tiny"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(place)
    return place


def recipe(folder: Path, **options: object) -> Tokenizer:
    found = catalog.find("tokenizer", f"transformers:{folder}")
    return found.create({field.name: field.default for field in found.fields} | options)  # type: ignore[no-any-return]


def test_marks_stay_whatever_is_cut(folder: Path) -> None:
    text = "Hello worlds hello"
    assert recipe(folder).kept(text) == ([2, 4, 5, 6, 7, 4, 3], 7)
    assert recipe(folder, length=4).kept(text) == ([2, 4, 5, 3], 7)
    assert recipe(folder, length=4, keep="tail").kept(text) == ([2, 7, 4, 3], 7)
    assert recipe(folder).kept("") == ([2, 3], 2)
    assert recipe(folder).vocabulary == 8 and recipe(folder).empty == 1
    with pytest.raises(ValueError, match="has 2 marks in a text, and length is 2; take more"):
        recipe(folder, length=2).kept(text)


def test_tokens_are_known_by_the_files_but_not_by_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    data = load_scenario({"data": {"name": "t", "tokenizer": "transformers:./tiny"}}).data
    before = identity(data)
    (folder / "model.safetensors").write_bytes(b"weights")
    assert identity(data) == before
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("hello", "hallo"))
    assert identity(data) != before


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"there is no tokenizer_config\.json in"):
        load_scenario({"data": {"name": "t", "tokenizer": f"transformers:{tmp_path}"}})
