"""What is special about the inputs of a data set, all of it in one object: an *input kind*, one class a file.

A kind is fitted to the training source when a data set is read. From then on everything else asks it: how batches are
made of what is stored, what a model has to know, what an example looks like, which tricks have a meaning. No other
room names a kind. Modules of this package import torch late, since data are read before torch is needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fedlt.data.stored import gathered, mapping

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fedlt.config.sections import Data
    from fedlt.data.inputs.catalogue import Catalogue

ASKED = {
    "views": "two views of a sample need images",
    "rotations": "rotations need square images",
    "numbers": "a perceptron needs samples that are numbers, all of one length",
    "mixing": "mixtures of samples need images or rows of numbers",
    "pasting": "a part of one sample can be pasted into another in images only",
    "parts": "parts of samples can be exchanged in images, rows of numbers and sequences of one length",
}
"""What a method may ask of the inputs (`InputKind.require`), and the sentence where they cannot serve it."""


class Unserved(ValueError):
    """What a method asks of the inputs is nothing that they have; another model would not change that."""


class Inputs(Protocol):
    """The inputs of one data set, on one device."""

    def __len__(self) -> int: ...

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Any:
        """[B, ...] the inputs at `rows` [B], augmented where asked for, ready for the model.

        A tensor, or what stands for one (`fedlt.data.inputs.features`): a model takes either.
        """


class StoredInputs(Inputs, Protocol):
    """The inputs of one data set in the form in which their kind stores them."""

    def ready(self, stored: Tensor) -> Tensor:
        """[B, ...] stored samples, made ready for the model as `take` makes them without augmentation.

        Only tensor operations on all samples alike, so that it can be traced (`torch.export`).
        """


class Chosen:
    """Some rows of other inputs, numbered anew from 0."""

    def __init__(self, inputs: Inputs, rows: Tensor) -> None:
        self.inputs, self.rows = inputs, rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Any:
        return self.inputs.take(self.rows[rows], augment, generator)


@dataclass(frozen=True)
class Tokenised:
    """How token ids were made of the texts of a split.

    Attributes:
        name, options: the tokenizer's.
        texts: how many.
        tokens: how many they have in all.
        kept: how many of these stay.
        cut: texts that are cut.
        bare: texts without a token.
        shorten: what was taken out of the texts before (`fedlt.tokenizers.shorten`).
        words, left: of words and signs, how many there were before, and after.
    """

    name: str
    options: Mapping[str, Any]
    texts: int
    tokens: int
    kept: int
    cut: int
    bare: int
    shorten: Mapping[str, Any] | None = None
    words: int = 0
    left: int = 0


@dataclass(frozen=True, eq=False)
class Given:
    """What a source holds of one split's inputs.

    Attributes:
        x: [N, ...], of which the kind follows.
        mask: [N, L] which steps of x are real, for sequences.
        categories: [N, G] texts or numbers that name something, beside numbers x [N, F].
        vocabulary: number of different tokens, where the source says it.
        names: of the columns of x and of categories, for messages.
        made: how ids were made of texts.
        words: [V] those that the ids stand for, where a vocabulary is yet to be chosen of them.
        catalogue: what is known of items, where the tokens are items.
    """

    x: NDArray[Any]
    mask: NDArray[Any] | None = None
    categories: NDArray[Any] | None = None
    vocabulary: int | None = None
    names: tuple[str, ...] = ()
    made: Tokenised | None = None
    words: tuple[str, ...] | None = None
    catalogue: Catalogue | None = None

    def at(self, rows: NDArray[np.int64], place: Path | None = None, file: str = "rows") -> Given:
        """Some of the rows.

        Args:
            place, file: where those of a mapped array are put (`fedlt.data.stored.gathered`).
        """
        mask, categories = (None if part is None else part[rows] for part in (self.mask, self.categories))
        x = self.x[rows] if mapping(self.x) is None else gathered(self.x, rows, place, file)
        return replace(self, x=x, mask=mask, categories=categories)


@dataclass(frozen=True, eq=False)
class InputKind(ABC):
    """Base of the input kinds; an instance is one data set's.

    Attributes:
        name: of the kind, in the cache.
        title: what its samples are, for sentences.
        remedy: what to do where a model is made for another kind.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str] = "use model=mlp"

    @classmethod
    @abstractmethod
    def fits(cls, given: Given) -> bool:
        """Whether inputs are of this kind, by their type and dimensions."""

    @classmethod
    @abstractmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[InputKind, NDArray[Any], NDArray[Any]]:
        """The kind, fitted to the training source, and both splits as they are stored.

        Args:
            name: of the data set, for messages.

        Raises:
            ScenarioError: for inputs that cannot be used.
        """

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
        """The kind again, from what `meta` and `arrays` gave."""
        return cls(**meta, **arrays)

    def meta(self) -> dict[str, Any]:
        """The fields that are no arrays, as JSON has them."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The fields that are arrays."""
        return {}

    @abstractmethod
    def stored(self, given: Given) -> NDArray[Any]:
        """New samples as people have them, in the form in which the kind stores its own: [N, ...].

        Raises:
            FedLTError: for what the kind was not fitted to, such as images of another size.
        """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, as the model gets it."""

    @property
    def serves(self) -> tuple[str, ...]:
        """What methods may ask for (of `ASKED`)."""
        return ()

    @abstractmethod
    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        """The inputs of a stored split. On the CPU the array's memory is used as it is (shared, and read-only)."""

    @abstractmethod
    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """[count, ...] samples as a model gets them, for trials and for estimates of cost.

        Args:
            generator: draws samples that look like standardised ones; without it they are plain ones.
        """

    @abstractmethod
    def stored_example(self, count: int) -> Tensor:
        """[count, ...] samples of zeros as the kind stores them, none of them shorter than others."""

    @property
    def padded(self) -> bool:
        """Whether some samples are shorter than others, so that an encoder must look at the mask."""
        return False

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What an encoder reads of a batch, and its mask [B, L] (True: real) where the kind has one."""
        return x, None

    def for_recipe(self, recipe: Any) -> InputKind:
        """The kind as a model's recipe wants to have it: in another memory order, for example."""
        return self

    @property
    def memory_format(self) -> torch.memory_format:
        """Order in memory of the batches, and of the model's 4-d weights."""
        import torch

        return torch.contiguous_format

    def obstacle(self, augment: str) -> str | None:
        """Why `local.augment` has no meaning here, as a sentence; None where it has."""
        return None if augment == "none" else f"{augment} is for images; use none"

    @property
    def at_hand(self) -> bool:
        """Whether the rows are what training sees; else they are yet to be made, and zeros stand for them."""
        return True

    def remarks(self) -> list[str]:
        """Lines that `fedlt check`, and a run at its start, say of what was done to the inputs."""
        return []

    @property
    def counted(self) -> str:
        """What clients have told the server of their inputs before the run, as an object; "" for nothing."""
        return ""

    def by_code_of(self, data: Data) -> InputKind:
        """The same kind, which further samples reach through the user's own code as a scenario now finds it.

        Args:
            data: the section of the run's scenario, which takes the run's copy of files that are gone.
        """
        return self

    def require(self, what: str) -> None:
        """Raise `Unserved` with a sentence where the inputs cannot serve `what` (one of `ASKED`)."""
        if what not in self.serves:
            remedy = f"; {self.remedy}" if what == "numbers" else ""
            raise Unserved(f"{ASKED[what]}, and the inputs are {self}{remedy}")

    def __str__(self) -> str:
        return f"{self.title} of shape {self.shape}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: it never changes, and models that hold it are copied often."""
        return self


def tensor_of(array: NDArray[Any], device: Any) -> Tensor:
    """The array as a tensor, on the CPU without a copy."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def spread(variance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Standard deviations by which inputs are divided: 1 for what is constant."""
    std = np.sqrt(variance)
    return np.where(std > 0, std, 1.0).astype(np.float32)
