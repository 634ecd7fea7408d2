"""What the papers' methods promise, at the size of a CPU core: pass or fail, with the figures.

    FEDLT_DATA=... python -m benchmarks.centralized.papers sbcl substructure labels noise outside --seeds 0-2 --out runs

Finished runs in OUT are read, the others are made first; `sbcl` takes six runs of about seven minutes on a free core,
`labels` eight of one to two minutes for each seed, `noise` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.centralized.acceptance import Check, Runs, at_least, main
from benchmarks.centralized.gaussian_heads import heads
from benchmarks.centralized.outside import outside_auroc
from benchmarks.centralized.substructure import purity, superclasses

SBCL = (
    "sbcl federation.rounds=250 evaluation.every=250 local.batch_size=256 local.lr=0.2 local.weight_decay=0.0001 "
    "learner.least=20 learner.projection=64"
)
"""200 rounds of contrast and 50 of a head."""
OTHERS = "cifar100"  # whose images no class of CIFAR-10 is in
EXTRA = 3.9  # times the labelled samples; with imbalance 100 the largest class then takes all that CIFAR-10 has left


def sbcl(runs: Runs) -> Iterable[Check]:
    """Row 5: better than supervised contrast (the same run without subclasses), under the same head."""
    found = {"supcon": runs.figures(f"{SBCL} learner.warmup=1.0"), "sbcl": runs.figures(SBCL)}
    runs.tell("sbcl", found)
    for key, least in (("all", 2.0), ("few", 3.0)):
        yield at_least(f"sbcl over supcon, {key}", (found["sbcl"][key] - found["supcon"][key]).mean(), least)


def substructure(runs: Runs) -> Iterable[Check]:
    """Row 5, its other part: SBCL's features keep the fine classes within a class better than supervised contrast's."""
    keys = f"data.name={superclasses(runs.out)} data.longtail.largest=400 data.longtail.imbalance_factor=10"
    found = {
        name: np.array([purity(run) for run in runs.of(f"{SBCL} {keys} {more}")])
        for name, more in (("supcon", "learner.warmup=1.0"), ("sbcl", "learner.warmup=0.05"))
    }
    runs.tell("substructure", {name: {"mutual_information": values} for name, values in found.items()})
    yield at_least("sbcl over supcon, mutual information in %", (found["sbcl"] - found["supcon"]).mean(), 2.0)


def labels(runs: Runs) -> Iterable[Check]:
    """Row 7: rotations first help every head, also against as many images with labels; so do unlabelled samples, the
    less the more long-tailed they are.
    """
    twice = "federation.rounds=80 evaluation.every=80"
    crt = "learner.classifier_share=0.16666666666666666"
    found = {
        "ce": runs.figures("cross_entropy"),
        "ce, twice as long": runs.figures(f"cross_entropy {twice}"),
        "rotation + ce": runs.figures(f"value_of_labels {twice}"),
        "crt": runs.figures(f"crt {crt} federation.rounds=48 evaluation.every=48"),
        "rotation + crt": runs.figures(
            f"value_of_labels {crt} learner.pretrain=0.45454545454545453 federation.rounds=88 evaluation.every=88"
        ),
    }
    for factor in (1, 25, 100):
        keys = f"data.unlabelled.extra={EXTRA} data.unlabelled.imbalance_factor={factor}"
        found[f"pseudo-labels, imbalance {factor}"] = runs.figures(f"pseudo_labels {twice} {keys}")

    runs.tell("labels", found)
    mean = {name: float(row["all"].mean()) for name, row in found.items()}
    yield at_least("rotation + ce over ce", mean["rotation + ce"] - mean["ce"], 0.5)
    yield at_least("rotation + ce over ce, twice as long", mean["rotation + ce"] - mean["ce, twice as long"], 0.5)
    yield at_least("rotation + crt over crt", mean["rotation + crt"] - mean["crt"], 1.0)
    one, some, many = (mean[f"pseudo-labels, imbalance {factor}"] for factor in (1, 25, 100))
    yield at_least("pseudo-labels of balanced samples over ce", one - mean["ce"], 4.0)

    yield at_least("pseudo-labels of balanced samples over ce, twice as long", one - mean["ce, twice as long"], 0.0)
    falls = some <= one + 1 and many <= some + 1
    yield Check(f"less with more imbalance (1, 25, 100): {one:.1f}, {some:.1f}, {many:.1f}", falls)


def noise(runs: Runs) -> Iterable[Check]:
    """Row 10: points of calibrated Gaussians repair a head under wrong labels and a long tail; the tail's calibration
    matters.
    """
    for rate in (0.3, 0.4, 0.0):
        each = [heads(rate, seed) for seed in runs.seeds]
        found = {name: {key: np.array([row[name][key] for row in each]) for key in ("all", "few")} for name in each[0]}
        print(f"      {rate:.0%} of the labels are wrong")
        runs.tell(f"noise {rate}", found)
        if rate != 0.3:
            continue
        best = found["calibrated"]
        yield at_least("calibrated over ce, few", (best["few"] - found["ce"]["few"]).mean(), 10.0)
        yield at_least("calibrated over balanced, all", (best["all"] - found["balanced"]["all"]).mean(), 1.0)
        lost = (best["few"] - found["gaussians"]["few"]).mean()
        yield at_least("control, each class for itself: what is lost, few", lost, 2.0)


def outside(runs: Runs) -> Iterable[Check]:
    """Row 1, its last part: TLC's uncertainty finds CIFAR-100's images better than cross-entropy's confidence does."""
    plain = runs.of("posthoc_logit_adjustment")  # of which the variant `plain` is cross-entropy
    found = {
        "ce": np.array([outside_auroc(run, OTHERS, "plain") for run in plain]),
        "ldam-drw": np.array([outside_auroc(run, OTHERS) for run in runs.of("ldam")]),
        "tlc": np.array([outside_auroc(run, OTHERS) for run in runs.of("tlc")]),
    }
    runs.tell("outside", {name: {"auroc": areas} for name, areas in found.items()})
    yield at_least("tlc over ce", (found["tlc"] - found["ce"]).mean(), 2.0)


ROWS: dict[str, Callable[[Runs], Iterable[Check]]] = {
    "sbcl": sbcl,
    "substructure": substructure,
    "labels": labels,
    "noise": noise,
    "outside": outside,
}

if __name__ == "__main__":
    raise SystemExit(main(ROWS))
