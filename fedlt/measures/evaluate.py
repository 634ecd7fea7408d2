"""Tests generic and personal models. The test set passes the backbone once; personal heads read cached features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.learner import Logits, Prediction
from fedlt.measures.collapse import Moments
from fedlt.measures.meter import Meters
from fedlt.measures.metrics import Confusion, named
from fedlt.strategy import Client, Server, Strategy

if TYPE_CHECKING:
    from fedlt.data.inputs.features import Encoded, Features

Confusions = dict[str, Confusion]  # by variant of the model; "" is the headline


@dataclass
class TestSet:
    """The global test set, or the validation set, under the present backbone.

    encoded: its samples, by their features. targets: [n]. size: rows that the generic model is tested on, the first
    ones; None: all. prefix: what the names of models that are tested on it begin with.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    encoded: Encoded
    targets: Tensor
    size: int | None = None
    prefix: str = ""

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
    strategy: Strategy, server: Server, test: TestSet, chunks: list[int], meters: Meters
) -> Confusions:
    """Confusions of the generic model's variants over some chunks of the test set; "" is the headline.

    Raises FloatingPointError where logits are no prediction.
    """
    tally = Tally(server.task.num_classes)
    server.model.eval()
    with torch.no_grad():  # inference mode would leave features in the cache that personal models cannot add to
        for index in chunks:
            for x, targets in test.parts(test.chunk_rows(index)):
                found = strategy.generic(server, x)  # type: ignore[arg-type]
                logits = named_logits(found)
                tally.add(logits, targets)
                meters.add(f"{test.prefix}generic", logits, targets, said=_said(found), rows=x.rows)
    return tally.confusions(f"{test.prefix}generic")


def evaluate_personal(
    strategy: Strategy, client: Client, test: TestSet, rows: Tensor, meters: Meters
) -> tuple[Confusions, Confusions]:
    """Confusions of a client's personal model on its own rows of the set, unmasked and masked.

    Masked: classes that the client never saw in training cannot be predicted. The strategy's `adapt` comes first; what
    it trained or loaded (fine-tuning, whole private models) makes features be recomputed. Raises FloatingPointError
    where logits are no prediction; nothing of the client is then in `meters`.
    """
    plain, masked = Tally(client.task.num_classes), Tally(client.task.num_classes)
    unseen = client.class_counts == 0
    held = []
    client.model.eval()
    for x, targets in test.parts(rows):
        with torch.no_grad():
            found = strategy.personal(client, x)  # type: ignore[arg-type]
            logits, said = named_logits(found), _said(found)
            without = {name: value.masked_fill(unseen, -torch.inf) for name, value in logits.items()}
            plain.add(logits, targets)
            masked.add(without, targets)
            held.append((logits, without, targets, x.rows, said))

    model, blank = f"{test.prefix}personal", bool(unseen.all())
    confusions = plain.confusions(model), masked.confusions(f"{model}_masked", checked=not blank)
    for logits, without, targets, places, said in held:
        meters.add(model, logits, targets, client.id, said, places)
        meters.add(f"{model}_masked", without, targets, client.id, said, places)
    return confusions


def feature_moments(
    test: TestSet, chunks: list[int], num_classes: int, clients: Sequence[int], client_rows: Sequence[NDArray[np.int64]]
) -> Moments | None:
    """Moments of the features that the generic model's test has left in the cache: of all rows of some chunks, and of
    each client's (ascending) rows among them. None where the model no longer has the cache's backbone."""
    rows = torch.cat([test.chunk_rows(index) for index in chunks])
    assert test.encoded.model is not None
    if not test.encoded.holds_for(test.encoded.model):
        return None
    with torch.no_grad():
        features = test.encoded.gather(rows).double()
    classes = F.one_hot(test.targets[rows], num_classes).double()
    bounds = [np.searchsorted(held, (int(rows[0]), int(rows[-1]) + 1)) for held in client_rows]
    inside = [held[start:stop] - int(rows[0]) for held, (start, stop) in zip(client_rows, bounds, strict=True)]
    index = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *inside])).to(rows.device)
    offsets = torch.from_numpy(np.cumsum([0, *map(len, inside)])).to(rows.device)

    def of_clients(table: Tensor) -> Tensor:
        return F.embedding_bag(index, table, offsets, mode="sum", include_last_offset=True)

    sums = classes.sum(0), classes.T @ features, features.T @ features
    clients_sums = torch.tensor(clients).double(), of_clients(features), of_clients(classes)
    return Moments(*(tensor.cpu().numpy() for tensor in (*sums, *clients_sums)))


class Tally:
    """Collects predictions, by variant, without waiting for the device in between."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.predicted: dict[str, list[Tensor]] = {}
        self.undecided: dict[str, list[Tensor]] = {}  # how many rows of a part have NaN, or -inf for every class
        self.targets: list[Tensor] = []

    def add(self, logits: dict[str, Tensor], targets: Tensor) -> None:
        for name, value in logits.items():
            self.predicted.setdefault(name, []).append(value.argmax(1))
            self.undecided.setdefault(name, []).append((~(value.amax(1) > -torch.inf)).sum())
        self.targets.append(targets)

    def confusions(self, model: str, checked: bool = True) -> Confusions:
        """model: what an error calls it. Raises FloatingPointError where the largest logit of a row is none: `argmax`
        takes the first NaN for the largest."""
        if not self.targets:
            return {}
        for name, parts in self.undecided.items() if checked else ():
            if count := int(torch.stack(parts).sum()):
                what = f"{count} of {sum(map(len, self.targets))} samples have logits of {named(model, name)}"
                raise FloatingPointError(f"{what} that are NaN, or -inf for every class")
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


def _said(found: Logits) -> Prediction | None:
    """What the model says beside its logits, where it does."""
    return found if isinstance(found, Prediction) else None
