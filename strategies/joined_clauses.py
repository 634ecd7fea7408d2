"""Joined clauses: every client finds some clauses on its own samples, and all clients' clauses vote together.

The strategy of `model=clauses` with `learner=tsetlin`. There is no paper of it. Automata of two clients mean different
things and cannot be averaged; their clauses can stand side by side, since votes are sums. It is this and no more: not
the machine that one site with all the samples would find, and a clause knows only what its own client has seen. The
clauses are shared out evenly, so that the joined model has as many as that of `centralized`; a client that is asked
again replaces its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedlt.errors import Problem, ScenarioError
from fedlt.nn.clauses import PLACES, Clauses
from fedlt.strategy import Client, Server, Strategy, Update, combine

CLIENTS = "joined_clauses/clients"  # [1] of the outbox: how many share the clauses


@dataclass(frozen=True)
class JoinedClauses(Strategy):
    """Each client has places of its own in the table, so that the sum of tables puts their clauses side by side."""

    # A late update would be added to the clauses that the client has sent since.
    needs: ClassVar[tuple[str, ...]] = ("clause_model", "prompt_updates")

    def setup(self, server: Server) -> None:
        """Tell clients how many they are. Raises `ScenarioError` where there are fewer clauses than clients."""
        count = len(_clauses(server).literals)
        if count < server.num_clients:
            what = f"{count} clauses are fewer than the {server.num_clients} clients that share them"
            raise ScenarioError(Problem("model.count", f"{what}; take more"))
        server.outbox[CLIENTS] = torch.tensor([server.num_clients])

    def begin(self, client: Client) -> None:
        share = _share(len(client.model.part("backbone.literals")), int(client.received[CLIENTS]), client.id)
        client.state[PLACES] = torch.tensor([share.start, share.stop])

    def weight(self, client: Client) -> float:
        return 1.0

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Put the clauses of the cohort in the places of its clients; all others stay."""
        whole, clauses = combine(updates), _clauses(server)
        for client in whole.clients:
            clauses.clear(_share(len(clauses.literals), server.num_clients, client))
        server.weights = server.weights + whole.total


def _clauses(server: Server) -> Clauses:
    clauses = server.model.backbone
    assert isinstance(clauses, Clauses)
    return clauses


def _share(count: int, clients: int, client: int) -> slice:
    """The clauses of a client: evenly many for each, one more for the first ones where they do not come out even.

    Args:
        count: of clauses.
        clients: of the federation.
        client: whose clauses.
    """
    each, more = divmod(count, clients)
    first = client * each + min(client, more)
    return slice(first, first + each + (client < more))
