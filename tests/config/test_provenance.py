"""A run is known by what its files hold: data, code, and whatever else the scenario names; not by their names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.own_code import own_files
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Data
from fedlt.data import digests, sources
from fedlt.data.provenance import in_short
from fedlt.errors import FedLTError, ScenarioError
from fedlt.results.runs import Run

MINE = """
from dataclasses import dataclass

import helper
from strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Mine(FedAvg):
    def rate(self):
        return helper.RATE
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, which Python looks for modules in, and a cache of its own."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    return work


def pictures(labels: int = 0, pixels: int = 0) -> dict[str, Any]:
    """60 gray 4x4 pictures of three classes, as bright as their class; 30 more to test on."""
    y = np.arange(60) % 3
    x = np.repeat(y * 100 + pixels, 16).astype(np.uint8).reshape(60, 4, 4)
    return {"x_train": x, "y_train": (y + labels) % 3, "x_test": x[:30], "y_test": y[:30]}


def write(**changes: int) -> None:
    np.savez("mine.npz", **pictures(**changes))


@pytest.fixture
def small(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny scenario on `mine.npz`, one round over four clients."""
    write()
    tiny["data"] = {"name": "./mine.npz"}
    tiny["federation"] |= {"clients": 4, "rounds": 1, "participation": 1.0, "partition": "iid"}
    return tiny


def run(scenario: dict[str, Any], *overrides: str, **options: Any) -> Run:
    return fedlt.run(scenario, *overrides, backend="inline", **options)


def refusal(scenario: dict[str, Any], *overrides: str) -> str:
    """`key: message` of the one problem, of a run that is there already."""
    with pytest.raises(ScenarioError) as caught:
        run(scenario, *overrides)
    (problem,) = caught.value.problems
    return str(problem)


# What a finished run is known by --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"labels": 1}, {"pixels": 7}], ids=["labels", "pixels"])
def test_a_finished_run_of_mended_data_is_refused(small: dict[str, Any], change: dict[str, Any]) -> None:
    first = run(small)
    assert run(small).summary["ended"] == first.summary["ended"]  # nothing changed: it is shown again
    size = os.path.getsize("mine.npz")
    write(**change)
    assert os.path.getsize("mine.npz") == size
    said = refusal(small)
    assert said.startswith("data.name: mine.npz changed since the run in") and "--force" in said and "--out" in said
    assert run(small, out="others").summary["inputs"] != first.summary["inputs"]
    assert run(small, force=True).summary["inputs"] != first.summary["inputs"]
    assert run(small).status == "finished"


def test_an_edit_that_leaves_size_and_time_is_noticed(small: dict[str, Any]) -> None:
    """As a copy that keeps the time does, or a second edit within one tick of the clock."""
    first = run(small)
    stat = os.stat("mine.npz")
    write(pixels=7)
    os.utime("mine.npz", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "mine.npz changed" in refusal(small)
    again = run(small, force=True)
    assert again.summary["model_hash"] != first.summary["model_hash"]  # nor does the cache give the old pixels


def test_moved_and_touched_data_of_equal_content_are_the_same(small: dict[str, Any], folder: Path) -> None:
    first = run(small, out=folder / "runs")
    os.utime("mine.npz", ns=(1, 1))
    assert run(small, out=folder / "runs").summary["ended"] == first.summary["ended"]
    (folder.parent / "elsewhere").mkdir()
    shutil.copy("mine.npz", folder.parent / "elsewhere")
    os.chdir(folder.parent / "elsewhere")
    assert run(small, out=folder / "runs").folder == first.folder
    write(pixels=7)  # another folder's file of the same relative name
    with pytest.raises(ScenarioError, match=r"data\.name: mine\.npz changed"):
        run(small, out=folder / "runs")


def test_data_that_went_away_are_told_and_not_refused(
    small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(small)
    Path("mine.npz").unlink()
    found = run(small, quiet=False)
    assert found.summary["ended"] == first.summary["ended"]
    assert "not found any more, so that nothing was compared: mine.npz" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["data.longtail.counts", "data.noise.file"])
def test_counts_and_noisy_labels_are_inputs(small: dict[str, Any], kind: str) -> None:
    if kind == "data.longtail.counts":
        small["data"]["longtail"] = {"profile": "counts", "counts": "counts.txt"}
        Path("counts.txt").write_text("20 20 20", encoding="utf-8")
    else:
        small["data"]["noise"] = {"kind": "file", "file": "noisy.npz:seen"}
        np.savez("noisy.npz", seen=np.zeros(60, np.int64))
    assert set(run(small).summary["inputs"]) == {"data.name", kind}
    Path("counts.txt").write_text("20 20 10", encoding="utf-8")
    np.savez("noisy.npz", seen=np.ones(60, np.int64))
    said = refusal(small)
    assert said.startswith(f"{kind}: counts.txt changed" if "counts" in kind else f"{kind}: noisy.npz changed")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["strategy", "learner", "model"])
def test_a_module_that_a_component_imports_is_an_input(small: dict[str, Any], key: str) -> None:
    bases = {
        "strategy": ("strategies.fedavg", "FedAvg"), "learner": ("fedlt.learners.cross_entropy", "CrossEntropy"),
        "model": ("fedlt.nn.mlp", "MLP"),
    }  # fmt: skip
    module, base = bases[key]
    text = f"from dataclasses import dataclass\n\nimport helper\nfrom {module} import {base}\n\n\n"
    text += f"@dataclass(frozen=True)\nclass Mine({base}):\n    assert helper.FACTOR\n"
    Path("mine.py").write_text(text, encoding="utf-8")
    Path("helper.py").write_text("FACTOR = 1\n", encoding="utf-8")
    small[key] = "./mine.py:Mine"
    before = load_scenario(small).hash
    assert sorted(run(small).summary["inputs"][key]) == ["helper.py", "mine.py"]
    Path("helper.py").write_text("FACTOR = 2\n", encoding="utf-8")
    assert load_scenario(small).hash != before  # another run, as after an edit of the file itself
    assert run(small).status == "finished"


PARTITION = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Listed:
    file: str = "owners.npy"
    def assign(self, labels, groups, clients, seed):
        return np.load(self.file) {more}
"""


@pytest.mark.slow
def test_a_partition_and_the_file_that_its_option_names_are_inputs(small: dict[str, Any]) -> None:
    Path("part.py").write_text(PARTITION.format(more=""), encoding="utf-8")
    np.save("owners.npy", np.arange(60) % 4)
    small["federation"]["partition"] = "./part.py:Listed"
    found = run(small).summary["inputs"]
    assert {key: list(files) for key, files in found.items()} == {
        "data.name": ["mine.npz"],
        "federation.partition": ["part.py"],
        "federation.partition.file": ["owners.npy"],
    }
    Path("part.py").write_text(PARTITION.format(more="// 1"), encoding="utf-8")
    assert refusal(small).startswith("federation.partition: part.py changed")
    Path("part.py").write_text(PARTITION.format(more=""), encoding="utf-8")
    np.save("owners.npy", np.arange(60) // 15)
    assert refusal(small).startswith("federation.partition.file: owners.npy changed")


@pytest.mark.slow
def test_folders_of_pictures_and_of_parquet_files_are_known_by_every_file(small: dict[str, Any]) -> None:
    import datasets
    import PIL.Image

    arrays = pictures()
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        for row, (pixels, label) in enumerate(zip(x, y, strict=True)):
            path = Path("pics", split, f"class{label}", f"{row:02}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(path)
        Path("rows").mkdir(exist_ok=True)
        table = {"x": x.reshape(len(x), -1).astype(np.float32).tolist(), "label": y.tolist()}
        datasets.Dataset.from_dict(table).to_parquet(f"rows/{split}.parquet")
    black = PIL.Image.fromarray(np.zeros((4, 4), np.uint8))

    small["data"] = {"name": "./pics"}
    run(small)
    black.save("pics/test/class2/02.png")  # 90 files: told by their folders
    assert refusal(small).startswith("data.name: test/class2/ changed")
    Path("pics/train/class0/notes.txt").write_text("no picture", encoding="utf-8")
    run(small, force=True)
    Path("pics/train/class0/notes.txt").write_text("nor is this", encoding="utf-8")
    assert run(small).status == "finished"
    black.save("pics/train/class0/99.png")
    assert refusal(small).startswith("data.name: train/class0/ changed")

    small["data"] = {"name": "./rows", "input_column": "x"}
    run(small)
    datasets.Dataset.from_dict({**table, "x": [[0.0] * 16] * 30}).to_parquet("rows/test.parquet")
    assert refusal(small).startswith("data.name: test.parquet changed")


def test_the_built_in_set_and_the_hub_are_known_by_file_and_by_revision(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(run(tiny).summary["inputs"]) == {"data.name"}
    assert list(run(tiny).summary["inputs"]["data.name"]) == ["digits.csv.gz"]

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    for place, revision in enumerate(("aaa", "bbb")):
        info = tmp_path / "hub" / "ylecun___mnist" / "mnist" / "0.0.0" / revision / "dataset_info.json"
        info.parent.mkdir(parents=True)
        info.write_text("{}", encoding="utf-8")
        os.utime(info.parent, ns=(place, place))
    config = Data(name="mnist")
    newest = {"ylecun/mnist": "mnist/0.0.0/bbb"}
    assert sources.file_digests(config, {}) == newest
    assert sources.file_digests(config, {"ylecun/mnist": "mnist/0.0.0/aaa"}) == {"ylecun/mnist": "mnist/0.0.0/aaa"}
    assert sources.file_digests(config, {"ylecun/mnist": "mnist/0.0.0/gone"}) == newest
    assert sources.file_digests(Data(name="cifar10"), {}) == {}  # not on this machine: not known


# Runs that were stopped, grids, comparisons ---------------------------------------------------------------------------


def stopped(scenario: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """A run that ends in its second round, with a checkpoint of the first."""
    from server.rounds.loop import Rounds

    take = Rounds.take

    def failing(self: Rounds, reports: Any) -> Any:
        if self.progress.round == 1:
            raise RuntimeError("stopped")
        return take(self, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "take", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            run(scenario, "resources.checkpoint=1", *overrides)


def test_a_stopped_run_does_not_go_on_with_other_files(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    small["federation"]["rounds"] = 2
    stopped(small, monkeypatch)
    write(pixels=7)
    assert refusal(small).startswith("data.name: mine.npz changed since the run in")
    monkeypatch.setattr(
        sys.modules["fedlt.sweeps.run"], "kept_run", lambda *_: None
    )  # the checkpoint itself holds them, too
    assert refusal(small).startswith("data.name: mine.npz changed since the checkpoint was written")
    write()
    assert run(small).summary["resumed"] == [1]


def test_what_was_written_before_digests_were_kept_is_told(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(small).folder / "run.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    del summary["inputs"]
    path.write_text(json.dumps(summary), encoding="utf-8")
    write(pixels=7)
    assert run(small, quiet=False).summary == summary
    assert "whether its files have changed since is not known" in capsys.readouterr().out
    assert f"not known: {path.parent.name}" in str(fedlt.compare("runs"))

    from server.state import checkpoint

    small["federation"]["rounds"] = 2
    identity = checkpoint.Checkpoints.save

    def without(self: Any, *arguments: Any) -> None:
        self.identity.pop("inputs", None)
        identity(self, *arguments)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", without)
    stopped(small, monkeypatch)
    run(small, quiet=False)
    assert "the checkpoint holds no digests" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_is_not_extended_over_mended_data(small: dict[str, Any]) -> None:
    grid = [small, "resources.backend=inline"]
    fedlt.sweep(*grid, "strategy=fedavg", seeds=[0, 1], parallel=1)
    write(pixels=7)
    with pytest.raises(ScenarioError) as caught:
        fedlt.sweep(*grid, "strategy=fedavg,fedprox", seeds=[0, 1], parallel=1)
    assert [problem.key for problem in caught.value.problems] == ["data.name"]  # told once
    assert not list(Path("runs").glob("*fedprox*"))
    again = fedlt.sweep(*grid, "strategy=fedavg,fedprox", seeds=[0, 1], parallel=1, force=True)
    assert len({in_short(found.summary["inputs"]) for found in again.runs}) == 1


def test_runs_of_different_contents_are_not_compared(small: dict[str, Any]) -> None:
    old = run(small, "strategy=fedavg", "seed=0")
    write(pixels=7)
    new = run(small, "strategy=fedprox", "seed=0")
    assert old.summary["partition_hash"] == new.summary["partition_hash"]  # which does not look at pixels
    with pytest.raises(ScenarioError) as caught:
        fedlt.compare("runs")
    (problem,) = caught.value.problems
    assert problem.key == "data.name" and problem.message.startswith("mine.npz had not the same content in all runs")
    assert old.folder.name in problem.message and new.folder.name in problem.message
    result = CliRunner().invoke(app, ["compare", "runs"])
    assert result.exit_code == 2 and "mine.npz had not the same content" in result.output
    assert fedlt.compare([old]).rows and fedlt.compare([new]).rows


@pytest.mark.slow
def test_two_versions_of_a_component_are_no_row_of_two_seeds(small: dict[str, Any]) -> None:
    Path("helper.py").write_text("RATE = 1.0\n", encoding="utf-8")
    Path("mine.py").write_text(MINE, encoding="utf-8")
    run(small, "strategy=./mine.py:Mine", "seed=0")
    run(small, "strategy=fedavg", "seed=1")
    Path("mine.py").write_text(MINE + "# edited\n", encoding="utf-8")
    run(small, "strategy=./mine.py:Mine", "seed=1")
    with pytest.raises(ScenarioError, match=r"strategy: mine\.py had not the same content in all runs"):
        fedlt.compare("runs")
    with pytest.raises(ScenarioError, match=r"strategy: mine\.py had not the same content in all runs"):
        fedlt.compare("runs", by="strategy")


def test_newcomers_do_not_join_a_run_of_other_data(small: dict[str, Any]) -> None:
    finished = run(small, "federation.held_out=1")
    write(pixels=7)
    with pytest.raises(ScenarioError, match=r"data\.name: mine\.npz changed since the run was made; put it back"):
        fedlt.join(finished)


def test_a_worker_with_other_files_than_the_server_s_is_refused(small: dict[str, Any]) -> None:
    from clients.host import worker_for
    from fedlt.data.federation import federate

    scenario = load_scenario(small)
    federation = federate(scenario)
    sent = in_short(federation.made_of)
    worker = worker_for(scenario.hash, scenario.to_dict(), sent)
    assert worker_for(scenario.hash, {}, sent) is worker
    write(pixels=7)
    changed = in_short(federate(scenario).made_of)
    assert worker_for(scenario.hash, scenario.to_dict(), changed) is not worker  # it holds the old pixels
    with pytest.raises(FedLTError, match=r"not what it is at the server, or was edited: one of mine\.npz"):
        worker_for(scenario.hash, scenario.to_dict(), sent)


def test_a_worker_does_not_execute_code_that_was_edited_since_the_run_began(small: dict[str, Any]) -> None:
    from clients.host import install
    from fedlt.data.federation import federate

    Path("mine.py").write_text(MINE, encoding="utf-8")
    Path("helper.py").write_text("RATE = 0.5\n", encoding="utf-8")
    scenario = load_scenario(small, ["strategy=./mine.py:Mine"])
    federation = federate(scenario)
    install(scenario, federation)
    Path("helper.py").write_text("RATE = 0.1\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"strategy: helper\.py changed since the run began"):
        install(scenario, federation)


# A user's code --------------------------------------------------------------------------------------------------------


def files(text: str, folder: Path, **others: str) -> list[str]:
    """Names of the files that `mine.py` of this text consists of, beside others (`a__b` is `a/b.py`)."""
    for name, content in {"mine": text, **others}.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return sorted(own_files(folder / "mine.py"))


def test_imports_are_followed_within_the_user_s_folders(folder: Path) -> None:
    assert files("import numpy, json\nfrom strategies.fedavg import FedAvg\n", folder) == ["mine.py"]
    assert files("import a\n", folder, a="import b", b="import a, c", unused="") == ["a.py", "b.py", "mine.py"]
    packages = {
        "losses__init": "", "losses__focal": "from . import base\nfrom ..elsewhere import x\n", "losses__base": "",
        "losses__unused": "", "losses__deep__one": "import gone\n",
    }  # fmt: skip
    within = "def late():\n    from losses.focal import Focal\n    import_module('losses.deep.one')\n"
    found = files(within, folder, **packages)
    assert found == ["losses/base.py", "losses/deep/one.py", "losses/focal.py", "mine.py"]
    (folder / "losses" / "__init__.py").write_text("", encoding="utf-8")
    assert files(within, folder)[0] == "losses/__init__.py"
    assert files("from losses import *\n", folder) == ["losses/__init__.py", "mine.py"]
    assert files("import broken\n", folder, broken="this is no Python") == ["broken.py", "mine.py"]


def test_imports_from_pythonpath_and_of_installed_components_are_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "far.py").write_text("import pandas", encoding="utf-8")
    assert files("import far\n", folder) == ["far.py", "mine.py"]

    package = tmp_path / "lib" / "site-packages" / "methods"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "one.py").write_text("import torch\nfrom methods.two import x\n", encoding="utf-8")
    (package / "two.py").write_text("", encoding="utf-8")
    found = sorted(own_files(package / "one.py", installed="methods"))
    assert found == ["methods/__init__.py", "methods/two.py", "one.py"]


@pytest.mark.slow
def test_an_edited_helper_is_imported_anew_in_the_same_process(small: dict[str, Any]) -> None:
    from fedlt.config.catalog import find

    Path("mine.py").write_text(MINE, encoding="utf-8")
    Path("helper.py").write_text("from deeper import RATE\n", encoding="utf-8")
    for rate in ("0.5", "0.1", "0.2"):  # of one size and, mostly, within one second
        Path("deeper.py").write_text(f"RATE = {rate}\n", encoding="utf-8")
        assert find("strategy", "./mine.py:Mine").create({}).rate() == float(rate)


@pytest.mark.slow
def test_two_folders_have_each_a_helper_of_the_same_name(folder: Path) -> None:
    from fedlt.config.catalog import find

    for rate in ("1", "2", "1"):
        (folder / rate).mkdir(exist_ok=True)
        (folder / rate / "mine.py").write_text(MINE, encoding="utf-8")
        (folder / rate / "helper.py").write_text(f"RATE = {rate}\n", encoding="utf-8")
        found = find("strategy", f"./{rate}/mine.py:Mine")
        assert found.create({}).rate() == float(rate)
        assert found.files()["helper.py"] == folder / rate / "helper.py"
        assert str(folder / rate) not in sys.path


LATE = """
from dataclasses import dataclass

from strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Mine(FedAvg):
    def rate(self):
        from helper import RATE

        return RATE
"""


def test_a_method_imports_late_from_the_folder_of_its_file(folder: Path) -> None:
    from fedlt.config.catalog import find

    made = []
    for rate in ("1", "2"):
        (folder / rate).mkdir()
        (folder / rate / "mine.py").write_text(LATE, encoding="utf-8")
        (folder / rate / "helper.py").write_text("from deeper import RATE\n", encoding="utf-8")
        (folder / rate / "deeper.py").write_text(f"RATE = {rate}\n", encoding="utf-8")
        made.append(find("strategy", f"./{rate}/mine.py:Mine").create({}))
    assert [each.rate() for each in (*made, *made)] == [1, 2, 1, 2]


def test_a_file_imports_from_its_own_folder_by_leading_dots(folder: Path) -> None:
    from fedlt.config.catalog import find

    (folder / "helper.py").write_text("RATE = 9\n", encoding="utf-8")  # of the working folder: another one
    hashes = set()
    for rate in ("1", "2"):
        (folder / rate / "parts").mkdir(parents=True)
        text = MINE.replace("import helper", "from . import helper")
        (folder / rate / "mine.py").write_text(text, encoding="utf-8")
        (folder / rate / "helper.py").write_text("from .parts.deeper import RATE\n", encoding="utf-8")
        (folder / rate / "parts" / "deeper.py").write_text(f"RATE = {rate}\n", encoding="utf-8")
        found = find("strategy", f"./{rate}/mine.py:Mine")
        assert found.create({}).rate() == float(rate)
        assert sorted(found.files()) == ["helper.py", "mine.py", "parts/deeper.py"]
        hashes.add(load_scenario("digits_lt", f"strategy=./{rate}/mine.py:Mine").hash)
    assert len(hashes) == 2
    shutil.copytree(folder / "1", folder / "copy")
    assert load_scenario("digits_lt", "strategy=./copy/mine.py:Mine").hash in hashes  # wherever it lies


def test_a_module_named_like_an_installed_one_does_not_push_it_out(folder: Path) -> None:
    import numpy

    from fedlt.config.catalog import find

    Path("numpy.py").write_text("RATE = 0\n", encoding="utf-8")
    Path("deep").mkdir()
    Path("deep/numpy.py").write_text("RATE = 0\n", encoding="utf-8")
    Path("deep/mine.py").write_text(MINE.replace("helper", "numpy", 1), encoding="utf-8")
    find("strategy", "./deep/mine.py:Mine").load()
    assert sys.modules["numpy"] is numpy


# What checking costs --------------------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pieces of files that are read for their digests."""
    sizes: list[int] = []
    pieces = digests.pieces

    def counted(path: Path) -> Iterator[bytes]:
        for piece in pieces(path):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(digests, "pieces", counted)
    return sizes


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files have lain still for a while whenever they are looked at."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 2 * digests.SETTLED)


@pytest.mark.usefixtures("later")
def test_a_file_that_lay_still_is_read_once(read: list[int]) -> None:
    with Path("large.npz").open("wb") as file:
        file.truncate(200_000_000)
    first = digests.stamp([Path("large.npz")])
    assert sum(read) == 200_000_000
    assert digests.stamp([Path("large.npz")]) == first and sum(read) == 200_000_000  # not a byte more


@pytest.mark.usefixtures("later")
def test_a_file_is_read_again_whichever_way_it_changed(read: list[int]) -> None:
    path = Path("a.npz")
    path.write_bytes(b"12")
    seen = [digests.stamp([path])]
    stat = os.stat(path)
    time.sleep(0.02)  # the clock of the file system ticks

    path.write_bytes(b"34")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size, time and inode are the old ones
    seen.append(digests.stamp([path]))
    Path("copy").write_bytes(b"56")
    os.utime("copy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace("copy", path)
    seen.append(digests.stamp([path]))
    assert [found["a.npz"] for found in seen] == [hashlib.sha256(text).hexdigest() for text in (b"12", b"34", b"56")]
    digests.stamp([path])
    assert read == [2, 2, 2]


def test_a_file_that_was_written_just_now_is_read_again(read: list[int]) -> None:
    Path("a.npz").write_bytes(b"12")
    assert digests.stamp([Path("a.npz")]) == digests.stamp([Path("a.npz")])
    assert read == [2, 2]


def test_a_file_that_is_written_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("a.npz")
    path.write_bytes(b"old")
    pieces, edits = digests.pieces, [b"half done", b"done"]

    def meanwhile(path: Path) -> Iterator[bytes]:
        yield from pieces(path)
        if edits:
            path.write_bytes(edits.pop(0))

    monkeypatch.setattr(digests, "pieces", meanwhile)
    found = digests.stamp([path])
    assert found == {"a.npz": hashlib.sha256(b"done").hexdigest()}
    edits += [bytes(size) for size in range(9)]
    with pytest.raises(FedLTError, match="is being written; wait for its end"):
        digests.stamp([path])


def test_what_is_remembered_may_be_torn_or_refused(
    read: list[int], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 2 * digests.SETTLED)
    Path("a.npz").write_bytes(b"12")
    first = digests.stamp([Path("a.npz")])
    (kept,) = (folder.parent / "cache" / "digests").iterdir()
    kept.write_text("{", encoding="utf-8")
    assert digests.stamp([Path("a.npz")]) == first and len(read) == 2
    monkeypatch.setenv("FEDLT_CACHE", str(kept))  # a file, not a folder
    assert digests.stamp([Path("a.npz")]) == first and len(read) == 3
    with pytest.raises(ScenarioError, match=r"data\.name: .*gone\.npz cannot be read"):
        digests.stamp([Path("gone.npz")])


def test_many_files_are_told_by_their_folders() -> None:
    for place in range(65):
        Path(f"f{place:02}.png").write_bytes(bytes([place]))
    paths = {f"train/class{place % 2}/{place}.png": Path(f"f{place:02}.png") for place in range(65)}
    assert sorted(digests.digests(paths)) == ["train/class0/", "train/class1/"]
    spread = {f"train/{place}/0.png": path for place, path in enumerate(paths.values())}
    assert sorted(digests.digests(spread)) == ["train/"]
    renamed = {name.replace("64.png", "65.png"): path for name, path in paths.items()}
    differing = digests.digests(paths).items() ^ digests.digests(renamed).items()
    assert {name for name, _ in differing} == {"train/class0/"}
