"""The measurement on a GPU, tried on the CPU: its plan, what becomes of cases that fail, and what it writes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import tables
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import hosted
from benchmarks.gpu.cases import NAMES, PRECISIONS, Case, plan
from benchmarks.gpu.hosted import Host
from benchmarks.gpu.page import section

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

DRY = [
    Case("tiny", "bare"),
    Case("tiny"),
    Case("tiny", "fedlt-processes", workers=2),
    Case("cifar-resnet8", together=10),
    Case("cifar-resnet18", "fedlt-ray", workers=4),
]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in path.read_text(encoding="utf-8").splitlines() if line[0] != "#"))


def _pages() -> list[str]:
    """The texts into which committed figures go."""
    return [page.read_text(encoding="utf-8") for page in tables.PAGES]


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[dict[str, str]], Path, list[str]]]:
    """Rows of a dry run, their file, and the pages before it."""
    path, pages = tmp_path_factory.mktemp("gpu") / "dry.csv", _pages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "plan", lambda: iter(DRY))
        patch.setitem(gpu.EXPECTED, "fedlt-ray", 1e9)  # more than any budget
        assert gpu.main(["--dry-run", "--csv", str(path)]) == 0
    yield table(path), path, pages


def test_a_dry_run_measures_and_counts(dry: tuple[list[dict[str, str]], Path, list[str]]) -> None:
    bare, inline = dry[0][:2]
    assert float(bare["images_per_second"]) > 0
    assert float(bare["x_bare"]) == 1
    assert float(inline["x_bare"]) == pytest.approx(
        float(inline["images_per_second"]) / float(bare["images_per_second"]), rel=1e-4
    )
    assert float(bare["syncs_per_step"]) == 0
    assert float(inline["syncs_per_step"]) > 0  # each client's update is looked at
    assert float(inline["syncs_in_loop"]) == 0


def test_workers_give_the_same_model(dry: tuple[list[dict[str, str]], Path, list[str]]) -> None:
    inline, forked = dry[0][1:3]
    assert inline["hash"] == forked["hash"] != ""
    assert "fedlt-processes of 2 the same model" in section(dry[1])


def test_what_fails_or_finds_no_time_is_a_row(dry: tuple[list[dict[str, str]], Path, list[str]]) -> None:
    refused, late = dry[0][3:]
    assert "batch normalisation" in refused["note"]
    assert late["note"] == "not measured: no time was left"
    assert "\n- cifar-resnet18, fedlt-ray, float32, 4 workers: not measured" in section(dry[1])


def test_figures_of_a_dry_run_stay_out_of_the_results(dry: tuple[list[dict[str, str]], Path, list[str]]) -> None:
    assert _pages() == dry[2]
    for words in (["--dry-run"], ["--dry-run", "--csv", str(gpu.RESULTS)]):
        with pytest.raises(SystemExit):
            gpu.main(words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_a_process_that_hangs_or_breaks_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "EVERY", 0.02)
    host = Host(tmp_path, dry=True)
    monkeypatch.setattr(hosted, "CHILD", (sys.executable, "-S", "-c", "import time; time.sleep(60)"))
    assert host.measure(Case("tiny"), limit=0.1) == {"note": "took longer than 0 s"}
    monkeypatch.setattr(hosted, "CHILD", (sys.executable, "-S", "-c", "raise SystemExit('no driver')"))
    assert host.measure(Case("tiny"), limit=30) == {"note": "its process ended with 1: no driver"}


def test_a_kill_leaves_the_rows_so_far(tmp_path: Path) -> None:
    class Killed:
        dry = True
        answers = iter([{"images_per_second": 5.0, "seconds_per_round": 1.0}, {"note": "out of memory"}])

        def measure(self, *case: Any, **order: Any) -> dict[str, Any]:
            return next(self.answers, None) or sys.exit(143)

    with pytest.raises(SystemExit):
        gpu._measured(Killed(), DRY[:3], 1e6, tmp_path / "gpu.csv", {})  # type: ignore[arg-type]
    assert [row["note"] for row in table(tmp_path / "gpu.csv")] == ["", "out of memory"]


def test_the_plan_begins_with_each_workload_bare_and_by_fedlt() -> None:
    cases = list(plan())
    assert {case.workload for case in cases[:8]} == set(NAMES)
    assert [case.system for case in cases[:8]] == ["bare", "fedlt-inline"] * 4
    assert len(set(cases)) == len(cases)
    found = {(case.workload, case.precision) for case in cases if case.system == "fedlt-ray"}
    assert found == {(name, precision) for name in NAMES for precision in PRECISIONS}
    assert {case.workers for case in cases if case.system == "fedlt-ray"} == {1, 2, 4}
