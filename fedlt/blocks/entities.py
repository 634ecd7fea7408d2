"""What samples are made of, counted: labels, pairs of labels, parents, tokens, groups; and whom to keep by it.

Song, Qu, Zhou, Cheng: From Head to Tail: Towards Balanced Representation in Large Vision-Language Models through
Adaptive Data Calibration. CVPR 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fedlt.data.class_tree import expect_parents
from fedlt.data.counting import occurrences
from fedlt.data.site import Site
from fedlt.data.task import Task
from fedlt.errors import Problem, ScenarioError
from fedlt.nn.text.encoder import expect_tokens

Kind = Literal["label", "pair", "parent", "token"]
"""Classes, pairs of classes of one sample, their parents in the tree of `data.parents`, and token ids."""

CHUNK = 4096  # samples whose tokens are read at once


@dataclass(frozen=True)
class Entities:
    """The entities of one kind in n samples.

    Attributes:
        owner: [M] positions of samples in 0..n-1, one for each entity that a sample has.
        entity: [M] numbers of these entities, from 0.
    """

    owner: NDArray[np.int64]
    entity: NDArray[np.int64]

    @classmethod
    def of(cls, owner: NDArray[np.int64], entity: NDArray[np.int64]) -> Entities:
        """Each entity of a sample once, however often it has it."""
        if not len(owner):
            return cls(owner, entity)
        width = int(entity.max()) + 1
        once = np.unique(owner * width + entity)
        return cls(once // width, once % width)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[E] samples that have each entity."""
        return occurrences(self.entity, int(self.entity.max(initial=-1)) + 1)

    def among(self, kept: NDArray[np.bool_]) -> Entities:
        """Those of the samples that are kept, [n] bool, whose positions stay."""
        held = kept[self.owner]
        return Entities(self.owner[held], self.entity[held])


def expect_entities(kinds: Sequence[Kind], columns: Sequence[str], task: Task) -> list[str]:
    """Kinds and group columns together, of which samples of the task have all.

    Raises:
        ScenarioError: under `learner.entities` or `learner.columns` for what they have not got, and for what is named
            twice.
        ValueError: for tokens of other inputs.
    """
    counted: list[str] = [*kinds, *columns]
    if len(set(counted)) < len(counted):
        raise ScenarioError(Problem("learner.entities", f"expected each once, got {counted}"))

    # What each kind needs of the task.
    if "pair" in kinds and task.target.one_label:
        message = "a pair needs samples of several labels (data.targets=multilabel); remove pair"
        raise ScenarioError(Problem("learner.entities", message))
    if "token" in kinds:
        expect_tokens("learner.entities=[token]", task.inputs)
    if "parent" in kinds:
        expect_parents("parent", task.parents)

    if missing := [column for column in columns if column not in task.group_columns]:
        remedy = f"say data.group_columns=[{', '.join([*task.group_columns, *missing])}]"
        raise ScenarioError(Problem("learner.columns", f"{missing[0]!r} is no group column; {remedy}"))
    return counted


def entities(site: Site, kind: Kind) -> Entities:
    """Those of one kind in a site's samples."""
    if kind == "token":
        return tokens(site)
    owner, label = site.task.target.labels(site.data.y.cpu().numpy())
    if kind == "pair":
        return pairs(Entities.of(owner, label), len(site.class_counts))
    if kind == "parent":
        assert site.task.parents is not None, "build() has seen to it"
        label = site.task.parents[label]
    return Entities.of(owner, label)


def grouped(site: Site, column: str) -> Entities:
    """The values of a group column in a site's samples; generated ones have none."""
    values, index = site.groups[column], site.data.index.cpu().numpy()
    owner = np.flatnonzero(index < len(values))
    return Entities.of(owner, np.unique(values[index[owner]], return_inverse=True)[1].reshape(-1))


def pairs(labels: Entities, classes: int) -> Entities:
    """Unordered pairs of the labels that a sample has together.

    Args:
        labels: ascending by sample, and within it by class.
        classes: C.
    """
    owner, label = labels.owner, labels.entity
    most = int(np.bincount(owner).max(initial=0))
    found = [(owner[:0], label[:0])]
    for apart in range(1, most):
        same = np.flatnonzero(owner[apart:] == owner[:-apart])
        found.append((owner[same], label[same] * classes + label[same + apart]))
    owners, numbers = (np.concatenate(part) for part in zip(*found, strict=True))
    return Entities.of(owners, numbers)


def tokens(site: Site) -> Entities:
    """The token ids of each sample."""
    owners, ids = [], []
    positions = torch.arange(len(site.data), device=site.data.index.device)
    for part in positions.split(CHUNK):
        read, mask = site.task.inputs.split(site.data.batch(part).x)
        assert mask is not None, "build() has refused other inputs than tokens"
        row, place = mask.nonzero(as_tuple=True)
        owners.append(part[row].cpu().numpy())
        ids.append(read[row, place].cpu().numpy())
    return Entities.of(np.concatenate(owners), np.concatenate(ids))


def medians(kinds: Sequence[Entities]) -> list[float]:
    """For each kind the median number of samples that one of its entities has."""
    return [float(np.median(counts[counts > 0])) if (counts := kind.counts).any() else 1.0 for kind in kinds]


def needed(
    kinds: Sequence[Entities],
    thresholds: Sequence[float],
    passes: int,
    samples: int,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float64]:
    """[n] by what all thresholds must be multiplied at least so that a sample is kept.

    An entity passes with probability min(1, threshold / count), a kind with any of its entities in the sample, and the
    sample with `passes` of its kinds: below 1 it is kept at the thresholds as they are. Infinite where it has fewer.

    Args:
        kinds: what is counted.
        thresholds: of each kind.
        passes: kinds that must pass; 0: samples are kept by equal chances.
        samples: n.
        rng: of the draws; None: what would be kept for certain.
    """
    if not passes:
        return np.zeros(samples) if rng is None else rng.random(samples)

    # By how much each kind would have to be multiplied: its first entity that passes decides.
    factors = np.full((len(kinds), samples), np.inf)
    for row, kind, threshold in zip(factors, kinds, thresholds, strict=True):
        draws = np.ones(len(kind.owner)) if rng is None else rng.random(len(kind.owner))
        np.minimum.at(row, kind.owner, draws * kind.counts[kind.entity] / threshold)

    found: NDArray[np.float64] = np.sort(factors, axis=0)[passes - 1]
    return found


def calibrated(
    kinds: Sequence[Entities],
    thresholds: Sequence[float],
    passes: int,
    samples: int,
    share: float | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[n] which samples are kept, and [n] which of them would be whatever is drawn: the scarce ones.

    Args:
        kinds, thresholds, passes, samples, rng: as `needed` has them.
        share: of the samples that is kept, all thresholds being multiplied by what it takes; None: by one.
    """
    drawn = needed(kinds, thresholds, passes, samples, rng)
    certain = needed(kinds, thresholds, passes, samples)
    if share is None:
        kept = drawn < 1
        return kept, kept & (certain <= 1)

    first = np.argsort(drawn, kind="stable")[: max(1, round(share * samples))]
    kept = np.zeros(samples, bool)
    kept[first] = True
    return kept, kept & (certain <= drawn[first[-1]])


def gini(counts: NDArray[np.integer]) -> float:
    """How unevenly samples are spread over the entities that there are: 0 where all have equally many, near 1 at most.

    Args:
        counts: [E], of which zeros are left out.
    """
    held = np.sort(counts[counts > 0]).astype(np.float64)
    ranks = np.arange(1, len(held) + 1)
    return float((2 * ranks - len(held) - 1) @ held / (len(held) * held.sum()))
