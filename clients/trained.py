"""The models that a finished run has left, put together as a worker does it to test them.

Strategy and learner decide how a model predicts, so they do it here too: `generic` on the server's side, `adapt` and
`personal` on that of a client, with its private parameters and its state. The run folder holds all that they need but
the inputs of the clients. Where a personal model asks for these (fine-tuning, neighbours), the data set is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clients.context import Context, Exchange
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.config.sections import Attack, InitFrom
from fedlt.data.federation import Federation, federate
from fedlt.data.provenance import code_now, refuse_changed
from fedlt.errors import FedLTError, Problem, ScenarioError, UsageError
from fedlt.exchange import Job, States
from fedlt.learner import overrides
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.results.recorded import recorded
from fedlt.results.trained import Origin, Trained
from fedlt.strategy import Server, Strategy

REMEDY = "put it back, or run again with --force"
TOLD = ("targets", "final_round", "scenario_hash", "partition_hash", "model_hash")
"""What `run.json` says of a finished run, and what its model cannot be made without."""


class DataNeeded(Exception):
    """A model asks for inputs that the run folder does not hold."""


class Absent:
    """Stands for the inputs of a data set that was not loaded."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Any:
        raise DataNeeded


def generic_model(folder: Path, summary: Mapping[str, Any], variant: str = "", device: str = "cpu") -> Trained:
    """The generic model of a finished run, as `fedlt.results.runs.Run.model` gives it.

    Args:
        folder: of the run.
        summary: its `run.json`.
        variant: which prediction; empty: the headline.
        device: where the model lies.
    """
    scenario = scenario_of(folder, summary, device)
    context, exchange = _context(folder, summary, scenario, recorded(folder, scenario, summary))
    if context.strategy.scope == "personal":
        message = f"{scenario.strategy.name} has no generic model; clients have their own: --client 0, or run.client(0)"
        raise ScenarioError(Problem("strategy", message))

    parts = context.parts
    server = Server(parts.model, parts.flat, parts.task, {}, exchange.outbox, exchange.job.round, learner=parts.learner)
    hook = partial(context.strategy.generic, server)
    beside = exchange.outbox if overrides(context.strategy, Strategy.generic) else {}
    return _trained(context, hook, beside, _origin(scenario, summary), variant)


def personal_model(
    folder: Path,
    summary: Mapping[str, Any],
    client: int,
    variant: str = "",
    masked: bool = False,
    device: str = "cpu",
) -> Trained:
    """The personal model of a client of a finished run, as `fedlt.results.runs.Run.client` gives it.

    Args:
        folder: of the run.
        summary: its `run.json`.
        client: its id.
        variant: which prediction; empty: the headline.
        masked: never predict classes that the client has no sample of.
        device: where the model lies.
    """
    scenario = scenario_of(folder, summary, device)
    known = recorded(folder, scenario, summary)
    if not isinstance(client, int | np.integer):
        raise UsageError(f"expected the number of a client, such as 3, got {client!r}")
    if not 0 <= client < len(known.clients):
        raise UsageError(f"{folder} has no client {client}; its clients are 0 to {len(known.clients) - 1}")

    origin = replace(_origin(scenario, summary), client=int(client))
    try:
        return _personal(folder, summary, scenario, known, origin, variant, masked)
    except DataNeeded:
        why = f"the model of client {origin.client} under {origin.strategy} is made with the client's own data"
        federation = federation_of(scenario, summary, why)
    return _personal(folder, summary, scenario, federation, replace(origin, needs_data=True), variant, masked)


def _personal(
    folder: Path,
    summary: Mapping[str, Any],
    scenario: Scenario,
    federation: Federation,
    origin: Origin,
    variant: str,
    masked: bool,
) -> Trained:
    """Raises `DataNeeded` where inputs of the client are asked for, and `origin` does not say that they are there."""
    number = origin.client
    assert number is not None
    context, exchange = _context(folder, summary, scenario, federation)
    if not origin.needs_data:
        context.train_inputs = Absent(len(federation.train_targets))
    _expect_trained(context, exchange.job.states, folder, number)

    strategy = context.strategy
    with one_thread(), torch.random.fork_rng():
        client = context.client(number, exchange, "evaluate")
        strategy.adapt(client)
        context.flat.settle()
        beside = client.received | client.state if overrides(strategy, Strategy.personal) else {}
        unseen = client.class_counts == 0 if masked else None
        return _trained(context, partial(strategy.personal, client), beside, origin, variant, unseen)


def _trained(
    context: Context,
    hook: Any,
    beside: Mapping[str, Tensor],
    origin: Origin,
    variant: str,
    unseen: Tensor | None = None,
) -> Trained:
    """The model as it lies in the context.

    Args:
        beside: what the hook may read that the model does not hold.
    """
    flat = context.flat
    tensors = {name: t for name, t in flat.tensors.items() if origin.client is not None or not flat.is_private(name)}
    tensors |= {f"beside/{name}": value for name, value in beside.items()}

    chunk, names = context.scenario.evaluation.batch_size, context.federation.class_names
    built = partial(_built, context)
    return Trained(context.model, context.parts.task, names, hook, tensors, origin, built, variant, unseen, chunk)


def _built(context: Context) -> Net:
    """The model without adapter, learner and strategy; its numbers are not those of the run."""
    with torch.random.fork_rng():
        net: Net = context.scenario.model.create().build(context.parts.task)
    net.inputs = context.parts.task.inputs
    return net.to(context.device)


def scenario_of(folder: Path, summary: Mapping[str, Any], device: str) -> Scenario:
    """The run's scenario without what only its training and its figures needed.

    Args:
        folder: of the run.
        summary: its `run.json`.
        device: where the model shall lie.

    Raises:
        UsageError: for a run that is not finished or of another version.
        ScenarioError: where code of the user's own was edited since.
    """
    if summary["status"] != "finished":
        raise UsageError(f"{folder} is {summary['status']}, not finished: it has no model to give yet")
    unknown = [key for key in TOLD if key not in summary]
    if unknown:
        message = f"{folder} was written by another version of FedLT: its run.json has no {unknown[0]}"
        raise UsageError(f"{message}; fedlt run --force makes it again")
    scenario = load_scenario(folder / "scenario.yaml", [f"resources.device={device}", "evaluation.metrics=[]"])
    made_of, now = summary.get("inputs") or {}, code_now(scenario)
    refuse_changed({key: made_of.get(key, now[key]) for key in now}, now, "the run was made", REMEDY)
    honest = replace(scenario.federation, attack=Attack(), links=[])
    options = {key: None if key == "class_vectors" else value for key, value in scenario.model.options.items()}
    model = replace(scenario.model, options=options)  # nothing is trained, and all weights are in the run folder
    return replace(scenario, federation=honest, init_from=InitFrom(), model=model)


def _context(
    folder: Path, summary: Mapping[str, Any], scenario: Scenario, federation: Federation
) -> tuple[Context, Exchange]:
    """The run's model with its last weights, and the message under which a worker would test it.

    Args:
        folder: of the run.
        summary: its `run.json`.
        scenario, federation: of the run.
    """
    context = Context(scenario, federation)
    flat, kept = context.flat, _weights(folder / "model.safetensors")
    for name, tensor in flat.tensors.items():
        if name not in kept or kept[name].shape != tensor.shape:
            message = f"the model that this version of FedLT builds has another tensor {name}"
            raise FedLTError(f"{folder / 'model.safetensors'} does not fit: {message}; use the run's version")
        tensor.copy_(kept[name])
    shared = flat.shared.clone()
    context.model.eval()

    from safetensors.torch import load_file

    outbox, clients = folder / "outbox.safetensors", folder / "clients.safetensors"
    states, letters = (_states(path) if path.is_file() else {} for path in (clients, folder / "letters.safetensors"))
    box = load_file(outbox) if outbox.is_file() else {}
    job = Job({}, "", int(summary["final_round"]) + 1, [], shared, box, states, letters)
    exchange = Exchange.on(context.device, job)
    flat.load_shared(exchange.shared)
    return context, exchange


def _weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model. Raises `UsageError` for a file that is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        what = "is damaged" if path.is_file() else "is missing"
        raise UsageError(f"{path} {what}, and with it the run's model; fedlt run --force makes it again") from error


def _states(path: Path) -> States:
    """What clients keep, or receive each for itself, by client and name."""
    from safetensors.torch import load_file

    states: States = {}
    for name, tensor in load_file(path).items():
        client, _, own = name.partition("/")
        states.setdefault(int(client), {})[own] = tensor
    return states


def _expect_trained(context: Context, states: States, folder: Path, client: int) -> None:
    """Refuse a client that keeps parts of its own, and was never sampled: they are as random as at first.

    Args:
        context: of the run.
        states: what clients have kept, by id.
        folder: of the run.
        client: its id.
    """
    keeps = len(context.flat.private) or overrides(context.strategy, Strategy.begin)
    if (keeps or states) and client not in states and context.strategy.scope != "centralized":
        message = f"client {client} of {folder} was in no cohort, so it has no model of its own"
        some = ", ".join(str(other) for other in sorted(states)[:8])
        raise FedLTError(f"{message}; clients that have: {some or 'none'}{', ...' if len(states) > 8 else ''}")


def federation_of(scenario: Scenario, summary: Mapping[str, Any], why: str) -> Federation:
    """The run's federation with its data set.

    Args:
        why: what asks for it.

    Raises:
        FedLTError: where the data set is not at hand or has changed.
    """
    try:
        federation = federate(scenario)
    except ScenarioError as error:
        raise FedLTError(f"{why}, and the data set is not at hand: {error}") from error
    refuse_changed(summary.get("inputs") or {}, federation.made_of, "the run was made", REMEDY)
    if federation.digest() != summary["partition_hash"]:
        raise FedLTError("the data set is dealt otherwise than in the run; its clients' own data cannot be found")
    return federation


def _without_folders(name: str) -> str:
    """`/home/me/net.py:Net` is `net.py:Net`: files of models are given to others."""
    return ":".join(Path(part).name if part.startswith((".", "/", "~")) else part for part in name.split(":"))


def _origin(scenario: Scenario, summary: Mapping[str, Any]) -> Origin:
    """What a trained model is of: scenario, model, strategy and learner."""
    model, strategy, learner = (
        _without_folders(choice.name) for choice in (scenario.model, scenario.strategy, scenario.learner)
    )
    return Origin(str(summary["scenario_hash"]), model, strategy, learner)
