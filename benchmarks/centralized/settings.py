"""The command of a benchmark with several settings: tunes, measures each, keeps every seed, and prints checks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from benchmarks.arguments import one_of, seeds_of
from benchmarks.centralized.acceptance import Check

Found = Mapping[Any, Mapping[str, NDArray[Any]]]
"""By method, or by several words that name one, its figures for each seed."""


def keep(path: Path, setting: str, columns: Sequence[str], seeds: Sequence[int], found: Found) -> None:
    """Write the figures of a setting in the place of those that the table had of it.

    Args:
        columns: what names a method: one column, or one for each of its words.
    """
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    rows = [row for row in rows if row["setting"] != setting]
    for method, values in found.items():
        words = (method,) if isinstance(method, str) else method
        for place, seed in enumerate(seeds):
            figures = {name: float(each[place]) for name, each in values.items()}
            rows.append({"setting": setting, **dict(zip(columns, words, strict=True)), "seed": seed, **figures})
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.2f", lineterminator="\n")


def command(
    about: str | None,
    table: Path,
    settings: Sequence[str],
    tune: Callable[[str, Path], object],
    measure: Callable[[str, Sequence[int], Path], Found],
    checks: Callable[[Any], Iterable[Check]],
    columns: Sequence[str] = ("method",),
) -> int:
    """The exit status: 1 where a check fails.

    Args:
        about: the module's docstring.
        table: where figures are kept; run folders are beneath a folder of its name unless `--out` names another.
        settings: what may be measured; the first one, where nothing is named.
        tune: is given each setting that is named, and where run folders are, before anything is measured.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "settings", nargs="*", type=one_of(["tune", *settings]), help=f"any of: tune, {', '.join(settings)}"
    )
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized") / table.stem)
    options = parser.parse_args()
    named = [setting for setting in options.settings if setting != "tune"]
    failed = 0

    if "tune" in options.settings:
        for setting in named or settings[:1]:
            tune(setting, options.out)
    for setting in named if options.settings else settings[:1]:
        print(setting, flush=True)
        found = measure(setting, options.seeds, options.out)
        keep(table, setting, columns, options.seeds, found)
        for check in checks(found):
            print(check, flush=True)
            failed += not check.holds
    return int(failed > 0)
