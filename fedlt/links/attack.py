"""Clients that lie (`federation.attack`): they send other weights than they have found, or learn from other labels.

sign_flip sends w - factor (w_k - w) in place of w_k, scaled sends w + factor (w_k - w), and label_flip trains on class
C - 1 - c where a sample has class c. Who attacks is drawn once, by the seed, alike for all kinds. Only trained weights
are changed: a negative running variance would end the run, which is not what is studied. The attackers' own personal
models are not tested (Li, Hu, Beirami, Smith: Ditto: Fair and Robust Federated Learning Through Personalization. ICML
2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from fedlt.errors import Problem, ScenarioError
from fedlt.links.link import Arrival, Link, Sending, Setting
from fedlt.process import seeding
from fedlt.strategy import Client

FACTORS = {"sign_flip": 1.0, "scaled": 10.0}
"""Attacks on the weights, and how large the false change is where the scenario does not say it."""


@dataclass(frozen=True)
class Attack(Link):
    """Byzantine clients, drawn once for the whole run.

    Attributes:
        kind: sign_flip, scaled or label_flip.
        share: of the clients.
        clients: in place of a share.
        factor: of the change, positive; None: the usual one of the kind.
    """

    kind: str
    share: float | None = None
    clients: tuple[int, ...] | None = None
    factor: float | None = None

    def obstacle(self, setting: Setting) -> str | None:
        """Label flippers have a meaning where nothing is sent, too.

        Raises:
            ScenarioError: for clients not there.
        """
        self.untested(setting)
        if self.kind in FACTORS or setting.strategy.scope == "centralized":
            return super().obstacle(setting) or setting.untrained
        if not setting.task.target.one_label:
            return f"label_flip mirrors the one class of a sample, and the targets are {setting.task.kind}"
        return None

    def untested(self, setting: Setting) -> frozenset[int]:
        """The attackers."""
        if self.clients is None:
            return _drawn(setting.seed, setting.clients, self.share or 0.0)
        strange = sorted(client for client in self.clients if not 0 <= client < setting.clients)
        if strange:
            message = f"expected ids of 0..{setting.clients - 1}, got {', '.join(map(str, strange))}"
            raise ScenarioError(Problem("federation.attack.clients", message))
        return frozenset(self.clients)

    def prepare(self, setting: Setting, client: Client) -> None:
        """Mirror the labels of a label flipper, and the class counts that it knows."""
        if self.kind == "label_flip" and client.id in self.untested(setting):
            mirrored = client.task.num_classes - 1 - client.data.targets
            client.data = replace(client.data, targets=mirrored)
            client.class_counts = client.class_counts.flip(0)

    def send(self, sending: Sending) -> None:
        """Replace the change of the trained weights by a false one."""
        if self.kind not in FACTORS or sending.client.id not in self.untested(sending.setting):
            return
        factor = FACTORS[self.kind] if self.factor is None else self.factor
        sending.replace((-factor if self.kind == "sign_flip" else factor) * sending.change)

    def receive(self, arrival: Arrival) -> None:
        """Count the attackers among those whose updates are used."""
        lying = self.untested(arrival.setting)
        used = (client for update in arrival.updates for client in update.clients)
        arrival.columns["attackers"] = sum(client in lying for client in used)


@lru_cache(maxsize=8)
def _drawn(seed: int, clients: int, share: float) -> frozenset[int]:
    """The ids of that share of the clients, at least one."""
    count = max(1, int(share * clients + 0.5))
    rng = seeding.generator(seed, "attackers")
    return frozenset(rng.choice(clients, count, replace=False).tolist())
