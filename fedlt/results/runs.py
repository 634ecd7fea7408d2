"""Reading runs: `load_runs("runs/**")` for many, `open_run(path)` for one. The writer is in `fedlt.results.record`."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fedlt.data.provenance import inputs_now, missing, names_files, refuse_changed
from fedlt.errors import UsageError
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.figure import Figure
from fedlt.measures.headlines import headline
from fedlt.process.files import from_here
from fedlt.process.own_packages import refuse_taken
from fedlt.results.pieces import read_table
from fedlt.results.record import RunWriter
from fedlt.results.summary import as_html, final_table, plain
from fedlt.results.tables import named_as_today, write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fedlt.config.scenario import Scenario
    from fedlt.data.provenance import Seen
    from fedlt.results.features import KeptFeatures, Split
    from fedlt.results.trained import Trained

__all__ = ["Evaluation", "Run", "RunWriter", "finished_run", "kept_run", "load_runs", "open_run"]


class Run:
    """One run folder, finished or not. Tables are read when first asked for; those not written yet are empty.

    What is shown is the state at the time of reading: open a running run again to see its progress.

    Attributes:
        folder: where the run is kept.
        summary: `run.json`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            summary = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{self.folder / 'run.json'} is damaged: {error}") from error
        self.summary: dict[str, Any] = {named_as_today(name): value for name, value in summary.items()}

    def __repr__(self) -> str:
        """One line, without the path of the folder where that is not beneath the current one: it may be shown."""
        path = from_here(self.folder)
        shown = path.name if path.is_absolute() else path
        main = headline(self.final, self.figures.values())
        shares = {kind: self.final.get(f"{kind}/{main}", math.nan) for kind in ("generic", "personal")}
        figures = [f"{kind} {100 * value:.1f} %" for kind, value in shares.items() if not math.isnan(value)]
        words = [repr(str(shown)), self.status, f"round {self.summary['rounds']}", *figures]
        return f"Run({', '.join(words)})"

    def __str__(self) -> str:
        """The table that the run ended with."""
        return f"{self!r}\n\n{plain(final_table(self))}"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return f"<p><code>{escape(repr(self))}</code></p>{as_html(final_table(self))}"

    @property
    def status(self) -> str:
        """running, finished or failed; or another word that the run was ended with."""
        return str(self.summary["status"])

    @property
    def name(self) -> str:
        """What its user calls its method (`fedlt run --name`); "" where nothing was said."""
        return str(self.summary.get("name", ""))

    def rename(self, name: str) -> None:
        """Write another name into the run folder; "" leaves the one that it has."""
        if name and name != self.name:
            self.summary["name"] = name
            write_json(self.folder / "run.json", self.summary)

    @property
    def final(self) -> dict[str, float]:
        """Metrics of the last evaluation by name, as fractions; NaN where a figure is not defined."""
        return _figures(self.summary["final"])

    @property
    def last_five(self) -> dict[str, float]:
        """Means of the metrics over the last five evaluations, or as many as there are."""
        return _figures(self.summary["last_five"])

    @property
    def warnings(self) -> list[str]:
        """What is off with the finished run, and what to try (`fedlt.results.run_warnings`); mostly nothing."""
        return list(self.summary.get("warnings", []))

    @property
    def figures(self) -> dict[str, Figure]:
        """What the run's own metrics tell of their figures, by name."""
        known = {field.name for field in fields(Figure)}
        records = (
            {key: value for key, value in each.items() if key in known} for each in self.summary.get("figures", ())
        )
        return {figure.name: figure for figure in (Figure(**each) for each in records)}

    @property
    def balanced(self) -> bool:
        """Whether the global test set holds equally many samples of every class.

        Runs of older versions do not say it: there, whether accuracy and balanced accuracy agree.
        """
        per_class = self.summary.get("test_per_class")
        if per_class is not None:
            return bool(per_class[0] == per_class[1])
        one, other = (self.final.get(f"generic/{name}", math.nan) for name in ("accuracy", "balanced_accuracy"))
        return not abs(one - other) > 1e-9

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The resolved scenario."""
        from omegaconf import OmegaConf

        if not (self.folder / "scenario.yaml").is_file():
            raise UsageError(f"{self.folder} has no scenario.yaml: it is no whole run folder")
        scenario = OmegaConf.to_container(OmegaConf.load(self.folder / "scenario.yaml"), resolve=True)
        return cast(dict[str, Any], scenario)

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row a round."""
        return self._table("rounds")

    @cached_property
    def clients(self) -> pd.DataFrame:
        """One row per evaluation and client: accuracies, loss and alignment of the personal model, and the accuracy of
        the generic one on the same samples. Of the headline; `client_variants` has the other variants, too.
        """
        table = self.client_variants
        return table[table["variant"] == ""].reset_index(drop=True)

    @cached_property
    def client_variants(self) -> pd.DataFrame:
        """The same with one row for each variant of the models as well; the headline's is ""."""
        return self._table("clients")

    @cached_property
    def classes(self) -> pd.DataFrame:
        """One row per evaluation, generic model and class."""
        return self._table("classes")

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """One row per evaluation, model and bin of confidence: samples, accuracy, mean confidence."""
        return self._table("calibration")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Long form: round, metric, value."""
        return self._table("metrics")

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Cells of the confusion matrices: round, model, client (-1 for the generic model), true, pred, count."""
        return self._table("confusion")

    def model(self, variant: str = "", device: str = "cpu") -> Trained:
        """The trained generic model in evaluation mode, with the run's preprocessing and `predict(images)`.

        Args:
            variant: another than the headline, such as `psi` of FedLoGe.
            device: "cpu" or "cuda".

        Raises:
            FedLTError: for a run that is not finished, and where the strategy has no generic model.
        """
        refuse_taken("server", "clients")
        from clients.trained import generic_model

        return generic_model(self.folder, self.summary, variant, device)

    def client(self, number: int, variant: str = "", masked: bool = False, device: str = "cpu") -> Trained:
        """The personal model of a client, likewise.

        What a strategy makes of the client's own data (fine-tuned weights, a store of neighbours) is made again, as at
        the end of the run; the data set must then be at hand.

        Args:
            masked: classes that the client never saw in training are not predicted.

        Raises:
            FedLTError: also where the client has no model of its own because it never trained.
        """
        refuse_taken("server", "clients")
        from clients.trained import personal_model

        return personal_model(self.folder, self.summary, number, variant, masked, device)

    def features(
        self, client: int | None = None, variant: str = "", device: str = "cpu", anew: bool = False
    ) -> KeptFeatures:
        """Features, logits and labels of the run's samples under a model, made once and kept in the run folder.

        Needs the run's data set, and what `model` and `client` need.

        Args:
            client: whose personal model, on its own samples; the generic one on all unless given.
            variant: of the logits; the headline unless given.
            anew: make them again.
        """
        refuse_taken("server", "clients")
        from clients.features import features

        return features(self.folder, self.summary, client, variant, device, anew)

    def on_rows(self, rows: NDArray[np.int64], variant: str = "", device: str = "cpu") -> Split:
        """Rows [n] of the data set's training split under the generic model, likewise; nothing is kept."""
        refuse_taken("server", "clients")
        from clients.features import of_rows

        return of_rows(self.folder, self.summary, rows, variant, device)

    def _table(self, name: str) -> pd.DataFrame:
        return cast("pd.DataFrame", read_table(self.folder, name).to_pandas())


def open_run(path: str | Path) -> Run:
    """The run in the folder `path`."""
    folder = Path(path).expanduser()
    if not (folder / "run.json").is_file():
        remedy = f"; fedlt.load_runs({str(path)!r}) opens the runs in it" if any(folder.glob("*/run.json")) else ""
        raise UsageError(f"{folder} is not a run folder: it holds no run.json{remedy}")
    return Run(folder)


def measured(runs: Iterable[Run]) -> tuple[set[str], bool, tuple[Figure, ...]]:
    """What `fedlt.measures.headlines` chooses by: the names of the metrics that any of the runs has, whether
    all their test sets are balanced, and the records of their own metrics.
    """
    members = list(runs)
    own = {name: figure for run in members for name, figure in run.figures.items()}
    return {name for run in members for name in run.final}, all(run.balanced for run in members), tuple(own.values())


def finished_run(path: str | Path) -> Run | None:
    """The run in the folder `path`, if there is one and it is finished."""
    folder = Path(path)
    if not (folder / "run.json").is_file():
        return None
    run = Run(folder)
    return run if run.status == "finished" else None


def kept_run(
    out: Path, scenario: Scenario, say: Callable[[str], None] = lambda line: None, seen: Seen | None = None
) -> Run | None:
    """The finished run of the scenario in `out`, if there is one: one of the same name that was made of the same files.

    Args:
        say: hears where that cannot be known.
        seen: see `fedlt.data.provenance.inputs_now`.

    Raises:
        ScenarioError: where files changed, for a finished run as for one that was stopped and would go on.
    """
    folder = out / scenario.run_name
    if not (folder / "run.json").is_file():
        return None
    run = Run(folder)
    finished = run.status == "finished"
    if not finished and not (folder / "checkpoints").is_dir():
        return None

    made_of = run.summary.get("inputs")
    if made_of is None:
        if finished and names_files(scenario.to_dict()):
            say("the run was written before digests were kept: whether its files have changed since is not known")
    else:
        now = inputs_now(scenario, made_of, seen)
        remedy = "--force runs again, another --out keeps what is there"
        refuse_changed(made_of, now, f"the run in {out} was made", remedy)
        if finished and (gone := missing(made_of, now)):
            say(f"not found any more, so that nothing was compared: {', '.join(gone)}")
    return run if finished else None


def load_runs(*patterns: str | Path) -> list[Run]:
    """The runs that the patterns name, each once, in order of their paths.

    A pattern is a run folder, a folder that holds runs at any depth, or a glob such as `runs/**` or
    `runs/digits_lt-*`. A glob may match nothing; a plain path that does not exist is an error. Runs within a run's own
    folder, which analyses make, are found by their own path only.
    """
    folders: set[Path] = set()
    for pattern in patterns:
        text = str(Path(pattern).expanduser())
        matches = [Path(match) for match in glob.glob(text, recursive=True)]
        if not matches and not glob.has_magic(text):
            raise UsageError(f"{text} does not exist: expected a run folder, a folder of runs, or a glob")
        for match in matches:
            if (match / "run.json").is_file():
                folders.add(match)
            elif "**" not in text:  # else the glob itself has looked into the folder
                folders.update(_below(match))
    return [Run(folder) for folder in sorted(folders) if folders.isdisjoint(folder.parents)]


def _below(folder: Path) -> Iterator[Path]:
    """The run folders at any depth. Unlike `rglob`, `os.walk` passes over what a run at work takes away meanwhile."""
    for place, _, files in os.walk(folder):
        if "run.json" in files:
            yield Path(place)


def _figures(values: dict[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in values.items()}
