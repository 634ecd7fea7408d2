"""Whether conformal sets hold what they promise, and what one threshold hides: pass or fail, with figures.

    fedlt sweep digits_lt strategy=fedavg,fedloge,centralized data.validation=0.2 evaluation.groups.by=rank --seeds 0-2
    fedlt sweep cifar100_lt_pretrained strategy=fedavg,fedloge,centralized data.validation=0.2 federation.rounds=100 \
      --seeds 0-2
    python -m benchmarks.heads.conformal runs --table benchmarks/heads/conformal.csv \
      --answers benchmarks/heads/answers.csv --picture docs/pictures/conformal.png

Sets are asked to hold the true class in 90 % of cases. Designs:

balanced   thresholds from the run's validation rows, which are as many of each class; measured on its test rows
as trained thresholds from as many of them as the training rows have it: 1 for an imbalance factor of the first class;
           measured on its test rows, which are balanced
halves     thresholds from a random half of each class's validation rows, measured on the other half: 5 times
clients    thresholds from the clients' own validation rows, measured on their own test rows, under personal models

Sets cover where the mean over the seeds is at most twice the standard error of one seed below what was asked, since
all seeds share their test rows. `promised` are the rows for which the kind of set is meant; pass or fail is of these.
Calibration and abstention of the same runs stand in a table of their own (`--answers`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.rows import write_rows
from fedlt.analyses.abstention import answered, areas
from fedlt.analyses.calibration import measured as measured_calibration
from fedlt.analyses.conformal import SCORES, sets_table
from fedlt.analyses.judged import ALL, Judged, Rows, judged
from fedlt.plots.figure import save
from fedlt.plots.uncertainty import coverage_figure
from fedlt.results.runs import Run, load_runs

ASKED, DRAWS, SHARES = 0.9, 5, (1.0, 0.9, 0.8, 0.5)
KEYS = ["data", "method", "design", "sets", "score", "of"]


def tables(run: Run) -> Iterator[tuple[str, pd.DataFrame]]:
    """Design and table of each, over both scores; of the halves, one table for each draw."""
    seed = int(run.summary["seed"])
    found, counts = judged(run, "benchmark"), run.features().class_counts
    own = judged(run, "benchmark", ALL)
    for score in SCORES:
        yield "balanced", sets_table(found, ASKED, score, seed)
        yield "as trained", sets_table(replace(found, validation=as_trained(found, counts, seed)), ASKED, score, seed)
        yield "clients", sets_table(own, ASKED, score, seed)
        for draw in range(DRAWS):
            yield "halves", sets_table(halved(found, 1000 * seed + draw), ASKED, score, seed)


def as_trained(found: Judged, counts: NDArray[np.int64], seed: int) -> Rows:
    """As many validation rows of each class as its training rows ask for; all of the largest one's."""
    rng, rows = np.random.default_rng(seed), found.validation
    kept = []
    for label, count in enumerate(counts):
        mine = rng.permutation(np.flatnonzero(rows.labels == label))
        kept.append(mine[: round(len(mine) * count / counts.max())])
    return taken(rows, np.concatenate(kept))


def halved(found: Judged, seed: int) -> Judged:
    """One half of each class's validation rows for thresholds, and the other to be measured on."""
    rng, rows = np.random.default_rng(seed), found.validation
    order = rng.permutation(len(rows))
    order = order[np.argsort(rows.labels[order], kind="stable")]
    return replace(found, validation=taken(rows, order[::2]), test=taken(rows, order[1::2]))


def taken(rows: Rows, places: NDArray[np.int64]) -> Rows:
    return Rows(rows.logits[places], rows.labels[places], rows.clients[places])


def measured(runs: list[Run]) -> pd.DataFrame:
    """Every row of every table, with its run. Of halves, means over the draws."""
    found = []
    for run in runs:
        for design, table in tables(run):
            named = {"data": run.summary["scenario"], "method": run.summary["strategy"], "seed": run.summary["seed"]}
            found.append(table.assign(**named, design=design))
        print(f"{run.folder.name}: measured", flush=True)
    whole = pd.concat(found, ignore_index=True)
    return whole.groupby([*KEYS, "seed"], sort=False).mean(numeric_only=True).reset_index()


def summed(each: pd.DataFrame) -> pd.DataFrame:
    """A row for each of `KEYS`: means over the seeds, the standard deviation of the coverage, whether it is enough."""
    by = each.groupby(KEYS, sort=False)
    table = by[["samples", "coverage", "error", "size", "unknown"]].mean().assign(
        seeds=by.size(), std=by["coverage"].std()
    )  # fmt: skip
    clients = table.index.get_level_values("of").str.startswith("client")
    table = table[~clients].reset_index()
    said = [promised(row.design, row.sets, row.of) for row in table.itertuples()]
    enough = table["coverage"] >= ASKED - 2 * table["error"]
    return table.assign(promised=np.where(said, "yes", "no"), covers=np.where(enough, "yes", "no"))


def promised(design: str, sets: str, of: str) -> bool:
    """Whether sets of that kind are to cover such rows, if these are drawn as the validation rows were."""
    if sets == "class-wise":
        return True
    if of != ALL:
        return False
    return {"marginal": design != "as trained", "reweighted": design != "clients"}.get(sets, True)


def answers(runs: list[Run]) -> pd.DataFrame:
    """Calibration and abstention on the test rows of the generic models: means and deviations over the seeds.

    Columns: data, method, what (a calibration, or the share of validation rows that is answered), of, figure, mean,
    std.
    """
    found = []
    for run in runs:
        mine = judged(run, "benchmark")

        calibrated = measured_calibration(mine)[0].rename(columns={"method": "what"})
        declined = answered(mine)
        areas_of = pd.DataFrame([{"what": "area", "of": of, "accuracy": area} for of, area in areas(declined).items()])
        declined = declined[declined["share"].isin(SHARES)].assign(
            what=lambda table: table["share"].map("{:.0%}".format)
        )

        for table in (calibrated, declined.drop(columns=["share", "threshold"]), areas_of):
            named = {"data": run.summary["scenario"], "method": run.summary["strategy"]}
            keys = [*named, "what", "of"]
            found.append(table.assign(**named).melt(keys, var_name="figure", value_name="value"))

    whole = pd.concat(found, ignore_index=True).dropna()
    by = whole.groupby(["data", "method", "what", "of", "figure"], sort=False)["value"]
    return by.agg(["mean", "std"]).reset_index()


def main() -> None:
    """Measure the runs of a folder, and tell what holds."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("runs", help="a folder of finished runs")
    parser.add_argument("--table", type=Path, help="a CSV file for the figures")
    parser.add_argument("--picture", type=Path, help="a picture of cifar100_lt_pretrained by fedavg")
    parser.add_argument("--answers", type=Path, help="a CSV file for calibration and abstention")
    options = parser.parse_args()

    runs = load_runs(options.runs)
    if options.answers:
        write_rows(options.answers, answers(runs).round(4).to_dict("records"))
    each = measured(runs)
    table = summed(each)
    if options.picture:
        shown = each[(each["data"] == "cifar100_lt_pretrained") & (each["method"] == "fedavg")]
        shown = shown[(shown["design"] == "as trained") & (shown["score"] == "lac")]
        means = shown.groupby(["sets", "of"], sort=False).mean(numeric_only=True).reset_index()
        save(coverage_figure(means.assign(score="lac")), options.picture)
    for row in table.itertuples():
        told = f"{100 * row.coverage:.1f} ± {100 * row.std:.1f} (error {100 * row.error:.1f}), {row.size:.2f} classes"
        verdict = ("pass" if row.covers == "yes" else "FAIL") if row.promised == "yes" else "    "
        print(f"{verdict}  {row.data} {row.method} {row.design} {row.score} {row.sets} {row.of}: {told}")
    rounded = table.round({"samples": 0, "coverage": 4, "std": 4, "error": 4, "size": 3, "unknown": 4})
    write_rows(options.table, rounded.to_dict("records"))


if __name__ == "__main__":
    main()
