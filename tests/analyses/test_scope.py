"""Scope and dispersion: on documents by hand, under a model that counts words, and of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.scope import SEGMENTS, card, dispersions, scopes, segments_of, without
from fedlt.commands.cli import app
from tests import few_words

NEEDLE, FILLER = 1, 5


def counting(documents: np.ndarray) -> np.ndarray:
    """Class 1 wins where word 1 makes up more than a twentieth of the words."""
    words = np.maximum((documents >= 0).sum(axis=1), 1)
    return np.stack([np.full(len(documents), 0.05), (documents == NEEDLE).sum(axis=1) / words], axis=1)


def test_tokens_that_stay_move_together() -> None:
    documents = np.array([[7, 8, 9, -1], [4, 5, 6, 7]], np.int32)
    kept = np.array([[False, True, True, False], [True, False, True, False]])
    assert without(documents, kept).tolist() == [[8, 9, -1, -1], [4, 6, -1, -1]]
    assert segments_of(documents, 2).tolist() == [[0, 0, 1, -1], [0, 0, 1, 1]]
    assert np.bincount(segments_of(np.zeros((1, 23), np.int32))[0]).tolist() == [3, 2, 2, 3, 2, 2, 3, 2, 2, 2]


def test_one_word_is_found_in_one_segment_and_many_in_all() -> None:
    documents = np.full((4, 20), FILLER, np.int32)
    documents[0, [4, 5]] = NEEDLE  # the third segment alone
    documents[1] = NEEDLE
    documents[2, ::4] = NEEDLE  # every other segment
    found = scopes(documents, np.array([1, 1, 1, 1]), counting)
    assert found["right"].tolist() == [True, True, True, False] and found["tokens"].tolist() == [20] * 4
    assert found["scope"].tolist()[:3] == [0.1, 1.0, 0.5] and np.isnan(found["scope"][3])
    assert found["dispersion"][0] == 0 and np.isnan(found["dispersion"][1])  # no segment of equal ones helps alone
    assert found["dispersion"][2] == pytest.approx(np.log(5) / np.log(10))
    assert found["lead"].tolist()[:3] == [0.0, 1.0, 1.0]
    told = card(found)
    assert (told["documents"], told["right"], told["tokens"]) == (4, 0.75, 20)
    assert told["scope"] == pytest.approx(1.6 / 3)


def test_dispersions_are_entropies_of_what_helps() -> None:
    found = dispersions(np.array([[2.0, 0.0, -1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0], [-1, -1, -1, -1]]))
    assert found[:3].tolist() == pytest.approx([0.0, 0.5, 1.0]) and np.isnan(found[3])


def test_runs_have_cards(tmp_path: Path) -> None:
    """Documents of at most 12 words: those of 10 and more are cut."""
    scenario = few_words.scenario(tmp_path, clients=4)
    runs = [fedlt.run(scenario, f"seed={seed}", out=tmp_path / "runs") for seed in (0, 1)]
    one = CliRunner(env={"COLUMNS": "150"}).invoke(app, ["analyse", str(runs[0].folder), "--scope", "--documents", "9"])
    assert one.exit_code == 0, one.output
    assert f"of fewer than {SEGMENTS} tokens are left out" in one.output and " all " in one.output
    kept = pd.read_parquet(runs[0].folder / "scope.parquet")
    assert len(kept) == 9 and (kept["tokens"] >= SEGMENTS).all() and (runs[0].folder / "scope.png").is_file()
    logits = runs[0].features().test.logits[kept["row"]]
    assert (kept["right"] == (logits.argmax(1) == kept["label"])).all()

    both = CliRunner(env={"COLUMNS": "150"}).invoke(app, ["analyse", str(tmp_path / "runs"), "--scope"])
    assert both.exit_code == 0 and "exact_sum, seed 1" in both.output


def test_numbers_are_no_documents(tiny: dict[str, object], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    said = CliRunner().invoke(app, ["analyse", str(run.folder), "--scope"])
    assert said.exit_code == 2 and "--scope: is of token ids with one class a document" in said.output
