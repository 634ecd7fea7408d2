"""`fedlt.check_partition`: whether a partition deals every sample to one client, as a function of its seed alone.

    fedlt.check_partition("dirichlet", alpha=0.1)
    fedlt.check_partition(Mine)

It deals 400 samples of ten long-tailed classes, with a group column `site` of twenty values, to twenty clients and to
three; they are rows 0 to 399 of their source, in this order. What is checked stands in `CHECKS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.checks.suite import Suite, fingerprint, other_generators
from fedlt.data.partitions.dealing import makes_clients, owners
from fedlt.data.partitions.scheme import Scheme, SourceRows
from fedlt.errors import ScenarioError

CHECKS = {
    "assigns": "assign() gives each sample one client, a whole number in 0..clients-1, for some number of clients "
    "(where leaves_out is declared also -1, for nobody, but not to all samples of a class)",
    "borrowed": "labels, group columns and the rows of the source are not changed in place",
    "hidden": "nothing is kept on the instance, on its class or in its module",
    "equal": "two equal seeds give equal clients, whatever the global generators of NumPy, Python and PyTorch hold",
}
SAMPLES, SITES, CLIENTS = 400, 20, (20, 3)


def check_partition(partition: str | type[Any], **options: Any) -> None:
    """Raise `ConformanceError`, with all that was found, if a partition breaks the contract of `Scheme`; else nothing.

    partition: a name as in a scenario (`shards`, `./mine.py:Mine`), or a class. options: its fields. A number of
    clients that it refuses with a `ScenarioError` is no breach.
    """
    PartitionSuite(partition, options).run()


class PartitionSuite(Suite):
    """One check of one partition."""

    kind, contract, checks = "partition", "partitions", CHECKS

    def run(self) -> None:
        """See `check_partition`."""
        scheme: Scheme = self.component.create(self.options)
        refusals: list[str] = []
        numbers = CLIENTS[:1] if makes_clients(scheme) else CLIENTS  # there are as many sites
        for clients in numbers:
            try:
                self._expect_deal(scheme, clients)
            except ScenarioError as error:
                refusals.append(error.problems[0].message)
        self.expect(len(refusals) < len(numbers), "assigns", "; ".join(refusals))
        self.end()

    def _expect_deal(self, scheme: Scheme, clients: int) -> None:
        labels, sites = made_up()
        source = SourceRows(np.arange(SAMPLES), SAMPLES)
        known = fingerprint(scheme, object)
        found = []
        for noise in (0, 1):
            with other_generators(noise):
                found.append(owners(scheme, labels, {"site": sites}, clients, seed=0, source=source))

        fresh = made_up()
        self.expect(np.array_equal(labels, fresh[0]), "borrowed", "assign() changed the labels")
        self.expect(np.array_equal(sites, fresh[1]), "borrowed", "assign() changed the group column")
        whole = np.array_equal(source.rows, np.arange(SAMPLES))
        self.expect(whole, "borrowed", "assign() changed the rows of the source")
        self.expect_same(known, fingerprint(scheme, object), "assign()")
        differ = int((found[0] != found[1]).sum())
        self.expect(not differ, "equal", f"{differ} of {SAMPLES} samples went to another client of {clients}")


def made_up() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of ten classes, the largest about 30 times the smallest, and sites, int64 [N] each."""
    shares = 30.0 ** -(np.arange(10) / 9)
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(10), rng.choice(10, SAMPLES - 10, p=shares / shares.sum())])
    return labels.astype(np.int64), rng.permutation(np.arange(SAMPLES) % SITES).astype(np.int64)
