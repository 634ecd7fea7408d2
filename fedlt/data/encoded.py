"""A data set as a scenario wants it: as it is, or the features that a frozen encoder makes of its samples.

Features are made once for equal pictures or token ids, encoder, weights and preprocessing, and are kept, mapped into
memory like decoded data sets:

    <cache>/features/<name>-<encoder>-<hash>/{x_train,x_test}.npy    float16
                                             moments.npy             float32 [2, D]
    <cache>/features/.<name>-<encoder>-<hash>/                       the parts of a pass that is not finished

What they are known by is the content of the decoded samples, the encoder's fields, its weights' and a user's code's
digests, and PyTorch's version.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedlt.data import sources
from fedlt.data.digests import digests
from fedlt.data.inputs.encoded import EncodedKind, moments
from fedlt.data.inputs.texts import TextKind
from fedlt.data.raw import RawData
from fedlt.encoders.text_encoder import TextEncoder
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.cache import cache_folder
from fedlt.process.cores import available_cores
from fedlt.process.wording import clock, counted

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.data.encoding import Part, Work
    from fedlt.encoders.encoder import Encoder

KEY = "data.encoder"
FORMAT = 1  # part of what features are known by: to be raised when the pass changes what it makes


def load(config: Data, cache_dir: Path | str | None = None, pending: bool = False) -> RawData:
    """The data set that the scenario names, or its features where `data.encoder` is set.

    Features that are not there are made, which may take minutes, tells how far it is, and goes on where an earlier call
    was interrupted.

    Args:
        config: the section `data`.
        cache_dir: where arrays and features are kept; None: the usual cache folder.
        pending: make none; where they are missing, zeros stand for them, and the kind of the inputs says how long the
            pass will take.

    Raises:
        ScenarioError: for what cannot be encoded.
        FedLTError: where the disk is full.
    """
    if config.encoder is None:
        return sources.load(config, cache_dir)
    recipe, weights = recipe_of(config)
    raw = sources.load(config, cache_dir)
    _refuse_other_inputs(raw, recipe)

    from fedlt.data.encoding import work_of  # imports torch

    place = _Place.of(config, recipe, weights, raw, cache_dir)
    if not place.folder.is_dir():
        samples = {"train": raw.x_train, "test": raw.x_test}
        work = work_of(recipe, samples, f"features of {raw.name} by {_short(config)}")
        if pending:
            return _not_made(config, work, raw, place)
        with _room_for(place, raw.name):
            if not place.folder.is_dir():  # else another process made them meanwhile
                _make(work, place)

    x_train, x_test = (np.load(place.folder / f"x_{split}.npy", mmap_mode="r") for split in ("train", "test"))
    mean, std = np.load(place.folder / "moments.npy")
    texts = raw.inputs if isinstance(raw.inputs, TextKind) else None
    inputs = EncodedKind(mean, std, config.encoder.name, config.encoder.options, texts=texts)
    return replace(raw, x_train=x_train, x_test=x_test, inputs=inputs)


def recipe_of(config: Data) -> tuple[Encoder | TextEncoder, dict[str, str]]:
    """The encoder that the scenario names, and the digests of its weights by file. Raises `ScenarioError`."""
    assert config.encoder is not None
    try:
        recipe: Encoder | TextEncoder = config.encoder.create()
        return recipe, digests({path.name: path for path in recipe.weights()})
    except ScenarioError as error:
        raise ScenarioError([Problem(KEY, problem.message) for problem in error.problems]) from error
    except ValueError as error:
        raise ScenarioError(Problem(KEY, str(error))) from error
    except OSError as error:
        raise ScenarioError(Problem(KEY, f"{error.filename} cannot be read: {error.strerror}")) from error


@dataclass(frozen=True)
class _Place:
    """Where features are, and the parts of a pass that is not finished."""

    folder: Path

    @property
    def drafts(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}")

    @classmethod
    def of(
        cls,
        config: Data,
        recipe: Encoder | TextEncoder,
        weights: Mapping[str, str],
        raw: RawData,
        cache_dir: Path | str | None,
    ) -> _Place:
        """Where the features of these samples are kept.

        Raises:
            FedLTError: where the samples are not in the cache, so that nothing can be kept there.
        """
        from importlib.metadata import version

        assert config.encoder is not None
        files = {split: getattr(getattr(raw, f"x_{split}"), "filename", None) for split in ("train", "test")}
        if None in files.values():
            root = cache_folder(cache_dir)
            raise FedLTError(f"features are kept in {root}, which cannot be written; set FEDLT_CACHE to another folder")

        samples = digests({split: Path(str(file)) for split, file in files.items()}, cache_dir)
        component = config.encoder.component
        code = digests(component.files(), cache_dir)
        identity = [FORMAT, version("torch"), samples, component.target.rpartition(":")[2], config.encoder.options]
        digest = hashlib.sha256(json.dumps([*identity, weights, code], sort_keys=True).encode()).hexdigest()[:16]
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{raw.name}-{_short(config)}")
        return cls(cache_folder(cache_dir) / "features" / f"{name}-{digest}")


def _short(config: Data) -> str:
    assert config.encoder is not None
    return config.encoder.name.rpartition(":")[2]


def _refuse_other_inputs(raw: RawData, recipe: Encoder | TextEncoder) -> None:
    """Refuse an encoder of pictures where there are none."""
    if isinstance(recipe, TextEncoder):
        return  # what holds no texts was refused by the tokenizer
    shape = raw.x_train.shape
    if raw.inputs.name != "images":
        remedy = f"{raw.name} holds {raw.inputs}; remove data.encoder"
        raise ScenarioError(Problem(KEY, f"an encoder takes images, and {remedy}"))
    if shape[3] not in (1, 3):
        raise ScenarioError(Problem(KEY, f"an encoder takes images of 1 or 3 channels, and {raw.name} has {shape[3]}"))


def _make(work: Work, place: _Place) -> None:
    """Encode all samples, and put the features together."""
    from fedlt.data.encoding import encode, parts

    wanted = parts(work.samples, place.drafts)
    encode(work, wanted, available_cores())
    made = place.drafts / "made"
    made.mkdir(exist_ok=True)
    for split in work.samples:
        _join([part for part in wanted if part.split == split], made / f"x_{split}.npy")
    np.save(made / "moments.npy", np.stack(moments(np.load(made / "x_train.npy", mmap_mode="r"))))

    made.rename(place.folder)
    shutil.rmtree(place.drafts, ignore_errors=True)


def _join(parts: list[Part], path: Path) -> None:
    """One array file of all parts, written piece by piece.

    Raises:
        FedLTError: for a part that is damaged.
    """
    with path.open("wb") as file:
        for place, part in enumerate(parts):
            try:
                features = np.load(part.file)
            except (ValueError, EOFError) as error:
                part.file.unlink()
                raise FedLTError(f"{part.file} was damaged and is removed; the same call makes it anew") from error
            if not place:
                shape = (parts[-1].rows.stop, *features.shape[1:])
                header = {"descr": features.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(features.data)


@contextmanager
def _room_for(place: _Place, name: str) -> Iterator[None]:
    """The folder of the drafts, to this process alone; what the disk refuses is a `FedLTError`."""
    try:
        place.drafts.mkdir(parents=True, exist_ok=True)
        with (place.drafts.parent / f"{place.drafts.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process that makes the same features is waited for
            yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "is full" if full else f"cannot be written ({error})"
        remedy = "make room" if full else "make it writable"
        message = f"features of {name} are kept in {place.folder.parent}, which {what}"
        raise FedLTError(f"{message}; {remedy}, or set FEDLT_CACHE. What is done is kept") from error


def _not_made(config: Data, work: Work, raw: RawData, place: _Place) -> RawData:
    """The data set with zeros in the place of features, and an estimate of the pass that is to come."""
    from fedlt.data.encoding import BATCH, Part, attempt, parts
    from fedlt.process.threads import one_thread

    views = work.views
    missing = [part for part in parts(work.samples, place.drafts) if not part.file.exists()]
    passed = sum(len(part.rows) * (1 + views if part.split == "train" else 1) for part in missing)
    trial = Part("test", range(min(BATCH, len(raw.x_test))), place.folder)
    with one_thread():
        for _ in range(2):  # the first one warms up
            began = time.monotonic()
            features = attempt(work, trial)
    seconds = (time.monotonic() - began) / len(features) * passed / available_cores()

    dim = features.shape[1]
    shape = (len(raw.x_train), *((1 + views,) if views else ()), dim)
    x_train, x_test = (np.broadcast_to(np.float16(0), size) for size in (shape, (len(raw.x_test), dim)))
    size = 2 * (x_train.size + x_test.size) / 1e6
    left, cores = counted(sum(len(part.rows) for part in missing), work.unit), counted(available_cores(), "core")
    told = (
        f"{work.title} are not made yet: {left}, about {clock(seconds)} minutes on {cores}; a run makes them once, and "
        f"keeps {size:.0f} MB in {place.folder.parent}"
    )
    assert config.encoder is not None
    moments = np.zeros(dim, np.float32), np.ones(dim, np.float32)
    inputs = EncodedKind(*moments, config.encoder.name, config.encoder.options, told)
    return replace(raw, x_train=x_train, x_test=x_test, inputs=inputs)
