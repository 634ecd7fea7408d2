"""A vocabulary that clients choose: who counts which words, what becomes of the others, and what is never known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.data.inputs import Given, described, restored
from fedlt.data.inputs.words import WordKind
from fedlt.data.vocabulary import told
from fedlt.errors import ScenarioError
from fedlt.tokenizers.federated import Federated, Known

TRAIN = {
    "text": ["red apple apple", "Red sky", "blue sky apple", "blue sea sea", "red sea", "own own own"],
    "label": ["fruit", "air", "air", "water", "water", "fruit"],
    "site": ["north", "north", "south", "south", "east", "east"],
}
TEST = {"text": ["red apple, blue moon", ""], "label": ["fruit", "air"], "site": ["north", "south"]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDLT_DATA", raising=False)


def content(folder: Path, tokenizer: Any = "federated", **federation: Any) -> dict[str, Any]:
    """A scenario of three sites, which are the clients: east, north and south."""
    for split, columns in (("train", TRAIN), ("test", TEST)):
        pd.DataFrame(columns).to_csv(folder / f"{split}.csv", index=False)
    data = {"name": str(folder), "group_columns": ["site"], "tokenizer": tokenizer}
    natural = {"partition": {"name": "natural", "column": "site"}, "clients": None, **federation}
    return {"data": data, "federation": natural, "model": {"name": "hash_bag", "width": 4, "depth": 0}}


def found(folder: Path, tokenizer: Any = "federated", newcomers: bool = False, **federation: Any) -> Federation:
    return federate(load_scenario(content(folder, tokenizer, **federation)), newcomers=newcomers)


def words(federation: Federation) -> tuple[str, ...]:
    assert isinstance(federation.inputs, WordKind)
    return federation.inputs.words


def refusal(folder: Path, tokenizer: Any, **federation: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        found(folder, tokenizer, **federation)
    (problem,) = caught.value.problems
    return str(problem)


def test_words_of_two_clients_stay_and_the_others_are_unknown(tmp_path: Path) -> None:
    """`blue` is in two texts of one client, `own` thrice in one text, and `moon` in the test set alone."""
    federation = found(tmp_path)
    assert words(federation) == ("apple", "red", "sea", "sky")  # 3, 3, 3 and 2 times; equals in alphabetical order
    assert federation.inputs.vocabulary == 6  # a text without a token, an unknown word, and four words
    rows = federation.x_train.tolist()
    assert rows[0] == [3, 2, 2, -1, -1] and rows[1] == [3, 5, -1, -1, -1] and rows[5] == [1, 1, 1, -1, -1]
    assert federation.x_test.tolist() == [[3, 2, 1, 1, 1], [0, -1, -1, -1, -1]]
    assert federation.inputs.remarks()[1] == (
        "the vocabulary is 4 of the 6 words of 3 clients' training texts, those that 2 clients or more have: "
        "68.8 % of these texts' tokens, and 40.0 % of the test set's"
    )


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"at_least": 1}, ("apple", "own", "red", "sea", "blue", "sky")),
        ({"at_least": 3}, ()),
        ({"at_least": 1, "count": 2}, ("own", "apple", "blue", "red", "sea")),
        ({"size": 2}, ("apple", "red")),
        ({"lower": False}, ("apple", "sea", "red", "sky")),
        ({"length": 1}, ("red",)),
        ({"length": 1, "keep": "tail"}, ("apple", "sea")),
    ],
)
def test_what_the_keys_keep(keys: dict[str, Any], kept: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer = {"name": "federated", **keys}
    if kept:
        assert words(found(tmp_path, tokenizer)) == kept
    else:
        assert refusal(tmp_path, tokenizer) == (
            "data.tokenizer.at_least: none of 6 words is found by 3 clients or more; take less"
        )


def test_more_clients_than_there_are(tmp_path: Path) -> None:
    said = refusal(tmp_path, {"name": "federated", "at_least": 4})
    assert said == "data.tokenizer.at_least: no word can be found by 4 of 3 clients; take 3 at most"


def test_unknown_words_share_buckets_by_their_hash() -> None:
    known = Federated(buckets=100).knowing(["sky"])
    first, sky, second, third = known.ids("sea sky moon Sea")
    assert (sky, known.vocabulary) == (101, 102)
    assert first == third != second and {first, second} < set(range(1, 101))


def test_who_counts(tmp_path: Path) -> None:
    """A client tells of a word that it has often enough; its other words count for nobody."""
    texts = [np.array([[1, 1, 2], [2, -1, -1]]), np.array([[1, 3, 0]])]
    clients, counts, total = told(iter(texts), 4, least=2)
    assert clients.tolist() == [0, 1, 1, 0] and counts.tolist() == [0, 2, 2, 0] and total.tolist() == [0, 3, 2, 1]


def test_texts_that_nobody_trains_on_are_not_counted(tmp_path: Path) -> None:
    """Of each class one sample is set apart for validation, and some of its words are in no other."""
    scenario = content(tmp_path, {"name": "federated", "at_least": 1}, partition="iid", clients=1)
    scenario["data"]["validation"] = {"per_class": 1}
    federation = federate(load_scenario(scenario))
    trained = {word for row in federation.clients[0] for word in TRAIN["text"][row].lower().split()}
    assert set(words(federation)) == trained < {"apple", "blue", "own", "red", "sea", "sky"}


def test_those_who_join_later_find_the_words_of_the_others(tmp_path: Path) -> None:
    both = [found(tmp_path, {"name": "federated", "at_least": 2}, newcomers=late, held_out=1) for late in (False, True)]
    assert words(both[0]) == words(both[1]) == ("red",)  # without south
    assert "of 2 clients' training texts" in both[1].inputs.remarks()[1]


def test_the_kind_comes_back_from_what_a_run_keeps(tmp_path: Path) -> None:
    federation = found(tmp_path)
    kind = federation.inputs
    again = restored(described(kind), kind.arrays())
    assert described(again) == described(kind)
    texts = np.array(TRAIN["text"] + TEST["text"], object)
    expected = np.concatenate([federation.x_train, federation.x_test])
    assert again.stored(Given(texts)).tolist() == expected.tolist()


def test_a_trained_model_reads_texts_by_the_words_of_its_clients(tmp_path: Path, tiny: dict[str, Any]) -> None:
    scenario = {**tiny, **content(tmp_path)}
    scenario["federation"] |= {"rounds": 1, "participation": 1.0}
    run = fedlt.run(scenario, out=tmp_path / "runs", quiet=True)
    assert "the vocabulary is 4 of the 6 words of 3 clients" in (run.folder / "log.txt").read_text()
    held = federate(load_scenario(scenario))
    assert run.model().stored(TEST["text"]).tolist() == held.x_test.tolist()


def test_one_of_a_users_own(tmp_path: Path, own_file: Callable[..., Path]) -> None:
    text = (
        "from fedlt.tokenizers.federated import Federated\n\n\n@dataclass(frozen=True)\nclass Ends(Federated):\n"
        "    def tokens(self, text):\n        return [word[-1] for word in text.split()]\n"
    )
    federation = found(tmp_path, f"{own_file(text)}:Ends")
    assert words(federation) == ("e", "a", "d", "y")
    assert isinstance(federation.inputs, WordKind) and isinstance(federation.inputs._recipe(), Known)


def test_privacy_of_updates_is_none_of_words(tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    from fedlt.training.assembly import assemble, pick_device

    scenario = load_scenario(content(tmp_path, links=["dp"]))
    with pytest.raises(ScenarioError, match="clients let the server know which words their texts have"):
        assemble(scenario, federate(scenario), pick_device("cpu"))
