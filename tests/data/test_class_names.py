"""Names for classes that are numbers, labels in a column, and data that come without a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError

NAMES = "data.class_names=[cat,dog,owl]"


@pytest.fixture
def arrays() -> dict[str, Any]:
    """Ten, six and four pictures of three classes for training, two of each for testing."""
    y = np.repeat([0, 1, 2], [10, 6, 4])
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.uint8)
    return {"x_train": x, "y_train": y, "x_test": x[[0, 1, 10, 11, 16, 17]], "y_test": np.repeat([0, 1, 2], 2)}


def content(path: Path, **data: Any) -> dict[str, Any]:
    federation = {"clients": 2, "rounds": 1, "partition": "iid"}
    return {"data": {"name": str(path), **data}, "federation": federation, "model": {"name": "mlp", "width": 4}}


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_names_stand_in_the_run_and_its_tables(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", arrays)
    run = fedlt.run(content(path), NAMES, out=tmp_path / "runs")
    assert dict(zip(run.classes["class"], run.classes["name"], strict=True)) == {0: "cat", 1: "dog", 2: "owl"}
    assert run.model().class_names == ("cat", "dog", "owl")
    plain = fedlt.run(content(path), out=tmp_path / "runs")
    assert sorted(set(plain.classes["name"])) == ["0", "1", "2"]
    assert run.summary["model_hash"] == plain.summary["model_hash"], "names decide nothing"


def test_names_are_no_part_of_what_was_decoded(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", arrays)
    for changes, names in (([], ("0", "1", "2")), ([NAMES], ("cat", "dog", "owl")), ([], ("0", "1", "2"))):
        assert federate(load_scenario(content(path), changes)).class_names == names


def test_a_scenario_without_names_is_known_as_before() -> None:
    from fedlt.config.sections import Data

    assert "class_names" in Data.young
    assert "class_names" not in load_scenario({"data": {"name": "digits"}}).to_dict()["data"]


@pytest.mark.parametrize("column", [True, False])
def test_a_csv_table_of_numbers_takes_names(tmp_path: Path, column: bool) -> None:
    rows = [f"{value / 10},{value % 3}" for value in range(30)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["size,label", *rows]), encoding="utf-8")
    found = federate(load_scenario(content(path, test_share=0.2), [NAMES] if column else []))
    assert found.class_names == (("cat", "dog", "owl") if column else ("0", "1", "2"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("[cat,dog]", "2 names for 3 classes; give one for each, in the order 0, 1, 2, ..."),
        ("[cat,dog,dog]", "'dog' does not name one class alone; give each a name of its own"),
    ],
)
def test_names_that_do_not_fit_are_refused(arrays: dict[str, Any], tmp_path: Path, names: str, message: str) -> None:
    path = saved(tmp_path / "mine.npz", arrays)
    with pytest.raises(ScenarioError) as error:
        federate(load_scenario(content(path), [f"data.class_names={names}"]))
    assert str(error.value) == f"1 problem\n  data.class_names: {message}"


def test_classes_that_have_names_keep_them(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", arrays | {"class_names": np.array(["a", "b", "c"])})
    assert federate(load_scenario(content(path))).class_names == ("a", "b", "c")
    with pytest.raises(ScenarioError, match=r"data.class_names: the classes of .* have names already \(a, b, c\)"):
        federate(load_scenario(content(path), [NAMES]))


def test_labels_in_a_column_are_labels(arrays: dict[str, Any], tmp_path: Path) -> None:
    plain = federate(load_scenario(content(saved(tmp_path / "plain.npz", arrays))))
    columns = arrays | {name: arrays[name][:, None] for name in ("y_train", "y_test")}
    found = federate(load_scenario(content(saved(tmp_path / "column.npz", columns))))
    assert found.y_train.tolist() == plain.y_train.tolist()
    assert found.y_test.tolist() == plain.y_test.tolist()


@pytest.mark.parametrize("suffix", ["", "_train"])
def test_arrays_without_a_test_set_are_told_the_key(arrays: dict[str, Any], tmp_path: Path, suffix: str) -> None:
    alone = {f"x{suffix}": arrays["x_train"], f"y{suffix}": arrays["y_train"]}
    path = saved(tmp_path / "alone.npz", alone)
    with pytest.raises(ScenarioError) as error:
        federate(load_scenario(content(path)))
    what = f"{path} has x{suffix} and y{suffix}, and no test set (x_test, y_test); provide a test set, or take one "
    assert str(error.value) == f"1 problem\n  data.name: {what}from the training set: data.test_share=0.2"

    halved = federate(load_scenario(content(path, test_share=0.5)))
    assert np.bincount(halved.y_test).tolist() == [5, 3, 2]
    assert np.bincount(halved.y_train).tolist() == [5, 3, 2]
    other = federate(load_scenario(content(path, test_share=0.5) | {"seed": 3}))
    assert np.array_equal(halved.x_test, other.x_test)


def test_a_run_says_where_its_test_set_was_taken_from(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path / "alone.npz", {"x": arrays["x_train"], "y": arrays["y_train"]})
    told = "the test set is taken from the training data (data.test_share): 10 samples, 0.5 of each class"
    words = ["own", f"data.name={path}", "data.test_share=0.5", "federation.clients=2", "federation.rounds=1"]
    done = CliRunner().invoke(app, ["run", *words, "--out", str(tmp_path / "runs"), "--backend", "inline"])
    assert done.exit_code == 0, done.output
    assert told in done.output
    assert told in CliRunner().invoke(app, ["check", *words]).output
