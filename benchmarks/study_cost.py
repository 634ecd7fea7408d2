"""Processor seconds of the study of all strategies, in two states of the source.

    git worktree add ../before c33141d
    python -m benchmarks.study_cost ../before . --rounds 20 --seeds 0 --json benchmarks/results/study_cost.json

Runs `benchmarks.strategies.sweep digits` of either folder, seed by seed, one of the two first in turn, each time in a
process of its own with one thread. Counted is the processor time of that process and of all that it starts, its imports
and checks included; a single run's is that of the process while the run is under way. `same bits`: both states end with
equal models. The whole study has 100 rounds and three seeds; fewer rounds are tested as often, but begin as often, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.arguments import seeds_of
from benchmarks.strategies.settings import FLOWER

HEAD = ("strategy", "before s", "now s", "ratio", "share now", "same bits")
CHILD = """
import json, sys, time
from pathlib import Path

from benchmarks.strategies.settings import SETTINGS, jobs, name_of
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import Quiet

only, rounds, seed, out = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
told = {}


class Clock(Quiet):
    def started(self, job):
        super().started(job)
        self.since_run = time.process_time()

    def ended(self, job, run):
        super().ended(job, run)
        told[job.label] = {"cpu_s": time.process_time() - self.since_run, "model": run.summary["model_hash"]}


setting = SETTINGS["digits"]
rows = [row for row in setting.rows() if name_of(row) in only]
# A mapping: an older state asks for the rates of each row.
work = jobs(setting, {row: [] for row in rows}, [seed], *([f"federation.rounds={rounds}"] if rounds != "0" else []))
done = run_jobs(work, out, 1, False, Clock())
assert not done.failures, done.failures
print(json.dumps(told))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="folder of the one state of the source")
    parser.add_argument("now", type=Path, help="folder of the other")
    parser.add_argument("--only", default="", help="strategies, by commas; all that both have unless given")
    parser.add_argument("--rounds", type=int, default=0, help="of each run; the scenario's unless given")
    parser.add_argument("--seeds", type=seeds_of, default="0", help="0-2 or 0,3,7")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)

    only = options.only or ",".join(_in_both(options.before, options.now))
    measured: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    for seed in options.seeds:
        for state in ("before", "now") if seed % 2 == 0 else ("now", "before"):
            measured[state].append(_study(getattr(options, state), only, options.rounds, seed))
            print(f"seed {seed} {state}: {measured[state][-1]['cpu_s']:.1f} processor s", flush=True)

    rows = compared(measured["before"], measured["now"])
    cells = [
        (row["strategy"], *(f"{row[key]:.2f}" for key in HEAD[1:4]), f"{row['share now']:.1%}", row["same bits"])
        for row in rows
    ]
    print(report.table(HEAD, cells))
    report.write(rows, options.json, options.csv)


def _in_both(*folders: Path) -> list[str]:
    """Strategies that all of these states have, and those of Flower in the study."""
    held = [{path.stem for path in (folder / "strategies").glob("*.py")} for folder in folders]
    return [*sorted(set.intersection(*held)), *FLOWER]


def compared(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a strategy, the most expensive one first, then what is no single run's, then all; seconds of all seeds.

    before, now: of each seed, as `_study` gives it.
    """
    whole = [sum(study["cpu_s"] for study in state) for state in (before, now)]
    spent = [
        {label: [study["runs"][label] for study in state] for label in state[0]["runs"]} for state in (before, now)
    ]
    rows = []
    for label, runs in spent[1].items():
        seconds = [sum(run["cpu_s"] for run in state[label]) for state in spent]
        same = all(one["model"] == other["model"] for one, other in zip(spent[0][label], runs, strict=True))
        rows.append(_row(label, *seconds, whole[1], "yes" if same else "no"))
    rows.sort(key=lambda row: -row["now s"])

    beside = [total - sum(_seconds(state)) for total, state in zip(whole, spent, strict=True)]
    equal = "yes" if all(row["same bits"] == "yes" for row in rows) else "no"
    return [*rows, _row("imports, checks", *beside, whole[1], ""), _row("all", *whole, whole[1], equal)]


def _row(label: str, before: float, now: float, whole: float, same: str) -> dict[str, Any]:
    return dict(zip(HEAD, (label, before, now, before / now, now / whole, same), strict=True))


def _seconds(state: dict[str, list[dict[str, Any]]]) -> Iterable[float]:
    return (run["cpu_s"] for runs in state.values() for run in runs)


def _study(folder: Path, only: str, rounds: int, seed: int) -> dict[str, Any]:
    """Processor seconds of one seed's study with the source in `folder`: `cpu_s` of all, and `runs` by their labels."""
    with tempfile.TemporaryDirectory(prefix="fedlt-study-") as out:
        words = [sys.executable, "-c", CHILD, only, str(rounds), str(seed), f"{out}/runs"]
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": "1"}
        with Path(out, "told.json").open("w+", encoding="utf-8") as told:
            process = subprocess.Popen(words, env=environment, cwd=folder, stdout=told)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"the study in {folder} failed")
            told.seek(0)
            runs = json.loads(told.read().splitlines()[-1])
    return {"cpu_s": used.ru_utime + used.ru_stime, "runs": runs}


if __name__ == "__main__":
    main()
