"""Tests generic and personal models. The test set passes the backbone once; personal heads read cached features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.config.hook_results import expect_logits, name_of
from fedlt.learner import Logits, Prediction
from fedlt.measures.collect import Collector
from fedlt.statistic import FeatureBatch, Predicted, Subject
from fedlt.strategy import Client, Server, Strategy

if TYPE_CHECKING:
    from fedlt.data.inputs.features import Encoded, Features


AT_ONCE = 2**24
"""Numbers of a client's logits, rows times classes, that are kept until all of them are known to be predictions."""

MASKED = "personal_masked"


@dataclass
class TestSet:
    """The global test set, or the validation set, under the present backbone.

    Attributes:
        encoded: its samples, by their features.
        targets: [n, ...].
        size: rows that the generic model is tested on, the first ones; None: all.
        validation: which of the two it is.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    encoded: Encoded
    targets: Tensor
    size: int | None = None
    validation: bool = False

    def parts(self, rows: Tensor) -> Iterator[tuple[Features, Tensor]]:
        """The rows in pieces of at most a chunk, with their targets."""
        for part in rows.split(self.encoded.chunk):
            yield self.encoded.take(part), self.targets[part]

    def chunk_rows(self, index: int) -> Tensor:
        """Rows of the chunk with that index."""
        chunk = self.encoded.chunk
        stop = min((index + 1) * chunk, len(self.targets) if self.size is None else self.size)
        return torch.arange(index * chunk, stop, device=self.targets.device)


def evaluate_generic(
    strategy: Strategy, server: Server, test: TestSet, chunks: list[int], collector: Collector
) -> None:
    """Collects statistics of the generic model's variants over some chunks of the test set.

    Raises:
        FloatingPointError: where logits are no prediction.
    """
    undecided = Undecided()
    name = name_of((strategy, "generic"), (server.learner, "predict"))
    server.model.eval()
    with torch.no_grad():  # inference mode would leave features in the cache that personal models cannot add to
        for index in chunks:
            for x, targets in test.parts(test.chunk_rows(index)):
                logits = strategy.generic(server, x)  # type: ignore[arg-type]
                expect_logits(logits, len(x), server.task, name)
                for variant, prediction in variants(logits).items():
                    subject = Subject("generic", variant, test.validation)
                    undecided.count(subject, prediction.logits)
                    collector.add(subject, Predicted(prediction, targets, x.rows, x=x))
    undecided.refuse("its features or its head are not finite; a smaller local.lr may help")


def evaluate_personal(strategy: Strategy, client: Client, test: TestSet, rows: Tensor, collector: Collector) -> None:
    """Collects statistics of a client's personal model on its own rows of the set, unmasked and masked.

    Masked: classes that the client never saw in training cannot be predicted. The strategy's `adapt` comes first; what
    it trained or loaded (fine-tuning, whole private models) makes features be recomputed.

    Raises:
        FloatingPointError: where logits are no prediction; nothing of the client is then collected.
    """
    undecided = Undecided()
    blank = not client.class_counts.any()
    client.model.eval()

    # Where all logits together are large, they are made twice, so that those of a chunk alone are in memory.
    few = len(rows) * client.task.num_classes <= AT_ONCE
    kept = list(_personal(strategy, client, test, rows)) if few else None
    for subject, batch in _personal(strategy, client, test, rows) if kept is None else kept:
        if not (blank and subject.kind == MASKED):
            undecided.count(subject, batch.logits)
    undecided.refuse()

    for subject, batch in _personal(strategy, client, test, rows) if kept is None else kept:
        collector.add(subject, batch)


def _personal(strategy: Strategy, client: Client, test: TestSet, rows: Tensor) -> Iterator[tuple[Subject, Predicted]]:
    """Predictions of a client's personal model, chunk by chunk, each as it is and masked."""
    unseen = client.class_counts == 0
    name = name_of((strategy, "personal"), (client.learner, "predict"))
    for x, targets in test.parts(rows):
        with torch.no_grad():
            logits = strategy.personal(client, x)  # type: ignore[arg-type]
            expect_logits(logits, len(x), client.task, name)
            for variant, prediction in variants(logits).items():
                masked = replace(prediction, logits=prediction.logits.masked_fill(unseen, -torch.inf))
                for kind, shown in (("personal", prediction), (MASKED, masked)):
                    subject = Subject(kind, variant, test.validation)
                    yield subject, Predicted(shown, targets, x.rows, client.id, x)


def feature_batch(
    test: TestSet, chunks: list[int], clients: Sequence[int], client_rows: Sequence[NDArray[np.int64]]
) -> FeatureBatch | None:
    """The features that the generic model's test has left in the cache, of all rows of some chunks.

    Args:
        clients, client_rows: whose rows are told apart among them.

    Returns:
        None where the model no longer has the backbone whose features the cache holds.
    """
    rows = torch.cat([test.chunk_rows(index) for index in chunks])
    assert test.encoded.model is not None
    if not test.encoded.holds_for(test.encoded.model):
        return None
    with torch.no_grad():
        features = test.encoded.gather(rows).double()

    first, stop = int(rows[0]), int(rows[-1]) + 1
    bounds = [np.searchsorted(own, (first, stop)) for own in client_rows]
    inside = [own[start:end] - first for own, (start, end) in zip(client_rows, bounds, strict=True)]
    return FeatureBatch(features, test.targets[rows], rows, clients, inside)


class Undecided:
    """Counts rows of logits that are no prediction, without waiting for the device in between."""

    def __init__(self) -> None:
        self._found: dict[Subject, list[Tensor]] = {}
        self._rows: dict[Subject, int] = {}

    def count(self, subject: Subject, logits: Tensor) -> None:
        """Rows of NaN, or of -inf for every class: `argmax` would take the first NaN for the largest."""
        self._found.setdefault(subject, []).append((~(logits.amax(-1) > -torch.inf)).sum())
        self._rows[subject] = self._rows.get(subject, 0) + len(logits)

    def refuse(self, hint: str = "") -> None:
        """Refuse predictions among which there was such a row.

        Args:
            hint: what may help.

        Raises:
            FloatingPointError: where there was one.
        """
        for subject, counts in self._found.items():
            if count := int(torch.stack(counts).sum()):
                what = f"{count} of {self._rows[subject]} samples have logits of {subject.full_name}"
                raise FloatingPointError(f"{what} that are NaN, or -inf for every class{hint and ': '}{hint}")


def named_logits(found: Logits) -> dict[str, Tensor]:
    """Logits by variant; the first is the headline, and goes by the empty name beside its own."""
    return {name: one.logits for name, one in variants(found).items()}


def variants(found: Logits) -> dict[str, Prediction]:
    """What is predicted, by variant; the first is the headline, and goes by the empty name beside its own."""
    if not isinstance(found, dict):
        return {"": _prediction(found)}
    each = {name: _prediction(one) for name, one in found.items()}
    return {"": next(iter(each.values())), **each}


def _prediction(found: Tensor | Prediction) -> Prediction:
    return found if isinstance(found, Prediction) else Prediction(found)
