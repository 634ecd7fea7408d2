"""Encoders of other libraries by name: `torchvision:resnet18`, `timm:vit_tiny_patch16_224`, `transformers:./folder`.

Each library is imported when its model is built, and keeps its weights in its own cache. A linear head for the task is
put in the place of the library's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fedlt.nn.model import Model
from fedlt.nn.net import Net

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind
    from fedlt.data.task import Task

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel by which encoders of ImageNet expect pixels 0..1 to be standardised."""


class Prepared(nn.Module):
    """An encoder of pictures, given what it was trained on: pixels in three channels, standardised by its own moments.

    Attributes:
        encoder: from [B, 3, H, W] to features.
        scale, shift: [1, C, 1, 1], from the data set's standardised pixels.
        size: pixels in height and width; None: as they are.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: nn.Module, scale: Tensor, shift: Tensor, size: int | None) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] features of images, which are standardised and sized as the encoder was trained."""
        x = x * self.scale + self.shift
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            x = interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return self.encoder(x)  # type: ignore[no-any-return]


def prepared(
    encoder: nn.Module,
    inputs: InputKind,
    size: int | None,
    moments: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
) -> Prepared:
    """The encoder behind the step from the data set's pixels to its own; grey pictures are repeated in three channels.

    Args:
        encoder: takes [B, 3, H, W], standardised by the moments.
        inputs: pictures of one or three channels, which arrive standardised by the data set's own moments.
        size: pixels to which height and width are brought; None: they stay.
        moments: mean and standard deviation of the pixels 0..1 that it was trained on.

    Raises:
        ValueError: for other inputs.
    """
    if len(inputs.shape) != 3 or inputs.shape[0] not in (1, 3):
        raise ValueError(f"it encodes pictures of one or three channels, and the inputs are {inputs}")
    mean, std = (torch.tensor(moment).view(1, 3, 1, 1) for moment in moments)
    own = [torch.as_tensor(getattr(inputs, name, default)) for name, default in (("mean", 0.0), ("std", 1.0))]
    own_mean, own_std = (moment.float().view(1, -1, 1, 1).expand(1, 3, 1, 1) for moment in own)
    return Prepared(encoder, own_std / std, (own_mean - mean) / std, size)


class Read(nn.Module):
    """A transformer of the transformers library as an encoder: the mean over the real tokens, or the first token."""

    def __init__(self, encoder: nn.Module, argument: str, pooling: str) -> None:
        super().__init__()
        self.encoder, self.argument, self.pooling = encoder, argument, pooling

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, D] the pooled states of a text: of its first token, or their mean over the real ones."""
        given = {self.argument: x} | ({"attention_mask": mask.long()} if mask is not None else {})
        hidden = cast(Tensor, self.encoder(**given).last_hidden_state)
        if self.pooling == "first":
            return hidden[:, 0]
        if mask is None:
            return hidden.mean(1)
        weight = mask.to(hidden.dtype)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


@dataclass(frozen=True)
class LibraryModel(Model):
    """An encoder of another library, and a linear head.

    Attributes:
        library, entry: the two parts of its name.
    """

    library: str = ""
    entry: str = ""
    weights: str | None = None  # DEFAULT: the library's pre-trained ones; null: drawn from the seed
    size: Annotated[int, ">= 8"] | None = None  # pixels to which pictures are brought; null: as the data are
    pooling: Literal["auto", "mean", "first"] = (
        "auto"  # of transformers' tokens; auto: mean of texts, first of pictures
    )
    arguments: dict[str, Any] = field(default_factory=dict)  # passed on to the library's constructor

    def build(self, task: Task) -> Net:
        """The library's encoder, with a linear head.

        Raises:
            ValueError: where it gives no features [B, D].
        """
        build = {"torchvision": self._torchvision, "timm": self._timm, "transformers": self._transformers}[self.library]
        encoder = build(task.inputs)
        encoder.eval()
        with torch.no_grad():
            x, mask = task.inputs.split(task.inputs.example(2))
            found = encoder(x) if mask is None else encoder(x, mask)
        if not isinstance(found, Tensor) or found.ndim != 2:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"{self.library}:{self.entry} gives no features [B, D] but {what}")
        encoder.train()
        return Net(encoder, nn.Linear(found.shape[1], task.num_classes), found.shape[1])

    def _torchvision(self, inputs: InputKind) -> nn.Module:
        """A model of torchvision without its last layer."""
        models = self._imported("torchvision.models")
        module = self._loaded(partial(models.get_model, self.entry, weights=self.weights, **self.arguments))
        name, _ = [*module.named_children()][-1]  # fc, classifier, heads or head, in all of its families
        layers = module.get_submodule(name)
        if isinstance(layers, nn.Sequential):  # some norm or dropout before the last layer stays
            layers[-1] = nn.Identity()
        else:
            setattr(module, name, nn.Identity())
        return prepared(module, inputs, self.size)

    def _timm(self, inputs: InputKind) -> nn.Module:
        """A model of timm without its classifier, its inputs standardised as it was trained."""
        timm = self._imported("timm")
        arguments = {"num_classes": 0, "pretrained": self.weights is not None} | self.arguments
        module = self._loaded(partial(timm.create_model, self.entry, **arguments))
        config = getattr(module, "pretrained_cfg", {})
        moments = tuple(config.get("mean", IMAGENET[0])), tuple(config.get("std", IMAGENET[1]))
        return prepared(module, inputs, self.size, moments)

    def _transformers(self, inputs: InputKind) -> nn.Module:
        """A model of Transformers, for texts or for pictures."""
        library = self._imported("transformers")
        library.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
        if self.weights is None:
            config = self._loaded(partial(library.AutoConfig.from_pretrained, self.entry, **self.arguments))
            module = self._loaded(partial(library.AutoModel.from_config, config))
        else:
            module = self._loaded(partial(library.AutoModel.from_pretrained, self.entry, **self.arguments))
        if getattr(module, "pooler", None) is not None:
            module.pooler = None  # not read: it would travel, and get no gradient

        module.float()
        vocabulary = getattr(inputs, "vocabulary", None)
        if vocabulary is None:
            pooling = "first" if self.pooling == "auto" else self.pooling
            return prepared(Read(module, "pixel_values", pooling), inputs, self.size or _image_size(module))
        self._expect_room(module, inputs, vocabulary)
        return Read(module, "input_ids", "mean" if self.pooling == "auto" else self.pooling)

    def _expect_room(self, module: Any, inputs: InputKind, vocabulary: int) -> None:
        """Raise ValueError where token ids or sequences go beyond what the transformer knows."""
        known, places = (
            getattr(module.config, "vocab_size", vocabulary),
            getattr(module.config, "max_position_embeddings", None),
        )
        if vocabulary > known:
            raise ValueError(f"{self.entry} knows {known} tokens, and the data set has {vocabulary}: use its tokenizer")
        if places is not None and inputs.shape[0] > places:
            raise ValueError(
                f"{self.entry} reads {places} tokens, and sequences have up to {inputs.shape[0]}; cut them"
            )

    def _imported(self, name: str) -> Any:
        """The library.

        Raises:
            ValueError: with the command that installs it.
        """
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"{self.library}:{self.entry} needs the package {self.library}: pip install {self.library}"
            ) from error
        except Exception as error:  # torchvision ends otherwise beside another torch
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{self.library} cannot be imported ({reason}); install the release for this torch"
            ) from error

    def _loaded(self, load: Callable[[], Any]) -> Any:
        """What the library gives.

        Raises:
            ValueError: where it does not know the name, or has no weights at hand.
        """
        try:
            return load()
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            place = {
                "torchvision": f"{Path(torch.hub.get_dir()) / 'checkpoints'}",
                "timm": "the Hugging Face cache (HF_HOME)",
                "transformers": "a folder with config.json and model.safetensors, and name that: transformers:./folder",
            }[self.library]
            message = f"{self.library}:{self.entry} cannot be loaded ({type(error).__name__}: {reason})"
            raise ValueError(f"{message}; without a network, put its files into {place}") from error


def _image_size(module: Any) -> int | None:
    size = getattr(module.config, "image_size", None)
    return size if isinstance(size, int) else None
