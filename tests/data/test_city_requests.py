"""The embedded set of texts: what it holds, that it never changes, and that a tail shows in what is learnt."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data import sources
from fedlt.data.city_requests import OFFICES, ROWS, requests
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError


def test_what_it_holds() -> None:
    raw = sources.load(load_scenario("text_lt").data)
    assert raw.class_names == tuple(OFFICES)
    assert raw.train_targets.counts().tolist() == [ROWS["train"]] * 12
    assert raw.test_targets.counts().tolist() == [ROWS["test"]] * 12
    assert set(raw.train_targets.groups["district"].tolist()) == set(range(8))
    (remark,) = raw.inputs.remarks()
    assert "every training text is whole within 48 tokens" in remark


def test_the_texts_never_change() -> None:
    """Every figure of the scenario rests on them."""
    texts = [request.text for split in ROWS for request in requests(split)]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == "407615ecf90f5116"


def test_no_word_tells_all() -> None:
    """Most troubles of an office's requests are those of another one, too, and some requests name two offices."""
    shared = Counter(trouble for office in OFFICES.values() for trouble in office.troubles.split(", "))
    assert sum(count > 1 for count in shared.values()) >= 12
    assert 0.15 < sum("by the way" in request.text for request in requests("train")) / 1800 < 0.25
    train, test = ({request.text for request in requests(split)} for split in ROWS)
    assert len(train & test) <= 2


def test_districts_differ_in_what_they_write() -> None:
    held = Counter((request.office, request.district) for request in requests("train"))
    shares = [[held[office, district] / 150 for district in range(8)] for office in range(12)]
    assert all(max(row) > 2 / 8 > 1 / 8 > min(row) for row in shares)
    scenario = load_scenario(
        "text_lt", ["federation.clients=null", "federation.partition={name: natural, column: district}"]
    )
    assert len(federate(scenario).clients) == 8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["data.test_share=0.2"], "has no effect: city_requests has a test set"),
        (["data.train_split=all"], "city_requests has the splits train and test; remove it"),
        (["data.input_column=text"], "the built-in set city_requests has no columns; remove it"),
        (["data.tokenizer=null"], "texts [N] need data.tokenizer=hashing"),
    ],
)
def test_keys_that_it_has_no_use_for(keys: list[str], message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        sources.load(load_scenario("text_lt", keys).data)
    assert message in str(caught.value)


@pytest.mark.slow
def test_the_scenario_learns_the_head_before_the_tail(tmp_path: Any) -> None:
    run = fedlt.run("text_lt", "federation.rounds=6", "resources.backend=inline", out=tmp_path, quiet=True)
    assert run.final["generic/accuracy"] > 2 / 12
    assert run.final["generic/medium"] > run.final["generic/few"] + 0.2
