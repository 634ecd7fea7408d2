"""Federations without one client: what is dealt and drawn, figures by hand, and what is trained only once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlt
from fedlt.analyses.left_out import PLACE, SAMPLES, LeftOut, Without, left_out
from fedlt.commands.sample_tables import left_out_tables
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError


def test_the_others_keep_their_numbers_and_their_samples(tiny: dict[str, Any]) -> None:
    everyone, rest = (federate(load_scenario(tiny, words)) for words in ([], ["federation.left_out=[1]"]))
    assert len(rest.clients) == len(everyone.clients) and not len(rest.clients[1])
    for client in (0, 2, 3, 4, 5):
        assert np.array_equal(rest.clients[client], everyone.clients[client])
        assert np.array_equal(rest.tests[client], everyone.tests[client])
    assert np.array_equal(rest.class_counts, everyone.class_counts - everyone.counts(1))
    assert "left_out" not in load_scenario(tiny).to_dict()["federation"]


@pytest.mark.parametrize("named", ["[6]", "[0,0]", "[0,1,2,3,4,5]"])
def test_who_is_no_client_cannot_be_left_out(tiny: dict[str, Any], named: str) -> None:
    with pytest.raises(ScenarioError, match=r"federation\.left_out: expected different clients of 0\.\.5"):
        federate(load_scenario(tiny, [f"federation.left_out={named}"]))


def test_figures_by_hand() -> None:
    """Client 0 has two samples of the tail class 1, of which one is right only with it; client 1 loses nothing."""
    right = np.array([True, True, True, False])
    without = (
        Without(np.array([True, False, True, False]), np.array([1.0, 0.25])),
        Without(np.array([True, True, True, True]), np.array([1.0, 0.75])),
    )
    owners, labels = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    found = LeftOut((0, 1), owners, labels, right, without, np.array([1.0, 0.5]), np.array([0, 2], np.int8))
    table = found.table().set_index("of")
    assert [*table.index] == ["client 0", "client 1", "all", "head", "tail"]
    assert table["memorization"].tolist() == [0.5, -0.5, 0.0, -0.5, 0.5]
    assert table.loc["client 0", ["with_it", "without_it", "others"]].tolist() == [1.0, 0.5, 0.0]
    assert table.loc["client 0", ["test", "test_tail"]].tolist() == [0.125, 0.25]
    assert found.influence().tolist() == [[50.0, 0.0], [0.0, -50.0]]
    samples = found.samples(np.array([7, 8, 9, 10]))
    assert samples["row"].tolist() == [7, 8, 9, 10] and samples["right_without"].tolist() == [True, False, True, True]
    assert samples["group"].tolist() == ["tail", "tail", "head", "head"]


def test_what_is_trained_is_kept(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fedlt.run(tiny, "federation.participation=1", out=tmp_path)
    left_out(run, [1], parallel=1)
    assert [path.name for path in (run.folder / PLACE).iterdir()] == ["client-1.npz"]
    assert len(fedlt.load_runs(tmp_path)) == 1

    # As a run of one's own without the client, whose samples it has never seen.
    own = fedlt.run(tiny, "federation.participation=1", "federation.left_out=[1]", out=tmp_path)
    rows = np.asarray(run.features().train.rows)
    seen = own.on_rows(rows)
    right = seen.logits.argmax(1) == seen.labels
    assert np.array_equal(np.load(run.folder / PLACE / "client-1.npz")["right"], right)
    assert own.rounds["clients"].tolist() == [5] * len(own.rounds)

    # Those that are there are not trained again, and tables are of all that are asked for.
    trained: list[str] = []
    from fedlt.sweeps import sweep

    attempt = sweep.attempt
    monkeypatch.setattr(sweep, "attempt", lambda job, *rest: trained.append(job.label) or attempt(job, *rest))
    (table,) = left_out_tables(run, "1, 2")
    assert trained == ["without client 2"] and table.row_count >= 4
    samples = pd.read_parquet(run.folder / SAMPLES)
    held = federate(load_scenario(tiny)).clients
    assert sorted(samples["row"]) == sorted([*held[1], *held[2]])
    assert (run.folder / SAMPLES).with_suffix(".png").is_file()

    with pytest.raises(ScenarioError, match="--client: 9: no such client with samples; there are 0 to 5"):
        left_out(run, [9])
    with pytest.raises(ScenarioError, match="expected numbers such as 3,5, got 'a'"):
        left_out_tables(run, "a")
