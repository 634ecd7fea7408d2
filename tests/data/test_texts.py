"""Texts become token ids: from every layout alike, once, and by a trained model again; what cannot is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.federation import federate
from fedlt.data.inputs import Given
from fedlt.data.inputs.texts import TextKind
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.export import _without_folders
from fedlt.tokenizers.hashing import Hashing

TRAIN = {"text": ["red apple, red", "blue sky", "", "red\nsky"], "label": ["fruit", "air", "air", "fruit"]}
TEST = {"text": ["a blue apple"], "label": ["air"]}
SMALL = {"name": "hashing", "buckets": 100}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("FEDLT_DATA", raising=False)


def data(name: Path | str, **keys: Any) -> Data:
    """The data section of a scenario with a hashing tokenizer."""
    return load_scenario({"data": {"name": str(name), "tokenizer": SMALL, **keys}}).data


def refusal(config: Data) -> str:
    """`key: message` of the one problem."""
    with pytest.raises(ScenarioError) as caught:
        sources.load(config)
    (problem,) = caught.value.problems
    return str(problem)


def table(folder: Path, kind: str, train: dict[str, Any] = TRAIN, test: dict[str, Any] = TEST) -> Path:
    """Tables of that kind, or arrays or folders of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for split, columns in (("train", train), ("test", test)):
        frame, path = pd.DataFrame(columns), folder / f"{split}.{kind}"
        if kind == "parquet":
            frame.to_parquet(path)
        elif kind == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        elif kind == "npz":
            arrays |= {f"x_{split}": np.array(columns["text"]), f"y_{split}": np.array(columns["label"])}
        elif kind == "txt":
            for place, (text, label) in enumerate(zip(columns["text"], columns["label"], strict=True)):
                (folder / split / label).mkdir(parents=True, exist_ok=True)
                (folder / split / label / f"{place}.txt").write_text(text, encoding="utf-8")
        else:
            frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    if arrays:
        np.savez(folder / "mine.npz", **arrays)
        return folder / "mine.npz"
    return folder


def rows(x: np.ndarray[Any, Any]) -> list[list[int]]:
    return [[int(each) for each in row if each >= 0] for row in x]


# The same tokens from every layout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl", "npz", "txt"])
def test_every_layout_gives_the_same_tokens(kind: str, tmp_path: Path) -> None:
    raw = sources.load(data(table(tmp_path / "mine", kind)))
    ids = Hashing(buckets=100).ids
    expected = [ids(text) or [0] for text in TRAIN["text"]]
    order = [1, 2, 0, 3] if kind == "txt" else [0, 1, 2, 3]  # folders in alphabetical order: air, fruit
    assert rows(raw.x_train) == [expected[row] for row in order]
    assert rows(raw.x_test) == [ids("a blue apple")]
    assert raw.y_train.tolist() == [[1, 0, 0, 1][row] for row in order] and raw.class_names == ("air", "fruit")
    assert isinstance(raw.inputs, TextKind) and (raw.inputs.vocabulary, raw.inputs.length) == (100, 4)

    again = sources.load(data(tmp_path / "mine" / "mine.npz" if kind == "npz" else tmp_path / "mine"))
    assert again.inputs.meta() == raw.inputs.meta() and again.x_train.tolist() == raw.x_train.tolist()


def test_files_of_one_table_and_of_sites(tmp_path: Path) -> None:
    table(tmp_path / "one", "jsonl")
    share = data(tmp_path / "one/train.jsonl", test_share=0.5)
    assert (len(sources.load(share).x_train), len(sources.load(share).x_test)) == (2, 2)
    (tmp_path / "one/train.jsonl").rename(tmp_path / "one/rows.json")
    assert "with one object a line as .jsonl" in refusal(data(tmp_path / "one/rows.json", test_share=0.5))

    for site in ("north", "south"):
        table(tmp_path / "two" / site, "txt")
    raw = sources.load(data(tmp_path / "two"))
    assert raw.train_targets.groups["site"].tolist() == [0] * 4 + [1] * 4


def test_what_datasets_saved_and_a_folder_of_leaf(tmp_path: Path) -> None:
    import datasets

    both = {split: datasets.Dataset.from_dict(columns) for split, columns in (("train", TRAIN), ("test", TEST))}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "saved")
    saved = sources.load(data(tmp_path / "saved"))
    for split, columns in (("train", TRAIN), ("test", TEST)):
        (tmp_path / "leaf" / split).mkdir(parents=True)
        held = {"users": ["ann"], "user_data": {"ann": {"x": columns["text"], "y": columns["label"]}}}
        (tmp_path / "leaf" / split / "all.json").write_text(json.dumps(held))
    leaf = sources.load(data(tmp_path / "leaf"))
    assert (
        rows(saved.x_train) == rows(leaf.x_train) == [Hashing(buckets=100).ids(text) or [0] for text in TRAIN["text"]]
    )
    assert leaf.train_targets.groups["user"].tolist() == [0] * 4


def test_the_column_of_texts_is_found_by_name_or_because_it_is_the_only_one(tmp_path: Path) -> None:
    columns = {"title": ["x"] * 4, **TRAIN}
    test = {"title": ["x"], **TEST}
    whole = sources.load(data(table(tmp_path / "a", "csv", columns, test)))
    assert rows(whole.x_train)[1] == Hashing(buckets=100).ids("blue sky")
    other = data(tmp_path / "a", input_column="title")
    assert rows(sources.load(other).x_train) == [Hashing(buckets=100).ids("x")] * 4

    renamed = [{"body" if key == "text" else key: value for key, value in part.items()} for part in (columns, test)]
    config = data(table(tmp_path / "b", "csv", *renamed))
    assert "which of title, body holds the texts? Name it, as in data.input_column=title" in refusal(config)
    alone = replace(config, group_columns=["title"])
    assert sources.load(alone).x_train.tolist() == whole.x_train.tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"input_column": "words"}, "data.input_column: csv has no column 'words'; it has: text, label, age"),
        ({"input_column": "label"}, "data.input_column: csv: 'label' is the label, and no input; remove it"),
        ({"input_column": "age"}, "data.input_column: csv: 'age' holds no texts; name another column"),
        ({"input_column": ["text", "age"]}, "data.input_column: csv: data.tokenizer reads one column of texts"),
        ({"category_columns": ["age"]}, "data.category_columns: csv: texts by data.tokenizer are the only inputs"),
        ({"size": 8}, "data.size: has no effect: csv: the inputs are int32 [4, 4], and no pictures; remove it"),
    ],
)
def test_keys_that_do_not_fit_texts(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    train, test = {**TRAIN, "age": [1, 2, 3, 4]}, {**TEST, "age": [1]}
    config = data(table(tmp_path / "csv", "csv", train, test), **keys)
    with pytest.raises(ScenarioError) as caught:
        sources.load(config)
    assert str(caught.value.problems[0]).startswith(message)


def test_a_tokenizer_needs_texts(tmp_path: Path) -> None:
    said = refusal(data("digits"))
    assert said == "data.tokenizer: has no effect: digits holds no texts but inputs of uint8 [1497, 8, 8]; remove it"
    np.savez(tmp_path / "t.npz", x_train=np.array([["a"]]), y_train=[0], x_test=np.array([["a"]]), y_test=[0])
    assert "holds no texts but inputs of <U1 [1, 1]" in refusal(data(tmp_path / "t.npz"))
    tags = data(table(tmp_path / "tags", "jsonl", {**TRAIN, "label": [[0], [1], [0], [1]]}, {**TEST, "label": [[0]]}))
    said = refusal(replace(tags, targets=load_scenario({"data": {"targets": "tags"}}).data.targets))
    assert said.startswith("data.tokenizer: tags has a label for each token")


def test_texts_without_a_tokenizer_are_told_of_it(tmp_path: Path) -> None:
    """As before they are categories or groups; as the only input, texts of which no two are alike are neither."""
    name = str(table(tmp_path / "mine", "csv"))
    assert refusal(Data(name=name)).endswith("data.tokenizer=hashing makes tokens of texts")
    said = refusal(Data(name=name, input_column="text"))
    assert said.endswith(
        "data.tokenizer=hashing makes tokens of texts, data.category_columns=[text] takes them as a category"
    )
    assert sources.load(Data(name=name, input_column="text", category_columns=["text"])).inputs.name == "rows"

    many = {"job": [f"job {row}" for row in range(120)], "label": ["a", "b"] * 60}
    config = Data(name=str(table(tmp_path / "jobs", "csv", many, many)), input_column="job")
    assert "holds texts (120 different ones in 120 rows)" in refusal(config)
    few = {**many, "job": ["nurse", "clerk"] * 60}
    assert (
        sources.load(Data(name=str(table(tmp_path / "few", "csv", few, few)), input_column="job")).inputs.name == "rows"
    )

    said = refusal(Data(name=str(table(tmp_path / "folder", "txt"))))
    assert said.endswith("it holds .txt files: data.tokenizer=hashing makes tokens of texts")
    assert "texts [N] need data.tokenizer=hashing" in refusal(Data(name=str(table(tmp_path / "npz", "npz"))))


# Awkward texts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "line"), [("train.csv", 3), ("train.tsv", 3), ("test.jsonl", 1), ("train/air/1.txt", 2)]
)
def test_other_bytes_than_utf_8_are_named_by_file_and_line(file: str, line: int, tmp_path: Path) -> None:
    kind = file.rpartition(".")[2]
    folder = table(tmp_path, kind)
    path = folder / file
    old = b"blue" if kind in ("csv", "tsv", "jsonl") else path.read_bytes()
    new = "blü".encode("latin1") if kind != "txt" else b"first\n\xff second"
    path.write_bytes(path.read_bytes().replace(old, new))
    said = refusal(data(folder))
    byte = "ff" if kind == "txt" else "fc"
    assert said.startswith(f"data.name: {path} is not UTF-8: line {line} has the byte 0x{byte}; convert the file")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    folder = table(tmp_path, "txt")
    plain = sources.load(data(folder)).x_train.tolist()
    path = folder / "train/air/1.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert sources.load(data(folder)).x_train.tolist() == plain


def test_empty_texts_are_a_token_of_their_own_and_missing_ones_are_refused(tmp_path: Path) -> None:
    raw = sources.load(data(table(tmp_path / "a", "jsonl")))
    assert rows(raw.x_train)[2] == [0]
    assert raw.inputs.remarks() == [
        "texts are tokens by hashing: every training text is whole within 256 tokens; "
        "1 text without a token is one that says so"
    ]
    for kind in ("parquet", "jsonl"):
        holes = {**TRAIN, "text": ["red", None, "sky", None]}
        said = refusal(data(table(tmp_path / kind, kind, holes)))
        what = "2 rows of the training set (row 1 first) have no text; leave them out, or write an empty text"
        assert said == f"data.input_column: {kind}: {what}"


def test_a_text_of_ten_megabytes_between_short_ones(tmp_path: Path) -> None:
    long = {**TRAIN, "text": ["red " * 2_500_000, *TRAIN["text"][1:]]}
    for kind in ("csv", "jsonl"):
        raw = sources.load(data(table(tmp_path / kind, kind, long)))
        assert raw.x_train.shape == (4, 256) and set(raw.x_train[0]) == set(Hashing(buckets=100).ids("red"))
        (remark,) = raw.inputs.remarks()
        assert "0.0 % of the training texts' tokens are kept, 1 of 4 texts being cut to 256 tokens (head)" in remark


def test_a_class_of_the_test_set_alone_and_a_column_that_it_lacks(tmp_path: Path) -> None:
    config = data(table(tmp_path / "a", "csv", TRAIN, {**TEST, "label": ["water"]}))
    assert "labels of the test set hold 'water', which the training set lacks" in refusal(config)
    config = data(table(tmp_path / "c", "csv", {**TRAIN, "label": ["fruit", "", " ", "fruit"]}))
    told = "2 rows of the training set (row 1 first) have an empty text as label; leave them out"
    assert refusal(config) == f"data.target_column: c: {told}"
    config = data(table(tmp_path / "b", "jsonl", TRAIN, {"label": ["air"], "sentence": ["blue"]}))
    assert refusal(config) == "data.input_column: b: the test set has no column 'text'"


def test_a_document_is_never_cut_between_clients(tmp_path: Path) -> None:
    """A client holds rows, and a row is all that is kept of one text."""
    many = {"text": [f"word{row} " * 9 for row in range(40)], "label": [row % 2 for row in range(40)]}
    scenario = load_scenario({
        "data": {"name": str(table(tmp_path / "t", "csv", many, many)), "tokenizer": {**SMALL, "length": 4}},
        "federation": {"clients": 5, "partition": {"name": "dirichlet_per_class", "alpha": 0.5}, "empty": "redraw"},
    })  # fmt: skip
    federation = federate(scenario)
    held = np.concatenate([federation.clients[client] for client in range(5)])
    assert sorted(held.tolist()) == list(range(40))
    assert all(len(set(row)) == 1 for row in sources.load(scenario.data).x_train.tolist())


# What the tokens are known by -----------------------------------------------------------------------------------------


def test_scenarios_without_a_tokenizer_keep_their_hash() -> None:
    assert "tokenizer" not in load_scenario("digits_lt").to_dict()["data"]


def test_keys_without_a_name_are_those_of_hashing() -> None:
    named = load_scenario("digits_lt", ["data.tokenizer={name: hashing, length: 6}"])
    assert load_scenario("digits_lt", ["data.tokenizer.length=6"]).data == named.data


def test_another_length_or_another_file_makes_other_tokens(tmp_path: Path, own_file: Callable[..., Path]) -> None:
    folder = table(tmp_path / "t", "csv")
    assert sources.load(data(folder)).x_train.shape == (4, 4)
    assert sources.load(data(folder, tokenizer={**SMALL, "length": 2})).x_train.shape == (4, 2)

    text = (
        "from fedlt import Tokenizer\n\n\n@dataclass(frozen=True)\nclass Letters(Tokenizer):\n    @property\n"
        "    def vocabulary(self):\n        return 27\n\n    def ids(self, text):\n"
        "        return [ord(letter) - 96 for letter in text.lower() if 'a' <= letter <= 'z']\n"
    )
    own = f"{own_file(text)}:Letters"
    assert rows(sources.load(data(folder, tokenizer=own)).x_test) == [[1, 2, 12, 21, 5, 1, 16, 16, 12, 5]]
    kind = sources.load(data(folder, tokenizer=own)).inputs
    assert str(tmp_path) in kind.meta()["made"]["name"]  # by which further texts are read, but not in what is exported
    assert _without_folders(kind.meta())["made"]["name"] == "mine.py:Letters"
    own_file(text.replace("ord(letter) - 96", "ord('z') - ord(letter)"))
    assert rows(sources.load(data(folder, tokenizer=own)).x_test) == [[25, 24, 14, 5, 21, 25, 10, 10, 14, 21]]
    own_file(text.replace("ord(letter) - 96", "letter.code"))
    assert refusal(data(folder, tokenizer=own)).startswith("data.tokenizer: t: Letters fails: ")
    own_file(text.replace("return 27", "return 5"))
    assert "the training set has the token id 25, beyond the vocabulary of 5" in refusal(data(folder, tokenizer=own))


# A trained model and further texts ------------------------------------------------------------------------------------


def test_a_trained_model_reads_texts_as_the_data_set_was_read(tiny: dict[str, Any], tmp_path: Path) -> None:
    texts = [word for row in range(30) for word in (f"cat and dog {row}", f"sun and rain {row} yes")]
    columns = {"text": texts, "label": ["pet", "sky"] * 30}
    name = str(table(tmp_path / "t", "csv", columns, columns))
    cut = {**SMALL, "length": 3, "keep": "both"}
    scenario = {**tiny, "data": {"name": name, "tokenizer": cut}, "model": "hash_bag"}
    run = fedlt.run(scenario, "federation.rounds=4", "local.lr=1", out=tmp_path / "runs", quiet=True)
    (remark,) = [line for line in next(tmp_path.glob("runs/*/log.txt")).read_text().splitlines() if "tokens" in line]
    assert "66.7 % of the training texts' tokens are kept, 60 of 60 texts being cut to 3 tokens (both)" in remark

    model = run.model()
    held = sources.load(load_scenario(scenario).data)
    assert model.stored(texts).tolist() == held.x_train.tolist()
    assert model.predict(["cat dog", "the sun, and rain " * 99, ""])[:2].tolist() == ["pet", "sky"]
    of_ids = model.predict(held.x_train.clip(0), mask=held.x_train >= 0)
    assert model.predict(np.array(texts)).tolist() == of_ids.tolist()
    for wrong, message in (([["a"], ["b"]], "a list of texts"), (np.array(["a", None]), "got None in row 1; write ''")):
        with pytest.raises(FedLTError, match=message):
            model.predict(wrong)


def test_texts_after_an_own_tokenizers_file_was_moved(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    """A model at hand says which file it misses; one of the run folder reads texts by the run's copy."""
    text = (
        "from fedlt import Tokenizer\n\n\n@dataclass(frozen=True)\nclass Lengths(Tokenizer):\n    @property\n"
        "    def vocabulary(self):\n        return 99\n\n    def ids(self, text):\n"
        "        return [len(word) for word in text.split()]\n"
    )
    columns = {"text": ["a bc", "def ghij"] * 30, "label": ["short", "long"] * 30}
    name, own = str(table(tmp_path / "t", "csv", columns, columns)), own_file(text)
    scenario = {**tiny, "data": {"name": name, "tokenizer": f"{own}:Lengths"}, "model": "hash_bag"}
    run = fedlt.run(scenario, "federation.rounds=1", out=tmp_path / "runs", quiet=True)
    model = run.model()
    own.rename(tmp_path / "elsewhere.py")
    with pytest.raises(
        ScenarioError, match=r"data\.tokenizer: .*there is no file .*mine\.py; put it back, or open the"
    ):
        model.stored(["abc de"])
    assert fedlt.open_run(run.folder).model().stored(["abc de"]).tolist() == [[3, 2]]


def test_texts_longer_than_any_known_are_cut_to_the_longest(tmp_path: Path) -> None:
    kind = sources.load(data(table(tmp_path / "t", "csv"), tokenizer={**SMALL, "keep": "tail"})).inputs
    ids = Hashing(buckets=100).ids
    assert kind.stored(Given(np.array(["one two three four five six"], object))).tolist() == [
        ids("three four five six")
    ]
    assert kind.stored(Given(np.array(["one"], object))).tolist() == [[*ids("one"), -1, -1, -1]]
