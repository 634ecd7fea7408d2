"""What a worker tests models on: the global test set and, where one is set apart, the validation set."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedlt.data.buckets import encoded_by_length
from fedlt.data.federation import Federation
from fedlt.data.inputs import Chosen, InputKind, Inputs
from fedlt.data.inputs.features import Encoded
from fedlt.data.inputs.on_disk import opened
from fedlt.exchange import Job, Work
from fedlt.measures.collect import Collector
from fedlt.measures.evaluate import TestSet, feature_batch
from fedlt.nn.net import Net


class EvaluationSets:
    """The sets of samples, and the features of these under the generic model of a round.

    Args:
        federation: who is tested on what.
        kind: of the inputs.
        train_inputs: of the training source, whose rows the validation set is.
        device: where the samples are kept.
        chunk: samples in one forward pass.
        by_length: whether those of like lengths in a chunk are encoded together.

    Attributes:
        inputs, targets: of the global test set.
    """

    def __init__(
        self,
        federation: Federation,
        kind: InputKind,
        train_inputs: Inputs,
        device: torch.device,
        chunk: int,
        by_length: bool = False,
    ) -> None:
        self.federation, self.chunk, self.device = federation, chunk, device
        self._by_length = kind if by_length else None

        self.inputs = opened(kind, federation.x_test, device)
        self.targets = federation.test_targets.take(device=self.device)

        # The validation set's rows are rows of the training inputs.
        self._validation: tuple[Inputs, Tensor] | None = None
        if federation.validation is not None:
            rows, targets = (federation.validation.rows, federation.validation.targets)
            chosen = Chosen(train_inputs, torch.from_numpy(rows).to(self.device))
            self._validation = chosen, targets.take(device=self.device)

        self._sets: tuple[int, Tensor, list[TestSet]] | None = None

    def under(self, model: Net, job: Job) -> list[TestSet]:
        """The test set, then the validation set if there is one, under the job's generic model, which is loaded.

        Features are kept over the messages of a round.
        """
        former = self._sets
        if former is not None and former[0] == job.round and former[1].data_ptr() == job.shared.data_ptr():
            for test in former[2]:
                test.encoded.revalidate()
            return former[2]

        encode = None
        if self._by_length is not None:
            encode = partial(encoded_by_length, model.encode, kind=self._by_length)
        sets = [TestSet(Encoded.of(self.inputs, model, self.chunk, encode), self.targets)]
        if self._validation is not None:
            assert self.federation.validation is not None
            inputs, targets = self._validation
            encoded = Encoded.of(inputs, model, self.chunk, encode)
            sets.append(TestSet(encoded, targets, self.federation.validation.size, validation=True))
        self._sets = job.round, job.shared, sets
        return sets

    def own_rows(self, client: int, work: Work) -> dict[int, Tensor]:
        """The client's rows that the work tests it on, by the number of the set whose rows they are."""
        rows_of = {0: self.federation.tests[client]}
        if self.federation.validation is not None:
            rows_of[1] = self.federation.validation.clients[client]
        if work.span is not None:
            rows = rows_of[work.validation]
            rows_of = {int(work.validation): rows[slice(*np.searchsorted(rows, work.span))]}
        return {which: torch.from_numpy(rows).to(self.device) for which, rows in rows_of.items() if len(rows)}

    def collect_features(self, work: Work, collector: Collector) -> None:
        """Give the features of the work's part of the test set to the statistics that read such."""
        assert self._sets is not None
        clients = work.personal if work.span is not None else []
        rows = [self.federation.tests[client] for client in clients]
        features = feature_batch(self._sets[2][0], work.chunks, clients, rows)
        if features is not None:
            collector.add_features(features)
