"""Generated texts beside a client's own (`local.generated`), while it trains.

They are made of the client's own training texts, once, and stay with it: nothing of them is sent, tested on, or given
to another client. They follow from the scenario's seed and the client, so that a worker which meets the client later
writes the same ones. Methods see them as training samples: samplers, class counts and the client's weight count them.
An epoch has as many samples as the client has of its own, drawn from both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.site import Rows
from fedlt.errors import Problem, ScenarioError
from fedlt.tokenizers.generator import Text, TextGenerator
from fedlt.tokenizers.nearest import generated

if TYPE_CHECKING:
    from fedlt.config.sections import Local
    from fedlt.data.inputs import InputKind, Inputs
    from fedlt.data.task import Task

KEY = "local.generated"


class Followed:
    """The inputs of a data set, and behind them further ones: rows from `len(first)` on are of `more`.

    Attributes:
        more: int64 [M, L] token ids as `first` gives them, padded by -1.
    """

    def __init__(self, first: Inputs, more: Tensor) -> None:
        self.first, self.more = first, more

    def __len__(self) -> int:
        return len(self.first) + len(self.more)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        place = rows - len(self.first)
        own: Tensor = self.first.take(rows.clamp(max=len(self.first) - 1), augment, generator)
        return torch.where((place >= 0)[:, None], self.more[place.clamp(min=0)], own)


def generator_of(local: Local, task: Task) -> TextGenerator | None:
    """The generator that the scenario names; None where it names none.

    Args:
        local: the section, whose `generated` names it.
        task: of the run; texts can be generated for tokens of one class a sample only.

    Raises:
        ScenarioError: where it cannot serve.
    """
    if local.generated is None:
        return None

    if not isinstance(task.inputs, TokenKind):
        message = f"writes texts, and the inputs are {task.inputs}; remove it"
        raise ScenarioError(Problem(KEY, message))
    if not task.target.one_label:
        message = f"writes texts of one class, and the data set's targets are {task.kind}; remove it"
        raise ScenarioError(Problem(KEY, message))

    try:
        found: TextGenerator = local.generated.create()
    except ScenarioError as error:
        raise ScenarioError([Problem(KEY, problem.message) for problem in error.problems]) from error

    if reason := found.obstacle(task.inputs):
        raise ScenarioError(Problem(KEY, reason))
    return found


def generated_texts(
    data: Rows, generator: TextGenerator, kind: InputKind, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Texts that a client gets beside its own, as token ids.

    Args:
        data: the client's own rows.
        generator: writes them, given the client's texts by class.
        kind: of the inputs, which says how long a row is.
        rng: of the client.

    Returns:
        Ids [M, L], padded by -1, and classes [M], on the data's device.
    """
    length = kind.shape[0]
    written = generated(generator, own_texts(data), length, rng)
    texts = [(label, text) for label, found in written.items() for text in found]
    ids = np.full((len(texts), length), PADDING, np.int64)
    for row, (_, text) in zip(ids, texts, strict=True):
        row[: len(text)] = text
    labels = np.array([label for label, _ in texts], np.int64)
    device: Any = data.index.device
    return torch.from_numpy(ids).to(device), torch.from_numpy(labels).to(device)


def own_texts(data: Rows) -> dict[int, list[Text]]:
    """The token ids of a client's texts, without padding, by class."""
    ids, labels = data.x().cpu().numpy(), data.y.cpu().numpy()
    return {int(label): [row[row != PADDING] for row in ids[labels == label]] for label in np.unique(labels).tolist()}


def with_texts(data: Rows, class_counts: Tensor, ids: Tensor, labels: Tensor) -> tuple[Rows, Tensor]:
    """A client's data with generated texts behind its own.

    Args:
        data: its own n rows, whose positions stay as they are.
        class_counts: [C] of these.
        ids: [M, L] of the texts.
        labels: [M] their classes; none: all stays as it is.

    Returns:
        The data of n + M rows, and the counts [C] of both.
    """
    if not len(labels):
        return data, class_counts
    first = len(data.targets)
    places = torch.arange(first, first + len(labels), device=data.index.device)
    rows = Rows(Followed(data.inputs, ids), torch.cat([data.targets, labels]), torch.cat([data.index, places]))
    return rows, class_counts + torch.bincount(labels, minlength=len(class_counts))
