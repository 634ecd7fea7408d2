"""The settings of the tables without trials, the strategies that stand in them, and the rates once chosen for two."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedlt.config import catalog
from fedlt.sweeps.grid import Job, plan

RATES = Path(__file__).with_name("rates.csv")
WITH = " with "
CHOOSING = ("fedhoo", "fedwolf")  # they need validation data, which would leave all others fewer samples to train on
COUNTING = ("exact_sum", "joined_clauses")  # they are for words, and these are images
LABELLED = ("fedic", "ratio_loss")  # they need labelled samples at the server, which would do the same
FLOWER = ("flower:FedAdam", "flower:FedYogi", "flower:Krum", "flower:FedTrimmedAvg")


@dataclass(frozen=True)
class Setting:
    """One question that all strategies answer.

    changes: overrides of the scenario.
    ablations: of FedLoGe, at its rate.
    leave_out: strategies or learners that do not fit.
    rates_from: the setting whose tuned rates are taken; "": its own, where it has any, and else the scenario's.
    hosts: strategies in each of which every learner is tried, in place of the rows of all strategies.
    """

    scenario: str
    changes: tuple[str, ...] = ()
    ablations: tuple[str, ...] = ("sparsity: 0.0", "backbone_from: psi")
    leave_out: tuple[str, ...] = ()
    rates_from: str = ""
    hosts: tuple[str, ...] = ()

    def rows(self) -> list[str]:
        """What `strategy=` takes: all that are built in but `CHOOSING`, some of Flower's, and the ablations of FedLoGe.

        Of a setting with hosts: `fedavg with ldam` for every learner.
        """
        if self.hosts:
            learners = [name for name in catalog.names("learner") if name not in self.leave_out]
            return [f"{host}{WITH}{learner}" for host in self.hosts for learner in learners]
        left_out = {*self.leave_out, *CHOOSING, *COUNTING, *LABELLED}
        names = [name for name in (*catalog.names("strategy"), *FLOWER) if name not in left_out]
        return [self._row(name) for name in names] + [self._row("fedloge", ablation) for ablation in self.ablations]

    def _row(self, name: str, *more: str) -> str:
        return f"{{{', '.join([f'name: {name}', *more])}}}" if more else name


SETTINGS = {
    "cifar10": Setting(
        "fedloge_cifar10_if100_a05_k40_cpu",
        ("federation.rounds=20", "evaluation.every=20"),
    ),
    "ham10000": Setting(
        "ham10000_sites",
        ("model.stem_stride=4", "local.epochs=1", "federation.rounds=10", "evaluation.every=10"),
        leave_out=("feddf",),  # clients hold all samples: none is left for the server
        rates_from="cifar10",
    ),
    "digits": Setting("digits_lt", leave_out=("fedbn",)),  # the model has no normalisation layers
    "digits_learners": Setting(
        "digits_lt",
        leave_out=(
            "pseudo_labels",
            "counting",
            "tsetlin",
            "crf",
            "asymmetric_loss",
            "comic",
            "label_tree",
            "sibling_softmax",
            "word_pretraining",
        ),  # no labels; words; several labels; a tree of classes
        hosts=("centralized", "fedavg"),
    ),
}


def name_of(row: str) -> str:
    """`fedloge` of `{name: fedloge, norm: 1.0}`, and `fedavg` of `fedavg with ldam`."""
    return row.partition(WITH)[0].strip("{}").removeprefix("name: ").partition(",")[0]


def chosen_rates(setting: str) -> dict[str, float]:
    """strategy -> the learning rate that was chosen for it; empty where nothing was tuned."""
    source = SETTINGS[setting].rates_from or setting
    return {line["strategy"]: float(line["chosen"]) for line in tuned() if line["setting"] == source}


def tuned() -> list[dict[str, str]]:
    """The lines of rates.csv."""
    if not RATES.exists():
        return []
    with RATES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def jobs(setting: Setting, rates: dict[str, Sequence[float]], seeds: Sequence[int], *changes: str) -> list[Job]:
    """The runs, seed by seed. rates: row -> its learning rates; a row without any keeps the scenario's."""
    found = []
    for row in rates:
        strategy, _, learner = row.partition(WITH)
        method = [f"strategy={strategy}", *([f"learner={learner}"] if learner else [])]
        for rate in [f"local.lr={rate:g}" for rate in rates[row]] or [""]:
            words = [*setting.changes, "resources.backend=inline", *method, *([rate] if rate else [])]
            label = f"{row} {rate}".strip()
            found += [replace(job, label=label) for job in plan(setting.scenario, [*words, *changes], seeds)]
    return sorted(found, key=lambda job: job.seed)  # stable: whatever has finished can be compared
