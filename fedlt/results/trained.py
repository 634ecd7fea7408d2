"""A trained model, to be used: `fedlt.open_run(path).model()`, and `.client(3)` for the personal model of client 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlt.config.schema import suggest
from fedlt.data.inputs import Given, InputKind
from fedlt.data.task import Task
from fedlt.errors import FedLTError, UsageError
from fedlt.learner import Logits
from fedlt.measures.evaluate import variants
from fedlt.nn.net import Net


@dataclass(frozen=True)
class Origin:
    """Where a trained model comes from.

    Attributes:
        scenario_hash: of the run's scenario.
        model, strategy, learner: their names there, without paths.
        client: whose personal model it is; None for the generic one.
        needs_data: whether it was made with the client's own data.
    """

    scenario_hash: str
    model: str
    strategy: str
    learner: str
    client: int | None = None
    needs_data: bool = False


class Trained(nn.Module):
    """From samples as the data set holds them to the logits of one variant, preprocessing included.

    It starts in evaluation mode. `forward` takes a tensor in the form in which the run stores its samples: uint8
    [B, H, W, C] images, float32 [B, F] rows, int32 [B, L] token ids (-1: padding), float32 [B, L, F] sequences (NaN:
    ended), float16 [B, D] features of an encoder. `predict` takes what people have, and brings it to that form.

    Attributes:
        net: the model itself.
        tensors: by name, all that decides its predictions: the weights of `net` without those that are only clients',
            and what the strategy keeps beside it.
        class_names: C names.
        variants: the names of all that the strategy predicts; the first is the headline.
        variant: the one that this model predicts, "" where there are none.
        unseen: bool [C] classes that are never predicted; None: all may be.
        chunk: samples in one forward pass.
    """

    def __init__(
        self,
        net: Net,
        task: Task,
        class_names: tuple[str, ...],
        hook: Callable[[Tensor], Logits],
        tensors: dict[str, Tensor],
        origin: Origin,
        built: Callable[[], Net],
        variant: str = "",
        unseen: Tensor | None = None,
        chunk: int = 256,
    ) -> None:
        """Keep what predicts, and how the model is built anew.

        Args:
            hook: what predicts from prepared inputs.
            built: gives the model as it is without adapter, learner and strategy, with weights as they were drawn or
                loaded at first.

        Raises:
            UsageError: for a variant that there is not.
        """
        super().__init__()
        self.net, self.tensors, self.origin, self.chunk = net, tensors, origin, chunk
        self.class_names, self.unseen = class_names, unseen
        self.kind: InputKind = task.inputs
        self._task, self._hook, self.built = task, hook, built
        self.eval()

        device = next(iter(tensors.values())).device
        self._inputs = self.kind.open(np.zeros((0, *self.kind.shape), np.float32), device)
        with torch.no_grad():
            found = variants(hook(task.inputs.example(2).to(device)))
        self.variants = tuple(name for name in found if name)
        if variant and variant not in self.variants:
            there = suggest(variant, self.variants) or ": it predicts in one way only"
            raise UsageError(f"{origin.strategy} has no variant {variant!r} of this model{there}")
        self._variant = variant
        self.variant = variant or next(iter(self.variants), "")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] logits of stored samples [B, ...]; [B, L, C] where tokens have classes."""
        return self.of_prepared(self._inputs.ready(x))

    def of_prepared(self, x: Any) -> Tensor:
        """The same of inputs as the net itself gets them."""
        found = variants(self._hook(x))[self._variant].logits
        return found if self.unseen is None else found.masked_fill(self.unseen, -torch.inf)

    def predict(self, x: Any, *, names: bool = True, mask: Any = None, categories: Any = None) -> NDArray[Any]:
        """The class of each sample [N]: its name, or its number.

        Of targets with several labels a sample, bool [N, C]: whether its probability is above one half.
        Of tags, [N, L].

        Args:
            x: what the data set holds: uint8 [N, H, W, C] images, numbers [N, F], token ids [N, L], sequences
                [N, L, F], a list of texts [N]; an array, a tensor or nested lists.
            names: numbers 0..C-1 where false.
            mask: [N, L] which steps of sequences are real; all unless given.
            categories: [N, G] beside numbers [N, F].

        Raises `FedLTError` for samples of another shape or type than the model has learnt from.
        """
        logits = self.logits(x, mask=mask, categories=categories)
        if self._several:
            return (logits > 0).numpy(force=True)
        classes = logits.argmax(-1).numpy(force=True)
        return np.asarray(self.class_names)[classes] if names else classes

    def probabilities(self, x: Any, *, mask: Any = None, categories: Any = None) -> NDArray[np.float32]:
        """[N, C] probabilities of the classes: softmax; sigmoid of targets with several labels a sample."""
        logits = self.logits(x, mask=mask, categories=categories)
        found: NDArray[np.float32] = (logits.sigmoid() if self._several else logits.softmax(-1)).numpy(force=True)
        return found

    @torch.no_grad()
    def logits(self, x: Any, *, mask: Any = None, categories: Any = None) -> Tensor:
        """[N, C] logits, found chunk by chunk."""
        samples = torch.from_numpy(self.stored(x, mask=mask, categories=categories))
        device = next(iter(self.tensors.values())).device
        return torch.cat([self(part.to(device)) for part in samples.split(self.chunk)])

    def stored(self, x: Any, *, mask: Any = None, categories: Any = None) -> NDArray[Any]:
        """Samples as people have them, in the form that `forward` takes."""
        given = Given(_array(x), _array(mask), _array(categories))
        if given.x.ndim and not len(given.x):
            raise FedLTError("there is no sample to predict")
        return np.ascontiguousarray(self.kind.stored(given))

    def stored_example(self, count: int) -> Tensor:
        """[count, ...] samples as `forward` takes them, of zeros."""
        return self.kind.stored_example(count).to(next(iter(self.tensors.values())).device)

    def export(self, path: str | Path) -> str:
        """Write the model to `path`: its graph to a file that ends with .pt2, its weights to .safetensors.

        Returns a sentence where these weights alone do not give the prediction, else "".
        """
        from fedlt.results.export import export

        return export(self, Path(path).expanduser())

    @property
    def _several(self) -> bool:
        """Whether a sample may have several classes."""
        return not self._task.target.one_label and not self._task.target.axes


def _array(given: Any) -> Any:
    """What was given as an array; None as it is."""
    if given is None or isinstance(given, np.ndarray):
        return given
    if isinstance(given, Sequence) and given and all(isinstance(each, str) for each in given):
        return np.array(given, object)  # else as long as the longest text, each of them
    return given.numpy(force=True) if isinstance(given, Tensor) else np.asarray(given)
