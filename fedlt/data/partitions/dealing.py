"""Runs a scheme, checks what it gives, and gathers the samples by client."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.config.own_lines import told
from fedlt.data.partitions.scheme import KEY, NOBODY, Scheme, SourceRows, UnluckyDraw
from fedlt.data.ragged import Ragged
from fedlt.data.targets import Groups
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.wording import counted

REDRAWS = 100


def partition(
    scheme: Scheme,
    labels: NDArray[np.int64],
    groups: Groups,
    clients: int | None,
    seed: int,
    empty: str = "error",
    source: SourceRows | None = None,
) -> Ragged:
    """Positions 0..N-1 of each client, ascending.

    Args:
        labels, groups, seed: see `Scheme.assign`.
        clients: None for schemes that make their own.
        empty: `error`, or `redraw` with the next seeds until every client has a sample.
        source: None where the rows of the source are not known.

    Raises:
        ScenarioError: under `federation`.
    """
    own = makes_clients(scheme)
    if clients is None and not own:
        message = "expected a number of clients; only a partition that makes its own, such as natural, finds it itself"
        raise ScenarioError(Problem("federation.clients", message))
    if clients is not None and clients > len(labels) and not own:
        message = f"{clients} clients cannot share {counted(len(labels), 'training sample')}; use at most {len(labels)}"
        raise ScenarioError(Problem("federation.clients", message))

    own_seed: int | None = getattr(scheme, "seed", None)
    attempts = REDRAWS + 1 if empty == "redraw" else 1
    what, remedy = "", ""
    for attempt in range(attempts):
        # A scheme without a seed of its own is drawn anew by the scenario's.
        current = replace(scheme, seed=own_seed + attempt) if own_seed is not None else scheme  # type: ignore[type-var]
        try:
            owner = owners(current, labels, groups, clients, seed + attempt, source)
        except UnluckyDraw as error:
            what, _, remedy = error.problems[0].message.partition("; ")
            continue

        number = _expected_number(scheme, owner, clients) if own else int(clients or 0)
        held = np.flatnonzero(owner != NOBODY)
        rows = Ragged.from_owner(owner[held], number)
        bare = int((rows.sizes == 0).sum())
        if not bare:
            return Ragged(held[rows.values], rows.offsets)
        smoother = "use a larger alpha or fewer clients" if hasattr(scheme, "alpha") else "use fewer clients"
        what, remedy = f"{bare} of {number} clients got no sample", smoother

    tried, other = (f" in each of {attempts} draws", "") if attempts > 1 else ("", ", or federation.empty: redraw")
    raise ScenarioError(Problem(KEY, f"{what}{tried}; {remedy}{other}"))


def owners(
    scheme: Scheme,
    labels: NDArray[np.int64],
    groups: Groups,
    clients: int | None,
    seed: int,
    source: SourceRows | None = None,
) -> NDArray[np.int64]:
    """The scheme's owners, int64 [N], each in 0..clients-1, or -1 for nobody where the scheme `leaves_out` samples.

    See `partition`. Every class has an owner that is somebody.

    Raises:
        ScenarioError: for all else.
    """
    name = type(scheme).__name__
    further: dict[str, Any] = {}
    _expect_assign(scheme)
    if "source" in inspect.signature(scheme.assign).parameters:
        if source is None:
            message = (
                f"{name} knows the rows of the data set by number, and only the class counts of this one are at hand; "
                "bring its files to this machine"
            )
            raise ScenarioError(Problem(KEY, message))
        further["source"] = source

    try:
        given: object = scheme.assign(labels, groups, clients, seed, **further)  # type: ignore[arg-type]
    except FedLTError:
        raise
    except Exception as error:
        raise ScenarioError(Problem(KEY, f"{name}.assign failed: {told(error)}")) from error

    owner = _as_array(given, name)
    _check(scheme, owner, labels, clients)
    return owner.astype(np.int64)


def _expect_assign(scheme: object) -> None:
    """Raise `ScenarioError` where the class has no `assign`, or one that cannot be called as it will be."""
    name, arguments = type(scheme).__name__, [*inspect.signature(Scheme.assign).parameters]
    written = f"def assign({', '.join(arguments)})"
    assign = getattr(scheme, "assign", None)
    if not callable(assign):
        near = difflib.get_close_matches("assign", dir(scheme), n=1)
        found = f" ({near[0]!r} is nearest)" if near else ""
        raise ScenarioError(Problem(KEY, f"{name} has no method assign{found}; write {written}"))

    known = inspect.signature(assign).parameters
    further = {"source": None} if "source" in known else {}
    try:
        inspect.signature(assign).bind(*arguments[1:], **further)
    except TypeError:
        own = ", ".join(["self", *known])
        raise ScenarioError(Problem(KEY, f"{name}.assign takes ({own}); write {written}")) from None


def _as_array(given: object, name: str) -> NDArray[Any]:
    """What `assign` gave, as an array.

    Raises:
        ScenarioError: where it lists the samples of each client instead.
    """
    one_each = "give one client for each sample, such as rng.integers(clients, size=len(labels))"
    if given is None or isinstance(given, dict):
        what = "nothing" if given is None else "a dictionary"
        raise ScenarioError(Problem(KEY, f"{name}.assign gave {what}; {one_each}"))
    try:
        return np.asarray(given)
    except ValueError:
        raise ScenarioError(Problem(KEY, f"{name}.assign gave lists of several lengths; {one_each}")) from None


def makes_clients(scheme: Scheme) -> bool:
    """Whether the scheme makes its own number of clients."""
    return bool(getattr(scheme, "own_clients", False))


def _check(scheme: Scheme, owner: NDArray[Any], labels: NDArray[np.int64], clients: int | None) -> None:
    """Raise `ScenarioError` where these are no owners of the samples."""
    own, name = makes_clients(scheme), type(scheme).__name__
    leaves_out = bool(getattr(scheme, "leaves_out", False))
    numbers = "of at least 0" if own else f"in 0..{(clients or 0) - 1}"
    nobody_too = ", or -1 for nobody," if leaves_out else ""
    expected = f"expected one whole number {numbers}{nobody_too} for each of the {len(labels)} training samples"

    if owner.ndim == 1 and len(owner) != len(labels):
        raise ScenarioError(Problem(KEY, f"{name}.assign gave {len(owner)} owners; {expected}"))
    if owner.shape != labels.shape:
        raise ScenarioError(Problem(KEY, f"{name}.assign gave an array of shape {list(owner.shape)}; {expected}"))
    if owner.dtype.kind not in "iu":
        raise ScenarioError(Problem(KEY, f"{name}.assign gave owners of type {owner.dtype}; {expected}"))

    nobody = int((owner < (NOBODY if leaves_out else 0)).sum())
    beyond = 0 if own or clients is None else int((owner >= clients).sum())
    if nobody or beyond:
        below = NOBODY if leaves_out else 0
        there = f"the {clients} that there are" if clients is not None else "all bounds"
        given = f"{nobody} samples to nobody (below {below}) and {beyond} to clients beyond {there}"
        raise ScenarioError(Problem(KEY, f"{name}.assign gave {given}; {expected}"))

    lost = np.setdiff1d(labels, labels[owner >= 0])
    if len(lost):
        message = (
            f"{name}.assign leaves {counted(len(lost), 'class', 'classes')} (class {lost[0]} first) to nobody; "
            "give some client a sample of each, or take the class out of the data"
        )
        raise ScenarioError(Problem(KEY, message))


def _expected_number(scheme: Scheme, owner: NDArray[np.int64], clients: int | None) -> int:
    """How many clients a scheme made; raises `ScenarioError` where the scenario expects another number."""
    found = int(owner.max(initial=NOBODY)) + 1
    if clients not in (None, found):
        message = f"{type(scheme).__name__} makes {found} clients, not {clients}; write null or {found}"
        raise ScenarioError(Problem("federation.clients", message))
    return found
