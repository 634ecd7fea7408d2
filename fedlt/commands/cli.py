"""The command line: `fedlt run`, `show`, `ls`, `cp`, `check`, `doctor`. Heavy modules are imported by the commands."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedlt import __version__
from fedlt.commands import analyse, completion, explain, heads, report, results
from fedlt.commands.completion import complete_kinds, complete_shipped
from fedlt.commands.options import Command, Group
from fedlt.commands.shared import (
    Overrides,
    QuietOption,
    ScenarioArgument,
    VerboseOption,
    guarded,
    parse_seeds,
)
from fedlt.commands.typed import DEFAULT_SCENARIO, several_values, split
from fedlt.errors import Problem, ScenarioError
from fedlt.process.wording import counted

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes longer to import than the help to read
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

InitFromOption = Annotated[str | None, typer.Option(help="Begin with the weights of this run, or file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"fedlt {__version__}")
        raise typer.Exit


@app.callback()
def fedlt(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Federated long-tailed learning: run a scenario, see generic and personal models side by side."""


@app.command(cls=Command)
@guarded
def run(
    scenario: ScenarioArgument = DEFAULT_SCENARIO,
    overrides: Overrides = None,
    backend: Annotated[str | None, typer.Option(help="auto, inline, processes, ray or flower.")] = None,
    workers: Annotated[str | None, typer.Option(help="Worker processes; auto takes one per core.")] = None,
    out: Annotated[Path, typer.Option(help="Parent of the run folder; runs/ by default.", show_default=False)] = Path(
        "runs"
    ),
    seeds: Annotated[str | None, typer.Option(help="Several runs: 0-2, or 0,3,7.")] = None,
    name: Annotated[str, typer.Option(help="What the method is called in tables, pictures and reports.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Start over what is finished or was stopped.")] = False,
    resume_from: Annotated[int | None, typer.Option(help="Go on from the checkpoint of this round.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of a round goes.")] = False,
    track: Annotated[
        list[str] | None, typer.Option(help="Trackers, callbacks: tensorboard, mlflow, wandb, ./file.py:Mine.")
    ] = None,
    init_from: InitFromOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run a scenario. The last line printed is the run folder's path; of several seeds, after their mean and spread.

    SCENARIO is a shipped scenario's name or the path of a .yaml file; digits_lt unless given. OVERRIDES: key=value
    sets a key (strategy=fedprox strategy.mu=0.1), ~key goes back to its default; `fedlt ls keys` lists them. What was
    stopped goes on from its last checkpoint.
    """
    from fedlt.comparing.own_names import checked_name
    from fedlt.config.scenario import load_scenario

    called = checked_name(name) if name else ""
    chosen, changes = split(scenario, overrides)
    changes += [f"resources.{key}={value}" for key, value in (("backend", backend), ("workers", workers)) if value]
    changes += [f"init_from.name={init_from}"] if init_from else []
    each = [[*changes, f"seed={seed}"] for seed in parse_seeds(seeds)] if seeds else [changes]
    try:
        scenarios = [load_scenario(chosen, overridden) for overridden in each]  # all are checked before the first runs
    except ScenarioError as error:
        if several_values(changes):
            words = shlex.join([chosen, *changes, *(["--seeds", seeds] if seeds else [])])
            error.add_note(f"several values of a key are a sweep: fedlt sweep {words}")
        raise
    from fedlt.commands.repeated import run_each

    options = [*(["--seeds", seeds] if seeds else []), *(["--out", str(out)] if out != Path("runs") else [])]
    settings = {"quiet": quiet, "verbose": verbose, "profile": profile, "words": [chosen, *changes, *options]}
    run_each(scenarios, settings, out, force, "fedlt " + shlex.join(sys.argv[1:]), track, resume_from, called)


@app.command(cls=Command)
@guarded
def show(
    scenario: ScenarioArgument = DEFAULT_SCENARIO,
    overrides: Overrides = None,
    partition: Annotated[bool, typer.Option("--partition", help="Draw clients by classes.")] = False,
    plot: Annotated[Path | None, typer.Option(help="With --partition: draw it into this picture file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a scenario with all its defaults, or who would hold what."""
    from fedlt.config.scenario import load_scenario

    name, changes = split(scenario, overrides)
    checked = load_scenario(name, changes)
    if plot is not None and not partition:
        raise ScenarioError(Problem("--plot", "goes with --partition"))
    if partition:
        from fedlt.commands.partition_view import partition_figures, partition_text, save_partition_plot

        figures = partition_figures(checked)
        if plot is not None:
            save_partition_plot(figures, plot)
        print(json.dumps(figures) if as_json else partition_text(figures))
    else:
        print(json.dumps(checked.to_dict(), indent=1) if as_json else checked.to_yaml().rstrip())


@app.command(cls=Command)
@guarded
def check(
    scenario: ScenarioArgument = DEFAULT_SCENARIO,
    overrides: Overrides = None,
    init_from: InitFromOption = None,
    contracts: Annotated[bool, typer.Option("--contracts", help="Check contracts of built-in parts, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors alone, and estimate nothing.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Check a scenario, its data and its model, and estimate a run.

    The estimate of time and memory does a few seconds of the run. A strategy, learner, model or partition of your own
    is also checked against its contract, in some seconds: what holds is listed, and what does not is told with what
    is expected.
    """
    from fedlt.config.scenario import load_scenario

    name, changes = split(scenario, overrides)
    changes += [f"init_from.name={init_from}"] if init_from else []
    checked = load_scenario(name, changes)
    from fedlt.data.federation import federate

    # Before torch is imported, so that errors in the data are told at once.
    federation = federate(checked, pending=True)
    from fedlt.sweeps.run import pick_backend
    from fedlt.training.assembly import assemble, pick_device, try_own_model

    parts = assemble(checked, federation, pick_device("cpu"))
    try_own_model(checked, federation, parts)
    backend = pick_backend(checked, federation, parts)
    from fedlt.commands.contracts import check_contracts

    contracts_held = check_contracts(checked, parts.task, contracts)
    from server.rounds.remarks import remarks_of

    remarks = remarks_of(checked, federation, parts)
    if quiet:
        return
    if untested := federation.untested_text():
        print(untested)
    held = (
        f"{counted(len(federation.clients), 'client')}, {counted(len(federation.clients.values), 'training sample')}, "
        f"{counted(federation.num_classes, 'class', 'classes')}"
    )
    print(
        f"{checked.name}: ok. {held}; {parts.flat.shared.numel():,} numbers travel per client and round; "
        f"backend {backend}; run name {checked.run_name}"
    )
    tested = federation.test_share_text(checked.data.test_share)
    for line in [*remarks, *([tested] if tested else []), *contracts_held]:
        print(line)

    if federation.inputs.at_hand:
        from fedlt.cohorts.chosen import cohort_size
        from fedlt.sweeps.rehearse import rehearse

        shared = parts.strategy.scope != "centralized"
        cohort = cohort_size(checked, len(federation.clients)) if shared else 1
        print("\n".join(rehearse(checked, federation, parts).lines(cohort, checked.resources.device)))


@app.command(cls=Command)
@guarded
def ls(
    what: Annotated[str, typer.Argument(show_default=False, autocompletion=complete_kinds)] = "",
    as_json: AsJson = False,
) -> None:
    """List what there is, with one line each.

    WHAT: scenarios, strategies, learners, models, adapters, encoders, tokenizers, generators, partitions, targets,
    optimizers, schedules, selections, clocks, links, datasets or keys; all of them unless given.
    """
    from fedlt.commands.listing import KINDS, listing, rows_text

    if what and what not in KINDS:
        from fedlt.config.schema import suggest

        raise ScenarioError(Problem("ls", f"unknown kind {what!r}{suggest(what, KINDS)}"))
    found = {kind: listing(kind) for kind in ([what] if what else KINDS)}
    if as_json:
        print(json.dumps(found[what] if what else found, indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # one line each where it is piped
    for kind, rows in found.items():
        if not what:
            print(f"{kind}:")
        print(rows_text(rows, "" if what else "  ", width))


@app.command(cls=Command)
@guarded
def cp(
    scenario: Annotated[str, typer.Argument(autocompletion=complete_shipped)],
    target: Annotated[Path | None, typer.Argument()] = None,
) -> None:
    """Copy a shipped scenario, to change it. TARGET is a file or a folder; SCENARIO.yaml here unless given."""
    from fedlt.config.scenario_file import locate

    source = locate(scenario)
    path = target or Path(source.name)
    path = path / source.name if path.is_dir() else path
    if path.exists():
        raise ScenarioError(Problem("target", f"{path} exists; give another name"))
    if not path.parent.is_dir():
        raise ScenarioError(Problem("target", f"there is no folder {path.parent}"))
    path.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{path}\nrun it: fedlt run {path}")


@app.command(cls=Command)
@guarded
def join(
    run: Annotated[Path, typer.Argument(show_default=False)],
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of the strategy's own local work.")] = 1,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of fine-tuning the head.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the file's path alone.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a finished run on the clients that it held out.

    federation.held_out says how many those are. received: the model as it comes. prior: generic, plus the client's own
    class frequencies. trained: after ROUNDS of local work, of which private parts are kept. tuned: after EPOCHS of
    fine-tuning the head. The figures go to join.json in the run folder RUN.
    """
    from fedlt.results.summary import join_table, plain
    from fedlt.sweeps.run import join as join_run

    table = join_table(join_run(run, rounds, epochs))
    if not quiet:
        print(plain(table))
    print(run / "join.json")


@app.command(cls=Command)
@guarded
def doctor(as_json: AsJson = False) -> None:
    """Show versions, which were tested, cores, GPUs and data sets."""
    from fedlt.commands.listing import doctor_report

    found = doctor_report()
    if as_json:
        print(json.dumps(found, indent=1))
        return
    column = max(len(name) for rows in found.values() for name in rows)
    for section, rows in found.items():
        print(f"{section}:")
        for name, value in rows.items():
            print(f"  {name:<{column}}  {value}")


others = (*results.COMMANDS, explain.explain, *report.COMMANDS, *heads.COMMANDS, *analyse.COMMANDS)
for function in (*others, completion.completion):
    app.command(cls=Command)(guarded(function))


def main() -> None:
    """Entry of the `fedlt` command."""
    if completion.VARIABLE in os.environ:
        completion.register()
    app(prog_name="fedlt")


if __name__ == "__main__":
    main()
