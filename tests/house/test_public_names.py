"""What `fedlt` offers: one list for `dir`, completion, `import *` and type checkers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedlt
import fedlt.results
from fedlt import plots

SOURCE = Path(fedlt.__file__)


def test_dir_lists_the_public_names_and_nothing_else() -> None:
    assert dir(fedlt) == sorted([*fedlt.__all__, "__version__"])
    asked = {"run", "sweep", "compare", "join", "load_scenario", "load_runs", "open_run", "check_strategy", "plots"}
    assert asked < set(dir(fedlt))


def test_each_name_is_there_when_it_is_asked_for() -> None:
    assert all(getattr(fedlt, name) is not None for name in fedlt.__all__)


def test_each_name_has_an_entry_in_the_reference() -> None:
    page = (SOURCE.parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^\.\. auto\w+:: (fedlt\.\S+)$", page, flags=re.MULTILINE))
    drawing = [f"plots.{name}" for name in plots.__all__ if name.islower()]
    assert [name for name in (*fedlt.__all__, *drawing) if f"fedlt.{name}" not in entries] == []


def test_type_checkers_see_the_same_names() -> None:
    """They read the imports that stand under TYPE_CHECKING."""
    (block,) = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    imported = [
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert sorted(name for _, name in imported) == sorted(fedlt.__all__)
    found = {name: module for module, names in fedlt._HOMES.items() for name in names}
    assert found | {"plots": "fedlt"} == {name: module for module, name in imported}


def test_an_older_name_tells_the_new_one() -> None:
    with pytest.raises(AttributeError, match="load_scenario reads a scenario, load_runs reads runs"):
        fedlt.load  # noqa: B018
    with pytest.raises(AttributeError, match="runs are read by load_runs"):
        fedlt.results.load  # noqa: B018


def test_completion_in_a_notebook_offers_them() -> None:
    program = (
        "from IPython.core.completer import provisionalcompleter\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_cell('import fedlt')\n"
        "for by_jedi in (True, False):\n"
        "    shell.Completer.use_jedi = by_jedi\n"
        "    with provisionalcompleter():\n"
        "        print(*(found.text.lstrip('.') for found in shell.Completer.completions('fedlt.', 6)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert sorted(line.split()) == sorted(fedlt.__all__)
