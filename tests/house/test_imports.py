"""The shape of the house: who may import whom, how long a module may be, and what a quick command must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_files import ROOT, imports, modules

from benchmarks.readability import DOCUMENTED, lines_of_docstring

pytestmark = pytest.mark.slow

FORBIDDEN = {
    "fedlt": {"flwr", "ray", "strategies", "clients", "server"},
    "strategies": {"flwr", "ray", "clients", "server"},
    "server": {"clients"},
    "clients": {"ray", "server"},
}
BOTH_SIDES = {"fedlt/checks/rehearsal.py"}  # imported late, by `check_strategy` alone
CODEC = "server.records"  # what clients may know of the server
LATE = {
    "fedlt/sweeps/run.py",
    "fedlt/sweeps/grids.py",
    "fedlt/sweeps/rehearse.py",
    "fedlt/commands/cli.py",
    "fedlt/checks/conformance.py",
    "fedlt/results/runs.py",
}  # may reach the other side from within a function
HEAVY = ("torch", "ray", "flwr", "matplotlib")
MAX_LINES = 300  # docstrings left out: they give each argument a line of its own, which must not push code elsewhere
MAX_LINES_IN_ALL = 400


def trespasses(name: str, source: str) -> list[str]:
    """Imports of a module (`fedlt/sweeps/run.py`) that go against the direction."""
    if name in BOTH_SIDES:
        return []
    forbidden = FORBIDDEN[name.split("/")[0]]
    return [
        f"{name}:{line} imports {module.split('.')[0]}"
        for module, late, line in imports(ast.parse(source))
        if module.split(".")[0] in forbidden and not (late and name in LATE)
        if not (name.startswith("clients/") and module.startswith(f"{CODEC}."))
    ]


def test_imports_point_one_way() -> None:
    found = [
        trespass
        for path in modules()
        for trespass in trespasses(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


BAD = """
import numpy, ray.util
from typing import TYPE_CHECKING
from .server import near
if TYPE_CHECKING:
    from flwr.app import Message
class A:
    from strategies.fedavg import FedAvg
    def late(self):
        import clients.worker
        return importlib.import_module("server.app")
"""


def test_the_walker_sees_every_kind_of_import() -> None:
    names = ["ray", "flwr", "strategies", "clients", "server"]
    assert [text.split()[-1] for text in trespasses("fedlt/nn/bad.py", BAD)] == names
    assert trespasses("fedlt/nn/bad.py", BAD)[0] == "fedlt/nn/bad.py:2 imports ray"
    assert [text.split()[-1] for text in trespasses("fedlt/sweeps/run.py", BAD)] == ["ray", "strategies"]
    assert [text.split()[-1] for text in trespasses("strategies/bad.py", BAD)] == ["ray", "flwr", "clients", "server"]
    assert [text.split()[-1] for text in trespasses("server/bad.py", BAD)] == ["clients"]
    assert [text.split()[-1] for text in trespasses("clients/bad.py", BAD)] == ["ray", "server"]
    assert trespasses("clients/good.py", "from server.records import unpack_job\nimport flwr") == []


def test_what_imports_both_sides_is_imported_late_and_once() -> None:
    found = [
        (path.relative_to(ROOT).as_posix(), late)
        for path in modules()
        for module, late, _ in imports(ast.parse(path.read_text(encoding="utf-8")))
        if module.startswith("fedlt.checks.rehearsal.")
    ]
    assert {name.rpartition("/")[0] for name, _ in found} == {"fedlt/checks"}
    assert all(late for _, late in found)


def test_every_package_is_walked() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in modules()}
    assert {
        "fedlt/strategy.py",
        "fedlt/nn/flat.py",
        "strategies/fedavg.py",
        "clients/worker.py",
        "server/app.py",
    } <= names


def parts(sources: dict[str, str]) -> dict[str, set[str]]:
    """What each part of `fedlt` imports while it is imported; a part is a module at the top, or a whole sub-package.

    sources: the text of each module by its path within `fedlt` (`nn/flat.py`).
    """
    found: dict[str, set[str]] = {}
    for name, source in sources.items():
        part = name.removesuffix(".py").split("/")[0]
        names = (module.split(".") for module, late, _ in imports(ast.parse(source)) if not late)
        found.setdefault(part, set()).update(path[1] for path in names if path[0] == "fedlt" and len(path) > 1)
    return {part: used - {part} for part, used in found.items()}


def test_the_parts_of_the_library_import_one_way() -> None:
    library = ROOT / "fedlt"
    graph = parts({path.relative_to(library).as_posix(): path.read_text("utf-8") for path in library.rglob("*.py")})
    assert {"blocks", "learner", "nn", "training", "results"} <= graph.keys()
    TopologicalSorter(graph).prepare()  # raises CycleError with the parts that import each other
    assert [part for part, used in graph.items() if "commands" in used] == ["__main__"]


def test_the_check_above_notices_a_circle_of_sub_packages() -> None:
    text = {"nn/a.py": "from fedlt.data.b import c", "data/b.py": "c = 1", "data/d.py": "from fedlt import nn"}
    assert parts(text) == {"nn": {"data"}, "data": {"nn"}}
    with pytest.raises(CycleError):
        TopologicalSorter(parts(text)).prepare()


def names_of(path: Path) -> str:
    """Dotted name of a module of the house."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles(sources: dict[str, str], with_late: bool) -> list[set[str]]:
    """Groups of modules that reach each other by their imports.

    sources: text of each module by its dotted name. with_late: also count imports within functions and those for type
    checkers.
    """
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        found = (module for module, late, _ in imports(ast.parse(source)) if with_late or not late)
        # `from fedlt.data import raw` names a module, `from fedlt.data.raw import Raw` what it holds.
        homes = {m if m in sources else m.rpartition(".")[0] for m in found}
        graph[name] = {home for home in homes if home in sources and home != name}

    def reached(start: str) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            fresh = graph[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        return seen

    reach = {name: reached(name) for name in graph}
    groups: list[set[str]] = []
    for name in graph:
        group = {other for other in reach[name] if name in reach[other]}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def test_few_modules_import_each_other_and_none_while_they_are_imported() -> None:
    """The one circle is that of the contracts, whose types name each other."""
    sources = {names_of(path): path.read_text("utf-8") for path in modules() if path.name != "__init__.py"}
    assert circles(sources, with_late=False) == []
    found = circles(sources, with_late=True)
    assert len(found) <= 2, "\n".join(", ".join(sorted(group)) for group in found)
    assert any({"fedlt.strategy", "fedlt.learner", "fedlt.data.site"} <= group for group in found)


def test_the_check_above_notices_circles() -> None:
    late = {"a": "from b import x", "b": "def f():\n    from c import y", "c": "import a"}
    assert circles(late, with_late=False) == []
    assert circles(late, with_late=True) == [{"a", "b", "c"}]
    assert circles({"a": "import b", "b": "import a", "c": "import a"}, with_late=False) == [{"a", "b"}]


def test_the_house_has_few_rooms() -> None:
    """A room is a folder of modules, or a module at the top of a package that has folders."""
    folders = {path.parent for path in modules()}
    top = {path for path in modules() if path.parent == ROOT / "fedlt"}
    assert len(folders) - 1 + len(top) <= 42, sorted(path.name for path in folders | top)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_is_too_long(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    assert lines <= MAX_LINES_IN_ALL
    if lines > MAX_LINES:
        nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED))
        docstrings = set[int]().union(*map(lines_of_docstring, nodes))
        assert lines - len(docstrings) <= MAX_LINES


def heavy_after(code: str) -> set[str]:
    """Heavy modules that a fresh interpreter holds after running the code."""
    code += f"\nimport sys; print('heavy:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("command", ["--help", "run --help", "ls", "ls strategies --json", "show digits_lt"])
def test_quick_commands_import_nothing_heavy(command: str) -> None:
    code = (
        "from fedlt.commands.cli import app\n"
        f"try: app({command.split()!r}, standalone_mode=False)\n"
        "except SystemExit as end: assert not end.code"
    )
    assert heavy_after(code) == set()


def test_the_check_above_notices_a_heavy_module() -> None:
    assert heavy_after("import matplotlib") == {"matplotlib"}


def test_components_and_scenarios_are_read_without_being_imported() -> None:
    code = (
        "import fedlt; from fedlt.config import catalog, scenario_file\n"
        "for kind in catalog.KINDS:\n    for name in catalog.names(kind): catalog.find(kind, name)\n"
        "for name in catalog.flower_names(): catalog.find('strategy', name)\n"
        "for name in scenario_file.scenario_names(): fedlt.load_scenario(name).hash"
    )
    assert heavy_after(code) == set()


def test_no_module_is_left_out_of_flowers_bundle() -> None:
    """`flwr build` (1.42) passes over files that are named like tests, in silence; what imports them then fails."""
    left_out = [path for path in modules() if path.name.startswith("test_") or path.name.endswith("_test.py")]
    assert not left_out
