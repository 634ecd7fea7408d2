"""Token sequences under a user's own model, and rows with holes and categories: one hash on every backend."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from fedlt.results.runs import Run
from fedlt.sweeps.run import pick_backend

pytestmark = pytest.mark.slow

CLASSES = 4

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "inputs.md").read_text(encoding="utf-8")
WORDS, NET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

BLIND = """

class Blind(Mean):
    def forward(self, ids):
        return self.embedding(ids).mean(1)


@dataclass(frozen=True)
class NoMask(Model):
    def encoder(self, inputs):
        return Blind(inputs.vocabulary, 8), 8
"""


def sentences(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ids [rows, 9], mask and labels: every class has three words of its own among eight that all use."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % CLASSES
    own = 8 + 3 * y[:, None] + rng.integers(3, size=(rows, 9))
    x = np.where(rng.random((rows, 9)) < 0.4, own, rng.integers(8, size=(rows, 9)))
    mask = np.arange(9) < rng.integers(3, 10, size=(rows, 1))
    return x, mask, y


@pytest.fixture
def tokens(tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    """A scenario of 240 short sentences and a bag of embeddings."""
    arrays: dict[str, Any] = {"vocabulary": 8 + 3 * CLASSES}
    for split, rows, seed in (("train", 240, 0), ("test", 80, 1)):
        for name, values in zip(("x", "mask", "y"), sentences(rows, seed), strict=True):
            arrays[f"{name}_{split}"] = values
    np.savez(tmp_path / "words.npz", **arrays)
    return scenario(tiny, str(tmp_path / "words.npz"), f"{own_file(NET + BLIND)}:Bag")


@pytest.fixture
def table(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A scenario of 240 rows of two numbers with holes, a text and a code, as CSV."""
    folder = tmp_path / "people"
    folder.mkdir()
    for split, rows, seed in (("train", 240, 0), ("test", 80, 1)):
        rng = np.random.default_rng(seed)
        y = np.arange(rows) % CLASSES
        age = y + rng.normal(size=rows)
        frame = pd.DataFrame({"age": np.where(rng.random(rows) < 0.2, np.nan, age), "weight": rng.normal(size=rows)})
        frame["job"] = np.array(["nurse", "baker", "pilot", "clerk"])[np.where(rng.random(rows) < 0.5, y, 0)]
        frame["ward"] = 10 * rng.integers(3, size=rows)
        frame["label"] = y
        frame.to_csv(folder / f"{split}.csv", index=False)
    made = scenario(tiny, str(folder), "mlp")
    made["data"] |= {"input_column": ["age", "weight", "job"], "category_columns": ["ward"]}
    return made


def scenario(tiny: dict[str, Any], data: str, model: str) -> dict[str, Any]:
    partition = {"name": "iid"}
    federation = {**tiny["federation"], "clients": 4, "participation": 1.0, "rounds": 2, "partition": partition}
    return {**tiny, "data": {"name": data}, "federation": federation, "model": model, "local": {"epochs": 2, "lr": 0.5}}


def hashes(content: dict[str, Any], out: Path, *changes: str) -> dict[str, Run]:
    """Runs of a scenario by the backend that computes them."""
    backends = {"inline": 1, "processes": 2, "ray": 2, "auto": 2}
    return {b: fedlt.run(content, *changes, out=out / b, backend=b, workers=n) for b, n in backends.items()}


def test_the_page_s_file_of_words_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(WORDS, {})
    raw = sources.load(Data(name="words.npz"), tmp_path / "cache")
    assert raw.inputs.meta() == {"vocabulary": 8, "length": 3, "shorter": True}
    assert raw.x_train.tolist() == [[5, 2, 7], [1, 3, -1]]


@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("strategy", ["fedavg", "fedloge"])
def test_a_bag_of_embeddings_has_one_hash_on_every_backend(
    tokens: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    monkeypatch.setattr(sys.modules[pick_backend.__module__], "PROCESSES_PAY_FROM", 0.0)
    runs = hashes(tokens, tmp_path / "runs", f"strategy={strategy}")
    assert runs["auto"].summary["grid"] == runs["processes"].summary["grid"] != runs["inline"].summary["grid"]
    assert len({run.summary["model_hash"] for run in runs.values()}) == 1
    assert len({str(run.final) for run in runs.values()}) == 1


def test_a_bag_of_embeddings_learns(tokens: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tokens, "federation.rounds=15", out=tmp_path / "runs", backend="inline")
    assert run.final["generic/accuracy"] > 0.6


@pytest.mark.usefixtures("ray_workers")
def test_rows_with_holes_and_categories_have_one_hash_on_every_backend(table: dict[str, Any], tmp_path: Path) -> None:
    runs = hashes(table, tmp_path / "runs")
    assert len({run.summary["model_hash"] for run in runs.values()}) == 1
    shape = federate(load_scenario(table)).inputs.shape
    assert shape == (2 + 1 + 4 + 3,)  # two numbers, one indicator, four jobs, three wards


def test_rows_with_holes_and_categories_are_learnt(table: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(table, "federation.rounds=15", "local.lr=0.05", out=tmp_path / "runs", backend="inline")
    assert run.final["generic/accuracy"] > 0.5


def test_a_killed_run_on_tokens_goes_on_to_the_same_hash(tokens: dict[str, Any], tmp_path: Path) -> None:
    short = fedlt.run(tokens, "resources.checkpoint=1", out=tmp_path / "one", backend="inline")
    longer = [f"federation.rounds={n}" for n in (4,)]
    whole = fedlt.run(tokens, *longer, out=tmp_path / "two", backend="inline")
    on = fedlt.run(tokens, *longer, "resources.checkpoint=1", out=tmp_path / "one", backend="inline")
    assert short.summary["rounds"] == 2
    assert on.summary["model_hash"] == whole.summary["model_hash"]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (["local.augment=crop"], "local.augment", "crop is for images; use none"),
        (["model=mlp"], "model", "token sequences of shape (9,); use model=hash_bag"),
        (["model=cnn"], "model", "cnn needs images, and the inputs are token sequences of shape (9,)"),
        (["model=OWN:NoMask"], "model", "would take padding for data"),
        (["learner=mixup"], "learner", "mixtures of samples need images or rows of numbers, and the inputs are token"),
        (["learner=sbcl"], "learner", "two views of a sample need images, and the inputs are token sequences"),
        (["strategy=fedyoyo"], "strategy", "two views of a sample need images"),
        (["local.together=2"], "local.together", "samples of different lengths are cut batch by batch"),
    ],
)
def test_what_has_no_meaning_for_tokens_exits_2(
    tokens: dict[str, Any], tmp_path: Path, changes: list[str], key: str, message: str
) -> None:
    own = tokens["model"].rpartition(":")[0]
    filled = [change.replace("OWN", own) for change in changes]
    with pytest.raises(ScenarioError) as caught:
        fedlt.run(tokens, *filled, out=tmp_path / "runs", backend="inline")
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message in problem.message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mask_train": np.ones((240, 8))}, "give it the shape [240, 9]"),
        ({"mask_train": np.ones((240, 9), int), "x_train": np.full((240, 9), -1)}, "token ids must be 0 or more"),
        ({"vocabulary": 5}, "beyond the vocabulary of 5"),
        ({"x_test": np.zeros((80, 9), np.float32)}, "store both splits as one type"),
    ],
)
def test_bad_tokens_exit_2_and_leave_nothing_behind(
    tokens: dict[str, Any], tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = tmp_path / "words.npz"
    with np.load(path) as content:
        np.savez(path, **{**content, **arrays})
    file = tmp_path / "mine.yaml"
    file.write_text(load_scenario(tokens).to_yaml(), encoding="utf-8")
    told = CliRunner().invoke(app, ["run", str(file), "--out", str(tmp_path / "runs")])
    assert told.exit_code == 2, told.output
    assert "data.name: " in told.output
    assert message in told.output.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


def test_one_row_is_tried_by_a_users_model(tokens: dict[str, Any], tmp_path: Path) -> None:
    """`fedlt check` passes an example of the kind through the model."""
    file = tmp_path / "mine.yaml"
    file.write_text(load_scenario(tokens).to_yaml(), encoding="utf-8")
    told = CliRunner().invoke(app, ["check", str(file)])
    assert told.exit_code == 0, told.output
