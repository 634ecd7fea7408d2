"""Whether two runs say the same: every figure and every kept tensor, without their timings."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from fedlt.results.runs import Run


def every_figure(run: Run) -> tuple[Any, ...]:
    """All that a run says, without its timings."""
    timings = [name for name in run.rounds if name.endswith("seconds")]
    rounds = run.rounds.drop(columns=[*timings, "ended", "workers"])
    tables = {"rounds": rounds, "metrics": run.metrics, "clients": run.clients, "classes": run.classes}
    for table in tables.values():
        table.attrs.clear()
    summary = {key: run.summary[key] for key in ("status", "rounds", "evaluations", "skipped", "final_round")}
    figures = [json.dumps(part) for part in (run.summary["final"], run.summary["last_five"])]
    return run.summary["model_hash"], summary, figures, tables | {"confusion": run.confusion}


def assert_equal(found: Run, expected: Run) -> None:
    a, b = every_figure(found), every_figure(expected)
    assert a[:3] == b[:3]
    for name in a[3]:
        pd.testing.assert_frame_equal(a[3][name], b[3][name], check_exact=True, obj=name)
    for path in expected.folder.glob("*.safetensors"):
        assert (found.folder / path.name).read_bytes() == path.read_bytes()
