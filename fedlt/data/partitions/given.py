"""Who holds which training row, from a file of your own: see docs/howto/own-partition.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedlt.data.partitions.given_file import Holders, problem, read_holders
from fedlt.data.partitions.scheme import NOBODY, SourceRows
from fedlt.data.targets import Groups


@dataclass(frozen=True)
class Given:
    """Who holds which training row, from a file: a CSV with the columns row and client, or an array.

    Rows are those of the source's training set, from 0 and before the long tail is cut: what the tail leaves out is
    held by nobody. Each row is named once. See `read_holders` for the forms of the file.
    """

    own_clients: ClassVar[bool] = True

    file: str  # .csv or .tsv (row, client; or client alone), .npy, .npz
    unnamed: Literal["refuse", "leave_out"] = "refuse"  # rows without a client; leave_out: nobody trains on them

    @property
    def leaves_out(self) -> bool:
        """Whether samples may be held by nobody."""
        return self.unnamed == "leave_out"

    def assign(
        self, labels: NDArray[np.int64], groups: Groups, clients: int | None, seed: int, source: SourceRows
    ) -> NDArray[np.int64]:
        """See `Scheme.assign`. Clients are numbered in the order of `Holders.names`."""
        holders = read_holders(self.file)
        entries = self._entry_of_each_row(holders, source.size)[source.rows]
        named = entries >= 0
        owner = np.where(named, holders.clients[entries], NOBODY)

        bare = np.setdiff1d(np.arange(len(holders.names)), owner)
        if len(bare):
            entry = int(np.argmax(holders.clients == bare[0]))
            row = entry if holders.rows is None else holders.rows[entry]
            raise problem(
                f"{holders.place(entry)}: client {holders.names[bare[0]]!r} has no training sample: row {row} and all "
                f"its others are left out by the long tail or set apart ({len(bare)} of {len(holders.names)} clients "
                "have none); keep more of the data, or take these clients out of the file with unnamed: leave_out"
            )
        return owner

    def _entry_of_each_row(self, holders: Holders, size: int) -> NDArray[np.int64]:
        """The entry that names the client of each row of the source, int64 [size]; -1 where none does.

        Raises:
            ScenarioError: for rows that do not exist, that are named twice, or that are not named.
        """
        if holders.rows is None and len(holders.clients) != size:
            have = f"{len(holders.clients)} clients for the {size} rows of the training set"
            raise problem(f"{holders.file} names {have}; give one for each, or name rows in a column row")

        rows = np.arange(size) if holders.rows is None else holders.rows
        odd = np.flatnonzero((rows < 0) | (rows >= size))
        if len(odd):
            there = f"the training set has rows 0..{size - 1} ({len(odd)} entries are beyond)"
            raise problem(f"{holders.place(int(odd[0]))}: there is no row {rows[odd[0]]}; {there}")

        entries = np.full(size, -1, np.int64)
        order = np.argsort(rows, kind="stable")
        again = np.flatnonzero(np.diff(rows[order]) == 0)
        if len(again):
            second = int(order[again + 1].min())
            first = int(np.flatnonzero(rows == rows[second])[0])
            earlier = holders.place(first).rpartition(", ")[2]
            raise problem(f"{holders.place(second)} names row {rows[second]} again, after {earlier}")
        entries[rows] = np.arange(len(rows))

        nobody = entries < 0
        nobody[rows[holders.clients == NOBODY]] = True
        if nobody.any() and not self.leaves_out:
            bare = int(np.argmax(nobody))
            where = f"{holders.place(int(entries[bare]))}: " if entries[bare] >= 0 else f"{holders.file}: "
            what = f"row {bare} has no client ({int(nobody.sum())} of {size} rows have none)"
            raise problem(f"{where}{what}; name one for each, or let nobody train on them with unnamed: leave_out")
        return entries
