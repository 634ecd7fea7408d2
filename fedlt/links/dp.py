"""Client-level differential privacy: what one client sends is clipped, and the server adds noise to the sum.

McMahan, Ramage, Talwar, Zhang: Learning Differentially Private Recurrent Language Models. ICLR 2018; with `quantile`,
the clipping norm of Andrew, Thakkar, McMahan, Ramaswamy: Differentially Private Learning with Adaptive Clipping.
NeurIPS 2021 (Algorithm 1). Over the cohort, with weights p_k <= p (numbers of samples, or all 1):

    w <- w + (sum of p_k d_k min(1, C / |d_k|) + N(0, (noise * p * C)^2)) / sum of p_k,    d_k = w_k - w

Neighbours are federations of which one client holds other data, however different: the sum then moves by 2 p C at most,
so the noise is noise / 2 times its sensitivity. Numbers of clients, and of samples of each client, are public. A cohort
is a fixed number of clients, drawn without replacement; the accountant is dp-accounting's for Rényi privacy with that
sampling (Wang, Balle, Kasiviswanathan: Subsampled Rényi Differential Privacy and Analytical Moments Accountant. AISTATS
2019). What is covered are the trained weights, in all rounds together; whatever else would travel is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from fedlt.errors import Problem, ScenarioError
from fedlt.learner import overrides
from fedlt.links.accounting import epsilon, installed
from fedlt.links.beyond import sent_beyond
from fedlt.links.link import Arrival, Link, Memory, Sending, Setting
from fedlt.strategy import Update, combine

TOLD = {
    "class_prior": "the number of samples of each class over all clients",
    "class_counts": "each client's numbers of samples of each class",
    "prototypes": "class means of each client's features",
    "class_gradients": "gradients class by class",
}
"""What a strategy or a learner may need of clients, and that would leave them without noise."""


@dataclass(frozen=True)
class DP(Link):
    """Clipping is exact: what is not longer than the norm is sent bit for bit."""

    clip: Annotated[float, "> 0"] = 1.0  # norm to which a longer change is scaled down; with quantile: the first one
    noise: Annotated[float, ">= 0"] = 1.0  # standard deviation over clip, for a client of the largest weight
    weights: Literal["samples", "uniform"] = "samples"  # of clients in the mean; samples: as the strategy weighs
    largest: Annotated[float, "> 0"] | None = None  # weight to which larger ones are cut; null: the largest client's
    delta: Annotated[float, "> 0", "< 1"] | None = None  # for which epsilon is told; null: clients ** -1.1
    quantile: Annotated[float, "> 0", "< 1"] | None = None  # of the changes' norms that clip follows; null: it is fixed
    rate: Annotated[float, "> 0"] | None = None  # of the steps of log clip; null: 0.2
    count_noise: Annotated[float, "> 0"] | None = None  # of the number of unclipped clients; null: cohort / 20

    def __post_init__(self) -> None:
        if self.quantile is None and (self.rate is not None or self.count_noise is not None):
            raise ValueError("rate and count_noise are of adaptive clipping; set quantile, or remove them")
        if self.weights == "uniform" and self.largest is not None:
            raise ValueError("largest has no effect with weights=uniform; remove it")

    # Before the run ---------------------------------------------------------------------------------------------------

    def obstacle(self, setting: Setting) -> str | None:
        """What would leave a client without being clipped and noised, or noised for nothing.

        Raises:
            ScenarioError: where the library is missing that accounts for the noise.
        """
        reason = super().obstacle(setting) or next(self._uncovered(setting), None)
        if reason is None and self.noise and not installed():
            message = "dp tells epsilon by the dp-accounting library, which is missing: pip install 'fedlt[privacy]'"
            raise ScenarioError(Problem("federation.links", message))
        return reason

    def _uncovered(self, setting: Setting) -> Iterator[str]:
        """What of the run the guarantee would not cover, or what it would not allow; a sentence each."""
        strategy = type(setting.strategy).__name__
        if not setting.uniform:
            yield "its epsilon is that of cohorts drawn uniformly; take federation.selection=uniform, without deadlines"
        if not setting.strategy.foldable:
            yield f"{strategy} looks at each client's update by itself, and the noise is that of a sum"
        if setting.shared > setting.trainable:
            yield "buffers travel unclipped (running statistics, or a learner's own); take model.norm=group, mlp or cnn"
        for method in (setting.strategy, setting.learner):
            for need in sorted(TOLD.keys() & method.needs):
                yield f"{type(method).__name__} lets the server know {TOLD[need]}, without clipping and noise"
        if told := setting.task.inputs.counted:
            yield f"clients let the server know {told}, without clipping and noise; take data.tokenizer=hashing"
        for what in sent_beyond(setting.strategy):
            yield f"{strategy} sends {what} beside its weights, without clipping and noise"

        yield from self._uncovered_links(setting)
        if self.quantile is not None and 2 * self._count_noise(setting) <= self.noise:
            least = f"{self.noise / 2:g}"
            yield f"the count alone would spend what noise={self.noise:g} allows; take count_noise above {least}"

    def _uncovered_links(self, setting: Setting) -> Iterator[str]:
        """Links of the run that single updates out, or that come after the noise."""
        own = setting.links.index(self)
        for place, link in enumerate(setting.links):
            name = type(link).__name__
            if place != own and type(link) is type(self):
                yield "dp stands twice in the list"
            elif overrides(link, Link.apart):
                yield f"{name} looks at single updates, or holds them back, and there is only their sum with noise"
            elif place > own and (overrides(link, Link.send) or overrides(link, Link.receive)):
                yield f"{name} comes after it, and could undo the clipping; put dp last"

    def remarks(self, setting: Setting) -> Iterator[str]:
        """What epsilon a round costs, or that there is none."""
        if not self.noise:
            yield "dp with noise=0 clips, and keeps nothing private: epsilon is infinite"
            return
        counts = torch.zeros(setting.cohort + 1, dtype=torch.int64)
        counts[setting.cohort] = 1
        found = epsilon(counts.tolist(), setting.clients, self.noise / 2, self._delta(setting))
        yield (
            f"dp: epsilon is {found:.2f} after one round, at delta {self._delta(setting):.2g}, for one client's data "
            f"replaced; a cohort is {setting.cohort} of {setting.clients} clients"
        )

    # The client's side ------------------------------------------------------------------------------------------------

    def send(self, sending: Sending) -> None:
        """Scale a longer change down to the norm, and cut the weight."""
        sending.weight = 1.0 if self.weights == "uniform" else min(sending.weight, self._largest(sending.setting))
        clip = float(sending.received["clip"]) if self.quantile is not None else self.clip
        change = sending.change
        norm = float(torch.linalg.vector_norm(change.double()))
        if norm > clip:
            sending.replace(change * (clip / norm))
        sending.sums["clipped"] = torch.tensor([norm > clip], dtype=torch.float32)
        if sending.client.extras or sending.client.values:
            what = ", ".join([*sending.client.extras, *sending.client.values])
            message = f"{what} would leave the client beside its weights, without clipping and noise"
            raise ValueError(f"{message}; take the dp link out, or another strategy")

    # The server's side ------------------------------------------------------------------------------------------------

    def setup(self, setting: Setting, memory: Memory) -> None:
        """rounds: [cohort + 1] how many rounds there were with so many clients."""
        memory.state["rounds"] = torch.zeros(setting.cohort + 1, dtype=torch.int64)
        if self.quantile is not None:
            memory.outbox["clip"] = torch.tensor([self.clip], dtype=torch.float64)

    def receive(self, arrival: Arrival) -> None:
        """Add the noise to the sum, move the clipping norm, and account for both."""
        setting, memory = arrival.setting, arrival.memory
        asked = len(arrival.server.cohort)
        rounds = memory.state["rounds"]
        clip = float(memory.outbox["clip"]) if self.quantile is not None else self.clip
        if asked:
            self._complete(arrival)
            if self.noise:
                self._disturb(arrival, clip)
            rounds[asked] += 1

        clipped = float(arrival.sums["clipped"]) if "clipped" in arrival.sums else 0.0
        if asked and self.quantile is not None:
            draw = arrival.rng("dp count").standard_normal() if self.noise else 0.0
            within = (asked - clipped + self._count_noise(setting) * draw) / asked
            rate = 0.2 if self.rate is None else self.rate
            moved = clip * math.exp(-rate * (within - self.quantile))
            memory.outbox["clip"] = torch.tensor([moved], dtype=torch.float64)

        spent = math.inf
        if self.noise:
            spent = epsilon(rounds.tolist(), setting.clients, self.noise / 2, self._delta(setting))
        arrival.columns |= {"clipped": clipped, "clip": clip, "epsilon": spent}

    def _complete(self, arrival: Arrival) -> None:
        """Make one sum of the updates, in which a client that was asked and has failed counts as one that changed
        nothing: else the weight of the sum would tell of it.
        """
        came = {client for update in arrival.updates for client in update.clients}
        weights = arrival.server.weights
        for client in arrival.server.cohort:
            if client not in came:
                weight = 1.0
                if self.weights == "samples":
                    weight = min(float(arrival.setting.sizes[client]), self._largest(arrival.setting))
                arrival.updates.append(Update((client,), weight, weight * weights))
        arrival.updates = [combine(arrival.updates)]

    def _disturb(self, arrival: Arrival, clip: float) -> None:
        """Add the noise to the one sum of the updates, in place.

        Args:
            clip: the norm to which each change was clipped.
        """
        setting, (whole,) = arrival.setting, arrival.updates
        scale = self._noise_of_sum(setting) * clip
        scale *= 1.0 if self.weights == "uniform" else self._largest(setting)
        drawn = arrival.rng("dp").standard_normal(setting.trainable)
        whole.total[: setting.trainable] += torch.from_numpy(scale * drawn).to(whole.total)

    # What follows from the keys ---------------------------------------------------------------------------------------

    def _largest(self, setting: Setting) -> float:
        """The largest weight of a client."""
        return float(setting.sizes.max()) if self.largest is None else self.largest

    def _delta(self, setting: Setting) -> float:
        return setting.clients**-1.1 if self.delta is None else self.delta

    def _count_noise(self, setting: Setting) -> float:
        """Standard deviation of the noise on the number of unclipped clients."""
        return setting.cohort / 20 if self.count_noise is None else self.count_noise

    def _noise_of_sum(self, setting: Setting) -> float:
        """Of the sum alone, so that sum and count together are as private as a sum with `noise` (Theorem 1)."""
        if self.quantile is None:
            return self.noise
        counts = 2 * self._count_noise(setting)
        return float((self.noise**-2 - counts**-2) ** -0.5)
