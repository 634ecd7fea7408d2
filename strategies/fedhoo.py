"""FedHOO: each client trains at two resampling rates, and the server takes the best combination of the clients' models.

Park, Klabjan, Braun, Li, Ananthanarayanan: Class-Grouped Normalized Momentum and Faster Hyperparameter Exploration to
Tackle Class Imbalance in Federated Learning. ICML 2026. Rates come from a bandit at each client, hierarchical
optimistic optimisation (Bubeck, Munos, Stoltz, Szepesvari: X-Armed Bandits. JMLR 2011). As a mean is linear in the
models, K clients give 2^K generic models for the price of 2 K trainings. There is no public code. From the abstract:
two candidates, all combinations, small federations. Derived here: candidates are the halves of a cell; a model's worth
is its macro-F1 on the server's validation data; a candidate's reward is 1/2 and half of what it gained over the round's
start, the mean over all combinations with it; nu and rho; plain local training, where the paper has FedCGNM beneath it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.blocks.judged import expect_validation, judged
from fedlt.data.samplers import Power
from fedlt.errors import Problem, ScenarioError
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update

MOST = 8  # clients of a cohort: 256 combinations
DEEPEST = 16  # halvings of the rates' interval, which leave cells of 1 / 65536

FIRST = (0.25, 0.75)  # rates of a client's first round

Cell = tuple[int, int]
"""Depth h and number i: the rates from i / 2^h to (i + 1) / 2^h."""


@dataclass(frozen=True)
class FedHOO(Strategy):
    """Rate r: classes are drawn by n_c^(1 - r). A cell's bound: mean reward + sqrt(2 ln n / plays) + nu rho^depth."""

    needs: ClassVar[tuple[str, ...]] = ("server_validation", "single_label", "prompt_updates")  # rates are of one round
    foldable: ClassVar[bool] = False  # models are combined client by client
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")

    nu: Annotated[float, ">= 0"] = 1.0  # by how much rewards within the whole interval may differ
    rho: Annotated[float, "> 0", "< 1"] = 0.5  # by which that falls with every halving

    def remarks(self, cohort: int) -> Iterable[str]:
        """Refuse cohorts whose combinations of models are too many to be tried."""
        if cohort > MOST:
            tried = f"fedhoo tries every combination of two models per client, 2^{cohort} of a cohort of {cohort}"
            message = f"{tried}; let at most {MOST} clients take part in a round"
            raise ScenarioError(Problem("federation.participation", message))
        return ()

    def setup(self, server: Server) -> None:
        expect_validation(server, "fedhoo chooses")
        server.state["plays"] = torch.zeros(0, 4, dtype=torch.float64, device=server.weights.device)

    def fit(self, client: Client) -> None:
        """Two local models, each trained at one of the two sampling rates that the server has chosen."""
        rates = client.received["rates"].tolist() if "rates" in client.received else FIRST
        start, models = client.vector.clone(), []
        for rate in rates:
            client.vector = start
            client.train(self.loss, sampler=Power(1 - rate))
            models.append(client.vector.clone())
        client.vector, client.extras["second"] = models

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Try every combination of the clients' two models, take the best, and note which rates won."""
        cohort = list(updates)
        weights = torch.tensor([update.weight for update in cohort]).to(server.weights)
        models = torch.stack([torch.stack([update.mean, update.sums["second"]]) for update in cohort])
        models *= (weights / weights.sum())[:, None, None]

        choices = list(itertools.product((0, 1), repeat=len(cohort)))
        with one_thread():
            start = judged(server, [server.weights.clone()])
            worth = torch.cat([judged(server, [combined(models, choice)]) for choice in choices])
            server.weights = combined(models, choices[int(worth.argmax())])
        gains = (worth - start).double().cpu().numpy()

        for number, update in enumerate(cohort):
            client, chosen = update.clients[0], np.array(choices)[:, number]
            before = self.plays(server, client)
            rewards = [0.5 + gains[chosen == which].mean() / 2 for which in (0, 1)]
            new = [(client, *cell, reward) for cell, reward in zip(self.cells(before), rewards, strict=True)]
            server.state["plays"] = torch.cat([server.state["plays"], server.state["plays"].new_tensor(new)])
            cells = self.cells(self.plays(server, client))
            server.letters[client] = {"rates": torch.tensor(middles(cells)).to(server.weights)}

    def plays(self, server: Server, client: int) -> NDArray[np.float64]:
        """[n, 3] depth, number and reward of what the client has tried, in that order."""
        table = server.state["plays"]
        of_client: NDArray[np.float64] = table[table[:, 0] == client, 1:].cpu().numpy()
        return of_client

    def cells(self, plays: NDArray[np.float64]) -> tuple[Cell, Cell]:
        """The halves of the cell that is reached from the whole interval by the larger bounds.

        Args:
            plays: [n, 3].
        """
        depths, numbers, rewards = plays[:, 0].astype(int), plays[:, 1].astype(int), plays[:, 2]

        def within(cell: Cell) -> NDArray[np.bool_]:
            above = np.maximum(depths - cell[0], 0)
            return (depths >= cell[0]) & (numbers >> above == cell[1])

        def bound(cell: Cell) -> float:
            there = within(cell)
            unsure = math.sqrt(2 * math.log(len(plays)) / there.sum()) + self.nu * self.rho ** cell[0]
            own = float(rewards[there].mean() + unsure)
            return min(own, max(map(bound, halves(*cell)))) if (depths[there] > cell[0]).any() else own

        cell = 0, 0
        while cell[0] + 1 < DEEPEST and (depths[within(cell)] > cell[0]).any():
            cell = max(halves(*cell), key=bound)
        return halves(*cell)


def halves(depth: int, number: int) -> tuple[Cell, Cell]:
    """Both halves of a cell."""
    return (depth + 1, 2 * number), (depth + 1, 2 * number + 1)


def middles(cells: tuple[Cell, Cell]) -> list[float]:
    """The rates in the middle of both cells."""
    return [(number + 0.5) / 2**depth for depth, number in cells]


def combined(models: Tensor, choice: tuple[int, ...]) -> Tensor:
    """[S] the sum of one of the two weighted models [n, 2, S] of each client."""
    return models[torch.arange(len(models), device=models.device), list(choice)].sum(0)
