"""FedLT: a simulator of federated long-tailed learning.

import fedlt
result = fedlt.run("digits_lt", {"strategy": "fedprox", "strategy.mu": 0.1})
result.final["generic/few"], result.clients
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedlt.process.own_packages import find_beside
from fedlt.process.private_by_default import keep_private

if TYPE_CHECKING:
    from fedlt import plots
    from fedlt.callback import Callback, RunState
    from fedlt.checks.conformance import check_strategy
    from fedlt.checks.learners import check_learner
    from fedlt.checks.models import check_model
    from fedlt.checks.partitions import check_partition
    from fedlt.cohorts.clock import Clock, Devices
    from fedlt.cohorts.selection import Pool, Selection
    from fedlt.comparing.compare import compare
    from fedlt.config.scenario import Scenario, load_scenario
    from fedlt.data.site import Batch, Site
    from fedlt.encoders.encoder import Encoder
    from fedlt.encoders.text_encoder import TextEncoder
    from fedlt.errors import FedLTError, ScenarioError
    from fedlt.learner import Learner, Stage
    from fedlt.links.link import Link
    from fedlt.measures.figure import Figure
    from fedlt.results.label_vote import Described, label_vote
    from fedlt.results.runs import Run, load_runs, open_run
    from fedlt.statistic import Metric, Statistic
    from fedlt.strategy import Client, Server, Strategy, Update, combine
    from fedlt.sweeps.run import join, run
    from fedlt.sweeps.sweep import sweep
    from fedlt.target import Target
    from fedlt.tokenizers.generator import TextGenerator
    from fedlt.tokenizers.tokenizer import Tokenizer
    from fedlt.wrapping import Wrapping

find_beside()
keep_private()

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Callback",
    "Client",
    "Clock",
    "Described",
    "Devices",
    "Encoder",
    "FedLTError",
    "Figure",
    "Learner",
    "Link",
    "Metric",
    "Pool",
    "Run",
    "RunState",
    "Scenario",
    "ScenarioError",
    "Selection",
    "Server",
    "Site",
    "Stage",
    "Statistic",
    "Strategy",
    "Target",
    "TextEncoder",
    "TextGenerator",
    "Tokenizer",
    "Update",
    "Wrapping",
    "check_learner",
    "check_model",
    "check_partition",
    "check_strategy",
    "combine",
    "compare",
    "join",
    "label_vote",
    "load_runs",
    "load_scenario",
    "open_run",
    "plots",
    "run",
    "sweep",
]

_HOMES = {
    "fedlt.callback": ("Callback", "RunState"),
    "fedlt.checks.conformance": ("check_strategy",),
    "fedlt.checks.learners": ("check_learner",),
    "fedlt.checks.models": ("check_model",),
    "fedlt.checks.partitions": ("check_partition",),
    "fedlt.cohorts.clock": ("Clock", "Devices"),
    "fedlt.cohorts.selection": ("Pool", "Selection"),
    "fedlt.comparing.compare": ("compare",),
    "fedlt.config.scenario": ("Scenario", "load_scenario"),
    "fedlt.data.site": ("Batch", "Site"),
    "fedlt.encoders.encoder": ("Encoder",),
    "fedlt.encoders.text_encoder": ("TextEncoder",),
    "fedlt.errors": ("FedLTError", "ScenarioError"),
    "fedlt.tokenizers.generator": ("TextGenerator",),
    "fedlt.learner": ("Learner", "Stage"),
    "fedlt.links.link": ("Link",),
    "fedlt.measures.figure": ("Figure",),
    "fedlt.results.label_vote": ("Described", "label_vote"),
    "fedlt.results.runs": ("Run", "load_runs", "open_run"),
    "fedlt.statistic": ("Metric", "Statistic"),
    "fedlt.strategy": ("Client", "Server", "Strategy", "Update", "combine"),
    "fedlt.sweeps.run": ("join", "run"),
    "fedlt.sweeps.sweep": ("sweep",),
    "fedlt.target": ("Target",),
    "fedlt.tokenizers.tokenizer": ("Tokenizer",),
    "fedlt.wrapping": ("Wrapping",),
}


def __getattr__(name: str) -> Any:
    """Names are imported when first used, so that `import fedlt` costs nothing."""
    from importlib import import_module

    if name == "plots":
        return import_module("fedlt.plots")
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    hint = "; load_scenario reads a scenario, load_runs reads runs" if name == "load" else ""
    raise AttributeError(f"module 'fedlt' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """The public names, whether they were imported yet or not: what a completion offers."""
    return [*__all__, "__version__"]
