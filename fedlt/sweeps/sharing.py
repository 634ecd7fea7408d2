"""Which runs of a sweep train the very same model: one of them trains, and the others test what it has kept.

fedlt sweep digits_lt strategy=fedavg,fedavg_posthoc,knnper,fedper --seeds 0-2    # 6 trainings for 12 runs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fedlt.results.trackers import TRACKERS
from fedlt.sweeps.grid import Job


@dataclass(frozen=True)
class Shared:
    """Jobs in the order in which they may begin, and what waits for what.

    Attributes:
        jobs: those that others follow keep the models of their evaluations.
        leaders: job -> the one that trains for it.
    """

    jobs: Sequence[Job]
    leaders: Mapping[str, str]

    def ready(self, job: Job, under_way: Iterable[Job]) -> bool:
        """Whether the job's training is there, or has failed and has to be done by itself.

        Args:
            under_way: waiting or at work.
        """
        leader = self.leaders.get(job.name)
        return leader is None or all(other.name != leader for other in under_way)


def share(jobs: Sequence[Job]) -> Shared:
    """Find jobs that train the same; of each such group the first one trains, and the others come last."""
    groups: dict[tuple[str, int], list[Job]] = {}
    for job in jobs:
        if _may_share(job):
            groups.setdefault((_training(job), job.scenario.evaluation.every), []).append(job)

    leaders = {job.name: group[0].name for group in groups.values() for job in group[1:]}
    led = set(leaders.values())
    marked = [replace(job, keep=True) if job.name in led else job for job in jobs]
    return Shared(sorted(marked, key=lambda job: job.name in leaders), leaders)


def _may_share(job: Job) -> bool:
    """Whether nothing may end the run early: neither patience nor a callback of the user's own."""
    return job.scenario.evaluation.patience is None and set(job.track) <= TRACKERS.keys()


def _training(job: Job) -> str:
    from fedlt.training.sameness import training_hash

    return training_hash(job.scenario, job.scenario.strategy.create(), job.scenario.learner.create())
