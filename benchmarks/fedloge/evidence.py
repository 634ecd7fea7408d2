"""FedLoGe and its rivals where methods can learn: settings chosen on validation data, results over seeds.

    FEDLT_DATA=/your/data python -m benchmarks.fedloge.evidence tune cifar100_lt_pretrained
    FEDLT_DATA=/your/data python -m benchmarks.fedloge.evidence run cifar100_lt_pretrained --seeds 0-4

`tune` gives every method `TRIALS` settings of rate and one own parameter, on one seed that no table uses, and writes
all of them with their validation figures to tuned.csv. A setting counts by the mean of generic and masked personal
accuracy (of a method with one of them, by that one), since both models count. The smallest rate within half a point of
the best is chosen: what is gained beyond it is noise, and a rate that is best on one seed may be too large on another.
`run` takes the chosen settings, trains on all data, and writes NAME.csv: every variant, mean and standard deviation,
paired differences to FedAvg. Both go on after an interruption. Test figures are in the runs that tune as well, and
nothing here reads them.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from fedlt.comparing.compare import compare
from fedlt.comparing.table import render
from fedlt.measures.figures import COSTS
from fedlt.measures.headlines import ACCURACIES
from fedlt.results.runs import Run
from fedlt.sweeps.grid import Job, plan
from fedlt.sweeps.sweep import run_jobs
from fedlt.sweeps.view import view

HERE = Path(__file__).parent
TUNED = HERE / "tuned.csv"
TRIALS = 6
SEED = 100
"""Of the runs that tune; no table has it."""
TOLERANCE = 0.005
"""Settings this close to the best one are as good as it."""
JUDGED = ("validation/generic/accuracy", "validation/personal_masked/accuracy")
METRICS = (*ACCURACIES, "generic/balanced_accuracy", "personal_masked/worst_decile", *COSTS)


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    strategy: its name. fixed: keys that make it this row. own: the key that is tuned beside the rate, and its values; a
    method without one gets as many rates as the others have settings.
    """

    strategy: str
    fixed: str = ""
    own: str = ""
    values: tuple[float, ...] = ()

    def words(self, value: float | None) -> str:
        """What `strategy=` takes."""
        keys = [self.fixed] if self.fixed else []
        if value is not None:
            keys.append(f"{self.own}: {value:g}")
        return f"{{{', '.join([f'name: {self.strategy}', *keys])}}}" if keys else self.strategy


METHODS = {
    "FedAvg": Method("fedavg"),
    "FedAvg, prior post hoc": Method("fedavg_posthoc", own="tau", values=(0.5, 1.0)),
    "FedAvg, prior in training": Method("fedavg_la", own="tau", values=(0.5, 1.0)),
    "FedProx": Method("fedprox", own="mu", values=(0.001, 0.01)),
    "FedRoD": Method("fedrod"),
    "FedETF": Method("fedetf", own="scale", values=(1.0, 10.0)),
    "FedGELA": Method("fedgela", own="temperature", values=(0.2, 1.0)),
    "FedBABU": Method("fedbabu", own="tune_lr", values=(0.01, 0.05)),
    "FedPer": Method("fedper"),
    "FedLoGe": Method("fedloge"),
    "FedLoGe, heads: official": Method("fedloge", "heads: official", "norm", (1.0, 2.0)),
    "FedLoGe, dense simplex": Method("fedloge", "sparsity: 0.0"),
    "FedLoGe, no simplex": Method("fedloge", "backbone_from: psi"),
    "Local": Method("local"),
    "Centralized": Method("centralized"),
}


@dataclass(frozen=True)
class Setting:
    """One question. rates: of six, of which a method with an own parameter gets those at `narrow`. tuning: overrides
    of the runs that tune, which may be shorter. changes: overrides of all runs."""

    scenario: str
    rates: tuple[float, ...]
    narrow: tuple[int, ...] = (1, 2, 3)
    tuning: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


SETTINGS = {
    "cifar100_lt_pretrained": Setting(
        "cifar100_lt_pretrained",
        rates=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
        tuning=("federation.rounds=100", "evaluation.every=100"),
        changes=("evaluation.every=50",),
    ),
    "cifar100_lt_pretrained_if50": Setting(
        "cifar100_lt_pretrained",
        rates=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
        changes=("evaluation.every=50", "data.longtail.imbalance_factor=50"),
    ),
    "ham10000_sites_pretrained": Setting(
        "ham10000_sites_pretrained",
        rates=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
        tuning=("federation.rounds=10",),
        changes=("evaluation.every=10",),
    ),
}


def trials(setting: Setting, method: Method) -> list[tuple[float, float | None]]:
    """`TRIALS` pairs of rate and own parameter."""
    if not method.own:
        return [(rate, None) for rate in setting.rates]
    return list(product([setting.rates[place] for place in setting.narrow], method.values))


def jobs(setting: Setting, name: str, settings: Iterable[tuple[float, float | None]], seeds: Sequence[int],
         *changes: str) -> list[Job]:  # fmt: skip
    """The runs of one method."""
    method, found = METHODS[name], []
    for rate, value in settings:
        words = [*setting.changes, *changes, f"strategy={method.words(value)}", f"local.lr={rate:g}"]
        found += [replace(job, label=f"{name} {rate:g} {value}") for job in plan(setting.scenario, words, seeds)]
    return found


def judged(run: Run) -> float:
    """The mean of the figures by which a setting counts; NaN where a run has none of them."""
    figures = [run.final.get(name, math.nan) for name in JUDGED]
    defined = [value for value in figures if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def tune(name: str, only: Sequence[str], out: Path, parallel: int | str) -> None:
    """Run all trials of these methods, and write their lines of tuned.csv anew."""
    setting = SETTINGS[name]
    changes = ("data.validation=0.2", "resources.backend=inline", *setting.tuning)
    work = [job for method in only for job in jobs(setting, method, trials(setting, METHODS[method]), [SEED], *changes)]
    done = {run.folder.name: run for run in run_jobs(work, out, parallel, False, view()).runs}

    lines = [line for line in tuned() if line["setting"] != name or line["method"] not in only]
    for method in only:
        settings = trials(setting, METHODS[method])
        runs = [done.get(job.scenario.run_name) for job in jobs(setting, method, settings, [SEED], *changes)]
        scores = [math.nan if run is None else judged(run) for run in runs]
        best = best_place(settings, scores)
        for place, ((rate, value), run) in enumerate(zip(settings, runs, strict=True)):
            figures = {figure: "" if run is None else f"{run.final.get(figure, math.nan):.4f}" for figure in JUDGED}
            own = "" if value is None else f"{METHODS[method].own}={value:g}"
            chosen = "yes" if place == best else ""
            lines.append(
                {"setting": name, "method": method, "lr": f"{rate:g}", "own": own, **figures, "chosen": chosen}
            )
    with TUNED.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def best_place(settings: Sequence[tuple[float, float | None]], scores: Sequence[float]) -> int:
    """The place of the chosen setting: of those near the best score, the smallest rate, and with it the best score.

    scores: NaN for a run that failed, or has no figure to count by.
    """
    near = [place for place, score in enumerate(scores) if score >= max(s for s in scores if s == s) - TOLERANCE]
    return min(near, key=lambda place: (settings[place][0], -scores[place]))


def tuned() -> list[dict[str, str]]:
    """The lines of tuned.csv."""
    if not TUNED.exists():
        return []
    with TUNED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chosen(name: str, method: str) -> tuple[float, float | None]:
    """The method's setting; a setting that was not tuned itself takes that of its scenario."""
    for source in (name, SETTINGS[name].scenario):
        for line in tuned():
            if (line["setting"], line["method"], line["chosen"]) == (source, method, "yes"):
                return float(line["lr"]), float(line["own"].partition("=")[2]) if line["own"] else None
    raise SystemExit(
        f"no chosen setting of {method} for {name}; run: python -m benchmarks.fedloge.evidence tune {name}"
    )


def run(name: str, only: Sequence[str], seeds: Sequence[int], out: Path, parallel: int | str) -> None:
    """Run the chosen settings, and write NAME.csv of these methods."""
    setting = SETTINGS[name]
    inline = "resources.backend=inline"
    work = [job for method in only for job in jobs(setting, method, [chosen(name, method)], seeds, inline)]
    wanted = sorted(work, key=lambda job: job.seed)
    done = run_jobs(wanted, out, parallel, False, view())
    for job, reason in done.failures.items():
        print(f"failed: {job}: {reason.splitlines()[0]}")

    own = any(METHODS[method].strategy == "fedloge" for method in only)
    table = compare(
        *done.runs,
        by="strategy,strategy.heads,strategy.sparsity,strategy.backbone_from" if own else "strategy",
        reference="fedavg",
        metrics=METRICS,
        variants="*",
        title=name,
    )
    print(render([table], "text"))

    (HERE / f"{name}.csv").write_text(render([table], "csv") + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "run"))
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--only", default="", help="methods, with semicolons between them; all unless given")
    parser.add_argument("--seeds", default="0-4", help="first-last")
    parser.add_argument("--out", type=Path, default=Path("runs/fedloge"))
    parser.add_argument("--parallel", default="auto", help="runs side by side")

    given = parser.parse_args()
    parallel = given.parallel if given.parallel == "auto" else int(given.parallel)
    only = given.only.split(";") if given.only else list(METHODS)
    if given.what == "tune":
        tune(given.setting, only, given.out / "tuning", parallel)
        return

    first, _, last = given.seeds.partition("-")
    run(given.setting, only, range(int(first), int(last or first) + 1), given.out, parallel)


if __name__ == "__main__":
    main()
