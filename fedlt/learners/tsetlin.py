"""Tsetlin: a site finds clauses by the feedback of a Tsetlin machine; their votes are its prediction.

Granmo: The Tsetlin Machine. 2018 (arXiv 1804.01508). Berge, Granmo, Tveit, Goodwin, Jiao, Matheussen: Using the Tsetlin
Machine to Learn Human-Interpretable Rules for High-Accuracy Text Categorization With Medical Applications. IEEE Access
2019. Each literal of each clause has an automaton, which includes or excludes it. Where a sample's own class has too
few votes, clauses for it are made to hold for the sample; where another class has too many, they are made not to.

The automata are those of the package green_tsetlin (MIT), with weighted clauses; the model is `model=clauses`. As in
the second paper, features are chosen by chi-squared; here each site chooses by its own samples, and there is no lower
bound on a feature's frequency. The package's trainer keeps the state of the epoch that was best on the samples it is
given to test on, and stops once all of these are right: here it is given no such samples, and keeps the last state.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data import samplers
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner, Stage
from fedlt.nn.clauses import Clauses
from fedlt.nn.net import Net
from fedlt.strategy import Strategy

if TYPE_CHECKING:
    from fedlt.data.task import Task

PACKAGE, INSTALL = "green_tsetlin", "pip install 'fedlt[rules]'"
FEATURES, AUTOMATA, WEIGHTS = (f"tsetlin/{name}" for name in ("features", "automata", "weights"))
"""State of a site: int64 [F] the features that it has chosen, int8 [K, 2 F] the automata, int16 [K, C] the weights."""


@dataclass(frozen=True)
class Tsetlin(Learner):
    """`local.epochs` passes of feedback a round; automata go on from one round to the next."""

    needs: ClassVar[tuple[str, ...]] = ("clause_model", "single_label")

    specificity: Annotated[float, ">= 1"] = 5.0  # s: the greater, the more literals a clause takes in
    threshold: Annotated[int, ">= 1"] = 200  # T: votes at which a class needs no more feedback
    features: Annotated[int, ">= 1"] = 2000  # those with the largest chi-squared on the site's own samples, at most
    power: Annotated[float, ">= 0", "<= 1"] = 1.0  # classes are drawn by their samples to this power; 1: as they are

    def obstacle(self, strategy: Strategy) -> str | None:
        if strategy.scope == "centralized" or strategy.private == ("*",) or "clause_model" in strategy.needs:
            return None
        return "clauses cannot be averaged; take strategy=joined_clauses, centralized or local"

    def build(self, model: Net, task: Task) -> None:
        if find_spec(PACKAGE) is None:
            raise ValueError(f"tsetlin needs the package {PACKAGE}: {INSTALL}")

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        return samplers.shuffled(site) if self.power == 1 else samplers.Power(self.power)(site)

    def finish(self, site: Site) -> None:
        clauses = site.model.backbone
        assert isinstance(clauses, Clauses)
        places = clauses.places(site)
        if FEATURES not in site.state:
            site.state[FEATURES] = self.chosen(site, clauses)

        features = site.state[FEATURES]
        bits = torch.cat(site.scan(lambda batch: _held(clauses, site, batch)[:, features])).byte().numpy(force=True)
        y = site.data.y.numpy(force=True).astype(np.uint32)

        for _ in range(site.trainer.local.epochs):
            rows = site.positions(site.epoch_size)
            self.feed_back(site, bits[rows], y[rows], places.stop - places.start)

        clauses.clear()
        device = clauses.literals.device
        automata, weights = (site.state[name].to(device) for name in (AUTOMATA, WEIGHTS))
        clauses.fill(places, features.to(device), automata >= 0, weights)

    def chosen(self, site: Site, clauses: Clauses) -> Tensor:
        """int64 [F] the features that tell the site's classes apart best, ascending: those with the largest sums over
        the classes of (found - expected)^2 / expected samples that have them; of equal ones the more frequent.
        """
        observed = torch.zeros(
            site.task.num_classes, clauses.features, dtype=torch.float64, device=site.data.index.device
        )

        def add(batch: Batch) -> Tensor:
            observed.index_add_(0, batch.y, _held(clauses, site, batch).double())
            return batch.y

        site.scan(add)
        having, share = observed.sum(0), site.data.y.bincount(minlength=len(observed)).double() / site.num_samples
        expected = share[:, None] * having
        scores = torch.where(expected > 0, (observed - expected).square() / expected, 0.0).sum(0)
        order = np.lexsort([-having.numpy(force=True), -scores.numpy(force=True).round(9)])
        count = max(1, min(self.features, int((having > 0).sum())))
        return torch.from_numpy(np.sort(order[:count]))

    def feed_back(self, site: Site, bits: NDArray[np.uint8], y: NDArray[np.uint32], count: int) -> None:
        """One pass over samples [n, F] and their classes [n], which moves the automata of `count` clauses."""
        import green_tsetlin

        seed = int(site.rng.integers(1, 2**31 - 1))  # 0 would have the package draw one
        machine: Any = green_tsetlin.TsetlinMachine(
            bits.shape[1], count, site.task.num_classes, float(self.specificity), self.threshold
        )
        if AUTOMATA in site.state:
            state = green_tsetlin.DenseState()
            state.c, state.w = (site.state[name].numpy(force=True).copy() for name in (AUTOMATA, WEIGHTS))
            machine.load_state(state)

        # It insists on samples to test on: one of its own, whose result decides nothing.
        keeps_last = {"load_best_state": False, "early_exit_acc": 2.0}
        trainer = green_tsetlin.Trainer(machine, seed=seed, n_jobs=1, n_epochs=1, progress_bar=False, **keeps_last)
        trainer.set_train_data(bits, y)
        trainer.set_eval_data(bits[:1], y[:1])
        trainer.train()
        site.state[AUTOMATA] = torch.from_numpy(machine._state.c.copy())
        site.state[WEIGHTS] = torch.from_numpy(machine._state.w.copy())


def _held(clauses: Clauses, site: Site, batch: Batch) -> Tensor:
    """bool [B, V] the features of a batch."""
    x, mask = site.task.inputs.split(batch.x)
    return clauses.holds(x, mask)
