"""Local tests: which rows of the global test set each client is tested on, to match its training mix.

Clients draw independently of each other, so their tests may overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.ragged import Ragged
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.data.targets import Targets

KEY = "federation.local_test"


def test_counts(rule: str, client_counts: NDArray[np.int64], test_class_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Test samples of each client and class, int64 [K, C].

    A client with n_kc of N training samples gets n_kc / N of the T test samples, of its class c, and never more than
    there are. rule `official`: rounded down, so that small classes often get none, and so may a whole client (FedLoGe
    code, Xiao et al., ICLR 2024). rule `matched`: rounded to the nearest, and at least one sample of every class that
    the client was trained on.

    Args:
        client_counts: int64 [K, C].
        test_class_counts: int64 [C].
    """
    ideal = client_counts / client_counts.sum() * int(test_class_counts.sum())
    if rule == "official":
        wanted = ideal.astype(np.int64)
    elif rule == "matched":
        wanted = np.maximum(np.rint(ideal).astype(np.int64), (client_counts > 0).astype(np.int64))
    else:
        raise ScenarioError(Problem(KEY, f"expected matched or official where counts decide, got {rule!r}"))
    capped: NDArray[np.int64] = np.minimum(wanted, test_class_counts)
    return capped


def local_tests(
    rule: str,
    client_counts: NDArray[np.int64],
    tested: Targets,
    seed: int,
    client_groups: NDArray[np.int64] | None = None,
    test_groups: NDArray[np.int64] | None = None,
) -> Ragged:
    """Rows of the test set for each client, ascending; a client's row list may be empty.

    The rule `natural` takes the test rows of the client's own group. The others draw without replacement, by the seed.

    Args:
        rule: of `federation.local_test`.
        client_counts: int64 [K, C], training rows of each client by the class that they follow.
        tested: targets of the test set.
        seed: of the draws.
        client_groups: int64 [K] the group of each client; None where clients are no groups.
        test_groups: int64 [len(tested)] the group of each test row, likewise.

    Raises:
        ScenarioError: under `federation.local_test`.
    """
    if rule == "natural":
        return _natural(client_groups, test_groups)
    by_class = tested.by_class()
    wanted = test_counts(rule, client_counts, by_class.sizes)
    rows, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]

    for number, members in enumerate(by_class):
        rng = generator(seed, "local-test", number)
        for size in np.unique(wanted[:, number][wanted[:, number] > 0]).tolist():
            clients = np.flatnonzero(wanted[:, number] == size)
            rows.append(members[_distinct(rng, len(clients), size, len(members))].ravel())
            owners.append(np.repeat(clients, size))

    drawn, owner = np.concatenate(rows), np.concatenate(owners)
    by_client = Ragged.from_owner(owner, len(client_counts))
    order = np.lexsort((drawn, owner))
    return Ragged(drawn[order], by_client.offsets)


def _distinct(rng: np.random.Generator, clients: int, size: int, total: int) -> NDArray[np.int64]:
    """[clients, size]: for each client `size` different numbers below `total`, all such sets equally likely."""
    if size * size > total:  # collisions are likely: shuffle
        return np.stack([rng.choice(total, size, replace=False) for _ in range(clients)])
    drawn = rng.integers(total, size=(clients, size))
    while True:
        ordered = np.sort(drawn, axis=1)
        clash = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(clash):
            return drawn
        drawn[clash] = rng.integers(total, size=(len(clash), size))


def _natural(client_groups: NDArray[np.int64] | None, test_groups: NDArray[np.int64] | None) -> Ragged:
    """Each client is tested on the test rows of its own group."""
    if client_groups is None:
        raise ScenarioError(Problem(KEY, "natural needs federation.partition: natural; choose it, or matched"))
    if test_groups is None:
        message = "natural needs the partition's column in the test set too, which lacks it; choose matched"
        raise ScenarioError(Problem(KEY, message))
    rows = Ragged.from_rows([np.flatnonzero(test_groups == group) for group in client_groups])
    if not len(rows.values):
        message = "natural finds no test row of any client's group, training and test groups differ; choose matched"
        raise ScenarioError(Problem(KEY, message))
    return rows
