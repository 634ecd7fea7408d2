"""Equal trials for all methods on validation data, and the chosen settings over seeds: what several tables need.

A study gives every method the same number of settings of rate and one own parameter, on one seed that no table uses,
and writes all of them with their validation figures to tuned.csv. A setting counts by the mean of generic and masked
personal accuracy (of a method with one of them, by that one), since both models count. The smallest rate within half a
point of the best is chosen: what is gained beyond it is noise, and a rate that is best on one seed may be too large on
another. The chosen settings then train on all data, over seeds that did not choose. One that diverges on any of them
gives way to the next smaller rate, for all seeds, which tuned.csv says; that asks for no figure. Both steps go on after
an interruption. Test figures are in the runs that tune as well, and nothing here reads them.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from benchmarks.arguments import seeds_of
from benchmarks.rows import write_rows
from fedlt.comparing.compare import compare
from fedlt.comparing.table import render
from fedlt.measures.figures import COSTS
from fedlt.measures.headlines import ACCURACIES
from fedlt.results.runs import Run
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

SEED = 100
"""Of the runs that tune; no table has it."""
TOLERANCE = 0.005
"""Settings this close to the best one are as good as it."""
DIVERGED = "not finite"
"""What the reason of a run that diverged says."""
JUDGED = ("validation/generic/accuracy", "validation/personal_masked/accuracy")
METRICS = (*ACCURACIES, "generic/balanced_accuracy", "personal_masked/worst_decile", *COSTS)
Trial = tuple[float, float | str | None]
"""A learning rate, and the value of the own parameter where there is one."""


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    strategy: its name. fixed: keys that make it this row. own: the key that is tuned beside the rate, and its values; a
    method without one gets as many rates as the others have settings.
    """

    strategy: str
    fixed: str = ""
    own: str = ""
    values: tuple[float | str, ...] = ()

    def words(self, value: float | str | None) -> str:
        """What `strategy=` takes."""
        keys = [self.fixed] if self.fixed else []
        if value is not None:
            keys.append(f"{self.own}: {shown(value)}")
        return f"{{{', '.join([f'name: {self.strategy}', *keys])}}}" if keys else self.strategy


@dataclass(frozen=True)
class Setting:
    """One question. rates: as many as there are trials, of which a method with an own parameter gets those at `narrow`.
    smaller: methods that end at chance at each of these, which get the first ones instead. tuning: overrides of the
    runs that tune, which may be shorter. changes: overrides of all runs. leave_out: methods without meaning in it.
    """

    scenario: str
    rates: tuple[float, ...]
    narrow: tuple[int, ...] = (1, 2, 3)
    smaller: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Methods by their names in the tables, the settings in which they are compared, and the folder of the results.

    by: what tells the rows of a table apart, where FedLoGe and its ablations are among them.
    """

    home: Path
    methods: dict[str, Method]
    settings: dict[str, Setting]
    by: str = "strategy"

    def trials(self, setting: Setting, method: Method) -> list[Trial]:
        """Pairs of rate and own parameter, equally many for all methods."""
        if not method.own:
            return [(rate, None) for rate in setting.rates]
        places = range(len(setting.narrow)) if method.strategy in setting.smaller else setting.narrow
        return list(product([setting.rates[place] for place in places], method.values))

    def jobs(self, setting: Setting, name: str, settings: Iterable[Trial], seeds: Sequence[int],
             *changes: str) -> list[Job]:  # fmt: skip
        """The runs of one method."""
        method, found = self.methods[name], []
        for rate, value in settings:
            words = [*setting.changes, *changes, f"strategy={method.words(value)}", f"local.lr={rate:g}"]
            found += [replace(job, label=f"{name} {rate:g} {value}") for job in plan(setting.scenario, words, seeds)]
        return found

    def tune(self, name: str, only: Sequence[str], out: Path, parallel: int | str) -> None:
        """Run all trials of these methods, and write their lines of tuned.csv anew."""
        setting = self.settings[name]
        changes = ("data.validation=0.2", "resources.backend=inline", *setting.tuning)
        planned = {
            method: (tried, self.jobs(setting, method, tried, [SEED], *changes))
            for method in only
            for tried in [self.trials(setting, self.methods[method])]
        }
        work = [job for _, jobs in planned.values() for job in jobs]
        done = {run.folder.name: run for run in run_jobs(work, out, parallel, False, view()).runs}

        lines = [line for line in self.tuned() if line["setting"] != name or line["method"] not in only]
        for method, (settings, jobs) in planned.items():
            runs = [done.get(job.scenario.run_name) for job in jobs]
            scores = [math.nan if run is None else judged(run) for run in runs]
            best = best_place(settings, scores)
            for place, ((rate, value), run) in enumerate(zip(settings, runs, strict=True)):
                figures = {figure: "" if run is None else f"{run.final.get(figure, math.nan):.4f}" for figure in JUDGED}
                own = "" if value is None else f"{self.methods[method].own}={shown(value)}"
                line = {"setting": name, "method": method, "lr": f"{rate:g}", "own": own, **figures}
                lines.append(line | {"chosen": "yes" if place == best else ""})
        self.write(lines)

    @property
    def file(self) -> Path:
        """All trials and their validation figures."""
        return self.home / "tuned.csv"

    def tuned(self) -> list[dict[str, str]]:
        """The lines of tuned.csv."""
        if not self.file.exists():
            return []
        with self.file.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def chosen(self, name: str, method: str) -> Trial:
        """The method's setting; a setting that was not tuned itself takes that of its scenario."""
        for source in (name, self.settings[name].scenario):
            for line in self.tuned():
                if (line["setting"], line["method"], line["chosen"]) == (source, method, "yes"):
                    value = line["own"].partition("=")[2]
                    return float(line["lr"]), next((v for v in self.methods[method].values if shown(v) == value), None)
        raise SystemExit(f"no chosen setting of {method} for {name}; tune it first: ... tune {name} --only '{method}'")

    def run(self, name: str, only: Sequence[str], seeds: Sequence[int], out: Path, parallel: int | str) -> None:
        """Run the chosen settings, and write NAME.csv of these methods."""
        setting, inline = self.settings[name], "resources.backend=inline"
        while True:
            jobs = {method: self.jobs(setting, method, [self.chosen(name, method)], seeds, inline) for method in only}
            work = sorted((job for each in jobs.values() for job in each), key=lambda job: job.seed)
            done = run_jobs(work, out, parallel, False, view())
            for job, reason in done.failures.items():
                print(f"failed: {job}: {reason.splitlines()[0]}")

            diverged = {
                method
                for method, each in jobs.items()
                if any(DIVERGED in done.failures.get(job.name, "") for job in each)
            }
            if not [method for method in sorted(diverged) if self.lower(name, method)]:
                break

        by = self.by if any(self.methods[method].strategy == "fedloge" for method in only) else "strategy"
        table = compare(*done.runs, by=by, reference="fedavg", metrics=METRICS, variants="*", title=name)
        print(render([table], "text"))
        (self.home / f"{name}.csv").write_text(render([table], "csv") + "\n", encoding="utf-8")

    def lower(self, name: str, method: str) -> bool:
        """Choose the setting's next smaller rate for a method whose chosen one diverged, with the same own value.

        False where there is no smaller one.
        """
        rate, _ = self.chosen(name, method)
        smaller = max((each for each in self.settings[name].rates if each < rate), default=None)
        lines = self.tuned()
        mine = [line for line in lines if (line["setting"], line["method"]) == (name, method)]
        if smaller is None or not mine:
            return False

        chosen = next(line for line in mine if line["chosen"] == "yes")
        chosen["chosen"] = "diverged"
        tried = [line for line in mine if (line["lr"], line["own"]) == (f"{smaller:g}", chosen["own"])]
        if not tried:
            tried = [chosen | dict.fromkeys(JUDGED, "") | {"lr": f"{smaller:g}"}]
            lines.insert(lines.index(mine[-1]) + 1, tried[0])
        tried[0]["chosen"] = "yes"
        self.write(lines)
        print(f"{method} diverges at {rate:g}, and is given {smaller:g}")
        return True

    def write(self, lines: list[dict[str, str]]) -> None:
        """Write tuned.csv."""
        write_rows(self.file, lines)

    def main(self, description: str | None, out: str, seeds: str) -> None:
        """The command of the study."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("what", choices=("tune", "run"))
        parser.add_argument("setting", choices=self.settings)
        parser.add_argument("--only", default="", help="methods, with semicolons between them; all unless given")
        parser.add_argument("--seeds", type=seeds_of, default=seeds, help="0-2 or 0,3,7")
        parser.add_argument("--out", type=Path, default=Path(out))
        parser.add_argument("--parallel", default="auto", help="runs side by side")

        given = parser.parse_args()
        parallel = given.parallel if given.parallel == "auto" else int(given.parallel)
        left_out = self.settings[given.setting].leave_out
        only = given.only.split(";") if given.only else [name for name in self.methods if name not in left_out]
        if given.what == "tune":
            self.tune(given.setting, only, given.out / "tuning", parallel)
            return

        self.run(given.setting, only, given.seeds, given.out, parallel)


def shown(value: float | str) -> str:
    """A value of an own parameter, as it is typed."""
    return value if isinstance(value, str) else f"{value:g}"


def judged(run: Run) -> float:
    """The mean of the figures by which a setting counts; NaN where a run has none of them."""
    figures = [run.final.get(name, math.nan) for name in JUDGED]
    defined = [value for value in figures if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def best_place(settings: Sequence[Trial], scores: Sequence[float]) -> int:
    """The place of the chosen setting: of those near the best score, the smallest rate, and with it the best score.

    scores: NaN for a run that failed, or has no figure to count by. -1 where all are.
    """
    best = max((score for score in scores if score == score), default=math.nan)
    near = [place for place, score in enumerate(scores) if score >= best - TOLERANCE]
    return min(near, key=lambda place: (settings[place][0], -scores[place]), default=-1)
