"""Whether models that first fill in hidden pixels of the task's own images are better, and nearer to one another.

    FEDLT_DATA=... python -m benchmarks.centralized.from_scratch tune centralized fedavg --seeds 0-2 --out runs

5,000 images of MNIST at 14 x 14 pixels, read row by row by a transformer and by recurrent units (`row_models.py`); one
in twenty has a label. `scratch` is trained on these alone; `self` fills in hidden pixels of all images for four fifths
of the steps, and has the others for labels: equal steps, of equal batches. `tune` chooses the rate of each model and
protocol on images that are for neither training nor test. Ten minutes of a free core for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fedlt
from benchmarks.centralized.acceptance import Check, at_least
from benchmarks.centralized.settings import command
from benchmarks.centralized.table import costs, spread
from benchmarks.rows import read_rows, write_rows
from fedlt.results.runs import Run

HERE = Path(__file__).parent
TRAIN, CHOOSE = 5_000, 5_000  # images for training, and to choose rates by
LABELLED = 0.05
ROUNDS, STEPS = 20, 100  # of the one site; clients have a tenth of the steps each
CLIENTS = 10
SHARE = 0.8  # of the steps on hidden pixels; from scratch, labels are learnt by heart in a tenth of them
RATES = (0.001, 0.003)
TUNED_ON = 100  # a seed that no figure is of
MODELS = {"transformer": "Transformer", "recurrent": "Recurrent"}
PROTOCOLS = ("scratch", "self")


def prepared(out: Path) -> dict[str, Path]:
    """Files of the images at 14 x 14 pixels, tested on the test set (`test`) and on images to choose by (`val`)."""
    paths = {name: (out / f"mnist14_{name}.npz").resolve() for name in ("test", "val")}
    if all(path.is_file() for path in paths.values()):
        return paths
    with np.load(Path(os.environ["FEDLT_DATA"]).expanduser() / "mnist.npz") as held:
        given = {name: held[name] for name in held.files}
    for part in ("x_train", "x_test"):
        given[part] = given[part].reshape(-1, 14, 2, 14, 2).mean((2, 4)).round().astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(given["y_train"]))[: TRAIN + CHOOSE]
    train, choose = ((given["x_train"][rows], given["y_train"][rows]) for rows in (order[:TRAIN], order[TRAIN:]))
    out.mkdir(parents=True, exist_ok=True)
    for name, (x, y) in (("test", (given["x_test"], given["y_test"])), ("val", choose)):
        np.savez(paths[name], x_train=train[0], y_train=train[1], x_test=x, y_test=y)
    return paths


def made(setting: str, model: str, init: str, rate: float, seed: int, out: Path, tested: str = "test") -> Run:
    """One run."""
    federation: dict[str, Any] = {"clients": 1, "participation": 1.0, "partition": "iid", "rounds": ROUNDS}
    if setting == "fedavg":
        partition = {"name": "dirichlet_per_class", "alpha": 0.5}
        federation |= {"clients": CLIENTS, "partition": partition, "empty": "redraw"}
    scenario = {
        "data": {"name": str(prepared(out)[tested]), "unlabelled": {"hidden": 1 - LABELLED}},
        "federation": federation,
        "local": {
            "epochs": 1, "steps": STEPS // federation["clients"], "batch_size": 32, "optimizer": "adam", "lr": rate,
        },
        "model": f"{HERE / 'row_models.py'}:{MODELS[model]}",
        "learner": {"name": "self_pretraining", "init": init, "share": SHARE},
        "strategy": setting,
        "evaluation": {"every": ROUNDS, "clients": 1},
        "resources": {"backend": "inline", "device": "cpu"},
        "seed": seed,
    }  # fmt: skip
    return fedlt.run(scenario, out=out)


def accuracy(run: Run) -> float:
    """Of the generic model, in %."""
    return 100 * run.final["generic/accuracy"]


def tune(out: Path) -> dict[tuple[str, str], float]:
    """The rate of each model and protocol, the better on images to choose by; written unless it is there."""
    path = HERE / "from_scratch_tuned.csv"
    rows: list[dict[str, str]] = read_rows(path)
    for model, init in ((model, init) for model in MODELS for init in PROTOCOLS):
        if any((row["model"], row["init"]) == (model, init) for row in rows):
            continue

        for rate in RATES:
            value = accuracy(made("centralized", model, init, rate, TUNED_ON, out, "val"))
            rows.append({"model": model, "init": init, "lr": f"{rate:g}", "accuracy": f"{value:.2f}"})
            print(f"      {model}, {init}, {rate:g}: {value:.1f}", flush=True)
        write_rows(path, rows)

    best: dict[tuple[str, str], float] = {}
    for row in sorted(rows, key=lambda row: float(row["accuracy"])):
        best[row["model"], row["init"]] = float(row["lr"])
    return best


def figures(setting: str, seeds: Sequence[int], out: Path) -> dict[tuple[str, str], dict[str, NDArray[np.float64]]]:
    """[seeds] accuracy and costs of each model and protocol."""
    rates, found = tune(out), {}
    for model, init in ((model, init) for model in MODELS for init in PROTOCOLS):
        runs = [made(setting, model, init, rates[model, init], seed, out) for seed in seeds]
        rows = [{"accuracy": accuracy(run), **costs(run)} for run in runs]
        found[model, init] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        print(f"      {model}, {init}: {spread(found[model, init]['accuracy'])}", flush=True)
    return found


def checks(found: dict[tuple[str, str], dict[str, NDArray[np.float64]]]) -> Iterable[Check]:
    """Row 21: the transformer gains, and the two architectures come nearer."""
    mean = {key: float(values["accuracy"].mean()) for key, values in found.items()}
    gain = mean["transformer", "self"] - mean["transformer", "scratch"]
    yield at_least("transformer, self over scratch", gain, 3.0)
    apart = [abs(mean["transformer", init] - mean["recurrent", init]) for init in PROTOCOLS]
    claim = f"the two are {apart[0]:.1f} apart from scratch and {apart[1]:.1f} after it, 30 % nearer expected"
    yield Check(claim, apart[1] <= 0.7 * apart[0])


def main() -> int:
    """See the head of this file. The exit status is 1 where a check fails."""
    settings, columns = ["centralized", "fedavg"], ("model", "init")
    table = HERE / "from_scratch.csv"
    return command(__doc__, table, settings, lambda setting, out: tune(out), figures, checks, columns)


if __name__ == "__main__":
    raise SystemExit(main())
