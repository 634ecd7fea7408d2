"""All strategies on four federations, each at its best of four settings: equal trials on validation data, three seeds.

    FEDLT_DATA=/your/data python -m benchmarks.strategies.study tune mnist_writers
    FEDLT_DATA=/your/data python -m benchmarks.strategies.study run mnist_writers

Four learning rates, or for a method with a key of its own two rates and two values of it, the published one among them
(methods.py); `benchmarks.trials` says how one is chosen. `run` takes the chosen settings and writes NAME.csv: every
variant, mean and standard deviation, paired differences to FedAvg. Both go on after an interruption.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.strategies.methods import METHODS
from benchmarks.trials import Setting, Study

SETTINGS = {
    "cifar100_lt_pretrained": Setting(
        "cifar100_lt_pretrained",
        rates=(0.05, 0.1, 0.2, 0.4),
        narrow=(1, 2),
        tuning=("federation.rounds=15", "evaluation.every=15"),
        changes=("federation.rounds=30", "local.epochs=2", "evaluation.every=30"),
        leave_out=("fedbn", "fedyoyo"),  # no normalisation layers; no two views of what is encoded
    ),
    "mnist_writers": Setting(
        "mnist_writers",
        rates=(0.01, 0.03, 0.1, 0.3),
        narrow=(1, 2),
        smaller=("pfedfda",),  # whose features grow without bound at 0.03 and 0.1
        tuning=("federation.rounds=20", "evaluation.every=20"),
        changes=(
            "data.longtail.imbalance_factor=100",
            "federation.empty=redraw",
            "federation.rounds=40",
            "evaluation.every=40",
        ),
        leave_out=("fedbn",),
    ),
    # Under a frozen encoder: from scratch, FedAvg has a balanced accuracy of 19.5 % after 15 rounds, where 14.3 % is
    # chance, and a longer run of the pictures costs minutes.
    "ham10000_sites_pretrained": Setting(
        "ham10000_sites_pretrained",
        rates=(0.01, 0.02, 0.05, 0.1),
        narrow=(1, 2),
        tuning=("federation.rounds=20", "evaluation.every=20"),
        changes=("federation.rounds=30", "local.epochs=2", "evaluation.every=30"),
        leave_out=("fedbn", "fedyoyo", "feddf"),  # and no sample is left that could go to feddf's server
    ),
    "cifar10_lt": Setting(
        "fedloge_cifar10_if100_a05_k40_cpu",
        rates=(0.03, 0.1, 0.2, 0.3),
        narrow=(0, 1),
        tuning=("federation.rounds=20", "evaluation.every=20"),
        changes=("federation.rounds=40", "evaluation.every=40", "data.longtail.largest=1500"),
    ),
}

STUDY = Study(Path(__file__).parent, METHODS, SETTINGS)

if __name__ == "__main__":
    STUDY.main(__doc__, "runs/study", "0-2")
