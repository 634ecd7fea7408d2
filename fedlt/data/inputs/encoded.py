"""Features of a frozen encoder in place of its samples: stored once in half precision, given to models standardised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs.kind import Given, InputKind, StoredInputs, spread, tensor_of
from fedlt.data.inputs.texts import TextKind
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fedlt.config.sections import Data

CHUNK = 1024  # rows that are in memory at a time


@dataclass(frozen=True, eq=False)
class EncodedKind(InputKind):
    """Features of a frozen encoder, in place of its samples.

    Attributes:
        mean, std: float32 [D], of the training samples' features.
        encoder, options: its name and keys.
        pending: what is to be said of features that are not made yet.
        texts: how texts become the tokens that it reads; None of pictures.
    """

    name: ClassVar[str] = "encoded"
    title: ClassVar[str] = "features of a frozen encoder"

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    encoder: str
    options: Mapping[str, Any]
    pending: str = ""
    texts: TextKind | None = None

    @classmethod
    def fits(cls, given: Given) -> bool:
        return False  # no source holds them: `data.encoder` makes them

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[InputKind, NDArray[Any], NDArray[Any]]:
        raise AssertionError(f"{name}: features are made of other inputs, by fedlt.data.encoded")

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
        fields: dict[str, Any] = {**arrays, **meta}
        if "texts" in fields:
            fields["texts"] = TextKind.restored(fields["texts"], {})
        return cls(**fields)

    def meta(self) -> dict[str, Any]:
        texts = {} if self.texts is None else {"texts": self.texts.meta()}
        return {"encoder": self.encoder, "options": dict(self.options), **texts}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    def stored(self, given: Given) -> NDArray[Any]:
        """Features [N, D]; or pictures, uint8 [N, H, W] or [N, H, W, C], or texts [N], which the encoder reads."""
        x = given.x
        if x.dtype.kind in "UOT" and self.texts is not None:
            return self._passed(self.texts.stored(given))
        if x.dtype == np.uint8 and x.ndim in (3, 4) and self.texts is None:
            return self._passed(x if x.ndim == 4 else x[..., None])
        if x.ndim != 2 or x.shape[1] != len(self.mean) or x.dtype.kind != "f":
            samples = "uint8 images [N, H, W, C]" if self.texts is None else "texts [N]"
            expected = f"expected {samples}, or their {len(self.mean)} features"
            raise FedLTError(f"{expected}, got {x.dtype} {list(x.shape)}")
        return x.astype(np.float16)

    def by_code_of(self, data: Data) -> EncodedKind:
        return self if data.encoder is None else replace(self, encoder=data.encoder.name)

    def _passed(self, samples: NDArray[Any]) -> NDArray[np.float16]:
        from fedlt.data.encoding import features_of

        return features_of(self.encoder, self.options, samples)

    @property
    def views(self) -> int:
        """V, augmented views of each training picture."""
        return int(self.options.get("views", 0))

    @property
    def shape(self) -> tuple[int]:
        return (len(self.mean),)

    @property
    def serves(self) -> tuple[str, ...]:
        return ("numbers", "mixing", "parts")

    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        return Views(tensor_of(array, device), self)

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        import torch

        shape = (count, *self.shape)
        return torch.zeros(shape) if generator is None else torch.randn(shape, generator=generator)

    def stored_example(self, count: int) -> Tensor:
        import torch

        return torch.zeros(count, *self.shape, dtype=torch.float16)

    def obstacle(self, augment: str) -> str | None:
        """Features know no augmentation but views that were encoded with them."""
        if augment == "none" or (augment == "views" and self.views):
            return None
        if augment == "views":
            return "views needs some; set data.encoder.views=4, for example"
        return f"{augment} is for images, and these are features; use none, or views with data.encoder.views=4"

    @property
    def at_hand(self) -> bool:
        return not self.pending

    def remarks(self) -> list[str]:
        """What the inputs are made of, and whether that is still to be done."""
        if self.pending:
            return [self.pending]
        views = f", with {self.views} augmented views of each training picture" if self.views else ""
        before = [] if self.texts is None else [self.texts.told("the encoder's own tokenizer")]
        return [*before, f"inputs are {len(self.mean):,} features of {self.encoder.rpartition(':')[2]}{views}"]


class Views:
    """Features float16 [N, D], or [N, 1 + V, D] with V views of each sample behind its own; batches are float32."""

    def __init__(self, values: Tensor, kind: EncodedKind) -> None:
        self.values, self._kind = values, kind
        self.mean, self.std = (tensor_of(moment.copy(), values.device) for moment in (kind.mean, kind.std))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        """Features of the rows, standardised; with views, one of each sample at random."""
        import torch

        if reason := self._kind.obstacle(augment):
            raise ValueError(f"local.augment={reason}")
        if self.values.ndim == 2:
            held = self.values[rows]
        elif augment == "none":
            held = self.values[rows, 0]
        else:
            drawn = torch.randint(self.values.shape[1], rows.shape, generator=generator, device=rows.device)
            held = self.values[rows, drawn]
        return self.ready(held)

    def ready(self, stored: Tensor) -> Tensor:
        return (stored.float() - self.mean) / self.std


def moments(features: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each feature, chunk by chunk, with the bits of a sum over all rows at once.

    Args:
        features: [N, D], or [N, 1 + V, D], of which the first of the second axis counts.
    """
    plain = features if features.ndim == 2 else features[:, 0]
    mean = _summed(plain, lambda x: x) / len(plain)
    variance = _summed(plain, lambda x: np.square(x - mean)) / len(plain)
    return mean.astype(np.float32), spread(variance)


def _summed(rows: NDArray[np.float16], of: Any) -> NDArray[np.float64]:
    """[D] a sum over the rows in float64, in pieces of a fixed size.

    Args:
        of: what is summed of each piece.
    """
    total = np.zeros((1, rows.shape[1]))
    for start in range(0, len(rows), CHUNK):
        part = of(rows[start : start + CHUNK].astype(np.float64))
        total = np.add.reduce(np.concatenate([total, part]), axis=0, keepdims=True)
    return total[0]  # type: ignore[no-any-return]
