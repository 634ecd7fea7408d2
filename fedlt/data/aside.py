"""What is set aside of a training set, for the server and for validation, before the rest is dealt to clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data import longtail
from fedlt.data.auxiliary import set_apart
from fedlt.data.server_unlabelled import share_of
from fedlt.data.validation import draw_global

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.targets import Targets


@dataclass(frozen=True)
class Aside:
    """Training rows.

    Attributes:
        auxiliary: the server's, with labels.
        unlabelled: the share that it keeps without labels.
        others: all the rest.
        kept: of these, what is dealt.
        chosen: of these, the global validation set.
        from_training: of it, what the long tail would have kept.
    """

    auxiliary: NDArray[np.int64]
    unlabelled: NDArray[np.int64]
    others: NDArray[np.int64]
    kept: NDArray[np.int64]
    chosen: NDArray[np.int64]
    from_training: NDArray[np.int64]


def set_aside(scenario: Scenario, true: Targets) -> Aside:
    """The rows that the server keeps, those that the long tail keeps of the rest, and of these the validation set.

    Raises `ScenarioError`.

    Args:
        true: targets of the training set as they are.
    """
    data, seed = scenario.data, scenario.seed
    auxiliary, others = set_apart(true, data.auxiliary, seed)
    unlabelled = share_of(true, others, data.server_unlabelled, seed)
    if len(unlabelled):
        others = np.setdiff1d(others, unlabelled)
    kept = others[longtail.select(true.select(others), data.longtail, seed)]
    chosen = from_training = np.zeros(0, np.int64)
    if data.validation.active:
        chosen, kept, from_training = draw_global(true, kept, others, data.validation, seed)
    return Aside(auxiliary, unlabelled, others, kept, chosen, from_training)
