"""Finds a data set by name and reads it, once: the decoded arrays are kept in the cache.

Looked for in this order: a path (an .npz file, a table or a folder); `$FEDLT_DATA/NAME.npz` or `$FEDLT_DATA/NAME/`; the
built-in `digits`, `city_requests` and `book_loans`; `glyphs`, drawn from a font; the Hugging Face hub.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fedlt.data.cache import Entry
from fedlt.data.city_requests import CityRequests
from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.files import Npz
from fedlt.data.folders import folder_source
from fedlt.data.glyphs import Glyphs
from fedlt.data.image_folder import without_columns
from fedlt.data.inputs import Given
from fedlt.data.interactions import Interactions
from fedlt.data.kind_of import chosen
from fedlt.data.known import EMBEDDED, GLYPHS, KNOWN, Known
from fedlt.data.picture_list import PictureList, lists_pictures
from fedlt.data.published import PUBLISHED, warn_of_other_counts
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share
from fedlt.data.table_files import ENDINGS, single_file
from fedlt.data.tables import Hub, columns_of
from fedlt.data.texts import with_own_tokenizer

if TYPE_CHECKING:
    from fedlt.config.sections import Data

DIGITS_TEST = 30  # test pictures of each class

_SAVEZ = "write its arrays by numpy.savez('mine.npz', x_train=..., y_train=..., x_test=..., y_test=...)"
_PICKLED = f"; it may run any code when it is read, so it is not: {_SAVEZ}"
CONVERT = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), _PICKLED),
    **dict.fromkeys((".mat", ".h5", ".hdf5"), f"; read it by scipy or h5py, and {_SAVEZ}"),
    **dict.fromkeys((".xlsx", ".xls", ".feather"), "; write it as CSV or Parquet (pandas: to_csv)"),
    ".json": "; write it as CSV, or with one object a line as .jsonl (pandas: to_json(orient='records', lines=True))",
    ".npy": "; give its folder, with x_train.npy, y_train.npy, x_test.npy and y_test.npy, as data.name",
}
"""What to do with files of other kinds, by their endings."""


class Source(Protocol):
    """A place that a data set can be read from."""

    @property
    def name(self) -> str:
        """Short name, for messages and for the cache."""

    def identity(self) -> list[Any]:
        """Everything that decides the arrays, as JSON; digests by file (`fedlt.data.digests.stamp`) as a dictionary."""

    def read(self, place: Path | None = None) -> RawData:
        """The data set.

        Args:
            place: folder in which large arrays may be left, mapped; None: all in memory.
        """

    def read_labels(self) -> RawLabels:
        """Its labels and group columns, without touching the inputs."""


@dataclass(frozen=True)
class Digits:
    """1,797 gray 8x8 digits that come with scikit-learn; the last 30 of each class are the test set."""

    config: Data
    name: str = "digits"

    def identity(self) -> list[Any]:
        """scikit-learn's file; the columns are there so that naming one is refused however often it is tried."""
        spec = find_spec("sklearn")  # located, not imported
        file = Path(str(spec and spec.origin)).parent / "datasets" / "data" / "digits.csv.gz"
        content = stamp([file]) if file.is_file() else "scikit-learn digits"
        return [content, DIGITS_TEST, columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it: values 0..16 are scaled to 0..255."""
        from sklearn.datasets import load_digits

        without_columns(self.config, "the built-in set digits")
        for key in ("train_split", "test_split"):
            if getattr(self.config, key) != key.removesuffix("_split"):
                raise refuse("digits has the splits train and test; remove it", f"data.{key}")
        check_share(self.config.test_share, "digits", "test", found=True)
        bunch = load_digits()
        images, y = np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target
        test = np.sort(np.concatenate([np.flatnonzero(y == digit)[-DIGITS_TEST:] for digit in range(10)]))
        train = np.setdiff1d(np.arange(len(y)), test)
        labels = checked_labels(self.name, y[train], y[test], {}, {}, kind=chosen(self.config))
        return checked(labels, Given(images[train]), Given(images[test]), self.config, place)

    def read_labels(self) -> RawLabels:
        """Labels alone."""
        return self.read()


@dataclass(frozen=True)
class Missing:
    """A published set that is not on this machine: whatever is asked, the answer is where to get it."""

    config: Data

    @property
    def name(self) -> str:
        return self.config.name

    def identity(self) -> list[Any]:
        """Refuse, with a sentence that says where to get the set.

        Raises:
            ScenarioError: always.
        """
        raise refuse(f"{self.name!r} was not found. {PUBLISHED[self.name].where(self.name)}")

    def read(self, place: Path | None = None) -> RawData:
        """Refuse, with a sentence that says where to get the set.

        Raises:
            ScenarioError: always.
        """
        raise AssertionError(self.identity())

    def read_labels(self) -> RawLabels:
        """Refuse, with a sentence that says where to get the set.

        Raises:
            ScenarioError: always.
        """
        raise AssertionError(self.identity())


def load(config: Data, cache_dir: Path | str | None = None) -> RawData:
    """The data set, inputs memory-mapped from the cache; `fedlt.data.encoded.load` gives features in their place.

    Args:
        cache_dir: where decoded sets are kept; None for `$FEDLT_CACHE`, else `~/.cache/fedlt`. A cache that cannot be
            written costs a warning.

    Raises:
        ScenarioError: for a set that is not found or not usable.
    """
    source = _find(config)
    identity = source.identity()
    entry = Entry.of(cache_dir, source.name, identity, chosen(config))
    raw = entry.data()
    if raw is None:
        with entry.draft() as place:
            raw = source.read(place)
            if source.identity() != identity:
                raise refuse(f"{config.name} was changed while it was read; run again")
            raw = entry.store(raw, place)
    warn_of_other_counts(config, raw)
    return replace(raw, digests=_digests(identity), class_names=_class_names(config, raw.class_names))


def file_digests(config: Data, made_of: Mapping[str, str]) -> dict[str, str]:
    """What the data set's files hold now (`fedlt.data.digests`), without reading the data set.

    Of a set of the hub they do where that revision is in the local cache: the hub itself is not asked. Empty where
    nothing is known.

    Args:
        made_of: the digests of which one wants to know whether they still hold.

    Raises:
        ScenarioError: for a set that is not found.
    """
    source = _find(config)
    if not isinstance(source, Hub):
        return _digests(source.identity())
    known = source.revisions()
    recorded = made_of.get(source.hub_name)
    return {source.hub_name: recorded if recorded in known else known[-1]} if known else {}


def _digests(identity: Sequence[Any]) -> dict[str, str]:
    """The digests by file that are part of a source's identity."""
    return {file: digest for part in identity if isinstance(part, dict) for file, digest in part.items()}


def labels(config: Data, cache_dir: Path | str | None = None) -> RawLabels:
    """The labels and group columns of the data set; inputs are neither decoded nor needed.

    Where a well-known set is not on this machine, its labels are made from public class counts.

    Raises:
        ScenarioError: for a set that is not found or not usable.
    """
    raw = _labels(config, cache_dir)
    return replace(raw, class_names=_class_names(config, raw.class_names))


def _labels(config: Data, cache_dir: Path | str | None) -> RawLabels:
    source = _find(config)
    known = _known(config)
    if isinstance(source, Hub) and known is not None:
        return known.labels(config.name)
    if isinstance(source, PictureList) and not source.complete:
        return source.read_labels()  # the lists alone tell who would hold what
    entry = Entry.of(cache_dir, source.name, source.identity(), chosen(config))
    return entry.labels() or source.read_labels()


def _class_names(config: Data, found: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the scenario gives to classes which are numbers, else those that were found.

    Not part of what is kept in the cache: names decide nothing else.
    """
    named, key = tuple(config.class_names), "data.class_names"
    if not named:
        return found
    if not all(name.isdigit() for name in found):
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise refuse(f"the classes of {config.name} have names already ({shown}); remove it", key)
    if len(named) != len(found):
        count = f"{len(named)} name{'s' if len(named) != 1 else ''} for {len(found)} classes"
        raise refuse(f"{count}; give one for each, in the order {', '.join(found[:3])}, ...", key)
    if twice := sorted({name for name in named if named.count(name) > 1 or not name.strip()}):
        raise refuse(f"{twice[0]!r} does not name one class alone; give each a name of its own", key)
    return named


def _known(config: Data) -> Known | None:
    """The well-known set, where its public class counts say all that is asked for."""
    known = KNOWN.get(config.name)
    suffices = (
        known is not None
        and config.target_column in (None, known.target)
        and not config.group_columns
        and config.targets is None
        and config.test_share is None
        and (config.train_split, config.test_split) == ("train", "test")
    )
    return known if suffices else None


def _find(config: Data) -> Source:
    config = with_own_tokenizer(config)
    name = config.name
    path = Path(name).expanduser()
    built_in = name in (*EMBEDDED, *KNOWN, GLYPHS)
    if name.endswith(".npz") or (path.exists() and not built_in):
        return _at(config, path)

    if root := os.environ.get("FEDLT_DATA"):
        for candidate in (Path(root).expanduser() / f"{name}.npz", Path(root).expanduser() / name):
            if candidate.exists():
                return _at(config, candidate)

    if name in EMBEDDED:
        return {"digits": Digits, "city_requests": CityRequests, "book_loans": Interactions}[name](config)
    if name == GLYPHS:
        return Glyphs(config)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise refuse(f"no such file or folder: {path.absolute()} (a path in a scenario file starts at its folder)")
    if name in PUBLISHED:
        return Missing(config)
    if name in KNOWN:
        known = KNOWN[name]
        return Hub(replace(config, target_column=config.target_column or known.target), known.hub)

    return Hub(config, name)


def _at(config: Data, path: Path) -> Source:
    if config.interactions.user is not None:
        return Interactions(config, path.resolve())

    # A folder, or a file by its ending.
    if path.is_dir():
        return folder_source(config, path.resolve())
    if not path.is_file():
        raise refuse(f"no such file: {path.absolute()}")
    if path.suffix.lower() == ".csv" and lists_pictures(path, config):
        return PictureList(replace(config, train_split=path.name), path.resolve().parent)
    if path.suffix.lower() in (*ENDINGS["parquet"], *ENDINGS["csv"], *ENDINGS["jsonl"]):
        return single_file(config, path.resolve())

    if path.suffix != ".npz":
        remedy = CONVERT.get(path.suffix.lower(), "")
        raise refuse(f"{path} is neither a folder nor an .npz, .csv, .tsv, .jsonl or .parquet file{remedy}")
    return Npz(config, path.resolve())
