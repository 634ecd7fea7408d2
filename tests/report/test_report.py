"""The page about runs: what it holds without scripts, and what it does in a real browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.groups import Grouping
from fedlt.data.targets import Targets
from fedlt.errors import ScenarioError
from fedlt.measures.metrics import Confusion
from fedlt.plots.style import COLOURS
from fedlt.results.record import RunWriter

pytest.importorskip("plotly", reason="pip install -e '.[report]' to write reports")

from fedlt.report import write_report
from tests.evaluations import evaluation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, two seeds, and one that has no generic model."""
    folder = tmp_path_factory.mktemp("runs")
    small = {
        "data": {"name": "digits", "longtail": {"profile": "exponential", "imbalance_factor": 10, "largest": 60}},
        "federation": {"clients": 6, "rounds": 2, "partition": {"name": "dirichlet_per_class"}, "empty": "redraw"},
        "local": {"epochs": 1, "batch_size": 16, "lr": 0.05},
        "model": {"name": "mlp", "width": 16, "depth": 1},
        "evaluation": {"every": 1},
    }
    for changes in (["seed=0"], ["seed=1"], ["strategy=local", "seed=0"]):
        fedlt.run(small, *changes, out=folder)
    return folder


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([runs], tmp_path_factory.mktemp("page") / "report.html", title="A <b>title</b>")


class Reader(HTMLParser):
    """Rows of every table, addresses, and tags that were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def test_the_tables_are_there_without_scripts(runs: Path, page: Path) -> None:
    read = Reader(page.read_text(encoding="utf-8"))
    assert read.open == []
    found = {row[0]: row for row in read.tables[0][1:]}
    header = read.tables[0][0]
    comparison = fedlt.compare(str(runs))
    for row in comparison.rows:
        cell = row.cells["last"]["personal/accuracy"]
        assert found[row.labels[0]][header.index("personal models")].startswith(f"{100 * cell.mean:.1f}")
    assert found["local"][header.index("generic model")] == "-"
    clients = next(table for table in read.tables if "client" in table[0])
    assert len(clients) - 1 == 3 * 6
    everyone = {(row[0], row[1], row[2]): row for row in clients[1:]}
    run = next(run for run in fedlt.load_runs(str(runs)) if run.summary["strategy"] == "local")
    line = run.clients[(run.clients["round"] == 2) & (run.clients.client == 3)].iloc[0]
    assert everyone["local", "0", "3"][3:6] == [
        str(line.train_samples), str(line.test_samples), f"{100 * line.accuracy:.1f}",
    ]  # fmt: skip


def test_nothing_is_fetched_and_nothing_is_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    addresses = Reader(text).addresses
    assert all(address.startswith("data:") for address in addresses)
    assert len(re.findall(r"<noscript>.*data:image/png.*</noscript>", text, flags=re.DOTALL)) == 1
    assert "A &lt;b&gt;title&lt;/b&gt;" in text
    assert "<b>title" not in text


def test_headings_are_words_and_tell_the_metric_when_asked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    header = Reader(text).tables[0][0]
    assert header == [
        "strategy", "n", "generic model", "generic model, head classes", "generic model, medium classes",
        "generic model, tail classes", "personal models", "personal models, masked",
        "personal models, worst tenth of the clients", "s/round", "MB up", "MB down",
    ]  # fmt: skip
    assert not re.findall(r"<th[^>]*>[^<]*(?:generic|personal|cost)/", text)
    assert 'title="generic/few: Mean recall of the tail classes' in text
    assert "calibration error<small>lower is better</small>" in text
    assert "Lower is better:" not in text  # it stands in the headings
    classes = next(table for table in Reader(text).tables if table[0][0] == "class")
    assert {row[1] for row in classes[1:]} <= {"head", "medium", "tail"}


def test_gains_stand_beside_the_clients(runs: Path, page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"<h3>([^<]*)</h3>", text)
    place = titles.index("fedavg")
    assert titles[place : place + 4] == [
        "fedavg", "local (generic: fedavg)", "Gain over fedavg, personal models",
        "Gain over fedavg, personal models, masked",
    ]  # fmt: skip
    other = write_report([runs], tmp_path / "r.html", reference="local").read_text(encoding="utf-8")
    assert "<h3>Gain over local, personal models</h3>" in other
    assert "<h3>local (generic: fedavg)</h3>" in other  # local has none to lend


def test_runs_without_a_generic_model_have_a_page_too(runs: Path, tmp_path: Path) -> None:
    (local,) = [run for run in fedlt.load_runs(str(runs)) if run.summary["strategy"] == "local"]
    text = write_report([local], tmp_path / "r.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert read.tables[0][0][:3] == ["strategy", "n", "personal models"]
    assert "Features and head" not in text
    assert "<h3>local</h3>" in text
    assert (
        "no generic model<br>(a reference can lend its own)"
        in json.loads(re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text)[0])[
            "s0-clients-0"
        ]["layout"]["annotations"][0]["text"]
    )


def test_no_path_stands_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom fedlt.strategies.fedavg import FedAvg\n\n"
        '@dataclass(frozen=True)\nclass Mine(FedAvg):\n    """Mine."""\n'.replace("fedlt.strategies", "strategies")
    )
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    arrays = {"x_train": rng.random((60, 4), dtype=np.float32), "y_train": y}
    np.savez(tmp_path / "mine.npz", **arrays, x_test=arrays["x_train"], y_test=y)
    changes = ["federation.clients=3", "federation.rounds=1", "model=mlp", f"data.name={tmp_path / 'mine.npz'}"]
    for strategy in ("fedavg", f"{tmp_path / 'mine.py'}:Mine"):
        fedlt.run("own", f"strategy={strategy}", *changes, out=tmp_path / "runs")
    text = write_report([tmp_path / "runs"], tmp_path / "r.html", reference=f"{tmp_path / 'mine.py'}:Mine").read_text()
    assert re.search(r"<h3>Mine( †)?</h3>", text)
    assert "mine.npz" in text
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_runs_of_two_settings_get_two_sections(runs: Path, tmp_path: Path) -> None:
    content = json.loads(json.dumps(next(iter(fedlt.load_runs(str(runs)))).scenario))
    fedlt.run(content, "federation.clients=5", out=tmp_path)
    page = write_report([runs, tmp_path], tmp_path / "two.html", reference="fedavg")
    text = page.read_text(encoding="utf-8")
    assert "differences over the same seeds" in text
    assert re.findall(r"<h2>(federation.clients=\d)</h2>", text) == ["federation.clients=6", "federation.clients=5"]
    assert 'id="s0-clients-0"' in text
    assert 'id="s1-clients-0"' in text


def test_what_cannot_be_reported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedlt.report import page as module

    with pytest.raises(ScenarioError, match="no finished run"):
        write_report([tmp_path], tmp_path / "x.html")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ScenarioError, match=r"pip install 'fedlt\[report\]'"):
        write_report([tmp_path], tmp_path / "x.html")


def hundred(out: Path, seed: int, strategy: str) -> None:
    """A made-up run of 100 clients and ten classes."""
    rng = np.random.default_rng(seed)
    y_train, y_test = rng.integers(10, size=5000), np.repeat(np.arange(10), 100)
    rows = SimpleNamespace(values=np.arange(5000), offsets=50 * np.arange(101))
    tests = SimpleNamespace(values=rng.integers(1000, size=2000), offsets=20 * np.arange(101))
    counts = np.stack([np.bincount(y_train[50 * k : 50 * k + 50], minlength=10) for k in range(100)])
    split: Any = SimpleNamespace(
        class_names=[str(c) for c in range(10)], class_counts=np.bincount(y_train),
        train_targets=Targets.of_classes(y_train), test_targets=Targets.of_classes(y_test),
        clients=rows, tests=tests, validation=None, grouping=Grouping(), counts=lambda k: counts[k],
    )  # fmt: skip
    scenario = load_scenario("digits_lt", ["federation.clients=100", f"strategy={strategy}", f"seed={seed}"])
    meta = {"scenario": "toy", "strategy": strategy, "learner": "cross_entropy", "model": "cnn", "seed": seed}
    writer = RunWriter(out / scenario.run_name, scenario.to_yaml(), {**meta, "partition_hash": str(seed)})
    writer.start()
    writer.partition(split)
    for round in (50, 100):
        writer.round({"round": round, "seconds": 0.1, "clients": 9, "bytes_up": 9, "bytes_down": 9})
        guess = lambda true: np.where(rng.random(len(true)) < 0.6, true, rng.integers(10, size=len(true)))  # noqa: E731
        generic = Confusion.from_predictions(y_test, guess(y_test), 10)
        own = [y_test[tests.values[20 * k : 20 * k + 20]] for k in range(100)]
        personal = {k: Confusion.from_predictions(true, guess(true), 10) for k, true in enumerate(own)}
        writer.evaluation(evaluation(round, {"": generic}, {"": personal}, {"": personal}))
    writer.finish()


def test_ten_runs_of_a_hundred_clients_stay_below_five_megabytes(tmp_path: Path) -> None:
    for seed in range(5):
        for strategy in ("fedavg", "fedprox"):
            hundred(tmp_path / "runs", seed, strategy)
    page = write_report([tmp_path / "runs"], tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    clients = next(table for table in Reader(page.read_text(encoding="utf-8")).tables if "client" in table[0])
    assert len(clients) == 1001


def test_the_command_writes_an_equal_page_of_equal_runs(runs: Path, page: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from fedlt.commands.cli import app

    done = CliRunner().invoke(app, ["report", str(runs), "-o", str(tmp_path / "r.html"), "--title", "A <b>title</b>"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").read_bytes() == page.read_bytes()
    wrong = CliRunner().invoke(app, ["report", str(runs), "-o", str(tmp_path / "no" / "r.html")])
    assert wrong.exit_code == 2


def test_every_colour_of_a_chart_can_be_seen_on_a_dark_page() -> None:
    """Against its background: 3 to 1, as WCAG asks of graphics, for lines and dots; and bands follow their lines."""
    folder = Path(fedlt.__file__).parent / "report"
    script = (folder / "page.js").read_text(encoding="utf-8")
    night = dict(re.findall(r'"([^"]+)": "([^"]+)"', script[script.index("const NIGHT") : script.index("const dark")]))
    (paper,) = set(re.findall(r"--paper: (#[0-9a-f]{6})", (folder / "page.css").read_text(encoding="utf-8")))
    assert f'paper_bgcolor: night ? "{paper}"' in script

    for colour in COLOURS:
        shown = night.get(colour, colour)
        assert contrast(shown, paper) >= 3, colour
        if colour in night:
            band, now = (f"rgba({','.join(map(str, channels(one)))},0.15)" for one in (colour, shown))
            assert night[band] == now


def channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' relative luminances."""

    def luminance(colour: str) -> float:
        parts = [part / 255 for part in channels(colour)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
