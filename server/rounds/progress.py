"""What a run has become so far, and the form in which a checkpoint holds the server's part of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from fedlt.links.link import Memory
from fedlt.strategy import Server
from fedlt.training.server_tensors import held_tensors, hold_tensors
from server.state.states import StateStore


@dataclass
class Progress:
    """All that a run has become so far: with the scenario, enough to go on from here.

    Attributes:
        states: what clients keep.
        links: what each link keeps at the server.
        open_ended: whether nothing has asked so far how many rounds the run has.
    """

    server: Server
    states: StateStore
    round: int = 0
    links: list[Memory] = field(default_factory=list)
    open_ended: bool = True

    def separate(self) -> None:
        """Give tensors that share memory a copy each, so that a run which goes on from a checkpoint, where they are
        apart, does not differ from one that was never stopped.
        """
        server = self.server
        seen = {server.flat.storage.untyped_storage().data_ptr()}
        for tensors in (server.state, server.outbox, *server.letters.values()):
            for name, value in tensors.items():
                if value.untyped_storage().data_ptr() in seen:
                    tensors[name] = value = value.clone()
                seen.add(value.untyped_storage().data_ptr())

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the server has become, by name: the model, its state, its outbox and its letters."""
        named = {"model": self.server.flat.storage, **held_tensors(self.server)}
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def load(self, tensors: dict[str, torch.Tensor], round: int) -> None:
        """Become what `tensors` gave after a round."""
        server = self.server
        server.flat.load(tensors["model"])
        device = server.weights.device
        hold_tensors(server, {name: value.to(device) for name, value in tensors.items() if name != "model"})
        self.round = round
