"""Lists that pages take from what the code and other pages declare."""

from __future__ import annotations

import re
from pathlib import Path

from fedlt.commands.words import WORDS
from fedlt.config import catalog
from fedlt.config.declarations import NEEDS
from fedlt.measures.columns import COLUMNS
from fedlt.results.tables import TABLES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def strategy(name: str) -> str:
    """The strategy's name with a link to its page, and its idea in the words of its docstring."""
    page = "flower" if name.startswith("flower:") else name
    summary = "" if page == "flower" else re.sub(r"^[\w-]+: ", "", catalog.find("strategy", name).summary)
    about = f"<br>{summary[:1].upper()}{summary[1:]}" if summary else ""
    return f"[`{name}`](strategies/{page}.md){about}".replace("|", "\\|")


def needs(name: str) -> str:
    """What a strategy declares to need, beyond one class a sample; each a word of `fedlt.strategy.NEEDS`."""
    found = [] if name.startswith("flower:") else catalog.find("strategy", name).needs
    return ", ".join(f"`{need}`" for need in found if need in NEEDS and need != "single_label")


def columns(table: str) -> str:
    """The columns of a table of a run folder with their types; of rounds, those that the engine adds as well."""
    known = {name.partition(".")[2]: figure for name, figure in COLUMNS.items() if name.startswith(f"{table}.")}
    lines = ["| column | type | |", "| :-- | :-- | :-- |"]
    for name in dict.fromkeys([*TABLES[table], *known]):
        text = known[name].text if name in known else "Round of the evaluation."
        lines.append(f"| `{name}` | {TABLES[table].get(name, 'double')} | {text} |")
    return "\n".join(lines)


def words() -> str:
    """The field's words in alphabetical order, with their synonyms and the page that has more."""
    lines = []
    for word in sorted(WORDS, key=lambda word: word.name.lower()):
        also = f" *Also: {', '.join(word.also)}.*" if word.also else ""
        more = f" [](<{word.page}>)" if word.page else ""
        lines.append(f"**{word.name}**\n: {word.text}{also}{more}\n")
    return "\n".join(lines).rstrip()


PAPER = re.compile(
    r"(?P<authors>[^:*]+): \*(?P<title>[^*]+)\*[.,] "
    r"(?:(?P<venue>[A-Z][\w ]*?) )?(?P<year>(?:19|20)\d\d)(?: \(arXiv (?P<arxiv>[\d.]+)\))?"
)
"""`Authors: *Title*. Venue year`, or `year (arXiv number)`."""


def citations(folder: str) -> str:
    """A BibTeX entry for each paper that the pages of a folder open with, by the names of the methods."""
    entries: dict[str, str] = {}
    for page in sorted((DOCS / folder).glob("*.md")):
        opening = page.read_text(encoding="utf-8").split("\n\n")[1]
        for number, found in enumerate(PAPER.finditer(" ".join(opening.split()))):
            key = page.stem if not number else f"{page.stem}_{number + 1}"
            title = found["title"].lower()
            authors = found["authors"].lstrip(" .,)").split(", ")
            if len(authors) == 1 or title in entries:  # "Menon et al.": in full on another page
                continue
            entries[title] = _entry(key, authors, found)
    return "```bibtex\n" + "\n\n".join(entries.values()) + "\n```"


def _entry(key: str, authors: list[str], paper: re.Match[str]) -> str:
    told = {"author": " and ".join(authors), "title": f"{{{paper['title']}}}"}
    if paper["venue"]:
        told["booktitle"] = paper["venue"]
    if paper["arxiv"]:
        told |= {"eprint": paper["arxiv"], "archiveprefix": "arXiv"}
    told["year"] = paper["year"]
    kind = "inproceedings" if paper["venue"] else "misc"
    return "\n".join([f"@{kind}{{{key},", *(f"  {name} = {{{value}}}," for name, value in told.items()), "}"])
