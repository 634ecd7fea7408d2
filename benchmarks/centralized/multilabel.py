"""What COMIC promises where half of the positives are hidden: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.multilabel tune --out runs/centralized/multilabel
    FEDLT_DATA=... python -m benchmarks.centralized.multilabel centralized --seeds 0-2 --out runs/centralized/multilabel

`centralized` and `reuters` are TF-IDF of words and pairs of words under one linear layer, of 15,000 texts of GoEmotions
and of Reuters R90. `fedavg` is 20 rounds of the scenario `goemotions_lt`. The texts are in
`$FEDLT_DATA/goemotions` (`train.jsonl`, `val.jsonl`, `test.jsonl`) and `$FEDLT_DATA/r90` (without `val.jsonl`), with
a `text` and its `labels` in each line.

`tune` chooses each method's learning rate of those in `RATES` by the validation split; those of `UNTUNED` have that of
COMIC, and `fedavg` has the scenario's. The others make the runs of which multilabel.csv has no row: five to fifteen
seconds each on a free core, half a minute in `fedavg`. mAP in %, by ranks of the classes: half are head, 30 % medium,
20 % tail.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fedlt
from benchmarks.arguments import one_of, seeds_of
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.table import spread
from benchmarks.rows import read_rows, write_rows
from fedlt.results.runs import Run

HERE = Path(__file__).parent
TABLE = HERE / "multilabel.csv"
TEXTS, WORDS = 15_000, 3_000
COMMON = 20  # texts that every label of a text has, where the text may be taken for validation
FIGURES = {"total": "map", "head": "map_many", "medium": "map_medium", "tail": "map_few"}
WATCHED = str(HERE / "watched.py") + ":Watched"
PARTS: dict[str, dict[str, Any] | str] = {
    "bce": "cross_entropy",
    "asl": "asymmetric_loss",
    "comic": {},
    "comic, no corrector": {"corrector": "none"},
    "comic, no modifier": {"modifier": False},
    "comic, no balancer": {"balancer": False},
    "comic, corrector alone": {"modifier": False, "balancer": False},
    "comic, literal": {"corrector": "literal", "floor": 0.7, "start": 0.125, "missing": None},
    "comic, literal and guard": {"corrector": "literal", "floor": 0.7, "start": 0.125},
}
"""Learners by name, or changes of COMIC's keys. The official rule starts after one epoch of eight."""
UNTUNED = ("comic, literal", "comic, literal and guard")
FEW = ("bce", "asl", "comic", "comic, corrector alone")
METHODS = {"centralized": tuple(PARTS), "reuters": FEW, "fedavg": FEW[:3]}
RATES = {"centralized": (0.0003, 0.001), "reuters": (0.001, 0.003), "fedavg": (0.01,)}
FOLDERS = {"centralized": "goemotions", "reuters": "r90", "fedavg": "goemotions"}
ROUNDS = 20  # of `fedavg`
HIDDEN = {"kind": "missing", "rate": 0.5}
BASE: dict[str, Any] = {
    "federation": {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": 8},
    "local": {"epochs": 1, "batch_size": 64, "optimizer": "adam"},
    "model": {"name": "mlp", "depth": 0},
    "strategy": "centralized",
}
SHOWN: dict[str, Any] = {
    "evaluation": {"every": 40, "groups": "rank"},
    "resources": {"backend": "inline", "device": "cpu"},
}


def split_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Texts with their labels for `train`, `val` and `test`.

    Without a file for validation every tenth training text of common labels is taken for it.
    """
    files = {split: folder / f"{split}.jsonl" for split in ("train", "val", "test")}
    rows = {
        split: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for split, path in files.items()
        if path.is_file()
    }
    if "val" not in rows:
        counts = Counter(label for row in rows["train"] for label in row["labels"])
        common = [all(counts[label] >= COMMON for label in row["labels"]) for row in rows["train"]]
        aside = set(np.flatnonzero(common)[::10].tolist())
        rows["val"] = [row for place, row in enumerate(rows["train"]) if place in aside]
        rows["train"] = [row for place, row in enumerate(rows["train"]) if place not in aside]
    return rows


def prepared(setting: str, out: Path, tested: str) -> Path:
    """The data of a setting, made once: a file of TF-IDF and labels, or a folder of texts.

    Args:
        out: where it is.
        tested: the split that stands for the test set, `test` or `val`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    name = FOLDERS[setting]
    path = (out / f"{name}_{tested}{'' if setting == 'fedavg' else '.npz'}").resolve()
    if path.exists():
        return path
    rows = split_rows(Path(os.environ["FEDLT_DATA"]).expanduser() / name)
    out.mkdir(parents=True, exist_ok=True)
    if setting == "fedavg":
        path.mkdir()
        for kind, split in (("train", "train"), ("test", tested)):
            lines = "".join(json.dumps(row) + "\n" for row in rows[split])
            (path / f"{kind}.jsonl").write_text(lines, encoding="utf-8")
        return path

    train, test = rows["train"], rows[tested]
    classes = sorted({label for row in train for label in row["labels"]})
    y, y_test = (
        np.array([[label in row["labels"] for label in classes] for row in part], np.int8) for part in (train, test)
    )
    kept = np.sort(np.random.default_rng(0).permutation(len(train))[:TEXTS])
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=5, max_features=WORDS, sublinear_tf=True)
    x = words.fit_transform([train[row]["text"] for row in kept]).astype(np.float32).toarray()
    x_test = words.transform([row["text"] for row in test]).astype(np.float32).toarray()
    np.savez(path, x_train=x, y_train=y[kept], x_test=x_test, y_test=y_test, class_names=np.array(classes))
    return path


def made(
    setting: str, method: str, rate: float, seed: int, out: Path, tested: str = "test"
) -> tuple[Run, dict[str, int]]:
    """A run, and what its corrector has counted (not in `fedavg`): labels found, right ones, and refused ones."""
    data = prepared(setting, out, tested)
    part, counted = PARTS[method], {"found": 0, "right": 0, "refused": 0}
    learner: Any = part if isinstance(part, str) else {"name": "comic", **part}
    if setting == "fedavg":
        changed = {**SHOWN, "data.name": str(data), "data.noise": HIDDEN, "local.lr": rate, "learner": learner}
        changed |= {"federation.rounds": ROUNDS}
        return fedlt.run("goemotions_lt", changed, {"seed": seed}, out=out), counted

    file = (out / "told" / f"{setting} {method} {rate:g} {seed} {tested}").resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    watched = not isinstance(part, str) and part.get("corrector") != "none"
    if watched:
        learner |= {"name": WATCHED, "truth": str(data), "told": str(file)}
    source = {"name": str(data), "targets": "multilabel", "noise": HIDDEN}
    scenario = {**BASE, **SHOWN, "data": source, "learner": learner, "seed": seed}
    scenario["local"] = {**BASE["local"], "lr": rate}
    run = fedlt.run(scenario, out=out)
    return run, json.loads(Path(f"{file}.json").read_text()) if watched else counted


def tune(settings: Iterable[str], out: Path) -> None:
    """Choose the rates that are not chosen yet, and write multilabel_tuned.csv."""
    path = HERE / "multilabel_tuned.csv"
    rows: list[dict[str, str]] = read_rows(path)
    for setting, method in ((name, method) for name in settings for method in METHODS[name]):
        known = any((row["setting"], row["method"]) == (setting, method) for row in rows)
        if known or method in UNTUNED or len(RATES[setting]) == 1:
            continue

        tried = {}
        for rate in RATES[setting]:
            tried[rate] = 100 * made(setting, method, rate, 0, out, "val")[0].final["generic/map"]
        best = max(tried, key=lambda rate: tried[rate])

        for rate, value in tried.items():
            chosen = "yes" if rate == best else ""
            told = {"setting": setting, "method": method, "lr": f"{rate:g}", "map": f"{value:.2f}", "chosen": chosen}
            rows.append(told)
        print(f"{setting}, {method}: " + ", ".join(f"{r:g} {value:.1f}" for r, value in tried.items()), flush=True)
        write_rows(path, rows)


def measure(setting: str, seeds: Sequence[int], out: Path) -> pd.DataFrame:
    """Rows of the setting, one a method and seed, at the rates that were chosen; new ones are added to the table."""
    tuned = pd.read_csv(HERE / "multilabel_tuned.csv")
    rates = tuned[(tuned.chosen == "yes") & (tuned.setting == setting)].set_index("method")["lr"]
    table = pd.read_csv(TABLE)

    for method in METHODS[setting]:
        for seed in seeds:
            mine = (table.setting == setting) & (table.method == method)
            if (mine & (table.seed == seed)).any():
                continue
            rate = RATES[setting][0]
            if len(RATES[setting]) > 1:
                rate = float(rates["comic" if method in UNTUNED else method])
            run, counted = made(setting, method, rate, seed, out)
            values = {name: 100 * run.final[f"generic/{key}"] for name, key in FIGURES.items()}
            work = (run.summary["backward_samples"] + run.summary["forward_samples"]) / 1000
            cost = {"samples": work, "seconds": float(run.rounds.seconds.sum())}
            told = {"setting": setting, "method": method, "seed": seed, **values}
            told |= {"personal": 100 * run.final["personal/map"], **counted, **cost}
            table = pd.concat([table, pd.DataFrame([told])], ignore_index=True)
            table["place"] = [list(METHODS).index(s) * 100 + list(PARTS).index(m) for s, m in _pairs(table)]
            table = table.sort_values(["place", "seed"]).drop(columns="place")
            table.to_csv(TABLE, index=False, float_format="%.2f", lineterminator="\n")
        part = table[(table.setting == setting) & (table.method == method)]
        print(f"      {method}: " + ", ".join(f"{n} {spread(part[n].to_numpy())}" for n in FIGURES), flush=True)
    return table[(table.setting == setting) & table.seed.isin(seeds)]


def _pairs(table: pd.DataFrame) -> Iterable[tuple[str, str]]:
    return zip(table.setting, table.method, strict=True)


def checks(setting: str, table: pd.DataFrame) -> Iterable[Check]:
    """What is promised of a setting.

    Args:
        table: its rows.
    """
    found = {name: part.set_index("seed").sort_index() for name, part in table.groupby("method")}

    def over(method: str, other: str, name: str) -> float:
        return float((found[method][name] - found[other][name]).mean())

    for method in ("comic", "comic, corrector alone") if setting != "fedavg" else ("comic",):
        yield at_least(f"{method} over bce, total", over(method, "bce", "total"), 1.0)
        yield at_least(f"{method} over bce, tail", over(method, "bce", "tail"), 0.5)
    yield at_least("comic over asl, total", over("comic", "asl", "total"), 0.0)
    for method in ("comic", "comic, corrector alone") if setting != "fedavg" else ():
        counts = found[method]
        precision = counts["right"].sum() / max(counts["found"].sum(), 1)
        each = f"{counts['right'].sum():,.0f} of {counts['found'].sum():,.0f}"
        yield Check(f"{method}: precision of recovered labels {precision:.2f} ({each}), 0.5 expected", precision >= 0.5)
    if setting != "centralized":
        return

    off = over("comic, no corrector", "bce", "total")
    yield Check(f"without the corrector the total gain is lost: {off:+.1f} over bce, below +1.0 expected", off < 1.0)
    refused = found["comic, literal and guard"]["refused"]
    told = ", ".join(f"{number:,.0f}" for number in refused)
    yield Check(f"literal thresholds trip the guard in every seed: {told} labels refused", bool((refused > 0).all()))
    lost = over("comic", "comic, literal", "total")
    yield Check(f"and without it they lose {lost:.1f} of total", lost > 0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "settings", nargs="*", type=one_of(["tune", *METHODS]), help=f"any of: tune, {', '.join(METHODS)}"
    )
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/multilabel"))
    options = parser.parse_args()
    named = [setting for setting in options.settings or METHODS if setting != "tune"]
    failed = 0

    if "tune" in options.settings:
        tune(named or METHODS, options.out)
    for setting in named:
        print(setting, flush=True)
        for check in checks(setting, measure(setting, options.seeds, options.out)):
            print(check, flush=True)
            failed += not check.holds
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
