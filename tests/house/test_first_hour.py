"""A newcomer's first hour, as it is typed: own data, an own strategy in two files, a comparison, pictures, a report."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import Forked, in_place_of_subprocess
from matplotlib.collections import PathCollection
from sklearn.datasets import load_digits

import fedlt
from fedlt import plots

pytestmark = pytest.mark.grid

OBJECTIVE = """
from torch.nn.functional import cross_entropy


def balanced_loss(logits, labels, prior, tau):
    return cross_entropy(logits + tau * (prior + 1e-6).log(), labels)
"""

STRATEGY = """
from dataclasses import dataclass

from objective import balanced_loss

from strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Balanced(FedAvg):
    tau: float = 1.0

    def loss(self, client, batch):
        return balanced_loss(client.model(batch.x), batch.y, client.class_counts / client.num_samples, self.tau)
"""

SETTING = "own data.name=./mine.npz federation.rounds=3 federation.clients=6 evaluation.every=1"
TYPED = {
    "run": f"run {SETTING}",
    "check": f"check {SETTING} strategy=./balanced.py:Balanced",
    "own": f"run {SETTING} strategy=./balanced.py:Balanced",
    "again": f"run {SETTING} strategy=./balanced.py:Balanced",
    "sweep": f"sweep {SETTING} strategy=fedavg,fedloge,./balanced.py:Balanced --seeds 0-1 --reference fedavg",
    "typed": "compare runs --reference ./balanced.py:Balanced",
    "short": "compare runs --reference Balanced",
    "json": "compare runs --reference fedavg --format json",
    "latex": "compare runs -o table.tex",
    "clients": "plot runs --kind clients -o clients.svg",
    "gain": "plot runs --kind gain --reference ./balanced.py:Balanced -o gain.svg",
    "curves": "plot runs --kind curves -o curves.pdf",
    "report": "report runs --reference fedavg -o report.html",
}
SHARED = ("table.tex", "clients.svg", "gain.svg", "curves.pdf", "report.html")
METHODS = ("Balanced", "fedavg", "fedloge")


@dataclass(frozen=True)
class Hour:
    """folder: where all was typed. said: what each command printed, by its name in `TYPED`."""

    folder: Path
    said: dict[str, str]

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")

    @property
    def table(self) -> dict[tuple[str, str], float]:
        """Means over the seeds at the last evaluation, by method and metric, as fractions."""
        rows = json.loads(self.said["json"])["rows"]
        return {(row["strategy"], row["metric"]): row["mean"] for row in rows if row["evaluation"] == "last"}


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Hour:
    folder = tmp_path_factory.mktemp("newcomer")
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    np.savez(folder / "mine.npz", x_train=x[:600], y_train=y[:600], x_test=x[600:900], y_test=y[600:900])
    (folder / "objective.py").write_text(OBJECTIVE, encoding="utf-8")
    (folder / "balanced.py").write_text(STRATEGY, encoding="utf-8")

    for name in ("fedlt.comparing.compare", "fedlt.plots.figure", "fedlt.sweeps.sweep", "server.app", "clients.app"):
        importlib.import_module(name)  # once, and not in each of the forks
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("fedlt.sweeps.workers.subprocess", in_place_of_subprocess())
        for name, words in TYPED.items():
            said[name], code = (typed if name == "run" else forked)(words.split())
            assert code == 0, f"fedlt {words}\n{said[name]}"
    return Hour(folder, said)


def typed(words: list[str]) -> tuple[str, int]:
    """What a command says, and its exit code, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "fedlt", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def forked(words: list[str]) -> tuple[str, int]:
    """The same, without the seconds that it takes to import PyTorch."""
    process = Forked([sys.executable, "-c", "from fedlt.commands.cli import main; main()", *words])
    return "".join(process.communicate()), process.wait()


def test_nothing_is_resampled_unasked(hour: Hour) -> None:
    assert hour.said["run"].splitlines()[0].startswith("own: fedavg, mlp, 6 clients with ")
    assert "(600 in all)" in hour.said["run"].splitlines()[0]


def test_what_was_run_is_found_again(hour: Hour) -> None:
    assert "already finished" in hour.said["again"]
    assert "6 runs (3 methods, 2 seeds), 2 finished before, 4 to do" in hour.said["sweep"]
    assert len(list((hour.folder / "runs").iterdir())) == 6


def test_no_path_of_the_folder_is_told(hour: Hour) -> None:
    for name, text in hour.said.items():
        assert str(hour.folder) not in text, name
    for name in SHARED:
        assert str(hour.folder) not in hour.read(name), name

    # Of a run's own files these alone say where things are: by them it is run again.
    kept = [file for file in (hour.folder / "runs").glob("*/*.*") if file.name not in ("run.json", "scenario.yaml")]
    assert {file.suffix for file in kept} >= {".txt", ".parquet", ".npz", ".safetensors"}
    assert not [file for file in kept if str(hour.folder).encode() in file.read_bytes()]


def test_labels_are_short(hour: Hour) -> None:
    assert {method for method, _ in hour.table} == set(METHODS)
    assert re.findall(r"^(\w+) & ", hour.read("table.tex"), flags=re.MULTILINE)[1:4] == list(METHODS)
    for name in ("table.tex", "clients.svg", "gain.svg"):
        assert "balanced.py" not in hour.read(name), name
    assert hour.said["typed"] == hour.said["short"]
    assert "difference to Balanced" in hour.said["short"]


@pytest.mark.parametrize("method", METHODS)
def test_code_and_table_agree(hour: Hour, method: str) -> None:
    runs = [fedlt.open_run(folder) for folder in (hour.folder / "runs").glob(f"own-{method.lower()}-*")]
    for metric in ("generic/accuracy", "personal/accuracy", "personal_masked/accuracy"):
        assert np.mean([run.final[metric] for run in runs]) == pytest.approx(hour.table[method, metric]), metric

    # The README's line: both models on each client's own test samples, the mean over clients as in the table.
    last = [run.clients.groupby("client")[["generic", "accuracy"]].last() for run in runs]
    assert np.mean([each["accuracy"].mean() for each in last]) == pytest.approx(hour.table[method, "personal/accuracy"])


def test_latex_and_table_agree(hour: Hour) -> None:
    rows = re.findall(r"^(\w+) & (.*) \\\\$", hour.read("table.tex"), flags=re.MULTILINE)
    columns = rows[0][1].split(" & ")
    for method, row in rows[1:4]:
        cells = dict(zip(columns, row.split(" & "), strict=True))
        for column, metric in (("generic", "generic"), ("personal", "personal"), ("masked", "personal_masked")):
            mean = f"{100 * hour.table[method, f'{metric}/accuracy']:.1f}"
            assert re.search(r"\d+\.\d", cells[column])[0] == mean, (method, metric)  # type: ignore[index]


def in_order(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[n, 2] points by their first coordinate, then by their second."""
    return points[np.lexsort((points[:, 1], points[:, 0]))]


def test_picture_and_code_agree(hour: Hour) -> None:
    figure = plots.draw("clients", hour.folder / "runs")
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert tuple(panels) == METHODS
    for title, ax in panels.items():
        runs = [fedlt.open_run(folder) for folder in (hour.folder / "runs").glob(f"own-{title.lower()}-*")]
        last = [run.clients.groupby("client")[["generic", "accuracy"]].last() for run in runs]
        expected = in_order(100 * np.concatenate([each.to_numpy() for each in last]))
        (dots,) = (each for each in ax.collections if isinstance(each, PathCollection) and len(each.get_offsets()))
        drawn = in_order(np.asarray(dots.get_offsets()))
        assert drawn == pytest.approx(expected), title
        if title == "fedavg":
            assert drawn[:, 0] == pytest.approx(drawn[:, 1])


def test_report_and_table_agree(hour: Hour) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", hour.read("report.html"))
    cells = [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]
    for method in METHODS:
        first = next(row for row in cells if row and row[0] == method)
        for metric in ("generic/accuracy", "personal/accuracy", "personal_masked/accuracy"):
            mean = f"{100 * hour.table[method, metric]:.1f}"
            assert any(cell.split(" ")[0] == mean for cell in first), (method, metric, mean, first)
