"""Upsample or upweight, and Cooldown: the theorems, real domains, and classes in their place; pass or fail.

    FEDLT_DATA=... python -m benchmarks.centralized.upsampling theory tune domains classes fedavg --seeds 0-2 --out runs

`theory`: the library's sampler and weights on numbers. `domains`: CLINC150, whose ten domains are cut to sizes under an
imbalance of 10, in an order of each seed's own; the three most frequent are the head, the three rarest the tail, and
losses are those on their test rows. `tune` chooses the rate of each method by the mean loss over all domains on rows
that were set apart before. `fedavg`: the same over ten clients that hold all domains. `classes`: CIFAR-10 at 16 x 16
pixels, where classes stand in for domains and the last phase learns the head's prior again. Five minutes of a core.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import fedlt
from benchmarks.arguments import one_of, seeds_of
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.foundation import BASE, LARGEST, prepared, tail
from benchmarks.centralized.table import costs, spread
from benchmarks.centralized.table import figures as figures_of
from benchmarks.rows import read_rows, write_rows
from fedlt.data.samplers import power_shares
from fedlt.learners.upweighting import group_weights
from fedlt.results.runs import Run

HERE = Path(__file__).parent
METRIC = HERE / "domain_loss.py"
SETTINGS = ("theory", "tune", "domains", "fedavg", "classes")
IMBALANCE, ENDS, TEMPERATURE = 10, 3, 5  # ENDS: domains of the head, and of the tail
ROUNDS, STEPS, CLIENTS = 30, 20, 10  # STEPS: of a round at one site
EPOCHS = 20  # of the classes
CHOOSE = 10  # requests of each intent that are set apart to choose rates by
RATES = (0.003, 0.01, 0.03)
TUNED_ON = 100  # a seed that no figure is of
METHODS: dict[str, dict[str, Any]] = {
    "as they are": {"name": "cross_entropy"},
    "upsampled": {"name": "resampling", "power": 1 / TEMPERATURE},
    "upweighted": {"name": "upweighting", "temperature": TEMPERATURE},
    "cooldown": {"name": "resampling", "kind": "cooldown", "temperature": TEMPERATURE},
}
CIFAR = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)  # CIFAR-10 under an imbalance of 100
RATIOS = {1.0: 1.0, 2.0: 1.486, 3.0: 2.207}


def learner(method: str, by: str) -> dict[str, Any]:
    """A method's keys, balanced by `class` or `parent`."""
    return METHODS[method] if method == "as they are" else {**METHODS[method], "by": by}


def theory() -> Iterable[Check]:
    """Row 16, (i) and (ii): what weights cost in variance, and that both descend on the same objective."""
    rng, counts = np.random.default_rng(0), torch.tensor(CIFAR)
    for temperature, expected in RATIOS.items():
        classes = np.repeat(np.arange(len(CIFAR)), CIFAR)
        drawn = rng.choice(classes, 200_000)  # gradients of length 1, each as long as its weight
        ratio = float((group_weights(counts, temperature)[torch.from_numpy(drawn)] ** 2).mean())
        near = abs(ratio / expected - 1) <= 0.05
        claim = f"second moment at temperature {temperature:g}: {ratio:.3f} times that of drawn samples, {expected}"
        yield Check(f"{claim} within 5 % expected", near)

    # Whole descents of a linear model: the mean over what may be drawn beside the mean of what is weighted.
    sizes = np.array([60, 20, 8])
    y = torch.from_numpy(np.repeat(np.arange(3), sizes))
    x = torch.from_numpy(rng.normal(size=(len(y), 5))) + y[:, None]
    chances = torch.from_numpy(power_shares(sizes, 1 / TEMPERATURE) / sizes)[y]
    weights = group_weights(torch.from_numpy(sizes).double(), TEMPERATURE)[y] / len(y)
    ends = []
    for share in (chances, weights):
        model = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
        for _ in range(200):
            loss = (share * torch.nn.functional.cross_entropy(x @ model, y, reduction="none")).sum()
            (gradient,) = torch.autograd.grad(loss, model)
            model = (model - 0.5 * gradient).detach().requires_grad_()
        ends.append(model.detach())
    apart = float((ends[0] - ends[1]).abs().max())
    yield Check(f"200 steps of whole gradients end {apart:.1e} apart, at most 1e-6 expected", apart <= 1e-6)


def cut(seed: int, out: Path, tested: str) -> tuple[Path, list[str]]:
    """A folder with the long-tailed training rows, and the domains, the most frequent first.

    Args:
        tested: `test`: its test rows are those of the set; `val`: the training rows that were set apart.
    """
    source = Path(os.environ["FEDLT_DATA"]).expanduser() / "clinc150"
    rows = [json.loads(line) for line in (source / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    apart = np.random.default_rng(0)
    rng = np.random.default_rng(seed)
    domains = [str(name) for name in rng.permutation(sorted({row["domain"] for row in rows}))]

    # Every intent of a domain keeps the same share, at least one row.
    kept, held = [], []
    for label in sorted({row["label"] for row in rows}):
        of_label = [row for row in rows if row["label"] == label]
        order = apart.permutation(len(of_label))
        held += [of_label[place] for place in order[:CHOOSE]]
        left = rng.permutation(order[CHOOSE:])
        share = IMBALANCE ** (-domains.index(of_label[0]["domain"]) / (len(domains) - 1))
        kept += [of_label[place] for place in left[: max(1, round(share * len(left)))]]

    folder = (out / f"clinc-{seed}-{tested}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"train": "".join(json.dumps(row) + "\n" for row in kept)}
    whole = (source / "test.jsonl").read_text(encoding="utf-8")
    texts["test"] = whole if tested == "test" else "".join(json.dumps(row) + "\n" for row in held)
    for name, text in texts.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder, domains


def made(setting: str, method: str, rate: float, seed: int, out: Path, tested: str = "test") -> Run:
    """One run on domains, evaluated after each round."""
    folder, _ = cut(seed, out, tested)
    federation: dict[str, Any] = {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": ROUNDS}
    federation |= {"clients": CLIENTS} if setting == "fedavg" else {}
    scenario = {
        "data": {
            "name": str(folder), "input_column": "text", "target_column": "label", "group_columns": ["domain"],
            "parents": "domain", "tokenizer": {"name": "hashing", "buckets": 4096, "length": 32},
        },
        "federation": federation,
        "local": {
            "epochs": 1, "steps": STEPS // federation["clients"], "batch_size": 64, "optimizer": "adam", "lr": rate,
        },
        "model": {"name": "hash_bag", "width": 32, "depth": 0},
        "learner": learner(method, "parent"),
        "strategy": "fedavg" if setting == "fedavg" else "centralized",
        "evaluation": {"every": 1, "clients": 1, "metrics": [f"{METRIC}:DomainLoss"]},
        "resources": {"backend": "inline", "device": "cpu"},
        "seed": seed,
    }  # fmt: skip
    return fedlt.run(scenario, out=out)


def curves(run: Run, domains: list[str]) -> dict[str, NDArray[np.float64]]:
    """[rounds] mean test losses of head and tail domains, and of all."""
    numbers = [sorted(domains).index(name) for name in domains]  # as parents are numbered
    table = run.metrics.pivot_table(index="round", columns="metric", values="value")
    each = [table[f"generic/loss_{number}"].to_numpy() for number in numbers]
    return {"head": np.mean(each[:ENDS], axis=0), "tail": np.mean(each[-ENDS:], axis=0), "all": np.mean(each, axis=0)}


def tune(out: Path) -> dict[str, float]:
    """The rate of each method, the one with the least loss in the end; written unless it is there."""
    path = HERE / "upsampling_tuned.csv"
    rows: list[dict[str, str]] = read_rows(path)
    names = cut(TUNED_ON, out, "val")[1]
    for method in METHODS:
        if any(row["method"] == method for row in rows):
            continue
        for rate in RATES:
            loss = curves(made("domains", method, rate, TUNED_ON, out, "val"), names)["all"][-1]
            rows.append({"method": method, "lr": f"{rate:g}", "loss": f"{loss:.3f}"})
            print(f"      {method}, {rate:g}: {loss:.3f}", flush=True)
        write_rows(path, rows)
    return {row["method"]: float(row["lr"]) for row in sorted(rows, key=lambda row: -float(row["loss"]))}


def reached(losses: NDArray[np.float64], wanted: float) -> float:
    """Steps after which the loss is at most the wanted one; infinity where it never is."""
    below = np.flatnonzero(losses <= wanted)
    return float(STEPS * (below[0] + 1)) if len(below) else np.inf


def domains(setting: str, seeds: Sequence[int], out: Path, told: list[dict[str, Any]]) -> Iterable[Check]:
    """Row 16, (iii) and (iv): upsampling is sooner where upweighting ends on the tail; Cooldown has tail and head."""
    rates = tune(out)
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {method: [] for method in METHODS}
    for seed in seeds:
        names = cut(seed, out, "test")[1]
        for method in METHODS:
            run = made(setting, method, rates[method], seed, out)
            row = curves(run, names)
            found[method].append(row)
            last = {f"{key}_loss": losses[-1] for key, losses in row.items()}
            accuracy = {"accuracy": 100 * run.final["generic/accuracy"]}
            told.append({"setting": setting, "method": method, "seed": seed, **last, **accuracy, **costs(run)})

    end = {method: {key: np.array([row[key][-1] for row in rows]) for key in rows[0]} for method, rows in found.items()}
    for method, row in end.items():
        shown = ", ".join(f"{key} {values.mean():.3f} ± {values.std(ddof=1):.3f}" for key, values in row.items())
        print(f"      {method}, rate {rates[method]:g}: {shown}", flush=True)

    pairs = list(zip(found["upsampled"], found["upweighted"], strict=True))
    goal = [other["tail"].min() for _, other in pairs]
    sooner, own = (
        np.array([reached(pair[which]["tail"], wanted) for pair, wanted in zip(pairs, goal, strict=True)])
        for which in (0, 1)
    )
    claim = f"steps until upweighting's best tail loss: upsampled {spread(sooner)}, upweighted {spread(own)}"
    yield Check(claim, bool((sooner < own).all()))
    for key, other in (("tail", "as they are"), ("head", "upsampled")):
        gain = float((end[other][key] - end["cooldown"][key]).mean())
        yield Check(f"cooldown's {key} loss is not above that of {other}: {gain:+.3f} below it", gain >= 0)


def classes(seeds: Sequence[int], out: Path, told: list[dict[str, Any]]) -> Iterable[Check]:
    """The caution: with classes in the place of domains Cooldown lands between its two temperatures."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in seeds:
        order = np.random.default_rng(1000 + seed).permutation(10)
        for method in METHODS:
            scenario = {
                **BASE,
                "data": {"name": str(prepared(out)["now"]), "longtail": tail(order, LARGEST["now"])},
                "federation": {**BASE["federation"], "rounds": EPOCHS},
                "learner": learner(method, "class"),
                "seed": seed,
            }
            run = fedlt.run(scenario, out=out)
            row = figures_of(run, "generic")
            found[method].append(row)
            told.append({"setting": "classes", "method": method, "seed": seed, **row, **costs(run)})

    each = {
        method: {key: np.array([row[key] for row in rows]) for key in ("all", "many", "medium", "few")}
        for method, rows in found.items()
    }
    for method, row in each.items():
        print(f"      {method}: " + ", ".join(f"{key} {spread(values)}" for key, values in row.items()), flush=True)

    cool, plain, up, weighted = (each[name] for name in ("cooldown", "as they are", "upsampled", "upweighted"))
    yield at_least("cooldown over the data as they are, few", (cool["few"] - plain["few"]).mean(), 0.0)
    yield at_least("cooldown over upsampling, many", (cool["many"] - up["many"]).mean(), 0.0)
    yield at_least("the caution, upweighting over cooldown, few", (weighted["few"] - cool["few"]).mean(), 0.0)


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", type=one_of(SETTINGS), help=f"any of: {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", type=seeds_of, default="0-2", help="0-2 or 0,3,7")
    parser.add_argument("--out", type=Path, default=Path("runs/centralized/upsampling"))
    options = parser.parse_args()
    seeds, failed = options.seeds, 0
    path = HERE / "upsampling.csv"
    told: list[dict[str, Any]] = pd.read_csv(path).to_dict("records") if path.is_file() else []

    for setting in options.settings or ("theory", "domains", "classes"):
        print(setting, flush=True)
        if setting == "tune":
            tune(options.out)
            continue
        told = [row for row in told if row["setting"] != setting]
        if setting == "theory":
            checks = theory()
        elif setting == "classes":
            checks = classes(seeds, options.out, told)
        else:
            checks = domains(setting, seeds, options.out, told)
        for check in checks:
            print(check, flush=True)
            failed += not check.holds
        if told:
            pd.DataFrame(told).to_csv(path, index=False, float_format="%.3f", lineterminator="\n")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
