"""The pass of samples through a frozen encoder: in parts, on all cores, and gone on with where it was interrupted.

A part is the features of `PART` samples of one split, a file of its own until all are there. Only the parts that are
at work are in memory. On one machine equal samples give equal bits, whatever the number of processes.
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
from fedlt.encoders.text_encoder import EncodeText, TextEncoder
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

BATCH = 25  # samples in one pass: their activations still fit into the processor's cache
PART = 1000  # samples in one file of an unfinished pass

Samples = Mapping[str, NDArray[Any]]
"""By split, memory-mapped, so that all processes share them: pictures, uint8 [N, H, W, C] of one or three channels, or
token ids, int32 [N, L], -1 where a text has ended."""

_work: Work  # of this process


@dataclass(frozen=True)
class Part:
    """Samples that are encoded and kept together.

    Attributes:
        split: `train` or `test`.
        rows: the samples' rows in it.
        file: for their features.
    """

    split: str
    rows: range
    file: Path


@dataclass(frozen=True)
class Work:
    """One pass, as all of its processes know it.

    Attributes:
        recipe: the encoder's.
        encode: what it built.
        samples: by the name of a split, [N, ...] in the form that the encoder takes.
        title: of encoder and data set, for messages.
    """

    recipe: Encoder | TextEncoder
    encode: Encode | EncodeText
    samples: Samples
    title: str

    @property
    def unit(self) -> str:
        """What one sample is called."""
        return "text" if isinstance(self.recipe, TextEncoder) else "picture"

    @property
    def views(self) -> int:
        """V, the augmented views of each training picture."""
        return 0 if isinstance(self.recipe, TextEncoder) else self.recipe.views

    def part(self, part: Part) -> NDArray[np.float16]:
        """[n, D] features; [n, 1 + V, D] of training pictures with V views, the picture itself first.

        Raises:
            ScenarioError: for what cannot be kept as features.
        """
        samples = np.array(self.samples[part.split][part.rows.start : part.rows.stop])
        with torch.inference_mode():
            found = self._texts(samples) if isinstance(self.recipe, TextEncoder) else self._pictures(samples, part)
            features = found.half()

        if not torch.isfinite(features).all():
            where = f"{self.unit}s {part.rows.start} to {part.rows.stop - 1} ({part.split})"
            raise wrong(f"{self.title}: features of {where} are infinite, no numbers, or beyond 65,504; scale them")
        return features.numpy()  # type: ignore[no-any-return]

    def _texts(self, ids: NDArray[np.int32]) -> Tensor:
        """[n, D] features of texts, in batches of texts that are about equally long."""
        lengths = (ids >= 0).sum(axis=1)
        order = np.argsort(lengths, kind="stable")
        found = []
        for start in range(0, len(ids), BATCH):
            rows = order[start : start + BATCH]
            batch = torch.from_numpy(ids[rows, : lengths[rows].max()]).long()
            found.append(self._encoded(batch.clamp(min=0), batch >= 0))
        return torch.cat(found)[torch.from_numpy(np.argsort(order))]

    def _pictures(self, pictures: NDArray[np.uint8], part: Part) -> Tensor:
        """[n, (1 + views) D] features of the pictures of a part."""
        views = self.views if part.split == "train" else 0
        batches = [
            self._batch(pictures[start : start + BATCH], part.rows.start + start, views)
            for start in range(0, len(pictures), BATCH)
        ]
        return torch.cat(batches)

    def _batch(self, pictures: NDArray[np.uint8], row: int, views: int) -> Tensor:
        """Features of a batch of pictures: as they are, then of augmented views.

        Args:
            row: of the first picture in its split, from which the views are drawn.
        """
        assert not isinstance(self.recipe, TextEncoder)
        x = resized(pictures, self.recipe.size)
        plain = self._encoded(x)
        if not views:
            return plain
        drawn = []
        for view in range(views):
            generator = torch.Generator().manual_seed(seeding.integer(0, "views of an encoder", row, view))
            drawn.append(self._encoded(zoomed(x, generator).contiguous(memory_format=torch.channels_last)))
        return torch.stack([plain, *drawn], dim=1)

    def _encoded(self, *x: Tensor) -> Tensor:
        """[n, D] what the encoder gives.

        Raises:
            ScenarioError: where that is no features.
        """
        encode: Any = self.encode
        found: Any = encode(*(each.clone() for each in x))  # an encoder may compute in place
        count = len(x[0])
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != count or not found.is_floating_point():
            given = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise wrong(f"{self.title}: expected features, float [{count}, D], of {count} {self.unit}s, got {given}")
        return found.float()


def work_of(recipe: Encoder | TextEncoder, samples: Samples, title: str) -> Work:
    """A pass over samples, its encoder built. The global generators are left as they were.

    Args:
        recipe: of the encoder; it is built under one seed, so that random weights are always the same.
        samples: by the name of a split.
        title: of encoder and data set, for messages.

    Raises:
        ScenarioError: where the encoder cannot be built.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encode = recipe.build()
    except Exception as error:
        raise wrong(f"{title}: the encoder cannot be built: {type(error).__name__}: {error}") from error
    return Work(recipe, encode, samples, title)


def features_of(name: str, options: Mapping[str, Any], samples: NDArray[Any]) -> NDArray[np.float16]:
    """[N, D] features of further samples, as the encoder of that name makes them.

    Args:
        name: of an encoder, as in `data.encoder`.
        options: its keys that are not at their defaults.
        samples: as in `Samples`.
    """
    recipe = catalog.find("encoder", name).create(dict(options))
    work = work_of(recipe, {"new": samples}, f"features of new samples by {name.rpartition(':')[2]}")
    with one_thread():
        return attempt(work, Part("new", range(len(samples)), Path()))


def resized(pictures: NDArray[np.uint8], size: int) -> Tensor:
    """Pictures as an encoder takes them: float32 [B, 3, size, size], channels last, values 0..255.

    Bilinear, with antialiasing where a side becomes smaller; a picture that is not square is squeezed into one.

    Args:
        pictures: [B, H, W, C] of one or three channels.
    """
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    smaller = max(x.shape[2:]) > size
    if x.shape[2:] != (size, size):
        x = interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=smaller)
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def parts(samples: Samples, drafts: Path) -> list[Part]:
    """All parts of a pass, each of at most `PART` samples of one split.

    Args:
        samples: by the name of a split.
        drafts: the folder of their files; those of an interrupted pass are found again by their names.
    """
    return [
        Part(split, range(start, min(start + PART, len(x))), drafts / f"{split}-{start:08}.npy")
        for split, x in samples.items()
        for start in range(0, len(x), PART)
    ]


def encode(work: Work, wanted: Sequence[Part], processes: int) -> None:
    """Write the files of the parts that are missing.

    Args:
        work: the pass.
        wanted: its parts; those whose file is there are left alone.
        processes: of one thread each. They are forked; where the system cannot, this process does it all.

    Raises:
        ScenarioError: for an encoder that fails.
    """
    missing = [part for part in wanted if not part.file.exists()]
    if not missing:
        return
    total = sum(len(part.rows) for part in wanted)
    done = total - sum(len(part.rows) for part in missing)

    count = min(processes, len(missing))
    pool = _forked(work, count) if count > 1 and sys.platform == "linux" else None  # before a bar has a thread
    try:
        with Progress(work.title, f"{work.unit}s", total, done) as progress:
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
    """Processes that hold the pass and its encoder, forked from this one."""
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
    """Prepare a forked process: it ends with its parent, and computes on one thread of the CPU."""
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
        where = f"{work.unit}s {part.rows.start} to {part.rows.stop - 1} ({part.split})"
        return f"{work.title} failed on {where}: {type(error).__name__}: {error}"


def attempt(work: Work, part: Part) -> NDArray[np.float16]:
    """The part's features (`Work.part`), in this process.

    Raises:
        ScenarioError: for an encoder that fails.
    """
    return _features(_try(work, part))


def _features(found: NDArray[np.float16] | str) -> NDArray[np.float16]:
    if isinstance(found, str):
        raise wrong(found)
    return found


def wrong(message: str) -> ScenarioError:
    """The error of an encoder that cannot be used."""
    return ScenarioError(Problem("data.encoder", message))
