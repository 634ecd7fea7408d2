"""Tests generic and personal models. The test set passes the backbone once; personal heads read cached features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlt.learner import Logits, Prediction
from fedlt.metrics import Confusion
from fedlt.nn.net import CachedInputs, FeatureCache
from fedlt.strategy import Client, Server, Strategy

if TYPE_CHECKING:
    from fedlt.data.inputs import Inputs

Confusions = dict[str, Confusion]  # by variant of the model; "" is the headline


@dataclass
class TestSet:
    """The global test set under the present backbone. chunk: samples in one forward pass."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    inputs: Inputs
    targets: Tensor
    chunk: int
    cache: FeatureCache

    def parts(self, rows: Tensor) -> Iterator[tuple[CachedInputs, Tensor]]:
        """The rows in pieces of at most `chunk`, with their targets."""
        for part in rows.split(self.chunk):
            yield CachedInputs(self.cache, part), self.targets[part]

    def chunk_rows(self, index: int) -> Tensor:
        """Rows of the chunk with that index."""
        stop = min((index + 1) * self.chunk, len(self.targets))
        return torch.arange(index * self.chunk, stop, device=self.targets.device)


def evaluate_generic(strategy: Strategy, server: Server, test: TestSet, chunks: list[int]) -> Confusions:
    """Confusions of the generic model's variants over some chunks of the test set; "" is the headline."""
    tally = Tally(server.task.num_classes)
    server.model.eval()
    with torch.no_grad():  # inference mode would leave features in the cache that personal models cannot add to
        for index in chunks:
            for x, targets in test.parts(test.chunk_rows(index)):
                tally.add(strategy.generic(server, x), targets)  # type: ignore[arg-type]
    return tally.confusions()


def evaluate_personal(strategy: Strategy, client: Client, test: TestSet, rows: Tensor) -> tuple[Confusions, Confusions]:
    """Confusions of a client's personal model on its own test rows, unmasked and masked.

    Masked: classes that the client never saw in training cannot be predicted. A strategy's hooks may train or
    load (fine-tuning, whole private models); features are then recomputed.
    """
    plain, masked = Tally(client.task.num_classes), Tally(client.task.num_classes)
    unseen = client.class_counts == 0
    strategy.adapt(client)
    client.model.eval()
    for x, targets in test.parts(rows):
        with torch.no_grad():
            logits = named_logits(strategy.personal(client, x))  # type: ignore[arg-type]
            plain.add(logits, targets)
            masked.add({name: value.masked_fill(unseen, -torch.inf) for name, value in logits.items()}, targets)
    return plain.confusions(), masked.confusions()


class Tally:
    """Collects predictions, by variant, without waiting for the device in between."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.predicted: dict[str, list[Tensor]] = {}
        self.targets: list[Tensor] = []

    def add(self, logits: Logits, targets: Tensor) -> None:
        for name, value in named_logits(logits).items():
            self.predicted.setdefault(name, []).append(value.argmax(1))
        self.targets.append(targets)

    def confusions(self) -> Confusions:
        if not self.targets:
            return {}
        true = torch.cat(self.targets).cpu().numpy()
        return {
            name: Confusion.from_predictions(true, torch.cat(parts).cpu().numpy(), self.num_classes)
            for name, parts in self.predicted.items()
        }


def named_logits(logits: Logits) -> dict[str, Tensor]:
    """The first variant is the headline, and goes by the empty name beside its own."""
    if isinstance(logits, Prediction):
        return {"": logits.logits}
    if isinstance(logits, Tensor):
        return {"": logits}
    return {"": next(iter(logits.values())), **logits}
