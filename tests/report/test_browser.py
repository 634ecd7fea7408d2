"""The page about runs in a real browser, on a desk and on a phone: nothing lies over another, and all answers."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
from fake_runs import make_run

pytest.importorskip("plotly", reason="pip install -e '.[report]' to write reports")

from fedlt.comparing.methods import collect
from fedlt.comparing.own_names import renamed
from fedlt.report import write_report
from tests.report.in_browser import CHROMIUM, View, seen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]

STRATEGIES = ("fedavg", "fedprox", "ditto", "fedrod", "fedloge", "fedbabu", "fedper", "scaffold", "local")
LONG = "a_method_whose_name_nobody_would_type_twice_in_a_row lr=0.01"
DESK, PHONE = 1280, 390
TEXTS = (".xtitle, .ytitle, .y2title, .xtick text, .ytick text, .y2tick text, .annotation-text, .legendtext, "
         ".cbaxis text, [class*=cbtitle] text")  # fmt: skip

MEASURE = f"""
const box = (element) => {{
  const found = element.getBoundingClientRect();
  return [found.left, found.top, found.right, found.bottom].map((value) => Math.round(10 * value) / 10);
}};
const boxes = (place, selector) => [...place.querySelectorAll(selector)]
  .filter((element) => element.getClientRects().length && element.textContent.trim())
  .map((element) => [element.textContent.trim().slice(0, 60), box(element)]);
const root = document.documentElement;
return {{
  inside: root.clientWidth,
  wide: root.scrollWidth,
  parts: boxes(document, "h1, h2, h3, p, summary, .methods, .methods button, .wide, .chart, footer"),
  charts: [...document.querySelectorAll(".chart")].map((chart) => ({{
    place: box(chart), plot: box(chart.querySelector(".nsewdrag")), titles: boxes(chart, ".xtitle, .ytitle, .y2title"),
    texts: boxes(chart, "{TEXTS}"), title: box(chart.parentElement.querySelector("h3")),
    legend: [...document.querySelectorAll(".methods")]
      .filter((legend) => legend.dataset.charts.split(" ").includes(chart.id)).map(box)[0] ?? null,
  }})),
  tables: [...document.querySelectorAll(".wide")].filter((wide) => wide.clientWidth).map((wide) => ({{
    more: wide.scrollWidth > wide.clientWidth + 1,
    told: getComputedStyle(wide.previousElementSibling.querySelector(".more")).display !== "none",
  }})),
}};
"""

ACT = """
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const table = document.querySelector("table.sorts");
const headings = [...table.tHead.rows[0].cells];
const column = headings.findIndex((heading) => heading.textContent === "personal models");
const shown = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
const click = (number) => headings[number].querySelector("button").click();
click(column);
const falling = shown();
const sorted = headings[column].getAttribute("aria-sort");
click(column);
const rising = shown();
const generic = headings.findIndex((heading) => heading.textContent === "generic model");
const last = () => [...table.tBodies[0].rows].at(-1).cells[generic].textContent;
click(generic);
const missing = [last()];
click(generic);
missing.push(last());

window.Plotly.Fx.hover("s0-clients-0", [{ curveNumber: 1, pointNumber: 2 }]);
await wait(500);
const told = document.querySelector("#s0-clients-0 .hoverlayer .hovertext")?.textContent ?? "";

const legend = document.querySelector(".methods");
const [first] = legend.querySelectorAll("button");
const group = first.querySelector("span").textContent;
const visible = (id) =>
  document.getElementById(id).data.filter((trace) => trace.legendgroup === group && trace.visible !== false).length;
const lines = () => legend.dataset.charts.split(" ").map(visible);
const before = lines();
first.click();
await wait(500);
const hidden = lines();
return {
  title: document.title, falling, rising, sorted, missing, told, before, hidden,
  plots: [...document.querySelectorAll(".chart")].map((chart) => chart.querySelectorAll(".plot-container").length),
  fetched: performance.getEntriesByType("resource").length,
};
"""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Reports of one, four and nine methods of three seeds, on a desk and on a phone; and one that is used."""
    folder = tmp_path_factory.mktemp("pages")
    scenario = {"data": {"name": "digits"}, "federation": {"clients": 3, "rounds": 2}}
    runs = []
    for number, strategy in enumerate(STRATEGIES):
        runs.append([
            make_run(folder / "runs", scenario, f"strategy={strategy}", f"seed={seed}", right=(30 + 5 * number, 90),
                     personal=(40 + 5 * number, 60 + seed, 100))
            for seed in range(3)
        ])  # fmt: skip
    for run in runs[-1]:  # local has no generic model
        for name, column in (("classes", "model"), ("metrics", "metric")):
            table = getattr(run, name)
            table[~table[column].str.startswith("generic")].to_parquet(run.folder / f"{name}.parquet")
        summary = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
        for key in ("final", "last_five"):
            summary[key] = {name: value for name, value in summary[key].items() if not name.startswith("generic")}
        (run.folder / "run.json").write_text(json.dumps(summary), encoding="utf-8")

    found: dict[str, View] = {}
    for count in (1, 4, 9):
        chosen = [run.folder for mine in (runs[-1:] if count > 1 else []) + runs[: count - (count > 1)] for run in mine]
        page = write_report(
            renamed(collect(chosen), {"ditto": LONG} if count > 1 else {}),
            folder / f"report-{count}.html",
            title="A <b>title</b>",
        )
        for where, width in (("desk", DESK), ("phone", PHONE)):
            found[f"{where}-{count}"] = View(page, width, MEASURE)
    found["used"] = View(folder / "report-4.html", DESK, ACT)
    return seen(found, tmp_path_factory.mktemp("frames"))


Box = tuple[float, float, float, float]


def over(one: Box, other: Box) -> bool:
    """Whether two boxes share more than an edge, a pixel wide."""
    return min(one[2], other[2]) - max(one[0], other[0]) > 1 and min(one[3], other[3]) - max(one[1], other[1]) > 1


@pytest.mark.parametrize("where", [f"{where}-{count}" for where in ("desk", "phone") for count in (1, 4, 9)])
def test_nothing_lies_over_another_or_leaves_the_page(where: str, views: dict[str, Any]) -> None:
    found = views[where]
    assert found["wide"] == found["inside"], "the page scrolls sideways"
    assert [text for text, box in found["parts"] if box[0] < 0 or box[2] > found["inside"]] == []

    problems = []
    for chart in found["charts"]:
        place, texts = chart["place"], chart["texts"]
        assert texts
        problems += [
            f"{text!r} leaves its chart"
            for text, box in texts
            if box[0] < place[0] - 1 or box[2] > place[2] + 1 or box[1] < place[1] or box[3] > place[3] + 1
        ]
        problems += [
            f"{one[0]!r} lies over {other[0]!r}" for one, other in combinations(texts, 2) if over(one[1], other[1])
        ]
        problems += [f"{text!r} lies over the plot" for text, box in chart["titles"] if over(chart["plot"], box)]
        for outside in filter(None, (chart["legend"], chart["title"])):
            problems += [f"a legend or title lies over {text!r}" for text, box in texts if over(outside, box)]
    assert problems == []


@pytest.mark.parametrize("where", ["desk-9", "phone-9", "phone-1"])
def test_a_table_that_is_wider_than_the_page_says_so(where: str, views: dict[str, Any]) -> None:
    tables = views[where]["tables"]
    assert [table["told"] for table in tables] == [table["more"] for table in tables]
    assert any(table["more"] for table in tables)
    if where == "desk-9":
        assert not tables[0]["more"]  # the comparison fits on a desk


def test_it_opens_drawn_and_fetches_nothing(views: dict[str, Any]) -> None:
    used = views["used"]
    assert used["title"] == "A <b>title</b>"
    assert used["plots"] == [1] * len(used["plots"])
    assert len(used["plots"]) >= 12
    assert used["fetched"] == 0


def test_a_click_on_a_heading_sorts(views: dict[str, Any]) -> None:
    used = views["used"]
    values = [float(text.split()[0]) for text in used["falling"]]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert used["sorted"] == "descending"
    assert [float(text.split()[0]) for text in used["rising"]] == sorted(values)
    assert used["missing"] == ["-", "-"]  # not defined comes last, whichever the order


def test_a_dot_tells_its_clients_figures(views: dict[str, Any]) -> None:
    # Strategies stand by name, so that the first panel is of ditto, by its new name: 50, 60 and 100 of 100
    # right under seed 0.
    assert views["used"]["told"].startswith(
        f"{LONG}, client 2, seed 015 training samples of 1 classpersonal 100.0 %, masked 100.0 %generic on the same"
    )


def test_a_legend_hides_a_method_in_all_its_charts(views: dict[str, Any]) -> None:
    used = views["used"]
    assert max(used["before"]) > 0
    assert max(used["hidden"]) == 0
