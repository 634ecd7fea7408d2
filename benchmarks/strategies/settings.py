"""The settings of the tables without trials, and the methods that stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fedlt.config import catalog
from fedlt.sweeps.grid import Job, plan

WITH = " with "
CHOOSING = ("fedhoo", "fedwolf")  # they need validation data, which would leave all others fewer samples to train on
COUNTING = ("exact_sum", "joined_clauses")  # they are for words, and these are images
LABELLED = ("fedic", "ratio_loss")  # they need labelled samples at the server, which would do the same
FLOWER = ("flower:FedAdam", "flower:FedYogi", "flower:Krum", "flower:FedTrimmedAvg")


@dataclass(frozen=True)
class Setting:
    """One question that all strategies answer.

    ablations: of FedLoGe, at its rate.
    leave_out: strategies or learners that do not fit.
    hosts: strategies in each of which every learner is tried, in place of the rows of all strategies.
    """

    scenario: str
    ablations: tuple[str, ...] = ("sparsity: 0.0", "backbone_from: psi")
    leave_out: tuple[str, ...] = ()
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


def jobs(setting: Setting, rows: Iterable[str], seeds: Sequence[int], *changes: str) -> list[Job]:
    """The runs, seed by seed, at the scenario's rate."""
    found = []
    for row in rows:
        strategy, _, learner = row.partition(WITH)
        words = ["resources.backend=inline", f"strategy={strategy}", *([f"learner={learner}"] if learner else [])]
        found += [replace(job, label=row) for job in plan(setting.scenario, [*words, *changes], seeds)]
    return sorted(found, key=lambda job: job.seed)  # stable: whatever has finished can be compared
