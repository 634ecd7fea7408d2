"""Finds the marks of pages, and writes or checks what belongs there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quoted import blocks, measured

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?P<mark><!-- quoted: (?P<what>.+?) -->\n)(?P<text>.*?)(?P<end><!-- end -->)", re.DOTALL)
PROSE = re.compile(r"(?P<mark><!-- figures: (?P<list>.+?) -->)\n(?P<text>.+?)(?=\n\n|\n<!--|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Quoted:
    """A figure of a sentence. table, method, metric: where it comes from. text: as it is written."""

    table: str
    method: str
    metric: str
    text: str

    @property
    def now(self) -> str:
        """What is written today, in the same form."""
        return measured.as_written(self.table, self.method, self.metric, self.text)


def quoting() -> list[Path]:
    """README.md, and every page of docs/ and benchmarks/ that is kept."""
    made = {ROOT / "docs" / "commands.md"}
    folders = (ROOT / "docs", ROOT / "benchmarks")
    return [ROOT / "README.md", *sorted({path for folder in folders for path in folder.rglob("*.md")} - made)]


def written(text: str) -> str:
    """A page with all that it quotes made anew."""
    text = BLOCK.sub(lambda found: f"{found['mark']}{blocks.make(found['what'])}\n{found['end']}", text)
    return PROSE.sub(_paragraph, text)


def stale(page: Path, costly: bool = True) -> list[str]:
    """What of a page is not current, a line each. costly: make blocks anew that take runs, too."""
    text = page.read_text(encoding="utf-8")
    found = [
        f"`{' '.join(mark['what'].split()[:2])}` is not current: python -m benchmarks.quoted"
        for mark in BLOCK.finditer(text)
        if (costly or not blocks.takes_runs(mark["what"])) and not blocks.same(mark["what"], mark["text"].rstrip("\n"))
    ]

    for mark in PROSE.finditer(text):
        for quoted in _listed(mark["list"]):
            now = quoted.now
            if now != quoted.text:
                found.append(f"{quoted.table}: {quoted.method} {quoted.metric} is {now}, not {quoted.text}")
            elif not _pattern(quoted.text).search(mark["text"]):
                found.append(f"{quoted.text} ({quoted.method} {quoted.metric}) does not stand in the paragraph")
    return found


def _paragraph(mark: re.Match[str]) -> str:
    """The comment and its paragraph with today's figures in the place of those that were quoted."""
    head, text = mark["mark"], mark["text"]
    changed = {}
    for quoted in _listed(mark["list"]):
        now = quoted.now
        if now != quoted.text:
            changed[quoted.text] = now
            entry = f"{quoted.method} {quoted.metric} = "
            head = head.replace(entry + quoted.text, entry + now)

    if changed:  # at once, since a new figure may be another's old one
        either = re.compile("|".join(_pattern(old).pattern for old in sorted(changed, key=len, reverse=True)))
        text = either.sub(lambda found: changed[" ".join(found[0].split())], text)
    return f"{head}\n{text}"


def _listed(text: str) -> Iterator[Quoted]:
    """The entries of a comment: `TABLE: METHOD METRIC = FIGURE; ...`; an entry without a table is of the one before."""
    table = ""
    for entry in text.split(";"):
        where, _, figure = " ".join(entry.split()).partition(" = ")
        named, colon, rest = where.partition(": ")
        table, where = (named, rest) if colon else (table, where)
        method, _, metric = where.rpartition(" ")
        yield Quoted(table, method, metric, figure)


def _pattern(figure: str) -> re.Pattern[str]:
    """The figure with any white space, and not as a part of a longer number."""
    words = r"\s+".join(re.escape(word) for word in figure.split())
    return re.compile(rf"(?<![\d.]){words}(?![\d]|\.\d)")
