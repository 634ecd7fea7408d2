"""Puts the page together: one file with its data, its style, its scripts and the pictures that stand in for them."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.comparing.compare import compare
from fedlt.comparing.comparison import LOWER, caption
from fedlt.comparing.methods import collect, find_row
from fedlt.comparing.run_keys import differing, is_setting, lookup, run_keys
from fedlt.comparing.short_names import without_folders
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.figures import COSTS, section
from fedlt.measures.glossary import described
from fedlt.measures.headlines import compared, followed
from fedlt.plots import draw
from fedlt.plots.chart import Chart, Dots
from fedlt.plots.classes import calibration_chart, class_chart
from fedlt.plots.clients import client_chart, client_panels, gain_chart
from fedlt.plots.curves import curve_chart
from fedlt.plots.measured import by_name, has_model
from fedlt.process.wording import counted
from fedlt.report import charts
from fedlt.report.tables import class_table, client_table, comparison_tables
from fedlt.results.runs import measured
from fedlt.statistic import VALIDATION

if TYPE_CHECKING:
    from fedlt.results.runs import Run

HERE = Path(__file__).parent
ORDER = "Click a heading to sort. Hover it to read what the figure means, and its name; docs/metrics.md has them all."
BASE = "fedavg"
"""The method over which gains are shown where no reference is given."""
STILL = ("curves", "clients")
"""Kinds of printed figures that readers without scripts see."""


def write_report(
    sources: Sequence[str | Path | Run], path: Path, by: str | None = None, reference: str = "", title: str = ""
) -> Path:
    """Write the page about finished runs to `path`.

    Runs of different settings get sections of their own.

    Args:
        by, reference: as in `fedlt.compare`.

    Raises:
        ScenarioError: where there is nothing to report, or where plotly is missing.
    """
    if find_spec("plotly") is None:
        raise ScenarioError(Problem("report", "needs plotly for its pictures: pip install 'fedlt[report]'"))

    runs = [run for run in collect(sources) if run.status == "finished"]
    if not runs:
        raise ScenarioError(Problem("report", "there is no finished run to report on"))

    name = title or "FedLT: " + ", ".join(dict.fromkeys(str(run.summary["scenario"]) for run in runs))
    sections: list[str] = []
    drawn: dict[str, Chart] = {}
    for number, (setting, members) in enumerate(_settings(runs).items()):
        body, charts_of_section = _section(setting, members, by, reference, f"s{number}-")
        sections.append(body)
        drawn |= charts_of_section

    path.write_text(_page(name, runs, sections, drawn), encoding="utf-8")
    return path


def _settings(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by what they share of data, partition and evaluation; one entry "" where they share all of it."""
    keys = [run_keys(run) for run in runs]
    names = [key for key in differing(keys) if is_setting(key)]
    runs_of: dict[str, list[Run]] = {}
    for run, mine in zip(runs, keys, strict=True):
        runs_of.setdefault(", ".join(f"{name}={lookup(mine, name)}" for name in names), []).append(run)
    return runs_of


def _section(
    setting: str, runs: Sequence[Run], by: str | None, reference: str, prefix: str
) -> tuple[str, dict[str, Chart]]:
    """HTML of one setting, and its charts by the ids of their places."""
    known = {name for run in runs for name in run.final} | set(COSTS)
    sections = (*compared(*measured(runs)), *COSTS), section("confidence"), section("features")
    shown, confidence, features = (tuple(name for name in names if name in known) for names in sections)
    own = tuple(name for name in _own(runs) if name not in shown)

    comparison = compare(runs, by=by, reference=reference, metrics=(*shown, *confidence, *features, *own))

    # Which methods there are, and what the others are set against.
    methods = by_name(runs, by)
    first = next(iter(methods.values()))[0]
    lender = next((name for name, mine in methods.items() if has_model(mine[0], "generic")), "")
    base = _base(reference, list(methods), lender)
    # The method whose generic model stands in where another one has none.
    lender = base if has_model(methods[base][0], "generic") else lender

    places = Places(prefix)
    clients = client_chart(methods, lender=lender)
    panels = [replace(panel, name=f"clients-{number}") for number, panel in enumerate(client_panels(clients))]
    over = [gain_chart(methods, base, masked) for masked in (False, True)] if len(methods) > 1 else []
    gains = [replace(chart, title=f"Gain over {base}, {chart.title}") for chart in over]

    notes = "".join(
        f"<br>{escape(without_folders(note))}" for note in caption(comparison) if not note.startswith(LOWER)
    )
    html = [
        f"<h2>{escape(without_folders(setting))}</h2>\n" if setting else "",
        "<h2>Comparison</h2>\n",
        f'<p class="note">{ORDER} Accuracies in %, costs per round and client.{notes}</p>\n',
        comparison_tables(comparison, shown),
        "<h2>Over the rounds</h2>\n",
        places.grid([curve_chart(methods, name) for name in followed(*measured(runs))]),
        "<h2>Clients</h2>\n",
        places.grid([*panels, *gains], "small", legends=[*[False] * len(panels), *[True] * len(gains)]),
        f"<details><summary>All clients as a table</summary>{client_table(methods)}</details>\n",
        "<h2>Classes</h2>\n",
        places.grid([class_chart(methods, model) for model in ("generic", "personal")]),
        class_table(methods),
        "<h2>Confidence</h2>\n",
        comparison_tables(comparison, confidence),
        places.grid([calibration_chart(methods, model) for model in ("generic", "personal")], legends=[True, True]),
        *(
            ["<h2>Features and head of the generic model</h2>\n", comparison_tables(comparison, features)]
            if features
            else []
        ),
        *(["<h2>Metrics of the runs' own</h2>\n", comparison_tables(comparison, own)] if own else []),
        "<h2>Scenario and partition</h2>\n",
        _scenario(first),
        places.grid([charts.largest_clients(first)], legends=[False]),
        _stills(runs, lender),
    ]
    return "".join(html), places.charts


def _base(reference: str, names: Sequence[str], lender: str) -> str:
    """The method over which gains are shown: the reference, plain FedAvg, or the first that has a generic model."""
    if reference:
        return find_row(reference, [((name,), "") for name in names])[0][0]
    return BASE if BASE in names else lender or names[0]


class Places:
    """Where the charts of one section are drawn.

    Attributes:
        prefix: of their ids in the page.
        charts: by these ids.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.charts: dict[str, Chart] = {}

    def grid(self, charts: Sequence[Chart], size: str = "", legends: Sequence[bool] = ()) -> str:
        """Charts side by side, above them what is said of all.

        Args:
            size: `small` for more of them in a row.
            legends: of each chart, whether it has a legend of its own beneath it; unless given, all share one.
        """
        shown = [
            (chart, own) for chart, own in zip(charts, legends or [False] * len(charts), strict=True) if chart.marks
        ]
        if not shown:
            return ""
        notes = Counter(chart.note for chart, _ in shown if chart.note)
        common = [note for note, times in notes.items() if times > 1 or len(shown) == 1]
        above = "".join(f'<p class="note">{escape(note)}</p>\n' for note in common)
        parts = [self._place(chart, own, "" if chart.note in common else chart.note) for chart, own in shown]
        ids = " ".join(self.prefix + chart.name for chart, _ in shown)
        shared = "" if legends else f'<div class="methods" data-charts="{ids}"></div>\n'
        return f'{above}<div class="charts {size}">{"".join(parts)}</div>\n{shared}'

    def _place(self, chart: Chart, legend: bool, note: str) -> str:
        """One chart: its title, what is said of it, its place, and its legend."""
        place = self.prefix + chart.name
        self.charts[place] = chart
        corner = " ".join(mark.corner.replace("\n", "; ") for mark in chart.marks if isinstance(mark, Dots))
        said = "".join(f'<p class="note">{escape(text)}</p>' for text in (note, corner) if text)
        beneath = f'<div class="methods" data-charts="{place}"></div>' if legend else ""
        named = any(isinstance(mark, Dots) for mark in chart.marks)  # by its method, as it is written
        title = escape(chart.title if named else chart.title[0].upper() + chart.title[1:])
        above = f"<div><h3>{title}</h3>{said}</div>"
        return f'<div class="place">{above}<div class="chart" id="{place}"></div>{beneath}</div>\n'


def _own(runs: Sequence[Run]) -> list[str]:
    """Names of what the runs' own metrics measure, of the headline models."""
    names = dict.fromkeys(name for run in runs for name in run.final)
    plain = (name for name in names if "[" not in name and not name.startswith(VALIDATION))
    return [name for name in plain if not described(name).text]


def _scenario(run: Run) -> str:
    """The settings in a few words, and the whole scenario of one run."""
    scenario, summary = run.scenario, run.summary
    partition, federation = scenario["federation"]["partition"], scenario["federation"]
    if not isinstance(partition, str):
        fields = (f"{key} {value}" for key, value in partition.items() if key != "name" and value is not None)
        partition = without_folders(", ".join([partition["name"], *fields]))

    many, medium, few = summary["groups_count"]
    bare = sum(summary.get("groups_untested", ()))
    tail = scenario["data"]["longtail"]
    words = [
        f"{counted(summary['clients'], 'client')}, {counted(summary['num_classes'], 'class', 'classes')}",
        f"{many} head, {medium} medium and {few} tail classes",
        *([f"{counted(bare, 'class', 'classes')} without a test sample, in no figure"] if bare else []),
        f"data {without_folders(scenario['data']['name'])}, profile {tail['profile']}",
        f"partition {partition}",
        f"{counted(federation['rounds'], 'round')} with {federation['participation']:g} of the clients",
    ]
    text = escape(without_folders((run.folder / "scenario.yaml").read_text(encoding="utf-8")))

    return (
        f"<p>{escape('; '.join(words))}.</p>\n<details><summary>The scenario of {escape(run.folder.name)}, with every "
        f"default filled in</summary><pre>{text}</pre></details>\n"
    )


def _stills(runs: Sequence[Run], lender: str) -> str:
    """Pictures for readers without scripts."""
    images = []
    for kind in STILL:
        stream = io.BytesIO()
        draw(kind, runs, reference=lender if kind == "clients" else "").savefig(stream, format="png", dpi=110)
        images.append(f'<img alt="{kind}" src="data:image/png;base64,{_base64(stream.getvalue())}">')
    return f"<noscript><h2>Pictures</h2>{''.join(images)}</noscript>\n"


def _page(title: str, runs: Sequence[Run], sections: Sequence[str], drawn: Mapping[str, Chart]) -> str:
    from plotly.offline import get_plotlyjs

    data = {place: charts.drawn(chart) for place, chart in drawn.items()}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no tag ends the script
    script = _base64(gzip.compress(get_plotlyjs().encode(), 9, mtime=0))
    versions = {json.dumps(run.summary["versions"], sort_keys=True) for run in runs}
    known = "; ".join(", ".join(f"{k} {v}" for k, v in json.loads(one).items() if v) for one in sorted(versions))
    seeds = sorted({int(run.summary["seed"]) for run in runs})
    balance = ", which is balanced" if all(run.balanced for run in runs) else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{(HERE / "page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
<p class="note">{counted(len(runs), "run")}; seed{"s" if len(seeds) != 1 else ""}
{", ".join(map(str, seeds))}. The last evaluation and the mean of the last five;
never the best round, which is chosen on the test set. Generic models are tested on the global test set{balance},
personal models on each client's own.</p></header>
<main>
{"".join(sections)}</main>
<footer>{escape(known)}.
<details><summary>{len(runs)} run{"s" if len(runs) != 1 else ""}</summary>
{escape(", ".join(run.folder.name for run in runs))}.</details></footer>
<script type="application/json" id="charts">{text}</script>
<script type="text/plain" id="plotly">{script}</script>
<script>
{(HERE / "page.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
