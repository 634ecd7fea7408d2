"""Features of a finished run: whose they are, that they are the run's, and that they are made once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.runs import Run


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> Run:
    words = ["strategy=fedloge", "federation.participation=1", "data.validation=0.2"]
    return fedlt.run(tiny, *words, out=tmp_path)


def share(logits: Any, labels: Any) -> float:
    return float((logits.argmax(1) == labels).mean())


def test_the_generic_models_logits_give_the_runs_accuracy(run: Run) -> None:
    kept, federation = run.features(), federate(load_scenario(run.scenario))
    assert share(kept.test.logits, kept.test.labels) == run.final["generic/accuracy"]
    assert kept.class_counts.tolist() == federation.class_counts.tolist()
    assert np.array_equal(kept.train.rows, federation.union())
    for client in range(len(federation.clients)):
        mine = kept.train.rows[kept.train.clients == client]
        assert np.array_equal(np.sort(mine), np.sort(federation.clients[client]))
    assert np.array_equal(kept.train.labels, federation.y_train[kept.train.rows])
    assert (kept.test.clients == -1).all()
    assert kept.validation is not None and federation.validation is not None
    assert len(kept.validation) == federation.validation.size
    assert share(kept.validation.logits, kept.validation.labels) == run.final["validation/generic/accuracy"]


def test_the_head_of_a_plain_model_on_the_features_gives_the_logits(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    kept, model = run.features(), run.model()
    with torch.no_grad():
        logits = model.net.head(torch.from_numpy(np.array(kept.test.features)))
    assert np.allclose(logits.numpy(), kept.test.logits, atol=1e-6)


def test_a_clients_features_are_of_its_own_rows_under_its_own_model(run: Run) -> None:
    kept, federation = run.features(client=2), federate(load_scenario(run.scenario))
    row = run.clients[(run.clients["client"] == 2) & (run.clients["round"] == run.clients["round"].max())].iloc[0]
    assert share(kept.test.logits, kept.test.labels) == pytest.approx(row["accuracy"])
    assert np.array_equal(kept.train.rows, federation.clients[2]) and set(kept.train.clients) == {2}
    assert kept.validation is not None and len(kept.validation)
    assert not np.allclose(run.features(client=2, variant="phi").test.logits, kept.test.logits)


def test_they_are_made_once_and_damage_is_told(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.folder, tmp_path / "copy"))
    first = copy.features()
    written = (first.folder / "about.json").stat().st_mtime_ns
    assert (copy.features().folder / "about.json").stat().st_mtime_ns == written
    assert (copy.features(anew=True).folder / "about.json").stat().st_mtime_ns > written

    np.save(first.folder / "test_labels.npy", np.zeros(3, np.int64))
    with pytest.raises(FedLTError, match=r"not what it was.*delete the folder"):
        copy.features()
    (first.folder / "test_labels.npy").unlink()
    with pytest.raises(FedLTError, match=r"test_labels\.npy is missing"):
        copy.features()
    copy.summary["model_hash"] = "of another training"
    assert len(copy.features().test)


def test_the_command_says_where_they_are_and_what_was_wrong(run: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["features", str(run.folder), "--clients", "0,2"])
    assert said.exit_code == 0 and "generic model: train" in said.output and "client 2" in said.output
    for words, what in (("x", "expected numbers such as 0,3,7"), ("99", "has no client 99")):
        said = CliRunner().invoke(app, ["features", str(run.folder), "--clients", words])
        assert said.exit_code == 2 and what in said.output
    local = fedlt.run(tiny, "strategy=local", out=tmp_path)
    with pytest.raises(ScenarioError, match="no generic model"):
        local.features()
    said = CliRunner().invoke(app, ["features", str(local.folder), "--clients", "all"])
    assert said.exit_code == 0 and "generic" not in said.output
    assert "left out: client" in said.output and "was in no cohort" in " ".join(said.output.split())

    local.summary["status"] = "running"
    with pytest.raises(FedLTError, match="not finished"):
        local.features(client=0)
