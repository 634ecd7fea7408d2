"""COMIC that counts how many of its recovered labels are right: `learner=benchmarks/centralized/watched.py:Watched`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedlt.blocks.missing_positives import Corrector
from fedlt.data.site import Batch, Site
from fedlt.learners.comic import COMIC


@cache
def complete(path: str) -> Tensor:
    """[N, C] labels of all training rows, none hidden."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["y_train"])


@dataclass(frozen=True)
class WatchedCorrector(Corrector):
    """Counts in `watched/counts` of the state: labels recovered, and those of them that are right.

    Attributes:
        truth: file of the complete labels.
    """

    truth: str = ""

    def __call__(self, site: Site, batch: Batch, p: Tensor, works: bool) -> Tensor:
        labels = super().__call__(site, batch, p, works)
        found = (labels == 1) & (batch.y == 0)
        right = found & (complete(self.truth)[site.data.index[batch.rows]] == 1)
        counts = site.state.get("watched/counts", torch.zeros(2, dtype=torch.int64))
        site.state["watched/counts"] = counts + torch.stack([found.sum(), right.sum()])
        return labels


@dataclass(frozen=True)
class Watched(COMIC):
    """Writes what it has recovered so far to a file, once a round."""

    truth: str = ""  # the .npz file of the data
    told: str = ""  # where the counts are written, without the ending .json: a file would be an input of the run

    @property
    def rule(self) -> Corrector | None:
        plain = super().rule
        return None if plain is None else WatchedCorrector(**vars(plain), truth=self.truth)

    def finish(self, site: Site) -> None:
        if self.rule is not None:
            found, right = site.state["watched/counts"].tolist()
            refused = int(site.state["comic/refused"].sum())
            Path(f"{self.told}.json").write_text(json.dumps({"found": found, "right": right, "refused": refused}))
