"""`fedlt.check_learner`: whether a learner keeps the contract of `fedlt.learner`, inside FedAvg and at one site.

    fedlt.check_learner("focal", gamma=2.0)
    fedlt.check_learner(Mine)

Sites hold one sample, one class, two classes, or many, and as many rounds are played as its stages need to come about.
What is checked stands in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.checks.suite import Played, Suite, fingerprint, shape_of
from fedlt.config.catalog import find
from fedlt.config.component import Choice, Made
from fedlt.data.inputs.features import Features
from fedlt.data.site import Batch, Site
from fedlt.learner import Learner, Logits, Stage, headline, overrides
from fedlt.nn.net import Net

CHECKS = {
    "runs": "it trains and tests sites with one sample, one class, two classes and many; and with none sampled yet",
    "words": "`needs` uses the words of `fedlt.config.declarations`",
    "stages": "stages have names of their own and shares above 0 that sum to 1; `rates` are of what they train, and "
    "`statistics` of a backbone that they leave out",
    "sampler": "sampler() gives positions in 0..n-1, at least one",
    "loss": "loss() gives one finite number whose gradient reaches the model",
    "vectorizable": "loss() draws no numbers, or `vectorizable` is False, or a hook shows that there is more to do",
    "tensors": "site.state is a dictionary of dense, finite tensors without gradients",
    "hidden": "nothing is kept on the instance, on its class or in its module",
    "logits": "predict() gives logits [B, C], or [B, L, C] of steps, that are numbers, and leaves the model as it is",
    "rows": "predict() gives a sample the same logits, whatever else is in the batch",
    "equal": "two equal runs give equal bits, whatever the global generators of NumPy and Python hold",
    "nodes": "one worker and three give equal bits",
    "resumed": "what a checkpoint holds suffices: new instances, models and workers go on from it to equal bits",
}
HOSTS = "fedavg", "centralized"
LONGEST = 12  # rounds


def check_learner(learner: str | type[Learner], **options: Any) -> None:
    """Raise `ConformanceError`, with all that was found, if a learner breaks the contract; else say nothing.

    Warns (`ContractRemark`) of fields that change nothing.

    Args:
        learner: a name as in a scenario (`focal`, `./mine.py:Mine`), or a class.
        options: its fields.
    """
    suite = LearnerSuite(learner, options)
    suite.run()
    suite.look()
    suite.tell_remarks()


class LearnerSuite(Suite):
    """One check of one learner."""

    kind, contract, checks = "learner", "learners", CHECKS

    def run(self) -> None:
        """See `check_learner`."""
        learner = self.component.create(self.options)
        self.expect_words(learner)
        stages = learner.stages()
        self._expect_stages(stages)
        self.end()

        rounds = rounds_for(stages)
        hosts = {name: find("strategy", name) for name in HOSTS}
        refusals = {name: learner.obstacle(host.create({})) for name, host in hosts.items()}
        told = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
        self.expect(None in refusals.values(), "runs", f"obstacle() refuses it everywhere: {told}")
        self.end()

        for name, host in hosts.items():
            if refusals[name] is None:
                self._play(Choice(name, {}, host), rounds)
                self.end()

    def look(self) -> None:
        """Note fields that change nothing in the first strategy that takes the learner."""
        from fedlt.checks.rehearsal import rehearse, stage_set

        learner = self.component.create(self.options)
        hosts = [Choice(name, {}, find("strategy", name)) for name in HOSTS]
        host = next(each for each in hosts if learner.obstacle(each.create()) is None)
        rounds = rounds_for(learner.stages())
        scenario, federation = stage_set(host, Choice(self.component.name, self.options, self.component), rounds)

        def end(options: dict[str, Any]) -> str:
            chosen = Choice(self.component.name, options, self.component)
            return rehearse(replace(scenario, learner=chosen), federation, noise=0, cohorts=_cohorts(rounds))

        self.note_idle_fields(end)

    def _play(self, host: Choice, rounds: int) -> None:
        """Run the learner inside a strategy, and look at what it does.

        Args:
            host: the strategy.
        """
        from fedlt.checks.rehearsal import stage_set

        chosen = Choice(self.component.name, self.options, self.component)
        scenario, federation = stage_set(host, chosen, rounds)
        self.axes = federation.train_targets.kind.axes
        watched = replace(scenario, learner=replace(chosen, component=Made.of(self.component, self._probe)))
        cohorts = {"cohorts": _cohorts(rounds)}
        rehearsals: Played = [("runs", watched, cohorts), ("resumed", scenario, cohorts | {"resumed": True})]
        if scenario.strategy.name == HOSTS[0]:  # one site has one worker, and its equality is seen from resuming
            rehearsals[1:1] = [("equal", scenario, cohorts), ("nodes", scenario, cohorts | {"nodes": 3})]
        self.play(rehearsals, federation, joint=("equal", "nodes", "resumed"))

    def _expect_stages(self, stages: tuple[Stage, ...]) -> None:
        names, shares = [stage.name for stage in stages], [stage.share for stage in stages]
        self.expect(len(set(names)) == len(names), "stages", f"names {names}")
        good = abs(sum(shares) - 1) < 1e-9 and all(share > 0 for share in shares)
        self.expect(good, "stages", f"shares {shares}")

    def _probe(self, options: dict[str, Any]) -> Learner:
        """The learner, with its hooks watched."""
        suite, inner = self, self.component.create(options)
        base: Any = type(inner)
        known: dict[str, bytes] = {}  # the fingerprint at the start of a site's work
        more = any(overrides(inner, hook) for hook in (Learner.begin, Learner.epoch, Learner.finish))

        class Probe(base):  # type: ignore[misc]
            def begin(self, site: Site) -> None:
                known.update(fingerprint(self, Learner))
                suite.stage(site.stage, [name for name, _ in site.model.named_parameters()])
                super().begin(site)

            def finish(self, site: Site) -> None:
                super().finish(site)
                suite.expect_same(known, fingerprint(self, Learner), "the work of a round")
                suite.expect_tensors(site.state, "site.state: ")

            def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
                order = super().sampler(site, stage)
                suite.sampler(order, site.num_samples)
                return order  # type: ignore[no-any-return]

            def loss(self, site: Site, batch: Batch) -> Tensor:
                return suite.loss(site, batch, super().loss, inner.vectorizable and not more)

            def predict(self, model: Net, x: Tensor) -> Logits:
                return suite.predict(model, x, super().predict)

        return Probe(**{f.name: getattr(inner, f.name) for f in fields(inner)})

    def stage(self, stage: Stage, parameters: list[str]) -> None:
        """Look for what a stage says of parameters, by name, and what would have no effect."""
        trained = [name for name in parameters if any(fnmatchcase(name, pattern) for pattern in stage.only)]
        idle = [pattern for pattern in stage.rates if not any(fnmatchcase(name, pattern) for name in trained)]
        self.expect(not idle, "stages", f"{stage.name!r} has rates of {idle}, which it does not train")
        moves = stage.statistics and any(name.startswith("backbone.") for name in trained)
        self.expect(not moves, "stages", f"{stage.name!r} trains the backbone, whose statistics move in any case")

    def sampler(self, order: Any, samples: int) -> None:
        """Look at one pass."""
        array = isinstance(order, np.ndarray) and order.ndim == 1 and order.dtype.kind in "iu" and len(order) > 0
        self.expect(array, "sampler", f"it gave {shape_of(order)} for {samples} samples")
        inside = not array or bool((order >= 0).all() and (order < samples).all())
        self.expect(inside, "sampler", f"it gave positions beyond the {samples} samples")

    def loss(self, site: Site, batch: Batch, loss: Callable[[Site, Batch], Tensor], bare: bool) -> Tensor:
        """Watch one loss.

        Args:
            bare: it must draw no numbers.
        """
        before = site.rng.bit_generator.state, _state(site.generator)
        value = loss(site, batch)
        drew = before[0] != site.rng.bit_generator.state or not torch.equal(before[1], _state(site.generator))
        self.expect(not (bare and drew), "vectorizable", "loss() draws from site.rng or looks at further samples")

        number = isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()
        self.expect(number, "loss", f"it gave {shape_of(value)}")
        self.expect(not number or bool(value.isfinite()), "loss", f"it gave {value} in the stage {site.stage.name!r}")
        self.expect(not number or value.requires_grad, "loss", "it depends on no trained parameter")
        return value

    def predict(self, model: Net, x: Any, predict: Callable[[Net, Any], Logits]) -> Logits:
        """Watch one prediction, and repeat it for the first sample alone."""
        tensors = [*model.parameters(), *model.buffers()]
        before = [tensor.clone() for tensor in tensors]
        found = predict(model, x)
        same = all(torch.equal(one, other) for one, other in zip(before, tensors, strict=True))
        self.expect(same, "logits", "predict() changed the model")
        self.expect_logits("predict", found, len(x), 10)  # of the digits

        if not self.problems:
            inputs = x.inputs() if isinstance(x, Features) else x
            alone, whole = headline(predict(model, inputs[:1])), headline(found)[:1]
            close = torch.allclose(alone.double(), whole.double(), 1e-3, 1e-4)
            self.expect(close, "rows", "the first sample of a batch has other logits when it is alone")
        return found


def _cohorts(rounds: int) -> tuple[tuple[int, ...], ...]:
    """The clients of each round."""
    from fedlt.checks.rehearsal import COHORTS

    return tuple(COHORTS[round % len(COHORTS)] for round in range(rounds))


def rounds_for(stages: tuple[Stage, ...]) -> int:
    """The fewest rounds, two at least, in which every stage gets one; `LONGEST` where that is not enough."""
    ends = np.cumsum([stage.share for stage in stages])
    for rounds in range(2, LONGEST):
        if len(set(np.searchsorted(ends, np.arange(rounds) / rounds + 1e-9))) == len(stages):
            return rounds
    return LONGEST


def _state(generator: torch.Generator | None) -> Tensor:
    return torch.empty(0) if generator is None else generator.get_state()
