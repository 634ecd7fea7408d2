"""Runs every strategy on one setting and prints the comparison; what is finished is not run again.

    FEDLT_DATA=/your/data python -m benchmarks.strategies.sweep cifar10 --seeds 0-2 --out runs/strategies
    python -m benchmarks.strategies.sweep digits --lr 0.01,0.02,0.05 --out runs/tuning

The second form is for tuning: give the setting's validation data as --data (see README.md), never the test set.
"""

from __future__ import annotations

import argparse

import fedlt
from fedlt import catalog

SETTINGS = {
    "cifar10": ("fedloge_cifar10_if100_a05_k40_cpu",),
    "ham10000": ("ham10000_sites", "model.stem_stride=4", "local.epochs=2", "federation.rounds=30"),
    "digits": ("digits_lt",),
}
FLOWER = ("flower:FedAdam", "flower:FedYogi", "flower:Krum", "flower:FedTrimmedAvg")


def strategies(setting: str) -> list[str]:
    """All that are built in, and some of Flower's, with their defaults but where README.md gives a reason."""
    names = [*catalog.names("strategy"), *FLOWER]
    if setting == "digits":
        names.remove("fedbn")  # the model has no normalisation layers
    return ["{name: fedloge, norm: 1.0}" if (setting, name) == ("cifar10", "fedloge") else name for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--lr", default="", help="learning rates, by commas; the scenario's unless given")
    parser.add_argument("--data", default="", help="another data set, such as one with a validation set for a test set")
    parser.add_argument("--out", default="runs/strategies")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("-")
    scenario, *changes = SETTINGS[given.setting]
    changes += [f"strategy={','.join(strategies(given.setting))}"]
    changes += [f"{key}={value}" for key, value in (("local.lr", given.lr), ("data.name", given.data)) if value]
    done = fedlt.sweep(scenario, *changes, seeds=range(int(first), int(last or first) + 1), out=given.out)
    for job, reason in done.failures.items():
        print(f"failed: {job}: {reason.splitlines()[0]}")
    for table in done.compare(reference="fedavg"):
        print(table)


if __name__ == "__main__":
    main()
