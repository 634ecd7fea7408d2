"""Sphinx: `sphinx-build -W -b html docs docs/_build`. Pages are Markdown (MyST)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

project = "FedLT"
author = "The FedLT authors"
copyright = author
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "FedLT"
html_show_sphinx = False


def commands_page() -> str:
    """Every command with its arguments and options, from the command line itself."""
    import typer.main

    from fedlt.commands.cli import app

    group: Any = typer.main.get_command(app)
    parts = ["# Commands\n\nWritten from `fedlt COMMAND --help`.\n"]
    for name, command in sorted(group.commands.items()):
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["fedlt", name, *command.collect_usage_pieces(context)])
        parts.append(f"## fedlt {name}\n\n```text\n{usage}\n```\n\n{command.help}\n")
        for option in command.params:
            if option.param_type_name == "option":
                default = "" if option.default in (None, "", False) else f" [{option.default}]"
                parts.append(f"`{', '.join(option.opts)}`\n: {option.help or 'No help.'}{default}\n")
    return "\n".join(parts)


def setup(app: Any) -> None:
    """Writes docs/commands.md before the pages are read."""
    app.connect("builder-inited", lambda _: (HERE / "commands.md").write_text(commands_page(), encoding="utf-8"))
