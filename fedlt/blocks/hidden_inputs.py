"""What fills in hidden parts of a task's own inputs: numbers by `pretext`, words by `hidden_words`."""

from __future__ import annotations

from torch import Tensor

from fedlt.blocks.hidden_words import Words, masked_words, reader_of_words
from fedlt.blocks.pretext import Denoiser, hidden_inputs_loss
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.nn.net import Net

NUMBERS = 0.5
"""Share of pixels, steps or numbers that is hidden unless it is said; of words it is `hidden_words.SHARE`."""


def filler(learner: str, model: Net, task: Task) -> Words | Denoiser:
    """The layers that tell what is hidden.

    Args:
        learner: its name, for the refusal of a model without a state of each token.
    """
    if isinstance(task.inputs, TokenKind):
        encoder, embedding = reader_of_words(learner, model, task.inputs)
        return Words(embedding, encoder.state_dim)
    return Denoiser(model.backbone, model.feature_dim, task.input_shape)


def filling_loss(site: Site, batch: Batch, layers: Words | Denoiser, share: float | None) -> Tensor:
    """How badly the layers tell what is hidden of a batch.

    Args:
        share: of the inputs that is hidden; None: as usual for their kind.
    """
    x, mask = site.task.inputs.split(batch.x)
    if isinstance(layers, Denoiser):
        return hidden_inputs_loss(site.model, layers, x, mask, share or NUMBERS, site.rng)
    assert mask is not None  # of token ids
    encoder = site.model.part("backbone")
    return masked_words(encoder, layers, encoder.embedding, x, mask, site.rng, share)[0]
