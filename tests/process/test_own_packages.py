"""A folder of research code may hold modules that are called like this project's packages, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINE = """
from dataclasses import dataclass
from fedlt import Strategy

@dataclass(frozen=True)
class Mine(Strategy):
    pass
"""
SCRIPT = """
import sys
import fedlt

if __name__ == "__main__":
    changes = {"federation": {"rounds": 1, "clients": 4}, "model": "mlp", "evaluation.every": 1}
    for backend in sys.argv[1:]:
        run = fedlt.run("digits_lt", changes, backend=backend, workers=1, out=backend)
        print(run.status, run.summary["grid"], run.summary["model_hash"])
"""
QUICK = ["federation.rounds=1", "federation.clients=4", "model=mlp", "evaluation.every=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which everything that is imported by a name of the project's raises."""
    theirs = "raise RuntimeError('a module of the user was taken for one of the project')"
    for name in ("server.py", "clients.py", "strategies/__init__.py", "scenarios/__init__.py", "strategies/fedavg.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(theirs)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def call(folder: Path, *words: str, fails: bool = False) -> str:
    """What a program says in that folder, whose `PYTHONPATH` leads to this project behind the folder itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


@pytest.mark.grid
@pytest.mark.slow
def test_the_own_packages_are_found_on_every_backend(folder: Path) -> None:
    """One after the other, those first that import less here: what one needs beyond the others is looked for anew."""
    told = [line.split() for line in call(folder, "script.py", "ray", "processes", "inline").splitlines()]
    assert [(status, grid) for status, grid, _ in told] == [
        ("finished", "RayGrid"),
        ("finished", "ProcessGrid"),
        ("finished", "InlineGrid"),
    ]
    assert len({hash for _, _, hash in told}) == 1


@pytest.mark.slow
def test_the_command_and_the_workers_of_a_sweep_find_them(folder: Path) -> None:
    assert "digits_lt: ok" in call(folder, "-m", "fedlt", "check", "digits_lt", *QUICK)
    command = "from fedlt.commands.cli import main; main()"  # the text of the script that pip makes
    (folder / "bin").mkdir()
    (folder / "bin" / "fedlt").write_text(command)
    (folder / "fedlt.py").write_text("raise RuntimeError('this is not the package')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "bin/fedlt", "sweep", "digits_lt", "strategy=fedavg,local", *QUICK, "--parallel", "2"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_module_that_was_imported_before_is_named_with_the_remedy(folder: Path) -> None:
    (folder / "server.py").write_text("app = 'mine'")
    program = "import server, fedlt; fedlt.run('digits_lt')"
    told = call(folder, "-c", program, fails=True).strip().splitlines()[-1]
    assert told == "  server: your own server.py was imported in the place of FedLT's package server; rename yours"

    (folder / "strategies" / "__init__.py").write_text("")
    (folder / "strategies" / "fedavg.py").write_text("")
    program = "import strategies.fedavg, fedlt; fedlt.run('digits_lt')"
    told = call(folder, "-c", program, fails=True).strip().splitlines()[-1]
    assert told.endswith(
        "your own strategies/ was imported in the place of FedLT's module strategies.fedavg; rename yours"
    )


@pytest.mark.slow
def test_two_packages_of_one_name_go_on_side_by_side(folder: Path) -> None:
    """The user's own import leads to the user's own; what the project imports, to the project's."""
    (folder / "strategies" / "__init__.py").write_text("from strategies.mine import Mine")
    (folder / "strategies" / "mine.py").write_text(MINE)
    (folder / "strategies" / "fedavg.py").unlink()
    program = (
        "import fedlt\n"
        "from strategies import Mine\n"
        f"run = fedlt.run('digits_lt', {QUICK!r}[0], {QUICK!r}[1], 'model=mlp', 'strategy=fedprox')\n"
        "from strategies.fedprox import FedProx\n"
        "print(run.status, Mine.__module__, FedProx.__module__)"
    )
    assert call(folder, "-c", program).split() == ["finished", "strategies.mine", "strategies.fedprox"]


@pytest.mark.slow
def test_a_folder_without_init_is_no_package_in_the_way(folder: Path) -> None:
    for name in ("__init__", "fedavg"):
        (folder / "strategies" / f"{name}.py").unlink()
    (folder / "strategies" / "mine.py").write_text(MINE)
    program = (
        "import fedlt; from strategies.mine import Mine; from strategies.fedavg import FedAvg; print(FedAvg.__name__)"
    )
    assert call(folder, "-c", program) == "FedAvg\n"
