"""Which releases of the core dependencies FedLT works with: the oldest and the newest that pyproject.toml allows.

    python -m benchmarks.compat --list           the rows
    python -m benchmarks.compat                  measure all rows that the table lacks
    python -m benchmarks.compat "flwr oldest"    measure these rows, whether the table has them or not
    python -m benchmarks.compat --queue CMD      likewise; every call of pytest is `CMD pytest ...`

A row is a new virtual environment with one release, or one version of Python, held; everything else is as new as
pyproject.toml and the packages themselves allow. PyTorch alone is held at the release of this environment unless it is
the row's own: on an index without CPU builds any other costs gigabytes. In each environment the quick part of the suite
runs, and one scenario under every backend; a row counts as tested where no test fails and all final models are equal.
Not for CI: it takes an index of packages, some minutes and about a gigabyte a row. Environments are made by uv, which
comes with Flower and heeds its own variables (UV_INDEX, UV_FIND_LINKS). The versions that passed also go to
fedlt/commands/tested.json, which `fedlt doctor` reads.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.compat_backends import BACKENDS, OUT

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "benchmarks" / "results" / "compat.csv"
TESTED = ROOT / "fedlt" / "commands" / "tested.json"

PYTHONS = ("3.11", "3.12", "3.13")
QUICK = (
    "test_arrays.py",  # Flower's records, NumPy's file format
    "test_schema.py",  # OmegaConf
    "test_scenario.py",
    "test_partition.py",  # flwr-datasets
    "test_data_sources.py",  # datasets, pyarrow, pandas, Pillow
    "test_nn.py",  # PyTorch
    "test_catalog.py",  # Flower's strategies
    "test_learners.py",  # scikit-learn
    "test_summary.py",  # rich
    "test_cli.py",  # typer
    "test_plots.py",  # matplotlib
    "test_compare.py",  # SciPy
    "test_ray_transport.py",  # Ray
)
"""Modules of the suite that stand nearest to the dependencies."""

RUN = "run "  # begins the name of a backend's column
LIMIT = 3600.0  # seconds for one command, the time in the queue included


@dataclass(frozen=True)
class Row:
    """A row's name, the release or version it holds, and how the rest is chosen."""

    name: str
    python: str = PYTHONS[0]
    pins: tuple[str, ...] = ()
    resolution: str = "highest"


@dataclass
class Found:
    """What came of a row. versions: by package. tests: pytest's last line. models: hash by backend, or what failed."""

    python: str
    versions: dict[str, str] = field(default_factory=dict)
    tests: str = ""
    models: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def result(self) -> str:
        """`passed`, `failed`, or `not installed`."""
        if not self.versions:
            return "not installed"
        good = re.search(r"\d+ passed", self.tests) and not re.search(r"failed|error", self.tests)
        return "passed" if good and len(set(self.models.values())) == 1 and not self.note else "failed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows that are wanted, one after the other; the table is written after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compat", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="names of rows; those that the table lacks unless given")
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    parser.add_argument("--folder", type=Path, help="where environments are made; a temporary one unless given")
    parser.add_argument("--queue", nargs="+", default=[], help="command that waits for a place and starts another")
    options = parser.parse_args(arguments)
    plan = {row.name: row for row in rows(core())}
    if options.list:
        print("\n".join(plan))
        return

    table = read(TABLE)
    unknown = [name for name in options.rows if name not in plan]
    if unknown:
        parser.error(f"unknown rows {unknown}; see --list")

    for name in options.rows or [name for name in plan if name not in table]:
        with tempfile.TemporaryDirectory(prefix="fedlt-compat-", dir=options.folder) as folder:
            found = measure(plan[name], Path(folder), options.queue)
        table[name] = cells(name, found)
        write({key: table[key] for key in plan if key in table})
        print(name, table[name]["result"], found.tests, found.note, sep="; ", flush=True)


def core() -> dict[str, str]:
    """The core dependencies: name and allowed versions, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.fullmatch(r"([A-Za-z0-9-]+)(.*)", text) for text in project["dependencies"])
    return {match[1]: match[2] for match in found if match}


def rows(dependencies: Mapping[str, str]) -> list[Row]:
    """All rows: everything new, everything old, every Python, and each package's oldest.

    The newest release of each package is in the first row, but for PyTorch's.
    """
    held = f"torch=={importlib.metadata.version('torch')}"
    found = [Row("newest", pins=(held,))]
    found += [Row(f"python {version}", version, (held,)) for version in PYTHONS[1:]]
    for name, allowed in dependencies.items():
        oldest = re.search(r">=([0-9.]+)", allowed)
        assert oldest is not None, f"{name} has no floor"
        found.append(Row(f"{name} oldest", pins=(f"{name}=={oldest[1]}", *((held,) if name != "torch" else ()))))
    return [*found, Row("torch newest"), Row("oldest", resolution="lowest-direct")]


def measure(row: Row, folder: Path, queue: Sequence[str] = ()) -> Found:
    """Make the row's environment in the folder and try FedLT in it. queue: what to put before each call of pytest."""
    found = Found(row.python)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv is not None, "uv comes with Flower: pip install -e ."
    programs = folder / "venv" / "bin"
    made = _call([uv, "venv", "-q", "--python", row.python, str(folder / "venv")], folder)
    if made.returncode == 0:
        wanted = ["-e", str(ROOT), *row.pins, "pytest>=8", "hypothesis>=6"]
        chosen = ["--resolution", row.resolution, "--python", str(programs / "python")]
        made = _call([uv, "pip", "install", "-q", *chosen, *wanted], folder)
    if made.returncode:
        found.note = " ".join(made.stderr.split())[:300]
        return found

    asked = f"print(json.dumps([platform.python_version(), {{name: m.version(name) for name in {[*core()]}}}]))"
    said = _call([str(programs / "python"), "-c", f"import importlib.metadata as m, json, platform; {asked}"], folder)
    found.python, found.versions = json.loads(said.stdout)

    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "FEDLT_CACHE": str(folder / "cache")}
    environment[OUT] = str(folder / "runs")
    modules = [*(f"tests/{name}" for name in QUICK), "benchmarks/compat_backends.py"]
    chosen = ["-p", "no:cacheprovider", "-k", "not seconds"]  # no time limits: other work may go on beside it
    said = _call([*queue, "pytest", *chosen, *modules], ROOT, environment)
    found.tests = _last_line(said.stdout)
    found.note = _first_failure(said) if said.returncode else ""
    for backend in BACKENDS:
        records = list((folder / "runs" / backend).glob("*/run.json"))
        summary = json.loads(records[0].read_text(encoding="utf-8")) if records else {}
        found.models[backend] = summary.get("model_hash", "failed")[:12]
    return found


def cells(name: str, found: Found) -> dict[str, str]:
    """The row of the table."""
    head = {"row": name, "result": found.result, "python": found.python, **found.versions, "tests": found.tests}
    return {**head, **{f"{RUN}{backend}": model for backend, model in found.models.items()}, "note": found.note}


def read(path: Path) -> dict[str, dict[str, str]]:
    """The table by name of row; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["row"]: row for row in csv.DictReader(file)}


def write(table: Mapping[str, Mapping[str, str]]) -> None:
    """The table, and from it what `fedlt doctor` says was tested."""
    head = ["row", "result", "python", *core(), "tests", *(f"{RUN}{backend}" for backend in BACKENDS), "note"]
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, head, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.values())
    TESTED.write_text(json.dumps(tested(table), indent=1) + "\n", encoding="utf-8")


def tested(table: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """By package, and for Python, the versions of the rows that passed, ascending."""
    good = [row for row in table.values() if row["result"] == "passed"]
    return {name: sorted({row[name] for row in good}, key=_numbers) for name in ("python", *core())}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def _call(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took more than {LIMIT:.0f} s")


def _first_failure(said: subprocess.CompletedProcess[str]) -> str:
    lines = said.stdout.splitlines()
    told = [line for start in ("FAILED", "ERROR", "E  ") for line in lines if line.startswith(start)]
    return (told or [_last_line(said.stderr) or f"exit code {said.returncode}"])[0][:300]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r" in [\d.]+s.*", "", lines[-1].strip("= ")) if lines else ""


if __name__ == "__main__":
    main()
