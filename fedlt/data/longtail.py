"""The long-tail profile: how many training samples of each class stay, and which.

Reads labels only. Exponential and step profiles: Cui et al., Class-Balanced Loss, CVPR 2019, and Cao et al.,
LDAM, NeurIPS 2019; Pareto: class sizes follow a power of their rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.count_file import read_counts
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.config.sections import LongTail
    from fedlt.data.targets import Targets

KEY = "data.longtail"
SHAPED = ("exponential", "step", "pareto")  # profiles made from an imbalance factor
DEFAULT_FACTOR = 100.0
DEFAULT_HEAD_SHARE = 0.5


def counts(available: NDArray[np.int64], config: LongTail, seed: int) -> NDArray[np.int64]:
    """Training samples to keep of each class, int64 [C], each at least 1 and at most `available` [C].

    Args:
        available: int64 [C] training samples that there are.
        config: the section `data.longtail`.
        seed: the scenario's, used where the configuration has none.

    Raises:
        ScenarioError: under `data.longtail`.
    """
    _check_options(config)
    classes = len(available)
    if config.profile == "none":
        return available.copy() if config.largest is None else np.minimum(available, config.largest)
    bare = np.flatnonzero(available == 0)
    if len(bare):
        message = f"class {bare[0]} is never the rarest label of a row, so that its size cannot be set; use none"
        raise ScenarioError(Problem(f"{KEY}.profile", message))

    order = np.arange(classes)  # order[rank] = class
    if config.order == "seeded":
        order = generator(_seed(config, seed), "longtail-order").permutation(classes)

    if config.profile == "counts":
        assert config.counts is not None  # _check_options refuses it
        shape = read_counts(config.counts, classes)
    else:
        head = config.largest or _largest_head(config, available[order])
        shape = _shape(config, head, classes)
        if shape.min() < 1:
            message = (
                f"every class needs at least 1 sample, but with {head} samples in the largest class a factor of "
                f"{_factor(config):g} leaves the smallest with {shape.min()}; use a factor of at most {head}"
            )
            raise ScenarioError(Problem(f"{KEY}.imbalance_factor", message))

    short = np.flatnonzero(shape > available[order])
    if len(short):
        key = "counts" if config.profile == "counts" else "largest"
        first = short[0]
        message = (
            f"asks for {shape[first]} samples of class {order[first]}, which has {available[order[first]]} "
            f"({len(short)} classes fall short); lower {key}"
        )
        raise ScenarioError(Problem(f"{KEY}.{key}", message))

    wanted = np.empty(classes, np.int64)
    wanted[order] = shape
    return wanted


def select(targets: Targets, config: LongTail, seed: int) -> NDArray[np.int64]:
    """Rows that stay, int64 [n], class by class.

    mode `seeded`: drawn by the seed, ascending within a class. mode `official`: the very rows, in the very order, of
    the LDAM and FedLoGe code: NumPy's generator seeded with 0 shuffles the rows of one class after the other.

    Rows are counted by the class that they follow (`Targets.lead`).

    Args:
        targets: of the training set.
    """
    by_class = targets.by_class()
    wanted = counts(by_class.sizes, config, seed)
    official = np.random.RandomState(0)
    kept = []

    for label, rows in enumerate(by_class):
        if config.mode == "official":
            official.shuffle(rows)
            kept.append(rows[: wanted[label]])
        elif wanted[label] == len(rows):
            kept.append(rows)
        else:
            rng = generator(_seed(config, seed), "longtail", label)
            kept.append(np.sort(rng.choice(rows, wanted[label], replace=False)))

    return np.concatenate(kept).astype(np.int64)


def _seed(config: LongTail, seed: int) -> int:
    return seed if config.seed is None else config.seed


def _factor(config: LongTail) -> float:
    return DEFAULT_FACTOR if config.imbalance_factor is None else config.imbalance_factor


def _shape(config: LongTail, head: int, classes: int) -> NDArray[np.int64]:
    """Samples by rank, largest first, int64 [C]."""
    smallest = 1.0 / _factor(config)
    if config.profile == "exponential":
        shares = [smallest ** (rank / (classes - 1.0)) if classes > 1 else 1.0 for rank in range(classes)]
    elif config.profile == "step":
        share = DEFAULT_HEAD_SHARE if config.head_share is None else config.head_share
        heads = min(max(int(share * classes), 1), classes)
        shares = [1.0] * heads + [smallest] * (classes - heads)
    else:
        exponent = math.log(_factor(config)) / math.log(classes) if classes > 1 else 0.0
        shares = [(rank + 1) ** -exponent for rank in range(classes)]
    # 49 * (1 / 49) is just below 1; the official code truncates as it stands, so its mode gets no allowance.
    allowance = 0.0 if config.mode == "official" else 1e-9
    return np.array([int(head * share + allowance) for share in shares], np.int64)


def _largest_head(config: LongTail, available: NDArray[np.int64]) -> int:
    """Largest head for which every class can supply its count (by bisection: counts grow with the head).

    Args:
        available: int64 [C], by rank. For balanced sets this is the size of a class.
    """
    low, high = 1, int(available.max())
    while low < high:
        middle = (low + high + 1) // 2
        if (_shape(config, middle, len(available)) <= available).all():
            low = middle
        else:
            high = middle - 1
    return low


def _check_options(config: LongTail) -> None:
    """Refuse every option that would change nothing."""
    profile, problems = config.profile, []

    def refuse(key: str, message: str) -> None:
        problems.append(Problem(f"{KEY}.{key}", message))

    # 1 and the schema's default cannot be told from a factor that was never written.
    if profile not in SHAPED and config.imbalance_factor is not None:
        refuse("imbalance_factor", f"has no effect with profile {profile}; remove it or choose {', '.join(SHAPED)}")
    if profile == "counts" and config.counts is None:
        refuse("counts", "profile counts needs a list of samples per class, or a file that holds one")
    if profile != "counts" and config.counts is not None:
        refuse("counts", f"has no effect with profile {profile}; remove it or set profile: counts")
    if profile != "step" and config.head_share is not None:
        refuse("head_share", f"has no effect with profile {profile}; remove it or set profile: step")
    if profile == "counts" and config.largest is not None:
        refuse("largest", "has no effect with profile counts, which states every size; remove it")
    if profile == "none" and config.order != "natural":
        refuse("order", "has no effect with profile none; remove it")
    if profile == "none" and config.seed is not None and config.largest is None:
        refuse("seed", "has no effect with profile none, which keeps every sample; remove it")
    _check_official(config, refuse)
    if problems:
        raise ScenarioError(problems)


def _check_official(config: LongTail, refuse: Callable[[str, str], None]) -> None:
    """Refuse what the official subsets do not leave open.

    Args:
        refuse: takes the key, and what is wrong with it.
    """
    if config.mode != "official":
        return
    if config.profile not in ("exponential", "step"):
        refuse("mode", f"official subsets exist for the profiles exponential and step, not for {config.profile}")
    if config.order != "natural":
        refuse("order", "the official subsets take the classes in natural order; remove it or set mode: seeded")
    if config.seed is not None:
        refuse("seed", "the official subsets are drawn with seed 0; remove it or set mode: seeded")
