"""Sphinx: `sphinx-build -W -b html docs docs/_build`. Pages are Markdown (MyST), docstrings, and the notebooks."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import docstrings  # noqa: E402  # of this folder

project = "FedLT"
author = "The FedLT authors"
copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build"]
smartquotes = False  # it makes a dash of the option `--by`

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are committed with their outputs
nb_render_markdown_format = "myst"  # tables of comparisons

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "FedLT"
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"  # which browsers draw themselves: the pages fetch no script


def commands_page() -> str:
    """Every command with its arguments and options, from the command line itself."""
    import typer.main

    from fedlt.commands.cli import app

    group: Any = typer.main.get_command(app)
    parts = ["# Commands\n\nWritten from `fedlt COMMAND --help`.\n"]
    for name, command in sorted(group.commands.items()):
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["fedlt", name, *command.collect_usage_pieces(context)])
        parts.append(f"## fedlt {name}\n\n```text\n{usage}\n```\n\n{as_markdown(command.help)}\n")
        for option in command.params:
            if option.param_type_name == "option":
                default = "" if option.default in (None, "", False) else f" [{option.default}]"
                parts.append(f"`{', '.join(option.opts)}`\n: {as_markdown(option.help or 'No help.')}{default}\n")
    return "\n".join(parts)


def as_markdown(text: str) -> str:
    """Plain help with its options as code, and without an asterisk that would be a mark."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        escaped = re.sub(r"([*_<])", r"\\\1", parts[number])
        parts[number] = re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"`\1`", escaped)
    return "`".join(parts)


def write_pages(app: Any) -> None:
    """Writes what is made from elsewhere before the pages are read: docs/commands.md and a copy of the notebooks."""
    (HERE / "commands.md").write_text(commands_page(), encoding="utf-8")
    copies = HERE / "notebooks"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, copies)


def with_alternatives(app: Any, doctree: nodes.document) -> None:
    """Gives a picture that a notebook draws the text before it, for who cannot see it (`doctree-read`)."""
    told = ""
    for node in doctree.findall():
        if isinstance(node, (nodes.paragraph, nodes.title)):
            told = " ".join(node.astext().split())
        elif isinstance(node, nodes.image) and not node.get("alt"):
            node["alt"] = f"Drawn by the code above: {told}"


def mathml(translator: Any, node: nodes.Element) -> None:
    """A formula within a line or as a block of its own, as MathML."""
    from latex2mathml.converter import convert

    if isinstance(node, nodes.math_block):
        formula = convert(node.astext(), display="block")
        translator.body.append(f'<div class="formula">{formula}</div>\n')
    else:
        translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Connects the pages that are written, how docstrings are read, and what draws formulas."""
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", docstrings.to_rest)
    app.connect("doctree-read", docstrings.with_colons)
    app.connect("doctree-read", with_alternatives)
