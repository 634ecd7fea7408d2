"""Run folders of older versions, whose round tables counted images, are read by today's names."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from fedlt.results.pieces import Growing
from fedlt.results.record import RunWriter
from fedlt.results.runs import open_run

OLD = pa.table({"round": [1, 2], "images": [30, 30], "forward_images": [5, 0]})


def test_an_older_run_folder_is_read_by_todays_names(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(OLD, tmp_path / "rounds.parquet")
    (tmp_path / "run.json").write_text(json.dumps({"status": "finished", "images": 60, "forward_images": 5}))
    run = open_run(tmp_path)
    assert run.rounds.columns.tolist() == ["round", "backward_samples", "forward_samples"]
    assert run.rounds.backward_samples.tolist() == [30, 30]
    assert run.summary == {"status": "finished", "backward_samples": 60, "forward_samples": 5}


def test_a_run_that_an_older_version_began_goes_on_under_todays_names(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, "", {})
    writer.start()
    writer.resume(tmp_path, {"rounds": 2, "images": 60, "forward_images": 5})
    assert (writer.summary["backward_samples"], writer.summary["forward_samples"]) == (60, 5)
    assert "images" not in writer.summary


def test_pieces_of_both_versions_become_one_table(tmp_path: Path) -> None:
    growing = Growing(tmp_path)
    growing.append("rounds", [OLD])
    growing.append("rounds", [pa.table({"round": [3], "backward_samples": [31], "forward_samples": [1]})])
    growing.finish()
    whole = pyarrow.parquet.read_table(tmp_path / "rounds.parquet").to_pydict()
    assert whole == {"round": [1, 2, 3], "backward_samples": [30, 30, 31], "forward_samples": [5, 0, 1]}
