"""The documentation builds without a warning, and its examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import fedlt
from benchmarks.links import cost
from fedlt.commands.cli import app
from fedlt.config import catalog

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="pip install -e '.[docs]' to build the pages")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run([*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "commands.html").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f'id="fedlt-{name}"' in page


@pytest.mark.parametrize(
    ("page", "kind"), [("own-strategy", "strategy"), ("own-learner", "learner"), ("local-work", "learner")]
)
def test_the_examples_of_the_how_to_pages_run(
    page: str, kind: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / "howto" / f"{page}.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
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


def test_the_how_to_pages_are_there() -> None:
    pages = {page.stem for page in (DOCS / "howto").glob("*.md")}
    asked = {"own-data", "own-strategy", "own-learner", "gpu-shares", "ray-cluster", "flower"}
    assert asked <= pages
