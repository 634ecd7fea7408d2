"""The documentation builds without a warning, and its examples run."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

import fedlt
from benchmarks.links import cost
from benchmarks.quoted import families
from fedlt import plots
from fedlt.commands.cli import app
from fedlt.config import catalog
from fedlt.results.tables import TABLES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_nb", "furo", "latex2mathml"):
        pytest.importorskip(package, reason="pip install -e '.[docs]' to build the pages")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    html = tmp_path / "html"
    page = (html / "commands.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f'id="fedlt-{name}"' in page
    assert ">--by<" in page and "\N{EN DASH}" not in page, "a dash in the place of --by"
    assert "0.7*validation/generic/accuracy" in re.sub(r"<.*?>", "", page), (
        "an asterisk of a formula is taken for a mark"
    )
    privacy = (html / "howto" / "privacy-and-compression.html").read_text(encoding="utf-8")
    assert "<mfrac>" in privacy and "MathJax" not in privacy, "formulas are drawn without a script"
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shown = (html / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert "_images/" in shown or path.stem.startswith("03"), f"{path.name} is shown without its pictures"
        assert "| :-- |" not in shown, f"{path.name} is shown with a table as text"
        article = shown[shown.index("<article") : shown.index("</article>")]
        assert "<img " not in re.sub(r'<img [^>]*alt="[^"_][^"]{20,}"[^>]*>', "", article), f"{path.name}: no words"
    api = (html / "api.html").read_text(encoding="utf-8")
    for name in (*fedlt.__all__, *(f"plots.{name}" for name in plots.__all__ if name.islower())):
        assert re.search(rf'id="(module-)?fedlt\.{name}"', api), f"{name} is missing in docs/api.md"
    _found_by_the_search(html)


QUERIES = {
    "own model": "howto/own-model",
    "own data": "howto/own-data",
    "my data": "howto/own-data",
    "own metric": "howto/own-metric",
    "own partition": "howto/own-partition",
    "own strategy": "howto/own-strategy",
    "resume": "howto/resume",
    "tail accuracy": "concepts",
    "run folder": "run-folder",
    "choose a strategy": "choose-a-strategy",
    "cite": "citation",
    "out of memory": "faq",
}
"""What somebody may type into the search, and a page that it must lead to at first."""


def _found_by_the_search(html: Path) -> None:
    """The first results of Sphinx's search: main index entries that hold the query and are at most twice as long."""
    text = (html / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    for query, page in QUERIES.items():
        near = [
            places for entry, places in index["indexentries"].items() if query in entry and 2 * len(query) >= len(entry)
        ]
        first = {index["docnames"][document] for places in near for document, _, main in places if main}
        assert page in first, (query, first)


@pytest.mark.parametrize(
    ("page", "kind"), [("own-strategy", "strategy"), ("own-learner", "learner"), ("local-work", "learner")]
)
def test_the_examples_of_the_how_to_pages_run(
    page: str, kind: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "howto" / f"{page}.md").read_text(encoding="utf-8")
    source, *_ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    file = source.split()[1]
    assert len([line for line in source.splitlines() if line.strip() and not line.startswith("#")]) <= 15
    (tmp_path / file).write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (name,) = re.findall(r"^class (\w+)", source, flags=re.MULTILINE)
    own = fedlt.run(tiny, f"{kind}=./{file}:{name}", out=tmp_path)
    plain = fedlt.run(tiny, out=tmp_path)
    assert own.summary["model_hash"] != plain.summary["model_hash"]


def test_the_cost_of_privacy_and_compression_is_what_was_measured() -> None:
    page = (DOCS / "howto" / "privacy-and-compression.md").read_text(encoding="utf-8")
    assert cost.table() in page, "python -m benchmarks.links.cost table"


def test_links_between_pages_lead_somewhere() -> None:
    for path in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file() or target == "commands.md", (path, target)


@pytest.mark.parametrize("mark", [r"%", r"[-+*] ", r"1[.)] ", r"#+ ", r">"], ids=["comment", "list", "1.", "#", ">"])
def test_no_line_within_a_paragraph_is_taken_for_something_else(mark: str) -> None:
    """MyST leaves out a line that begins with a per cent sign, and a minus that opens a line begins a list."""
    for page in DOCS.rglob("*.md"):
        text = re.sub(
            r"^```.*?^```|<!--.*?-->\n?", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        for paragraph in re.split(r"\n\s*\n", text):
            first, *lines = paragraph.strip("\n").splitlines() or [""]
            if mark == "%" or not re.match(r"\s*([-+*]|\d+[.)]|#+|>|:) ", first):
                taken = [line for line in lines if re.match(rf"\s*{mark}", line)]
                assert not taken, (page, taken)
            else:  # within an entry of a list, what is no entry of a list within it
                taken = re.findall(rf"[^:\n]\n +{mark}.*", paragraph)
                assert not taken, (page, taken)


def test_names_of_the_code_in_the_pages_exist() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for name in set(re.findall(r"(?<![\w./-])fedlt(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8"))):
            if not name.endswith((".png", ".json")):
                assert pkgutil.resolve_name(name), (page, name)


PAGES = [("strategies", "strategy"), ("learners", "learner")]


@pytest.mark.parametrize(
    ("folder", "kind", "name"),
    [(folder, kind, name) for folder, kind in PAGES for name in catalog.names(kind)],
    ids=lambda value: str(value),
)
def test_every_strategy_and_learner_has_its_page(folder: str, kind: str, name: str) -> None:
    page = DOCS / folder / f"{name}.md"
    assert page.is_file(), f"write docs/{folder}/{name}.md"
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert re.search(rf"fedlt \w+ .*{kind}={name}\b", text), "the page gives the command that runs it"
    assert len(text.splitlines()) >= 10


def test_no_page_is_about_a_method_that_is_not_there() -> None:
    for folder, kind in PAGES:
        written = {page.stem for page in (DOCS / folder).glob("*.md")}
        assert written <= {*catalog.names(kind), "flower"}


def test_the_pages_asked_for_are_there() -> None:
    pages = {page.stem for page in (DOCS / "howto").glob("*.md")}
    own = {f"own-{part}" for part in ("data", "model", "partition", "metric", "strategy", "learner")}
    assert own | {"use-a-model", "gpu-shares", "ray-cluster", "flower"} <= pages
    assert {"choose-a-strategy", "run-folder", "api", "faq", "citation"} <= {page.stem for page in DOCS.glob("*.md")}


def test_every_how_to_stands_once_under_a_job() -> None:
    listed = re.findall(r"^howto/(\S+)$", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    pages = sorted(page.stem for page in (DOCS / "howto").glob("*.md"))
    assert sorted(listed) == pages, "docs/index.md lists each page of docs/howto under one of its captions"


def test_the_guide_shows_every_family() -> None:
    text = (DOCS / "choose-a-strategy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"quoted: family (\w+) ", text)) == set(families.STRATEGIES)


def test_the_page_of_the_run_folder_tells_of_every_file_and_key(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Of a run with all that leaves something: private heads, validation data, and weights to begin with."""
    page = (DOCS / "run-folder.md").read_text(encoding="utf-8")
    first = fedlt.run(tiny, out=tmp_path)
    chosen = ["strategy=fedloge", "data.validation=0.2", "evaluation.patience=4", f"init_from={first.folder}"]
    run = fedlt.run(tiny, *chosen, out=tmp_path, name="Ours")
    for path in run.folder.iterdir():
        assert f"`{path.name}{'/' * path.is_dir()}`" in page, path.name
    for key in run.summary:
        assert f"`{key}`" in page, f"run.json: {key}"
    for table in TABLES:
        told = page.split(f"## `{table}.parquet`")[1].split("\n## ")[0]
        for column in getattr(run, table).columns:
            assert f"| `{column}` |" in told, (table, column)
    with np.load(run.folder / "partition.npz") as held:
        for name in held:
            assert f"`{name}`" in page, f"partition.npz: {name}"
