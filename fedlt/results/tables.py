"""The files of a run folder: their columns, and how they are written.

    scenario.yaml        the resolved scenario
    run.json             status, provenance, timings, and the figures of the last evaluations
    log.txt              the lines of the console
    partition.npz        each client's rows of the training and of the test set, with their labels
    rounds.parquet       one row a round: time, loss, traffic
    metrics.parquet      (round, metric, value)
    clients.parquet      one row per evaluation and client: accuracies of the personal model
    classes.parquet      one row per evaluation and class: recall of the generic model, norms of features and head
    calibration.parquet  one row per evaluation, model and bin of confidence
    confusion.parquet    the confusion matrices from which all figures are derived
    model.json           of a finished run: what its models expect, and the names of the classes
    *.safetensors        of a finished run: its generic model, what clients keep, what the server sends beside the model
    code/                a user's own components, and what they import: by key of the scenario, `code/strategy/mine.py`
    checkpoints/         while the run goes on, and after it the state of its end, for going on with more rounds

While a run goes on, its tables are in pieces (`fedlt.results.pieces`). A file is written beside its final name and
then moved over it, so that a reader meets whole files only, at any moment of a run, and a crash leaves the older file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.process.files import flush, replace_file

if TYPE_CHECKING:
    import pyarrow as pa

TABLES: dict[str, dict[str, str]] = {
    "rounds": {
        "round": "int64", "ended": "double", "seconds": "double", "train_loss": "double", "clients": "int64",
        "samples": "int64", "steps": "int64", "backward_samples": "int64", "forward_samples": "int64",
        "skipped": "int64", "dropped": "int64", "late": "int64", "arrived": "int64", "attackers": "int64",
        "clip": "double", "clipped": "double", "epsilon": "double", "simulated_seconds": "double",
        "stragglers": "double", "bytes_up": "int64", "bytes_down": "int64",
    },
    "metrics": {"round": "int64", "metric": "string", "value": "double"},
    "clients": {
        "round": "int64", "variant": "string", "client": "int64", "train_samples": "int64", "test_samples": "int64",
        "accuracy": "double", "accuracy_masked": "double", "generic": "double", "many": "double", "medium": "double",
        "few": "double", "nll": "double", "brier": "double", "alignment": "double",
    },
    "classes": {
        "round": "int64", "model": "string", "class": "int64", "name": "string", "train_count": "int64",
        "test_count": "int64", "recall": "double", "group_count": "string", "group_mass": "string",
        "feature_norm": "double", "head_norm": "double", "duality": "double",
    },
    "calibration": {
        "round": "int64", "model": "string", "bin": "int64", "samples": "int64", "accuracy": "double",
        "confidence": "double",
    },
    "confusion": {
        "round": "int32", "model": "string", "client": "int32", "true": "int32", "pred": "int32", "count": "int64",
    },
}  # fmt: skip
"""Columns of the tables. `rounds` may have further columns, or lack those that a run does not measure."""

_OLDER_NAMES = {"images": "backward_samples", "forward_images": "forward_samples"}


def named_as_today(name: str) -> str:
    """Today's name of a column of `rounds`, or of its sum in `run.json`, as an older version may have called it."""
    return _OLDER_NAMES.get(name, name)


def schema(table: str) -> pa.Schema:
    """Arrow schema of one of the `TABLES`."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in TABLES[table].items()])


def to_table(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """One of the `TABLES` from its columns: arrays or lists of one length, and single values that hold for all rows.

    A column of floats that was not measured is NaN; one that is not among those of the table is added to it.
    """
    import pyarrow as pa

    length = max(len(column) for column in columns.values() if not isinstance(column, str | int))
    full = {name: [column] * length if isinstance(column, str | int) else column for name, column in columns.items()}
    missing = {name: np.full(length, np.nan) for name, kind in TABLES[table].items() if kind == "double"}
    held = pa.table({name: (missing | full)[name] for name in TABLES[table]}, schema=schema(table))
    for name in full:
        if name not in TABLES[table]:
            held = held.append_column(name, pa.array(full[name], pa.float64()))
    return held


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of all keys that occur in the rows, in order of appearance; null where a row lacks one."""
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes strict JSON: NaN and infinities, which it does not know, become null."""
    text = json.dumps(_jsonable(value), indent=1, allow_nan=False, ensure_ascii=False)

    def write(temporary: Path) -> None:
        temporary.write_text(text + "\n", encoding="utf-8")
        flush(temporary)

    replace_file(path, write)


def _jsonable(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, os.PathLike) else value
