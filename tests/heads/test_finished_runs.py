"""Heads and decoders of FedAvg's, FedLoGe's (generic and a client's) and a centralized run; and of folders that lack
what they need.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.heads.fitted import AS_RUN, HEADS, head_table
from fedlt.heads.loki import decoded_table
from fedlt.heads.over_seeds import over_seeds
from fedlt.results.runs import Run, open_run

SMALL = (
    "data.longtail.largest=60", "data.validation={share: 0, per_class: 5}", "federation.clients=6",
    "federation.participation=1", "federation.rounds=2", "model={name: mlp, width: 16, depth: 1}",
    "evaluation.every=1", "resources.backend=inline",
)  # fmt: skip
QUICK = ("t_process.max_samples=40", "t_process.max_iter=2", "presto.lam=0.01", "presto.max_iter=20")
MODELS = [("fedavg", None), ("fedloge", None), ("fedloge", 1), ("centralized", None), ("centralized", 1)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The runs by strategy; FedAvg's second seed as `again`. They are in one folder."""
    out = tmp_path_factory.mktemp("runs")
    words = {name: [f"strategy={name}"] for name in ("fedavg", "fedloge", "centralized")}
    words["again"] = ["strategy=fedavg", "seed=1"]
    return {name: fedlt.run("digits_lt", *SMALL, *more, out=out) for name, more in words.items()}


def call(*words: object) -> tuple[int, str]:
    """Exit code and output of a command, on one line."""
    said = CliRunner(env={"COLUMNS": "160"}).invoke(app, list(map(str, words)))
    assert said.exception is None or isinstance(said.exception, SystemExit), repr(said.exception)
    return said.exit_code, " ".join(said.output.split())


@pytest.mark.parametrize(("name", "client"), MODELS)
def test_every_head_and_decoder_works_on_every_model(trained: dict[str, Run], name: str, client: int | None) -> None:
    run, whose = trained[name], "generic" if client is None else f"client-{client}"
    of = [] if client is None else ["--client", client]
    assert call("head", run.folder, "--with", ",".join(HEADS), *QUICK, *of)[0] == 0
    assert call("decode", run.folder, "--loki", "path", *of)[0] == 0

    heads = pd.read_parquet(run.folder / f"heads-{whose}.parquet")
    assert heads["model"].tolist() == [AS_RUN, *HEADS] and heads["accuracy"].between(0, 1).all()
    decoders = pd.read_parquet(run.folder / f"loki-{whose}.parquet")
    kept = run.features(client)
    mine = (kept.test.logits.argmax(1) == kept.test.labels).mean()
    assert heads.loc[0, "accuracy"] == decoders.loc[0, "accuracy"] == pytest.approx(mine)
    assert decoders.loc[1, "squared"] <= decoders.loc[0, "squared"]
    for picture in (f"heads-{whose}.png", f"loki-{whose}.png"):
        assert (run.folder / picture).read_bytes().startswith(b"\x89PNG")


def test_a_handful_of_validation_rows_gives_no_temperature(
    trained: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained["fedloge"]
    rows, of_client = run.features().validation, run.features(1).validation
    assert rows is not None and len(rows) == 50 and of_client is not None and not len(of_client)
    assert 1 not in decoded_table(run, "path")["temperature"].tolist()
    monkeypatch.setattr("fedlt.heads.loki.FEWEST", 51)
    assert decoded_table(run, "path")["temperature"].tolist() == [1, 1]


def test_accuracies_by_group_are_of_their_rows(trained: dict[str, Run]) -> None:
    run = trained["fedavg"]
    argmax = decoded_table(run, "path").iloc[0]
    assert argmax["accuracy_tail"] == pytest.approx(run.final["generic/few"])
    assert argmax["accuracy_medium"] == pytest.approx(run.final["generic/medium"])
    assert np.isnan(argmax["accuracy_head"])  # no class has more than 100 samples


def test_several_runs_are_one_table_of_means(trained: dict[str, Run], tmp_path: Path) -> None:
    both = [head_table(trained[name], ["ridge"]).loc[1, "accuracy"] for name in ("fedavg", "again")]
    runs = [*trained.values()]
    table, left_out = over_seeds(runs, lambda run: head_table(run, ["ridge"]))
    mine = table[(table["method"] == "fedavg") & (table["model"] == "ridge")].iloc[0]
    assert (mine["accuracy"], mine["accuracy_std"]) == (
        pytest.approx(np.mean(both)),
        pytest.approx(np.std(both, ddof=1)),
    )
    assert mine["seeds"] == 2 and table["method"].nunique() == 3 and not left_out
    assert table.loc[table["method"] == "fedloge", "accuracy_std"].isna().all()

    folder, picture = trained["fedavg"].folder.parent, tmp_path / "all.svg"
    shutil.copytree(trained["fedloge"].folder, tmp_path / "runs" / "one")
    shutil.copytree(trained["centralized"].folder, tmp_path / "runs" / "other")
    code, said = call("head", f"{folder}/*fedavg*", "--with", "ridge", "ridge.alpha=10", "-o", picture)
    assert code == 0 and "ridge alpha=10 (2)" in said and "±" in said and picture.is_file()
    code, said = call("decode", tmp_path / "runs", "--loki", "path", "-o", tmp_path / "all.png")
    assert code == 0 and "fedloge loki (1)" in said and (tmp_path / "all.png").is_file()
    code, said = call("head", folder, "--client", "99")
    assert code == 2 and "no method has such a model" in said and "no client 99" in said
    assert call("head", folder, "-o", tmp_path / "all.txt")[0] == call("head", "ridge.alpha=1")[0] == 2


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def told(**values: object) -> Callable[[Path], None]:
    """`run.json` with other values; None: without the key."""

    def change(folder: Path) -> None:
        summary = json.loads((folder / "run.json").read_text(encoding="utf-8")) | values
        kept = {key: value for key, value in summary.items() if value is not None}
        (folder / "run.json").write_text(json.dumps(kept), encoding="utf-8")

    return change


def wider(folder: Path) -> None:
    """The scenario of a model that is not the one that was kept."""
    text = (folder / "scenario.yaml").read_text(encoding="utf-8")
    (folder / "scenario.yaml").write_text(text.replace("width: 16", "width: 17"), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (told(status="running"), "running"),
        (told(model_hash=None), "another version of FedLT: its run.json has no model_hash"),
        (wider, "another tensor"),
        (without("model.safetensors"), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "model.safetensors is damaged"),
        (without("model.json"), "before runs kept what their models expect"),
        (without("partition.npz"), "no partition.npz"),
        (without("scenario.yaml"), "scenario.yaml"),
        (without("run.json"), "run"),
        (lambda folder: (folder / "run.json").write_text("{"), "run.json is damaged"),
    ],
)
def test_a_folder_that_lacks_something_is_told_of(
    trained: dict[str, Run], tmp_path: Path, change: Callable[[Path], None], what: str
) -> None:
    kept_apart = shutil.ignore_patterns("features", "*.parquet", "*.png")
    folder = Path(shutil.copytree(trained["fedavg"].folder, tmp_path / "run", ignore=kept_apart))
    change(folder)
    commands = ["features"], ["head", "--with", "ridge"], ["decode", "--loki", "path"], ["analyse", "--memorization"]
    for command, *words in commands:
        code, said = call(command, folder, *words)
        assert code == 2 and what in said


def test_frequencies_are_of_finished_runs(trained: dict[str, Run], tmp_path: Path) -> None:
    for name in ("fedavg", "centralized"):
        shutil.copytree(trained[name].folder, tmp_path / name)
    told(status="running")(tmp_path / "fedavg")
    assert call("analyse", tmp_path / "fedavg", "--frequency") == (
        2,
        "error: 1 problem there is no finished run: fedavg (running, round 2)",
    )
    code, said = call("analyse", tmp_path, "--frequency")
    assert code == 0 and "left out: fedavg (running, round 2)" in said and "centralized (1)" in said
    without("partition.npz")(tmp_path / "centralized")
    code, said = call("analyse", tmp_path / "centralized", "--frequency")
    assert code == 2 and "no partition.npz" in said
    assert open_run(tmp_path / "fedavg").status == "running"
