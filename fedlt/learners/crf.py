"""CRF: the classes of a sequence's steps are learnt and predicted together, by what usually follows what.

Lafferty, McCallum, Pereira: Conditional Random Fields: Probabilistic Models for Segmenting and Labeling Sequence Data.
ICML 2001; on top of a recurrent network: Huang, Xu, Yu: Bidirectional LSTM-CRF Models for Sequence Tagging. 2015 (arXiv
1508.01991). A sequence of classes scores the sum of its steps' logits and of a learnt number for each pair of classes
in a row, for the first class and for the last; the loss is minus the logarithm of its softmax over all sequences, a
step's share of it, and what is predicted is the sequence that scores most (Viterbi).

The sums over sequences are those of the package pytorch-crf (MIT). Steps without a tag are passed over, as if they
were not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from fedlt.data.inputs.features import Features
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner
from fedlt.nn.net import Net
from fedlt.nn.text.bilstm_tagger import steps_of

if TYPE_CHECKING:
    from fedlt.data.task import Task

INSTALL = "pip install 'fedlt[tags]'"


@dataclass(frozen=True)
class CRF(Learner):
    """Its numbers are the model's `crf.*`, which a strategy may keep at the clients: `strategy.keep` of fedper."""

    needs: ClassVar[tuple[str, ...]] = ("step_labels",)
    vectorizable: ClassVar[bool] = False

    def build(self, model: Net, task: Task) -> None:
        try:
            import torchcrf  # an optional package
        except ImportError as error:
            raise ValueError(f"crf needs the package pytorch-crf: {INSTALL}") from error
        model.crf = torchcrf.CRF(task.num_classes, batch_first=True)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        known = batch.y != site.task.target.unknown
        order, there = in_front(known)
        logits = taken(site.model(batch.x), order)
        tags = batch.y.clamp(min=0).gather(1, order)
        likelihood: Tensor = site.model.part("crf")(logits, tags, mask=there, reduction="token_mean")
        return -likelihood

    def predict(self, model: Net, x: Tensor) -> Tensor:
        """[B, L, C] the logits; that of the predicted class is raised one above the largest of its step."""
        assert model.inputs is not None
        logits: Tensor = model(x)
        order, there = in_front(steps_of(model.inputs, x.inputs() if isinstance(x, Features) else x))
        paths = model.part("crf").decode(taken(logits, order), mask=there)
        rows, steps = there.nonzero(as_tuple=True)
        tags = torch.tensor([tag for path in paths for tag in path], device=logits.device)
        places = rows, order[rows, steps], tags
        return logits.index_put(places, logits.amax(2)[places[:2]] + 1)


def in_front(known: Tensor) -> tuple[Tensor, Tensor]:
    """The steps of known [B, L] first, in their order: int64 [B, M] where they stand, and bool [B, M] which are steps.

    M: the most that any row has.
    """
    order = (~known).int().argsort(dim=1, stable=True)
    counts = known.sum(1)
    length = int(counts.max())
    return order[:, :length], torch.arange(length, device=known.device) < counts[:, None]


def taken(x: Tensor, order: Tensor) -> Tensor:
    """[B, M, C] the steps of x [B, L, C] in that order [B, M]."""
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))
