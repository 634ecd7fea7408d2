"""The pass of pictures through a frozen encoder: in parts, on all cores, and gone on with where it was interrupted.

A part is the features of `PART` pictures of one split, a file of its own until all are there. Only the parts that are
at work are in memory. On one machine equal pictures give equal bits, whatever the number of processes.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from fedlt.config import catalog
from fedlt.data.inputs.strong import zoomed
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process import seeding
from fedlt.process.files import flush, replace_file
from fedlt.process.gpus import hide_gpus
from fedlt.process.memory import keep_freed
from fedlt.process.parent import end_with
from fedlt.process.progress import Progress
from fedlt.process.threads import one_thread

if TYPE_CHECKING:
    from fedlt.encoders.encoder import Encode, Encoder

BATCH = 25  # pictures in one pass: their activations still fit into the processor's cache
PART = 1000  # pictures in one file of an unfinished pass

Pictures = Mapping[str, NDArray[np.uint8]]
"""[N, H, W, C] by split, of one or three channels; memory-mapped, so that all processes share them."""

_work: Work  # of this process


@dataclass(frozen=True)
class Part:
    """Pictures that are encoded and kept together.

    split: `train` or `test`. rows: the pictures' rows in it. file: for their features.
    """

    split: str
    rows: range
    file: Path


@dataclass(frozen=True)
class Work:
    """One pass, as all of its processes know it.

    recipe: the encoder's. encode: what it built. title: of encoder and data set, for messages.
    """

    recipe: Encoder
    encode: Encode
    pictures: Pictures
    title: str

    def part(self, part: Part) -> NDArray[np.float16]:
        """[n, D] features; [n, 1 + V, D] of training pictures with V views, the picture itself first.

        Raises `ScenarioError` for what cannot be kept as features.
        """
        pictures = np.array(self.pictures[part.split][part.rows.start : part.rows.stop])
        views = self.recipe.views if part.split == "train" else 0
        with torch.inference_mode():
            batches = [
                self._batch(pictures[start : start + BATCH], part.rows.start + start, views)
                for start in range(0, len(pictures), BATCH)
            ]
            features = torch.cat(batches).half()

        if not torch.isfinite(features).all():
            where = f"pictures {part.rows.start} to {part.rows.stop - 1} ({part.split})"
            raise wrong(f"{self.title}: features of {where} are infinite, no numbers, or beyond 65,504; scale them")
        return features.numpy()  # type: ignore[no-any-return]

    def _batch(self, pictures: NDArray[np.uint8], row: int, views: int) -> Tensor:
        x = resized(pictures, self.recipe.size)
        plain = self._encoded(x)
        if not views:
            return plain
        drawn = []
        for view in range(views):
            generator = torch.Generator().manual_seed(seeding.integer(0, "views of an encoder", row, view))
            drawn.append(self._encoded(zoomed(x, generator).contiguous(memory_format=torch.channels_last)))
        return torch.stack([plain, *drawn], dim=1)

    def _encoded(self, x: Tensor) -> Tensor:
        found: Any = self.encode(x.clone())  # an encoder may compute in place
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x) or not found.is_floating_point():
            given = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise wrong(f"{self.title}: expected features, float [{len(x)}, D], of {len(x)} pictures, got {given}")
        return found.float()


def work_of(recipe: Encoder, pictures: Pictures, title: str) -> Work:
    """The pass, its encoder built; the global generators are left as they were. Raises `ScenarioError`."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encode = recipe.build()
    except Exception as error:
        raise wrong(f"{title}: the encoder cannot be built: {type(error).__name__}: {error}") from error
    return Work(recipe, encode, pictures, title)


def features_of(name: str, options: Mapping[str, Any], pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
    """[N, D] features of further pictures [N, H, W, C], as the encoder of that name makes them."""
    recipe = catalog.find("encoder", name).create(dict(options))
    work = work_of(recipe, {"new": pictures}, f"features of new pictures by {name.rpartition(':')[2]}")
    with one_thread():
        return attempt(work, Part("new", range(len(pictures)), Path()))


def resized(pictures: NDArray[np.uint8], size: int) -> Tensor:
    """Pictures as an encoder takes them: float32 [B, 3, size, size], channels last, values 0..255.

    Bilinear, with antialiasing where a side becomes smaller; a picture that is not square is squeezed into one.

    pictures: [B, H, W, C] of one or three channels.
    """
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    smaller = max(x.shape[2:]) > size
    if x.shape[2:] != (size, size):
        x = interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=smaller)
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def parts(pictures: Pictures, drafts: Path) -> list[Part]:
    """All parts of a pass, whose files are in the folder `drafts`."""
    return [
        Part(split, range(start, min(start + PART, len(x))), drafts / f"{split}-{start:08}.npy")
        for split, x in pictures.items()
        for start in range(0, len(x), PART)
    ]


def encode(work: Work, wanted: Sequence[Part], processes: int) -> None:
    """Write the files of the parts that are missing. Raises `ScenarioError` for an encoder that fails.

    processes: of one thread each. They are forked; where the system cannot, this process does it all.
    """
    missing = [part for part in wanted if not part.file.exists()]
    if not missing:
        return
    total = sum(len(part.rows) for part in wanted)
    done = total - sum(len(part.rows) for part in missing)

    count = min(processes, len(missing))
    pool = _forked(work, count) if count > 1 and sys.platform == "linux" else None  # before a bar has a thread
    try:
        with Progress(work.title, "pictures", total, done) as progress:
            for part, features in _each(work, missing, pool, count):
                replace_file(part.file, lambda draft, features=features: _save(draft, features))  # type: ignore[misc]
                progress.advance(len(part.rows))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _save(path: Path, features: NDArray[np.float16]) -> None:
    with path.open("wb") as file:
        np.save(file, features)
    flush(path)


def _forked(work: Work, processes: int) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(processes, get_context("fork"), _begin, (work, os.getpid()))
    with warnings.catch_warnings():  # threads of others may exist; the forks use none of their locks
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        pool.submit(os.getpid).result()
    return pool


def _each(
    work: Work, missing: Sequence[Part], pool: ProcessPoolExecutor | None, processes: int
) -> Iterator[tuple[Part, NDArray[np.float16]]]:
    """The parts with their features, in their order; few of them are in memory."""
    if pool is None:
        with one_thread():
            yield from ((part, attempt(work, part)) for part in missing)
        return

    waiting: deque[tuple[Part, Future[NDArray[np.float16] | str]]] = deque()
    left = iter(missing)
    try:
        while True:
            while len(waiting) < 2 * processes and (part := next(left, None)) is not None:
                waiting.append((part, pool.submit(_part, part)))
            if not waiting:
                return
            first, future = waiting.popleft()
            yield first, _features(future.result())
    except BrokenProcessPool as error:
        message = f"{work.title}: a process of the pass was killed, often for want of memory"
        raise FedLTError(f"{message}; what is done is kept, and the same call goes on from there") from error


def _begin(work: Work, parent: int) -> None:
    global _work
    end_with(parent)
    hide_gpus()
    torch.set_num_threads(1)  # OpenMP's threads stay behind in a fork: it would wait for them for ever
    keep_freed()
    _work = work


def _part(part: Part) -> NDArray[np.float16] | str:
    return _try(_work, part)


def _try(work: Work, part: Part) -> NDArray[np.float16] | str:
    """The features, or why there are none: exceptions of a user's own need not pass between processes."""
    try:
        return work.part(part)
    except ScenarioError as error:
        return error.problems[0].message
    except Exception as error:
        where = f"pictures {part.rows.start} to {part.rows.stop - 1} ({part.split})"
        return f"{work.title} failed on {where}: {type(error).__name__}: {error}"


def attempt(work: Work, part: Part) -> NDArray[np.float16]:
    """The part's features (`Work.part`), in this process. Raises `ScenarioError` for an encoder that fails."""
    return _features(_try(work, part))


def _features(found: NDArray[np.float16] | str) -> NDArray[np.float16]:
    if isinstance(found, str):
        raise wrong(found)
    return found


def wrong(message: str) -> ScenarioError:
    """The error of an encoder that cannot be used."""
    return ScenarioError(Problem("data.encoder", message))
