"""The table of figures: what a name in any form is called, in which unit it is shown, and which one is the headline."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.errors import ScenarioError
from fedlt.measures.figure import UNITS, Figure
from fedlt.measures.figures import METRICS
from fedlt.measures.glossary import described, facts
from fedlt.measures.headlines import ACCURACIES, BALANCED, compared, followed, headline
from fedlt.results.summary import evaluation_line

OWN = {"tail_auc": Figure("tail_auc", "Area.", title="AUC of tail classes", header="AUC", unit="fraction")}


@pytest.mark.parametrize(
    ("name", "title", "header"),
    [
        ("generic/few", "generic model, tail classes", "tail"),
        ("generic[psi]/few", "generic model, tail classes [psi]", "generic[psi]/few"),
        ("personal_masked/accuracy", "personal models, masked", "masked"),
        ("personal_masked/worst_decile", "personal models, worst tenth of the clients, masked",
         "personal_masked/worst_decile"),
        ("validation/generic/accuracy", "generic model on validation data", "validation/generic/accuracy"),
        ("generic/tail_auc", "generic model, AUC of tail classes", "AUC"),
        ("personal/tail_auc", "personal models, AUC of tail classes", "personal AUC"),
        ("generic/unknown", "generic/unknown", "generic/unknown"),
        ("trained/tail_auc", "trained/tail_auc", "trained/tail_auc"),
    ],
)  # fmt: skip
def test_a_name_in_any_form_has_a_title_and_a_heading(name: str, title: str, header: str) -> None:
    found = described(name, OWN)
    assert (found.name, found.title, found.header) == (name, title, header)


def test_values_are_shown_in_their_unit() -> None:
    shown = {name: unit.text(0.12345) for name, unit in UNITS.items()}
    assert shown == {"fraction": "12.3", "number": "0.123", "count": "0", "nats": "0.123", "seconds": "0.12",
                     "MB": "0.12"}  # fmt: skip
    assert UNITS["fraction"].text(-0.0001, sign=True) == "+0.0"
    assert METRICS["generic/few"].label == "accuracy, %"
    assert METRICS["generic/nll"].label == "loss, nats"
    assert Figure("bits_used", unit="bits").label == "bits_used, bits"


def test_a_figure_of_no_unit_is_a_fraction_if_its_values_are() -> None:
    assert Figure("x").of_values([0.0, 1.0, math.nan]).unit == "fraction"
    assert Figure("x").of_values([0.5, 1.1]).unit == "number"
    assert Figure("x", unit="nats").of_values([0.5]).unit == "nats"


def test_what_is_better_is_said() -> None:
    assert facts(METRICS["generic/few"]) == "A fraction; higher is better."
    assert facts(METRICS["generic/nll"]) == "In nats; lower is better."
    assert facts(METRICS["generic/nc1"]) == "Lower is better."
    assert facts(METRICS["generic/experts"]) == ""
    with pytest.raises(ValueError, match="better of 'x'"):
        Figure("x", better="more")


def test_the_headline_is_accuracy_unless_a_run_has_none() -> None:
    """As in runs of several labels a sample, which have no accuracy."""
    own = Figure("mean_ap", headline=True)
    assert headline(["generic/accuracy", "generic/mean_ap"], [own]) == "accuracy"
    assert headline(["generic/nll", "generic/mean_ap"], [own]) == "mean_ap"
    assert headline([], [own]) == "accuracy"

    assert compared(()) == ACCURACIES
    assert compared((), balanced=False)[:2] == ("generic/accuracy", BALANCED)
    assert followed(()) == ("generic/accuracy", "generic/few", "personal/accuracy", "personal_masked/accuracy")
    names = ["generic/mean_ap", "generic/mean_ap_many", "generic/mean_ap_few", "generic/few", "personal/mean_ap"]
    assert compared(names, own=[own]) == (*names[:3], "personal/mean_ap")
    assert followed(names, own=[own]) == (names[0], names[2], "personal/mean_ap")


def test_the_line_of_an_evaluation_tells_another_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "generic/mean_ap", Figure("generic/mean_ap", headline=True))
    found = {"generic/mean_ap": 0.4, "personal/mean_ap": 0.5, "validation/generic/mean_ap": 0.3}
    assert evaluation_line(1, 2, found) == "round 1/2  generic 40.0 %  personal 50.0 %  validation 30.0 %"
    found |= {"generic/mean_ap_many": 0.6, "generic/mean_ap_few": 0.2}
    assert "generic 40.0 % (head 60.0, tail 20.0)" in evaluation_line(1, 2, found)


def test_explaining_a_figure_imports_nothing_heavy() -> None:
    code = (
        "from fedlt.commands.cli import app\n"
        "try: app(['explain', 'generic/few'], standalone_mode=False)\n"
        "except SystemExit as end: assert not end.code\n"
        "import sys; assert not {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# Records of a user's own metrics --------------------------------------------------------------------------------------

LOSS = """
from fedlt import Figure, Metric

@dataclass(frozen=True)
class Loss(Metric):
    def sums(self, logits, y, task):
        return {"loss": torch.nn.functional.cross_entropy(logits, y, reduction="none").clamp(max=9.0).sum(),
                "samples": len(y)}

    def figures(self, sums):
        return {"clamped": float(sums["loss"] / sums["samples"])}

    def describe(self):
        return [Figure("clamped", "Loss, at most 9.", title="clamped loss", header="clamped", unit="nats",
                       better="lower")]
"""


@pytest.mark.slow
def test_a_metric_of_ones_own_tells_its_title_unit_and_direction(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    path = own_file(LOSS, "loss.py")
    run = fedlt.run(tiny, f"evaluation.metrics=[{path}:Loss]", out=tmp_path, backend="inline")
    assert run.figures == {
        "clamped": Figure("clamped", "Loss, at most 9.", "clamped loss", "clamped", unit="nats", better="lower")
    }
    path.unlink()  # what follows reads the run folder alone

    text = str(fedlt.compare(run, metrics=["generic/accuracy", "generic/clamped", "personal/clamped"]))
    assert f"{run.final['generic/clamped']:.3f}" in text
    assert "clamped  personal clamped" in text
    assert "Lower is better: clamped, personal clamped." in text

    from fedlt.plots import draw

    (ax,) = draw("curves", run, metrics=["generic/clamped"]).axes
    assert ax.get_title(loc="left") == "generic model, clamped loss"
    assert ax.get_ylabel() == "clamped, nats"


@pytest.mark.slow
def test_the_report_has_a_table_of_the_runs_own_metrics(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    pytest.importorskip("plotly")
    from fedlt.report import write_report

    run = fedlt.run(tiny, f"evaluation.metrics=[{own_file(LOSS, 'loss.py')}:Loss]", out=tmp_path, backend="inline")
    text = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Metrics of the runs' own" in text
    assert 'title="generic/clamped: Loss, at most 9. In nats; lower is better."' in text
    assert "clamped loss<small>lower is better</small>" in text


@pytest.mark.slow
def test_explain_reads_the_users_file(own_file: Callable[..., Path]) -> None:
    done = CliRunner().invoke(app, ["explain", f"{own_file(LOSS, 'loss.py')}:Loss"])
    assert done.exit_code == 0, done.output
    assert done.output == "clamped (clamped loss)\n  Loss, at most 9. In nats; lower is better.\n"
    silent = LOSS.replace("def describe", "def silent")
    wrong = CliRunner().invoke(app, ["explain", f"{own_file(silent, 'silent.py')}:Loss"])
    assert wrong.exit_code == 2
    assert "give it a describe()" in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "message"),
    [
        ('[Figure("clampd")]', "describe() tells of 'clampd', and figures() gives clamped"),
        ('["clamped"]', "describe() gives 'clamped'; expected fedlt.Figure"),
        ('[Figure("clamped", better="less")]', "better of 'clamped'"),
    ],
)
def test_wrong_records_are_refused_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], told: str, message: str
) -> None:
    text = f"{LOSS[: LOSS.index('    def describe')]}    def describe(self):\n        return {told}\n"
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0") as error:
        fedlt.run(tiny, f"evaluation.metrics=[{own_file(text)}:Loss]", out=tmp_path / "r", backend="inline")
    assert message in str(error.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_a_figure_of_which_less_is_better_selects_nothing(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    chosen = f"evaluation.metrics=[{own_file(LOSS, 'loss.py')}:Loss]"
    run = fedlt.run(tiny, chosen, "data.validation=0.2", out=tmp_path, backend="inline")
    with pytest.raises(ScenarioError, match="expected a figure of which more is better"):
        fedlt.compare(run, select="validation/generic/clamped")
