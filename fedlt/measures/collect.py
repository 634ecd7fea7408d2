"""The statistics that one worker collects: those of the task and the user, for every model that it tests."""

from __future__ import annotations

from collections.abc import Mapping

from fedlt.data.task import Task
from fedlt.statistic import ALL, Arrays, FeatureBatch, Predicted, Statistic, Subject

Collected = dict[tuple[str, str], Arrays]
"""What statistics have seen, by the statistic's name and the `Subject.key` of the model."""


class Collector:
    """One statistic of each kind for each model, made when the model's first batch comes.

    Attributes:
        kinds: the statistics by name, which stay empty.
    """

    def __init__(self, kinds: Mapping[str, Statistic], task: Task) -> None:
        self.kinds, self.task = kinds, task
        self._found: dict[tuple[str, str], Statistic] = {}

    @property
    def reads_features(self) -> bool:
        """Whether any statistic is given features."""
        return any(kind.reads_features for kind in self.kinds.values())

    def add(self, subject: Subject, batch: Predicted) -> None:
        """A batch of a model's predictions."""
        self._add(subject, batch, reads_features=False)

    def add_features(self, batch: FeatureBatch) -> None:
        """Features of a part of the global test set."""
        self._add(Subject("generic", ALL), batch, reads_features=True)

    def arrays(self) -> Collected:
        """All that was seen."""
        return {key: statistic.to_arrays() for key, statistic in self._found.items()}

    def _add(self, subject: Subject, batch: Predicted | FeatureBatch, reads_features: bool) -> None:
        """Give a batch to the statistics that are taken of the subject, which are made where they are not there."""
        for name, kind in self.kinds.items():
            if kind.reads_features == reads_features and kind.measures(subject):
                key = name, subject.key
                if key not in self._found:
                    self._found[key] = kind.empty(self.task, subject)
                self._found[key].add(batch)
