"""Label noise: which label the clients see in place of the true one. Who holds what follows from the true labels.

`symmetric`: a label is flipped to any other class alike. `frequency`: to another class with probability proportional to
its training samples, so that head classes swallow tail samples (the assumption of RCAL; Zhang et al., ICCV 2023).
`missing`: of samples with several labels, each class loses the same share of its positives, which then look like
negatives (the assumption of COMIC; Zhang et al., ICCV 2023); a class keeps one at least.
`file`: labels that people gave, such as those of CIFAR-10N (Wei et al., ICLR 2022).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.npz import opened
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.config.sections import Noise
    from fedlt.data.ragged import Ragged
    from fedlt.data.targets import Targets

KEY = "data.noise"


def noisy_labels(targets: Targets, rows: NDArray[np.int64], config: Noise, seed: int) -> Targets:
    """The training set's targets as they are seen: those at `rows` (ascending) may differ from the true ones.

    Args:
        targets: of the training set, the true ones.
        rows: int64, ascending, that some client holds.
        config: the section `data.noise`.
        seed: the scenario's, used where the configuration has none.

    Raises:
        ScenarioError: under `data.noise`.
    """
    _check_options(config)
    if config.kind == "none":
        return targets
    if config.kind == "missing":
        return _without_positives(targets, rows, config, seed)
    if not targets.kind.one_label:
        message = f"{config.kind} replaces the one class of a sample, and a sample may have several here; remove it"
        raise ScenarioError(Problem(f"{KEY}.kind", message))

    y_train, classes = targets.values, targets.num_classes
    seen = y_train.copy()
    if config.kind == "file":
        seen[rows] = _read(str(config.file), len(y_train), classes)[rows]
        return replace(targets, values=seen)

    assert config.rate is not None  # _check_options refuses it
    rng = generator(seed if config.seed is None else config.seed, "label-noise")
    flipped = rows[rng.random(len(rows)) < config.rate]
    weights = np.ones(classes) if config.kind == "symmetric" else targets.counts(rows) * 1.0

    for label in np.unique(y_train[flipped]):
        mine = flipped[y_train[flipped] == label]
        others = np.where(np.arange(classes) == label, 0.0, weights)
        if others.sum():  # else no other class has a sample
            seen[mine] = rng.choice(classes, len(mine), p=others / others.sum())

    return replace(targets, values=seen)


def seen_labels(targets: Targets, clients: Ragged, config: Noise, seed: int) -> Targets:
    """The targets of all clients' rows as the clients see them.

    Args:
        targets: of the training set, the true ones.
        clients: rows of each client.
        config: the section `data.noise`.
        seed: the scenario's, used where the configuration has none.

    Raises:
        ScenarioError: under `data.noise`, also for a client whose positive labels are all hidden.
    """
    seen = noisy_labels(targets, np.sort(clients.values), config, seed)
    if config.kind != "missing":
        return seen
    bare = np.flatnonzero((seen.table(clients).sum(axis=1) == 0) & (clients.sizes > 0))
    if len(bare):
        who = f"client {bare[0]}" + (f" and {len(bare) - 1} more" if len(bare) > 1 else "")
        message = f"{who} would have no positive label left; lower it, or take another data.noise.seed or fewer clients"
        raise ScenarioError(Problem(f"{KEY}.rate", message))
    return seen


def _without_positives(targets: Targets, rows: NDArray[np.int64], config: Noise, seed: int) -> Targets:
    """The targets with the share `rate` of each class's positives at `rows`, rounded down, turned into negatives."""
    kind = targets.kind
    if kind.one_label or kind.axes or targets.values.shape[1:] != (targets.num_classes,):
        message = f"missing hides positives among several labels of a sample, and the targets are {kind.name}"
        remedy = "take symmetric or frequency, or data.targets=multilabel"
        raise ScenarioError(Problem(f"{KEY}.kind", f"{message}; {remedy}"))

    assert config.rate is not None  # _check_options refuses it
    rng = generator(seed if config.seed is None else config.seed, "missing-positives")
    seen = targets.values.copy()
    positions, classes = kind.labels(targets.values[rows])
    for label in range(targets.num_classes):
        mine = rows[positions[classes == label]]
        seen[rng.permutation(mine)[: int(config.rate * len(mine) + 1e-9)], label] = 0
    return replace(targets, values=seen)


def _check_options(config: Noise) -> None:
    """Refuse what is missing, and every option that would change nothing."""
    problems = []
    drawn = config.kind in ("symmetric", "frequency", "missing")
    if drawn and config.rate is None:
        changed = "of positives that are hidden" if config.kind == "missing" else "of labels that are flipped"
        problems.append(Problem(f"{KEY}.rate", f"{config.kind} noise needs the share {changed}"))
    if config.kind == "file" and config.file is None:
        problems.append(Problem(f"{KEY}.file", "kind file needs an array of labels, as in labels.npz:NAME"))
    for key, used in (("rate", drawn), ("seed", drawn), ("file", config.kind == "file")):
        if getattr(config, key) is not None and not used:
            problems.append(Problem(f"{KEY}.{key}", f"has no effect with kind {config.kind}; remove it"))
    if problems:
        raise ScenarioError(problems)


def _read(source: str, length: int, classes: int) -> NDArray[np.int64]:
    """The labels of the file that the scenario names.

    Args:
        source: `FILE.npz:NAME`.
        length: rows of the training set.

    Raises:
        ScenarioError: where there are none that fit.
    """
    file, _, name = source.partition(".npz:")
    path = Path(f"{file}.npz").expanduser()
    if not name or not path.is_file():
        raise _problem(f"expected FILE.npz:NAME of a file that is there, got {source!r}")

    with opened(path, _problem) as content:
        if name not in content.files:
            raise _problem(f"{path.name} has no array {name!r}; it has: {', '.join(content.files)}")
        labels = content[name]

    if labels.shape != (length,) or labels.dtype.kind not in "iu":
        expected = f"{length} whole numbers, one for each training row of the source"
        raise _problem(f"{source} must hold {expected}, got {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() >= classes:
        raise _problem(f"{source} must hold classes 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int64)


def _problem(message: str) -> ScenarioError:
    return ScenarioError(Problem(f"{KEY}.file", message))
