"""Data sets of the Hugging Face hub, and what identifies the files that a data set is read from."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.data.coding import refuse
from fedlt.data.digests import file_digest
from fedlt.data.raw import RawData, RawLabels
from fedlt.data.split_share import check_share
from fedlt.data.table_columns import cut_table, read_data, read_labels
from fedlt.data.texts import identity

if TYPE_CHECKING:
    from datasets import Dataset

    from fedlt.config.sections import Data

PROBE_SECONDS = 1.5


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub, or of its local cache.

    Attributes:
        hub_name: as in `uoft-cs/cifar10`.
    """

    config: Data
    hub_name: str

    @property
    def name(self) -> str:
        return self.config.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the revision, which the path of the hub's own Arrow files holds, and the columns."""
        folders = {Path(entry["filename"]).parent for split in self._splits for entry in split.cache_files}
        revisions = sorted(map(_revision, folders))
        return [{self.hub_name: ", ".join(revisions)}, columns_of(self.config)]

    def revisions(self) -> list[str]:
        """What lies in the hub's local cache, the newest last. Neither the hub nor the files are asked."""
        found = [path.parent for path in _in_hub_cache(self.hub_name).glob("*/*/*/dataset_info.json")]
        return [_revision(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        with quiet():
            return read_data(self.name, *self._splits, self.config, place)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; no picture is decoded."""
        return read_labels(self.name, *self._splits, self.config)

    @cached_property
    def _splits(self) -> tuple[Dataset, Dataset]:
        offline = _told_offline() or not _reachable()
        if offline and not _in_hub_cache(self.hub_name).is_dir():
            raise refuse(unavailable(self.name, f"the hub cannot be reached and its cache lacks {self.hub_name}"))
        import datasets

        before = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = offline  # else minutes of retries before it looks into its cache
        try:
            with quiet():
                both = datasets.load_dataset(self.hub_name)
        except Exception as error:
            raise refuse(unavailable(self.name, f"the hub answers for {self.hub_name}: {error}")) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = before
        share, test = self.config.test_share, self.config.test_split
        if share is not None:
            check_share(share, self.hub_name, test, test in both)
        for key in ("train_split", "test_split")[: 1 if share is not None else 2]:
            if getattr(self.config, key) not in both:
                message = f"{self.hub_name} has no split {getattr(self.config, key)!r}; it has: {', '.join(both)}"
                raise refuse(message, f"data.{key}")
        train = both[self.config.train_split]
        return cut_table(self.name, train, self.config) if share is not None else (train, both[test])


def unavailable(name: str, reason: str) -> str:
    """The message for a data set that was not found, with the ways to provide it."""
    return (
        f"{name!r} was not found ({reason}). Give it in one of three ways: data.name as the path of an .npz file or a "
        f"folder; a file {name}.npz or a folder {name} in the folder that $FEDLT_DATA names; or a name of the "
        "Hugging Face hub, with a network or with the set in its local cache"
    )


def columns_of(config: Data) -> list[Any]:
    """The configuration's part of a source's identity."""
    targets: Any = config.targets
    if targets is not None and hasattr(targets, "component"):
        files = {name: file_digest(path) for name, path in targets.component.files().items()}
        targets = json.dumps([targets.written(), files], sort_keys=True)  # as text: it is no file of the data
    return [
        config.input_column,
        config.target_column,
        list(config.group_columns),
        config.train_split,
        config.test_split,
        config.test_share,
        *([] if targets is None else [str(targets)]),
        *([config.category_columns] if config.category_columns else []),
        *([config.size, config.crop] if config.size is not None else []),
        *([identity(config)] if config.tokenizer is not None else []),
    ]


def _told_offline() -> bool:
    told = (os.environ.get(key, "") for key in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in told)


def _reachable() -> bool:
    """Whether the hub answers in `PROBE_SECONDS`; in a thread, since looking up a name knows no time limit."""
    answers: list[bool] = []
    probe = threading.Thread(target=lambda: answers.append(_answers()), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return answers == [True]


def _answers() -> bool:
    request = urllib.request.Request(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # an error page is an answer
    except (OSError, ValueError):
        return False
    return True


def _in_hub_cache(hub_name: str) -> Path:
    """The data set's folder in the hub's local cache, there or not."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    root = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser()
    wanted = hub_name.replace("/", "___").lower()
    there = root.iterdir() if root.is_dir() else ()
    return next((f for f in there if f.name.lower() in (wanted, wanted.replace("-", "_"))), root / wanted)


def _revision(folder: Path) -> str:
    """Configuration, version and hash of a data set, as in `plain_text/0.0.0/0b27...`: they end its folder's path."""
    return "/".join(folder.parts[-3:])


@contextmanager
def quiet() -> Iterator[None]:
    """`datasets` without its progress bars and its log."""
    import datasets

    shown, level = datasets.is_progress_bar_enabled(), datasets.utils.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # our own message says what is wrong
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(level)
        if shown:
            datasets.enable_progress_bars()
