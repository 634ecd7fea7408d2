"""Every `fedlt ...` of README, docs/ and notebooks is accepted as it is typed, by command line and scenario."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.commands.shared import parse_seeds
from fedlt.commands.typed import split
from fedlt.config.scenario import load_scenario
from fedlt.plots import KINDS
from fedlt.sweeps.grid import plan

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]
COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*fedlt(?: |$)")
PLACEHOLDER = re.compile(r"\b(?:SCENARIO|FILE|NAME|COMMAND|METRIC|RUN|PATHS?|X|M|N)\b|\.\.\.|…|\[OPTIONS\]")
ASKS_FOR_A_FOLDER = ("transformers:./vit", "transformers:./gpt2")
"""Models that a reader must have saved first."""

GROUP = typer.main.get_command(app)


def text_of(page: Path) -> str:
    """A page of Markdown, or all such cells of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def blocks(page: Path) -> tuple[list[tuple[str, str]], str]:
    """The blocks of a page with their languages (indented ones have none), and the text between them."""
    found: list[tuple[str, str]] = []
    prose: list[str] = []
    fence, language, inside = "", "", list[str]()

    for line in [*text_of(page).splitlines(), ""]:
        opening = re.match(r"(`{3,})(.*)", line)
        if fence:
            if line == fence:
                found.append((language, "\n".join(inside)))
                fence, inside = "", []
            else:
                inside.append(line)
        elif opening:
            fence, language = opening[1], opening[2].strip()
        elif line.startswith("    "):
            inside.append(line.strip())
        else:
            if inside:
                found.append(("", "\n".join(inside)))
                inside = []
            prose.append(line)
    return found, "\n".join(prose)


def lines(page: Path) -> Iterator[str]:
    """The commands of a page: in its blocks, with what continues them, and between backticks in its text."""
    found, prose = blocks(page)
    for language, block in found:
        if language in ("", "text", "bash", "console"):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                for part in re.split(r" && ", line.strip()):
                    if COMMAND.match(part):
                        yield re.split(r"\s{3,}", part.removeprefix("$ "))[0]
    for inline in re.findall(r"(?<!`)`(fedlt [^`]+)`(?!`)", prose):
        yield " ".join(inline.split())


def commands() -> list[tuple[str, str]]:
    """Each command once, with the first page that has it."""
    found: dict[str, str] = {}
    for page in PAGES:
        for line in lines(page):
            if not PLACEHOLDER.search(line):
                found.setdefault(line, str(page.relative_to(ROOT)))
    return [(page, line) for line, page in found.items()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each page with the files that it tells its readers to write, and those of all other pages."""
    written: dict[Path, dict[str, str]] = {page: {} for page in PAGES}
    for page in PAGES:
        for language, block in blocks(page)[0]:
            name = re.match(r"# (\S+\.py)\n", block)
            if language == "python" and name:
                written[page][name[1]] = written[page].get(name[1], "") + block + "\n"
    others = {name: source for files in written.values() for name, source in files.items()}
    folders = {}
    for page, files in written.items():
        place = tmp_path_factory.mktemp("reader")
        for name, source in {**others, **files}.items():
            (place / name).write_text(source, encoding="utf-8")
        shutil.copy(ROOT / "scenarios" / "digits_lt.yaml", place / "mine.yaml")
        folders[str(page.relative_to(ROOT))] = place
    return folders


def test_there_are_commands_of_every_kind() -> None:
    named = {shlex.split(line)[1] for _, line in commands() if line.startswith("fedlt ") and len(line.split()) > 1}
    assert len(commands()) > 150
    assert named >= set(GROUP.commands), set(GROUP.commands) - named  # type: ignore[attr-defined]


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_documented_command_is_accepted(
    page: str, line: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders[page])
    words = shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )*fedlt ?", "", line), comments=True)
    if not words or words[0].startswith("-"):
        return
    name, *arguments = words
    command = GROUP.commands[name]  # type: ignore[attr-defined]
    if not arguments or (arguments[0].startswith("--") and len(arguments) == 1):  # named, not to be typed
        assert set(arguments) <= {option for each in command.params for option in each.opts}
        return
    given = command.make_context(name, list(arguments)).params
    if any(asked in line for asked in ASKS_FOR_A_FOLDER):
        return
    if name in ("run", "check", "show", "sweep"):
        scenario, changes = split(given["scenario"], given["overrides"])
        changes += [f"init_from.name={given['init_from']}"] if given.get("init_from") else []
        seeds = parse_seeds(given["seeds"]) if given.get("seeds") else []
        if name == "sweep":
            plan(scenario, changes, seeds)
        else:
            load_scenario(scenario, changes)
    elif name == "plot":
        assert given["kind"] in (*KINDS, "all")
    elif name in ("explain", "ls"):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
