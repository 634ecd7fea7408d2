"""`fedlt.check_partition`: whether a partition deals every sample to one client, as a function of its seed alone.

    fedlt.check_partition("dirichlet", alpha=0.1)
    fedlt.check_partition(Mine)

It deals 400 samples of ten long-tailed classes, with a group column `site` of twenty values, to twenty clients and to
three; they are rows 0 to 399 of their source, in this order. What is checked stands in `CHECKS`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.checks.suite import Suite, fingerprint, other_generators
from fedlt.data.partitions.dealing import makes_clients, owners
from fedlt.data.partitions.scheme import Scheme, SourceRows
from fedlt.data.targets import Groups
from fedlt.errors import ScenarioError

CHECKS = {
    "assigns": "assign() gives each sample one client, a whole number in 0..clients-1, for some number of clients "
    "(where leaves_out is declared also -1, for nobody, but not to all samples of a class)",
    "filled": "each client gets a sample, for some number of clients and one of ten seeds",
    "borrowed": "labels, group columns and the rows of the source are not changed in place",
    "hidden": "nothing is kept on the instance, on its class or in its module",
    "equal": "two equal seeds give equal clients, whatever the global generators of NumPy, Python and PyTorch hold",
}
SAMPLES, SITES, CLIENTS, SEEDS = 400, 20, (20, 3), 10


def check_partition(partition: str | type[Any], **options: Any) -> None:
    """Raise `ConformanceError`, with all that was found, if a partition breaks the contract of `Scheme`; else nothing.

    A number of clients that it refuses with a `ScenarioError` is no breach.

    Args:
        partition: a name as in a scenario (`shards`, `./mine.py:Mine`), or a class.
        options: its fields.
    """
    PartitionSuite(partition, options).run()


class PartitionSuite(Suite):
    """One check of one partition."""

    kind, contract, checks = "partition", "partitions", CHECKS

    def run(self) -> None:
        """See `check_partition`."""
        scheme: Scheme = self.component.create(self.options)
        labels, sites = made_up()
        source = SourceRows(np.arange(SAMPLES), SAMPLES)
        numbers = CLIENTS[:1] if makes_clients(scheme) else CLIENTS  # there are as many sites
        self.deal(scheme, Samples(labels, {"site": sites}, source), numbers)

    def deal(self, scheme: Scheme, samples: Samples, numbers: Sequence[int | None]) -> None:
        """Deal the samples to each number of clients.

        Raises:
            ConformanceError: with what is found.
        """
        refusals: list[str] = []
        bare: list[str] = []

        for clients in numbers:
            try:
                left_out = self._expect_deal(scheme, samples, clients)
            except ScenarioError as error:
                refusals.append(error.problems[0].message)
                continue
            if left_out:
                what = "none" if bare else "no sample, whatever the seed"
                bare.append(f"{left_out} of {clients or 'its'} clients get {what}")

        # It may refuse some of the numbers, and leave clients without a sample for some, but not for all.
        self.expect(len(refusals) < len(numbers), "assigns", "; ".join(dict.fromkeys(refusals)))
        filled = not bare or len(refusals) + len(bare) < len(numbers)
        self.expect(filled, "filled", "; ".join(bare))
        self.end()

    def _expect_deal(self, scheme: Scheme, samples: Samples, clients: int | None) -> int:
        """Watch the deals of two equal seeds; the fewest clients without a sample, over a few seeds.

        Args:
            scheme: that deals.
            samples: to be dealt.
            clients: their number; None: as the scheme finds them.
        """
        known, before = fingerprint(scheme, object), copy.deepcopy(samples)
        found = []
        for noise in (0, 1):
            with other_generators(noise):
                found.append(samples.owners(scheme, clients, seed=0))

        self.expect(np.array_equal(samples.labels, before.labels), "borrowed", "assign() changed the labels")
        for column, values in before.groups.items():
            same = np.array_equal(samples.groups[column], values)
            self.expect(same, "borrowed", f"assign() changed the group column {column!r}")
        if samples.source is not None and before.source is not None:
            whole = np.array_equal(samples.source.rows, before.source.rows)
            self.expect(whole, "borrowed", "assign() changed the rows of the source")
        self.expect_same(known, fingerprint(scheme, object), "assign()")
        differ, count = int((found[0] != found[1]).sum()), len(samples.labels)
        self.expect(not differ, "equal", f"{differ} of {count} samples went to another client of {clients}")

        fewest = _bare(found[0], clients)
        for seed in range(1, SEEDS):
            if fewest:
                fewest = min(fewest, _bare(samples.owners(scheme, clients, seed), clients))
        return fewest


@dataclass
class Samples:
    """What a partition is given.

    Attributes:
        labels: int64 [N].
        groups: columns [N] by name.
        source: where the samples stand.
    """

    labels: NDArray[np.int64]
    groups: Groups
    source: SourceRows | None

    def owners(self, scheme: Scheme, clients: int | None, seed: int) -> NDArray[np.int64]:
        """See `fedlt.data.partitions.dealing.owners`. A scheme's own seed is added to."""
        own: int | None = getattr(scheme, "seed", None)
        current = replace(scheme, seed=own + seed) if own is not None else scheme  # type: ignore[type-var]
        return owners(current, self.labels, self.groups, clients, seed, self.source)


def _bare(owner: NDArray[np.int64], clients: int | None) -> int:
    """How many clients have no sample."""
    number = int(owner.max(initial=-1)) + 1 if clients is None else clients
    return len(np.setdiff1d(np.arange(number), owner))


def made_up() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of ten classes, the largest about 30 times the smallest, and sites, int64 [N] each."""
    shares = 30.0 ** -(np.arange(10) / 9)
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(10), rng.choice(10, SAMPLES - 10, p=shares / shares.sum())])
    return labels.astype(np.int64), rng.permutation(np.arange(SAMPLES) % SITES).astype(np.int64)
