"""Reads the docstrings of this project for Sphinx: plain text, with sections of arguments, fields and errors."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from docutils import nodes

# Headings of a docstring's sections, and the role that reStructuredText has for each of their entries.
SECTIONS = {"Args": "param", "Attributes": "param", "Returns": "returns", "Yields": "yields", "Raises": "raises"}


def to_rest(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Turns a docstring into reStructuredText, in place (`autodoc-process-docstring`)."""
    blocks = re.split(r"\n\n+", "\n".join(lines).strip("\n"))
    parts = [part for block in blocks if (part := _block(block))]
    declared = [f":cvar {name}: {_marked(text)}" for name, text in declarations(found)] if what == "class" else []
    lines[:] = [*"\n\n".join([*parts, "\n".join(declared)]).splitlines(), ""]


def declarations(found: type) -> Iterator[tuple[str, str]]:
    """The class variables of a contract, each with the comment above it; one comment may tell of several."""
    comment, gathering = "", False
    for line in map(str.strip, inspect.getsource(found).splitlines()):
        variable = re.match(r"(\w+): ClassVar", line)
        if line.startswith("# "):
            comment = f"{comment} {line[2:]}" if gathering else line[2:]
        elif variable and comment:
            yield variable[1], comment
        elif not line:
            comment = ""
        gathering = line.startswith("# ")


def _block(block: str) -> str:
    """One part of a docstring between blank lines: code, a list, a section, or a paragraph."""
    if block.startswith("    "):
        return f".. code-block:: python\n\n{block}"
    if block.startswith("- "):
        return "\n".join(f"- {_marked(' '.join(item.split()))}" for item in re.split(r"(?:^|\n)- ", block) if item)
    heading, _, entries = block.partition(":\n")
    if heading in SECTIONS:
        return "\n".join(_fields(SECTIONS[heading], entries))
    return _marked(" ".join(block.split()))


def _fields(role: str, entries: str) -> Iterator[str]:
    """The entries of a section as fields: `low, high: ends of the range` are two."""
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(entries)):
        flat = " ".join(entry.split())
        if role in ("returns", "yields"):
            yield f":{role}: {_marked(flat)}"
            continue
        names, _, told = flat.partition(": ")
        yield from (f":{role} {_escaped(name)}: {_marked(told)}" for name in names.split(", "))


def with_colons(app: Any, doctree: nodes.document) -> None:
    """Puts a colon between a parameter and its text, where Sphinx writes two hyphens (`doctree-read`)."""
    for text in [text for text in doctree.findall(nodes.Text) if text == " -- "]:
        text.parent.replace(text, nodes.Text(": "))


def _marked(text: str) -> str:
    """Backticks of one kind, and nothing else that reStructuredText would take for a mark."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd number of backticks
        return _escaped(text)
    for number, part in enumerate(parts):
        ends_before_a_letter = number % 2 and parts[number + 1][:1].isalnum()  # `Run`s
        parts[number] = f"``{part}``" + "\\ " * ends_before_a_letter if number % 2 else _escaped(part)
    return "".join(parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|]|(?<=\w)_(?=\W|$))", r"\\\1", text)
