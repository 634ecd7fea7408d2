"""LEAF's layout: JSON files of users with their rows, in folders `train` and `test`.

    {"users": ["f0", ...], "num_samples": [12, ...], "user_data": {"f0": {"x": [[0.1, ...], ...], "y": [3, ...]}, ...}}

Caldas, Duddu, Wu, Li, Konecny, McMahan, Smith, Talwalkar: LEAF: A Benchmark for Federated Settings. arXiv 2018. The
group column `user` tells the users apart, for federation.partition={name: natural, column: user}.

Without splits, in files `all_data*.json`, with `data.test_share`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.image_folder import without_columns
from fedlt.data.inputs import Given
from fedlt.data.kind_of import chosen
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, stratum
from fedlt.data.split_share import check_share, cut
from fedlt.data.tables import columns_of
from fedlt.data.text_columns import REMEDY

if TYPE_CHECKING:
    from fedlt.config.sections import Data

USER = "user"
"""The group column of a LEAF set."""


@dataclass(frozen=True)
class Rows:
    """One split, users one after the other.

    Attributes:
        x: n inputs, as JSON has them.
        y: [n] labels.
        user: [n] the user of each row.
    """

    x: list[Any]
    y: NDArray[Any]
    user: NDArray[np.str_]


@dataclass(frozen=True)
class Leaf:
    """The data set of a folder of LEAF's JSON files; users in the order of the files."""

    config: Data
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the files and the columns."""
        splits = [self._train_files, leaf_files(self.folder, self.config.test_split)]
        return [stamp([path for files in splits for path in files]), columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it: numbers of one length, lists of token ids, or texts."""
        texts = self.config.tokenizer is not None
        train, test = (Given(_inputs(self.folder, rows.x, texts)) for rows in self._splits)
        return checked(self.read_labels(), train, test, self.config, place)

    def read_labels(self) -> RawLabels:
        """Labels and users."""
        train, test = self._splits
        users = [{USER: rows.user} for rows in (train, test)]
        return checked_labels(self.name, train.y, test.y, users[0], users[1], kind=chosen(self.config))

    @property
    def _train_files(self) -> list[Path]:
        return leaf_files(self.folder, self.config.train_split) or unsplit_files(self.folder)

    @cached_property
    def _splits(self) -> tuple[Rows, Rows]:
        """The rows of both splits; a share of the former where there are no files of the latter."""
        config = self.config
        without_columns(config, f"LEAF's layout in {self.folder}", groups=USER)
        test = leaf_files(self.folder, config.test_split)
        check_share(config.test_share, str(self.folder), config.test_split, bool(test))
        train = _rows(self._train_files)
        if config.test_share is None:
            return train, _rows(test)

        pieces = cut(stratum(self.name, train.y, (), chosen(config)), config.test_share)
        trained, tested = (Rows([train.x[row] for row in part], train.y[part], train.user[part]) for part in pieces)
        return trained, tested


def leaf_files(folder: Path, split: str) -> list[Path]:
    """The files of a split: `train/*.json` or `data/train/*.json`, in alphabetical order."""
    for place in (folder / split, folder / "data" / split):
        if found := sorted(path for path in place.glob("*.json") if not path.name.startswith(".")):
            return found
    return []


def unsplit_files(folder: Path) -> list[Path]:
    """The files of a set without splits."""
    places = (folder, folder / "data" / "all_data", folder / "all_data")
    return next((found for place in places if (found := sorted(place.glob("all_data*.json")))), [])


def _rows(files: list[Path]) -> Rows:
    """The rows of all users in the files."""
    x: list[Any] = []
    y: list[Any] = []
    users: list[str] = []
    for path in files:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            of_users = {user: content["user_data"][user] for user in content["users"]}
            rows = {user: (list(data["x"]), list(data["y"])) for user, data in of_users.items()}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            expected = '{"users": [...], "user_data": {USER: {"x": [...], "y": [...]}}}'
            raise refuse(f"{path} is not in the layout of LEAF, {expected}: {type(error).__name__} {error}") from error

        for user, (inputs, labels) in rows.items():
            if len(inputs) != len(labels):
                raise refuse(f"{path}: user {user!r} has {len(inputs)} inputs and {len(labels)} labels; mend the file")
            x += inputs
            y += labels
            users += [str(user)] * len(labels)
    return Rows(x, np.array(y), np.array(users, np.str_))


def _inputs(folder: Path, x: list[Any], texts: bool) -> NDArray[Any]:
    """The inputs as one array; texts where they are asked for.

    Raises:
        ScenarioError: for names of files, and rows of several lengths.
    """
    if texts and x and isinstance(x[0], str):
        return np.array([*x, None], object)[:-1]  # in one dimension, whatever they hold
    remedy = "write token ids of one length, or a list of pictures (FILE,label,user in a .csv file)"
    if x and isinstance(x[0], str):
        told = f"{folder}: the inputs are texts or names of files, such as {x[0][:40]!r}; {REMEDY}, or {remedy}"
        raise refuse(told)
    try:
        array = np.array(x)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise refuse(f"{folder}: the inputs are no lists of numbers of one length; {remedy}")
    return array
