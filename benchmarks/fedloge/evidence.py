"""FedLoGe and its rivals where methods can learn: settings chosen on validation data, results over seeds.

    FEDLT_DATA=/your/data python -m benchmarks.fedloge.evidence tune cifar100_lt_pretrained
    FEDLT_DATA=/your/data python -m benchmarks.fedloge.evidence run cifar100_lt_pretrained --seeds 0-4

Six trials for each method, written with their validation figures to tuned.csv; `benchmarks.trials` says how one is
chosen. `run` takes the chosen settings and writes NAME.csv: every variant, mean and standard deviation, paired
differences to FedAvg.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.trials import Method, Setting, Study

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

STUDY = Study(
    Path(__file__).parent, METHODS, SETTINGS, by="strategy,strategy.heads,strategy.sparsity,strategy.backbone_from"
)

if __name__ == "__main__":
    STUDY.main(__doc__, "runs/fedloge", "0-4")
