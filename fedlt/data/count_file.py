"""Reads `data.longtail.counts`: a list in the scenario, or a file that holds one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlt.data.npz import opened
from fedlt.errors import Problem, ScenarioError

KEY = "data.longtail.counts"


def read_counts(source: Sequence[int] | str, classes: int) -> NDArray[np.int64]:
    """Samples per class, int64 [classes], each at least 1.

    Raises `ScenarioError`.

    Args:
        source: a list; a .json file with a list; a .txt or .csv file of numbers; or an .npz file, whose array is named
            as in `counts.npz:places` where it holds several whole-number arrays.
    """
    values = _read_file(source) if isinstance(source, str) else list(source)
    if any(isinstance(value, bool) or not isinstance(value, int) for value in values):
        raise _problem("expected a flat list of whole numbers")
    if len(values) != classes:
        raise _problem(f"has {len(values)} entries, but the data set has {classes} classes; give one entry per class")
    if min(values) < 1:
        raise _problem(f"class {values.index(min(values))} gets {min(values)} samples; every class needs at least 1")
    return np.array(values, np.int64)


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(KEY, message))


def file_of(source: str) -> Path:
    """The file that a text such as `counts.txt` or `counts.npz:places` names, there or not."""
    file, _, array = source.partition(".npz:")
    return Path(f"{file}.npz" if array else file).expanduser()


def _read_file(name: str) -> list[int]:
    """The counts of a file, by its ending."""
    path, array = file_of(name), name.partition(".npz:")[2]
    if not path.is_file():
        raise _problem(f"no such file: {path.absolute()}")
    if path.suffix == ".npz":
        return _read_npz(path, array)

    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise _problem(f"{path} is not readable JSON: {error}") from error
        if not isinstance(content, list):
            raise _problem(f"{path} must hold a list of whole numbers")
        return content

    if path.suffix in (".txt", ".csv"):
        words = re.split(r"[\s,;]+", path.read_text(encoding="utf-8").strip())
        try:
            return [int(word) for word in words]
        except ValueError as error:
            raise _problem(f"{path} must hold whole numbers only, with no header line: {error}") from error

    raise _problem(f"expected a .json, .txt, .csv or .npz file, got {path.name}")


def _read_npz(path: Path, array: str) -> list[int]:
    """The counts of an archive.

    Args:
        array: its name; empty: the only one of whole numbers.
    """
    with opened(path, _problem) as content:
        fitting = [key for key in content.files if content[key].ndim == 1 and content[key].dtype.kind in "iu"]
        chosen = [key for key in fitting if not array or key == array]
        if len(chosen) != 1:
            raise _problem(
                f"{path.name} holds the whole-number arrays {', '.join(fitting) or '(none)'}; "
                f"name one of them, as in {path.name}:NAME"
            )
        return [int(value) for value in content[chosen[0]]]
