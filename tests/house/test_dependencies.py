"""Every core dependency has a floor, a ceiling and a reason, and what is said to be tested stands in the table."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from source_files import ROOT

from benchmarks import compat
from benchmarks.compat import Found, Row, cells, core, read, rows
from fedlt.commands.listing import doctor_report

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", core())
def test_a_dependency_has_a_floor_a_ceiling_and_a_reason(name: str) -> None:
    assert re.fullmatch(r">=[\d.]+,<[\d.]+", core()[name])
    line = next(line for line in PROJECT.splitlines() if line.strip().startswith(f'"{name}>='))
    assert len(line.partition("# ")[2]) > 20


def test_there_is_a_row_for_the_oldest_release_of_each_and_for_each_python() -> None:
    found = {row.name: row for row in rows({"flwr": ">=1.41,<1.43", "torch": ">=2.6,<3"})}
    held = found["newest"].pins
    assert held[0].startswith("torch==")
    assert found["flwr oldest"] == Row("flwr oldest", "3.11", ("flwr==1.41", *held))
    assert found["torch oldest"] == Row("torch oldest", "3.11", ("torch==2.6",))
    assert found["python 3.13"].python == "3.13"
    assert list(found)[-2:] == ["torch newest", "oldest"]


def test_a_row_passes_where_no_test_fails_and_all_backends_give_one_model() -> None:
    good: dict[str, Any] = {"versions": {"flwr": "1.42.0"}, "tests": "90 passed, 1 skipped", "models": {"inline": "ab"}}

    def result(**changes: Any) -> str:
        return Found("3.11", **{**good, **changes}).result

    assert result() == "passed"
    assert result(versions={}, tests="", models={}, note="no such release") == "not installed"
    assert result(tests="1 failed, 89 passed") == "failed"
    assert result(tests="90 passed, 1 error") == "failed"
    assert result(tests="no tests ran") == "failed"
    assert result(models={"inline": "ab", "ray": "ac"}) == "failed"
    assert result(models={"inline": "ab", "ray": "failed"}, note="ray: it ended") == "failed"


def test_only_rows_that_passed_count_as_tested() -> None:
    one = {"versions": dict.fromkeys(core(), "1.9"), "tests": "3 passed", "models": {"inline": "a"}}
    other = {**one, "versions": dict.fromkeys(core(), "1.10.0+cpu")}
    table = {
        "a": cells("a", Found("3.12", **other)),
        "b": cells("b", Found("3.11", **one)),
        "c": cells("c", Found("3.13", **{**one, "tests": "1 failed"})),
    }
    assert compat.tested(table)["python"] == ["3.11", "3.12"]
    assert compat.tested(table)["ray"] == ["1.9", "1.10.0+cpu"]


def test_the_doctor_says_what_the_table_says() -> None:
    table = read(compat.TABLE)
    assert {row["result"] for row in table.values()} <= {"passed", "failed", "not installed"}
    found = json.loads(compat.TESTED.read_text(encoding="utf-8"))
    assert found == compat.tested(table)
    assert {name: said.partition(";")[0] for name, said in doctor_report()["tested"].items()} == {
        name: ", ".join(versions) or "none" for name, versions in found.items()
    }


def test_every_package_is_installed() -> None:
    """What `pip install .` takes along are the folders with modules in them, neither more nor fewer."""
    listed = set(tomllib.loads(PROJECT)["tool"]["setuptools"]["packages"]) - {"scenarios"}
    folders = {
        path.parent for top in ("fedlt", "clients", "server", "strategies") for path in (ROOT / top).rglob("*.py")
    }
    assert listed == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
