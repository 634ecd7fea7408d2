"""Reads the docstrings of this project for Sphinx: plain text that tells of arguments and fields as `name: text`."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from docutils import nodes


def to_rest(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Turns a docstring into reStructuredText, in place (`autodoc-process-docstring`)."""
    told = names_of(found)
    blocks = re.split(r"\n\n+", "\n".join(lines).strip("\n"))
    parts = [part for block in blocks for part in (_code(block) if block.startswith("    ") else _prose(block, told))]
    declared = [f":cvar {name}: {_marked(text)}" for name, text in declarations(found)] if what == "class" else []
    lines[:] = [*"\n\n".join([*parts, "\n".join(declared)]).splitlines(), ""]


def names_of(found: Any) -> set[str]:
    """The arguments of a function or of a class's constructor, and the fields of a dataclass."""
    names = {field.name for field in fields(found)} if is_dataclass(found) else set()
    with contextlib.suppress(TypeError, ValueError):
        names |= set(inspect.signature(found).parameters)
    return names - {"self"}


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


def _code(block: str) -> list[str]:
    return [f".. code-block:: python\n\n{block}"]


def _prose(block: str, told: set[str]) -> list[str]:
    """A paragraph with a field `:param NAME:` for each argument that it tells of; a list item by item."""
    if block.startswith("- "):
        return ["\n".join(f"- {_marked(' '.join(item.split()))}" for item in re.split(r"(?:^|\n)- ", block) if item)]
    return _fields(" ".join(block.split()), told)


def _fields(prose: str, told: set[str]) -> list[str]:
    """`A sentence. start: [T] what it received. round, of: 1-based. Raises ...` as sentences and fields."""
    names = "|".join(sorted(map(re.escape, told), key=len, reverse=True)) or "(?!)"
    pattern = re.compile(rf"(?:^|(?<=[.;)] ))((?:{names})(?:, (?:{names}))*): ")
    head, *found = pattern.split(prose)
    listed, after = [], ""
    for arguments, text in zip(found[::2], found[1::2], strict=True):
        told_here, raises, rest = text.strip().partition(" Raises ")
        after += f"Raises {rest}" if raises else ""
        listed += [f":param {name}: {_marked(told_here)}" for name in arguments.split(", ")]
    parts = [_marked(head.strip()), "\n".join(listed), _marked(after)]
    return [part for part in parts if part]


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
