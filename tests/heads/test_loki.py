"""Decoding by distances: the rule by hand, what it reaches, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.heads.loki import Loki, decoded_table, path_distances, read_distances, temperature, tree_distances


def test_the_rule_by_hand() -> None:
    """On a path of three, 0.4 and 0.6 at the ends cost 2.4, 1 and 1.6: the middle, which is not likely at all."""
    assert Loki(path_distances(3)).predict([[0.4, 0.0, 0.6], [0.9, 0.0, 0.1]]).tolist() == [1, 0]
    assert Loki(path_distances(3), np.array([0, 2])).predict([[0.4, 0.6]]).tolist() == [1]
    assert tree_distances(np.array([0, 0, 1])).tolist() == [[0, 2, 4], [2, 0, 4], [4, 4, 0]]
    assert Loki(tree_distances(np.array([0, 0, 1]))).predict([[0.3, 0.3, 0.4]]).tolist() == [0]


def test_equal_distances_are_argmax() -> None:
    found = np.random.default_rng(0).dirichlet(np.ones(5), 200)
    assert (Loki(1 - np.eye(5)).predict(found) == found.argmax(1)).all()


def test_two_ends_of_a_path_reach_all_and_leaves_only_themselves() -> None:
    assert Loki(path_distances(6), np.array([0, 5])).reachable().all()
    assert Loki(path_distances(6), np.array([0, 3])).reachable().tolist() == [True] * 4 + [False] * 2
    tree = tree_distances(np.array([0, 0, 1, 1]))
    assert Loki(tree, np.array([0, 2, 3])).reachable().tolist() == [True, False, True, True]


def test_the_temperature_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    assert temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)


def test_a_run_is_decoded(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "data.validation=0.2", out=tmp_path)
    table = decoded_table(run, "path").set_index("decoder")
    assert table.loc["argmax", "accuracy"] == pytest.approx(run.final["generic/accuracy"])
    kept, divisor = run.features(), table.loc["loki", "temperature"]
    expected = softmax(kept.test.logits / divisor, axis=1) @ path_distances(10) ** 2
    mine = (expected.argmin(1) - kept.test.labels) ** 2
    assert table.loc["loki", "squared"] == pytest.approx(mine.mean()) and divisor != 1
    assert table.loc["loki", "medium"] != table.loc["argmax", "medium"]

    said = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["decode", str(run.folder), "--loki", "path"])
    assert said.exit_code == 0 and "argmax" in said.output
    for word, what in (("tree", "data.parents is null"), ("none.npy", "there is no such file")):
        said = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["decode", str(run.folder), "--loki", word])
        assert said.exit_code == 2 and what in said.output


def test_files_of_distances_and_of_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])[:, :2])
    assert read_distances(str(tmp_path / "vectors.npy"), 3)[0].tolist() == [0, 5, 1]
    np.savetxt(tmp_path / "between.csv", path_distances(3), delimiter=",")
    assert (read_distances(str(tmp_path / "between.csv"), 3) == path_distances(3)).all()
    np.save(tmp_path / "wrong.npy", np.arange(9.0).reshape(3, 3))
    with pytest.raises(fedlt.ScenarioError, match="symmetric"):
        read_distances(str(tmp_path / "wrong.npy"), 3)
    with pytest.raises(fedlt.ScenarioError, match="a row for each class"):
        read_distances(str(tmp_path / "vectors.npy"), 4)
