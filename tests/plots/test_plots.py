"""Figures: what stands in their artists is what the run folders hold, and every kind can be written."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_runs import make_run
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from typer.testing import CliRunner

from fedlt import plots
from fedlt.commands.cli import app
from fedlt.commands.completion import PLOTS
from fedlt.errors import ScenarioError
from fedlt.plots.measured import at_chance, client_points, client_recalls, gains, recalls, series, split_of
from fedlt.plots.style import COLOURS, looks, shades
from fedlt.results.runs import Run, load_runs, open_run

FEDAVG, LOCAL = (50, 60, 70), (80, 40, 70)  # right of 100 of each client, in every evaluation


@pytest.fixture
def axes() -> Axes:
    return Figure().subplots()


@pytest.fixture
def runs(tiny: dict[str, Any], tmp_path: Path) -> list[Run]:
    """FedAvg over two seeds, and local training, which has no generic model."""
    for seed, right in ((0, (40, 60)), (1, (50, 80))):
        timed = {"simulated": 4.0 + 2 * seed}
        make_run(tmp_path / "runs", tiny, f"seed={seed}", right=right, personal=FEDAVG, **timed)
        made = make_run(tmp_path / "runs", tiny, "strategy=local", f"seed={seed}", personal=LOCAL, **timed)
        without_generic(made)
    return load_runs(tmp_path / "runs")


@pytest.fixture
def few_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three kinds of figures, where it does not matter which: every one takes its time to be drawn."""
    few = {name: plots.KINDS[name] for name in ("curves", "gain", "norms")}
    monkeypatch.setattr(plots, "KINDS", few)
    monkeypatch.setattr("fedlt.plots.figure.KINDS", few)


def without_generic(run: Run) -> None:
    for name in ("classes", "metrics"):
        table = getattr(run, name)
        column = "model" if name == "classes" else "metric"
        table[~table[column].str.startswith("generic")].to_parquet(run.folder / f"{name}.parquet")


def of(runs: list[Run], strategy: str) -> list[Run]:
    return [run for run in runs if run.summary["strategy"] == strategy]


def line(ax: Axes, label: str) -> np.ndarray[Any, Any]:
    """[2, n] points of the line with that label."""
    (found,) = (line for line in ax.get_lines() if str(line.get_label()).startswith(label))
    return np.array(found.get_data())


def dots(ax: Axes) -> PathCollection:
    """The clients' dots, which come before those of a figure's legend."""
    return next(item for item in ax.collections if isinstance(item, PathCollection))


# What is drawn --------------------------------------------------------------------------------------------------------


def test_learning_curves_are_means_with_bands(axes: Axes, runs: list[Run]) -> None:
    plots.learning_curves(axes, runs, "generic/accuracy")
    assert line(axes, "fedavg (n = 2)").tolist() == [[3, 6], [45, 70]]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    half = np.std([60, 80], ddof=1)
    assert corners[corners[:, 0] == 6][:, 1].min() == pytest.approx(70 - half)
    assert corners[corners[:, 0] == 6][:, 1].max() == pytest.approx(70 + half)
    assert len(axes.get_lines()) == 1  # local has no generic model


def test_a_curve_that_hardly_moves_does_not_fill_the_axis(axes: Axes, runs: list[Run]) -> None:
    plots.learning_curves(axes, of(runs, "local"), "personal/accuracy")
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(10)
    assert low < 100 * np.mean(LOCAL) / 100 < high


def test_curves_over_simulated_time_are_means_where_all_seeds_are(axes: Axes, runs: list[Run]) -> None:
    """Seed 0 is at 40 % after 12 s and at 60 % after 24 s, seed 1 at 50 % after 18 s and at 80 % after 36 s."""
    plots.learning_curves(axes, of(runs, "fedavg"), "generic/accuracy", timed=True)
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[18, (50 + 50) / 2], [24, (60 + 60) / 2]])
    assert axes.get_xlabel() == "simulated time, s"


def test_a_picture_over_time_needs_a_clock(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", tiny)
    with pytest.raises(ScenarioError, match=r"no run has simulated seconds; set federation\.clock"):
        plots.draw("time", run)
    result = CliRunner().invoke(app, ["plot", str(tmp_path / "runs"), "--kind", "all", "-o", str(tmp_path / "figures")])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "figures" / "time.png").exists()


def test_curves_stop_where_a_seed_is_missing(runs: list[Run], tiny: dict[str, Any], tmp_path: Path) -> None:
    going = make_run(tmp_path / "more", tiny, "seed=2", right=[30], finish=False)
    rounds, values = series([*of(runs, "fedavg"), going], "generic/accuracy")
    assert rounds.tolist() == [3]
    assert values.tolist() == [[0.4], [0.5], [0.3]]


def test_a_dot_is_a_client_under_both_models(axes: Axes, runs: list[Run]) -> None:
    plots.client_scatter(axes, of(runs, "fedavg")[:1], "fedavg")
    # The generic model has 60 of 100 right: class 0 wholly, class 1 to a fifth. Each client is tested on 50 of either.
    assert np.array(dots(axes).get_offsets()) == pytest.approx(np.array([[60, 50], [60, 60], [60, 70]]))
    sizes = dots(axes).get_sizes()
    assert sizes.tolist() == pytest.approx([90, 90 * 30 / 120, 90 * 15 / 120])
    assert "1 above, 1 below\n3 clients" in [text.get_text() for text in axes.texts]
    diagonal = axes.get_lines()[0]
    assert np.array(diagonal.get_data()).tolist() == [[0, 100], [0, 100]]


def test_the_generic_model_is_weighted_by_the_clients_test_classes(runs: list[Run]) -> None:
    run = of(runs, "fedavg")[0]
    with np.load(run.folder / "partition.npz") as arrays:
        content = dict(arrays)
    content["tests_labels"][:50] = 1  # client 0 is now tested on class 1 alone
    np.savez(run.folder / "partition.npz", **content)
    assert split_of(run).test.tolist() == [[0, 100], [50, 50], [50, 50]]
    assert client_points([run]).generic.tolist() == pytest.approx([0.2, 0.6, 0.6])


def test_every_dot_lies_on_the_diagonal_where_personal_models_are_the_generic_one(
    axes: Axes, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """FedAvg has no model of a client's own: whatever its test set, both models are right on the same samples."""
    import fedlt

    small = ["federation.clients=6", "federation.rounds=2", "federation.empty=redraw", "local.epochs=1"]
    run = fedlt.run("digits_lt", *small, out=tmp_path)
    for masked, strays in ((False, False), (True, True)):  # the mask makes another model of it
        figure = plots.draw("clients", run, masked=masked)
        x, y = np.array(dots(figure.axes[0]).get_offsets()).T
        assert len(x) == 6
        assert len(set(x)) > 1
        assert (not np.array_equal(x, y)) == strays
    plots.client_scatter(axes, run)
    x, y = np.array(dots(axes).get_offsets()).T
    assert np.array_equal(x, y)
    assert axes.texts[0].get_text() == "all on the diagonal\n6 clients"


def test_panels_have_limits_of_their_own_where_one_would_squeeze_the_rest(tiny: dict[str, Any], tmp_path: Path) -> None:
    good = make_run(tmp_path, tiny, right=[97], personal=(92, 95, 99))
    poor = make_run(tmp_path, tiny, "seed=1", right=[50], personal=(5, 50, 90))
    both = plots.draw("clients", {"good": good, "poor": poor})  # need 10 and 100: the median is 55
    assert [ax.get_xlim() for ax in both.axes] == [(-3, 103)] * 2
    assert "Axes differ" not in both.legends[0].get_title().get_text()
    three = plots.draw("clients", {"good": good, "too": good, "poor": poor})  # the median is 10
    assert [ax.get_xlim() for ax in three.axes] == [pytest.approx((89.7, 100.3))] * 2 + [(-3, 103)]
    assert three.legends[0].get_title().get_text().replace("\n", " ").endswith("Axes differ between panels.")


def test_a_method_at_chance_is_marked(tiny: dict[str, Any], tmp_path: Path) -> None:
    # 100 test samples of two classes: chance is 50 %, and two standard errors are 10 points.
    made = {right: make_run(tmp_path / str(right), tiny, right=[right]) for right in (50, 60, 61)}
    assert [right for right, run in made.items() if at_chance([run])] == [50, 60]
    assert not at_chance([made[61], made[60]])  # their mean is 60.5
    figure = plots.draw("clients", {"poor": made[50], "good": made[61]})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["poor †", "good"]
    assert "† its generic model is at chance." in figure.legends[0].get_title().get_text().replace("\n", " ")
    curves = plots.draw("curves", {"poor": made[50], "good": made[61]}, metrics=["generic/accuracy"])
    assert [text.get_text() for text in curves.legends[0].get_texts()] == ["poor †", "good"]
    clean = plots.draw("curves", {"good": made[61]}, metrics=["generic/accuracy"])
    assert "†" not in clean.legends[0].get_title().get_text()


def test_bars_and_bands_end_at_what_accuracies_can_be(tiny: dict[str, Any], tmp_path: Path) -> None:
    runs = [make_run(tmp_path, tiny, f"seed={seed}", right=[right]) for seed, right in ((0, 50), (1, 100))]
    figure = plots.draw("classes", runs)
    means, _, (bars,) = figure.axes[0].containers[0].lines
    assert means.get_ydata().tolist() == [100, 50]  # of class 1: 0 and 50 of 50
    assert bars.get_segments()[1][:, 1].tolist() == [0, 100]  # 50 ± 70.7
    (band,) = plots.draw("curves", runs, metrics=["generic/medium"]).axes[0].collections
    assert {round(y, 6) for _, y in band.get_paths()[0].vertices} == {0, 100}


def test_collapse_is_explained_and_no_method_presses_the_others_flat(tiny: dict[str, Any], tmp_path: Path) -> None:
    methods = {}
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 90.0)):
        run = make_run(tmp_path / name, tiny)
        kept = run.metrics[~run.metrics.metric.str.contains("/nc1")]
        row = pd.DataFrame([{"round": 3, "metric": "generic/nc1", "value": value}])
        pd.concat([kept, row]).to_parquet(run.folder / "metrics.parquet")
        methods[name] = open_run(run.folder)
    figure = plots.draw("collapse", methods)
    assert (figure.axes[0].get_yscale(), figure.axes[0].get_ylabel()) == ("log", "spread (log scale)")
    assert figure.legends[0].get_title().get_text().startswith("0: fully collapsed, which is to say that all features")
    figure = plots.draw("collapse", {name: methods[name] for name in "ab"})
    assert (figure.axes[0].get_yscale(), figure.axes[0].get_ylim()[0]) == ("linear", 0)


def test_methods_without_a_linear_head_are_named_beneath_the_norms(runs: list[Run]) -> None:
    run = of(runs, "fedavg")[0]
    run.classes.assign(head_norm=1.5).to_parquet(run.folder / "classes.parquet")
    figure = plots.draw("norms", {"ours": run.folder, "local": of(runs, "local")})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["ours"]
    assert figure.legends[0].get_title().get_text().endswith("Without a generic linear head: local.")


def test_norms_share_an_axis_that_holds_the_longest(tiny: dict[str, Any], tmp_path: Path) -> None:
    methods = {}
    for name, norm in {"short": 1.0, "long": 1.5}.items():
        run = make_run(tmp_path / name, tiny)
        run.classes.assign(head_norm=norm).to_parquet(run.folder / "classes.parquet")
        methods[name] = open_run(run.folder)
    figure = plots.draw("norms", methods)
    assert [ax.get_ylim() for ax in figure.axes] == [(0.0, pytest.approx(1.05 * 1.5))] * 2


@pytest.mark.usefixtures("few_kinds")
def test_a_method_gains_nothing_over_itself(tiny: dict[str, Any], tmp_path: Path) -> None:
    make_run(tmp_path / "runs", tiny)
    with pytest.raises(ScenarioError, match="gain compares methods, and all these runs are of fedavg"):
        plots.draw("gain", tmp_path / "runs", reference="fedavg")
    options = ["--kind", "all", "--reference", "fedavg", "-o", str(tmp_path / "all")]
    assert CliRunner().invoke(app, ["plot", str(tmp_path / "runs"), *options]).exit_code == 0
    assert not (tmp_path / "all" / "gain.png").exists()


@pytest.mark.slow
def test_a_method_without_a_generic_model_borrows_one(axes: Axes, runs: list[Run]) -> None:
    plots.client_scatter(axes, of(runs, "local"))
    assert len(dots(axes).get_offsets()) == 0
    assert "no generic model" in axes.texts[0].get_text()
    points = client_points(of(runs, "local"), generic_of=of(runs, "fedavg"))
    assert points.generic.tolist() == pytest.approx([0.6] * 3 + [0.8] * 3)
    figure = plots.draw("clients", runs, reference="fedavg")
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles == ["fedavg", "local (generic: fedavg)"]


def test_the_words_of_an_empty_panel_stay_within_its_frame(runs: list[Run]) -> None:
    figure = plots.draw("clients", {name: of(runs, "local") for name in "abcd"}, width=3.3)
    FigureCanvasAgg(figure).draw()
    for ax in figure.axes:
        (words,) = (text for text in ax.texts if text.get_text().startswith("no generic"))
        box, frame = words.get_window_extent(), ax.get_window_extent()
        assert frame.x0 < box.x0 and box.x1 < frame.x1


def test_variants_of_models_can_be_drawn(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path, tiny, right=[60], variants={"psi": 80})
    table = run.client_variants
    psi = table.assign(variant="psi", accuracy=0.9)
    pd.concat([table, psi]).to_parquet(run.folder / "clients.parquet")
    points = client_points([open_run(run.folder)], "psi")
    assert points.generic.tolist() == pytest.approx([0.8] * 3)
    assert points.personal.tolist() == [0.9] * 3
    assert client_points([open_run(run.folder)]).personal.tolist() == [0.5, 0.6, 0.7]


@pytest.mark.slow
def test_gains_are_those_of_the_same_clients(axes: Axes, runs: list[Run]) -> None:
    expected = np.sort(np.array([30, -20, 0] * 2))
    assert np.sort(gains(of(runs, "local"), of(runs, "fedavg"))).tolist() == pytest.approx((expected / 100).tolist())
    plots.client_gains(axes, runs, "fedavg")
    share, gain = line(axes, "local: mean +3.3; 33 % gain, 33 % lose")
    assert gain.tolist() == pytest.approx(expected.tolist())
    assert share.tolist() == pytest.approx([100 * (i + 0.5) / 6 for i in range(6)])


@pytest.mark.slow
def test_classes_stand_by_their_training_samples(axes: Axes, runs: list[Run]) -> None:
    plots.class_accuracy(axes, runs)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog"]
    _, behind = axes.figure.axes
    assert [bar.get_height() for bar in behind.patches] == [125, 40]
    (container,) = axes.containers
    means, _, (bars,) = container.lines
    assert means.get_ydata().tolist() == pytest.approx([100, 40])  # of 50: 10 and 30 right
    low, high = bars.get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((40 - np.std([20, 60], ddof=1), 40 + np.std([20, 60], ddof=1)))
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["head", "medium"]  # 125 and 40 samples; no tail class
    dotted = [found for found in axes.get_lines() if found.get_linestyle() == ":"]
    assert [found.get_xdata()[0] for found in dotted] == [0.5]


@pytest.mark.slow
def test_personal_classes_are_pooled_over_clients(axes: Axes, runs: list[Run]) -> None:
    run = of(runs, "fedavg")[0]
    assert client_recalls(run).tolist() == [[1, 0], [1, 0.2], [1, 0.4]]
    assert recalls(run, "personal").tolist() == pytest.approx([1, 0.2])
    plots.class_accuracy(axes, [run], "personal")
    assert axes.containers[0].lines[0].get_ydata().tolist() == pytest.approx([100, 20])


@pytest.mark.slow
def test_maps_show_counts_and_accuracies(axes: Axes, runs: list[Run]) -> None:
    run = of(runs, "fedavg")[0]
    split = split_of(run)
    assert split.train.tolist() == [[90, 30], [20, 10], [15, 0]]
    image = plots.partition_map(axes, split.train, split.names)
    shown = image.get_array()
    assert shown.filled(-1).tolist() == [[90, 30], [20, 10], [15, -1]]
    assert (image.norm.vmin, image.norm.vmax) == (1, 90)
    other = plots.accuracy_map(Figure().subplots(), run)
    assert other.get_array().filled(-1).tolist() == pytest.approx(np.array([[100, 0], [100, 20], [100, 40]]))
    assert (other.norm.vmin, other.norm.vmax) == (0, 100)


def test_clients_that_are_not_evaluated_are_white(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path, tiny, personal=(50, 60))
    assert np.isnan(client_recalls(run)[2]).all()


@pytest.mark.slow
def test_norms_are_means_over_the_classes_of_each_group(axes: Axes, runs: list[Run]) -> None:
    for run, norms in zip(of(runs, "fedavg"), ([1.0, 3.0, 2.0, 6.0], [3.0, 3.0, 4.0, 8.0]), strict=True):
        # two evaluations of two classes: class 0 is a head class, class 1 a medium one
        run.classes.assign(head_norm=norms).to_parquet(run.folder / "classes.parquet")
    fresh = [open_run(run.folder) for run in of(runs, "fedavg")]
    plots.class_norms(axes, fresh)
    assert line(axes, "head classes").tolist() == [[3, 6], [2, 3]]
    assert line(axes, "medium classes").tolist() == [[3, 6], [3, 7]]
    assert len(axes.get_lines()) == 2
    other = Figure().subplots()
    plots.class_norms(other, of(runs, "local"))
    assert other.texts[0].get_text() == "no generic model"


@pytest.mark.slow
def test_collapse_shows_the_measures_as_they_are(runs: list[Run]) -> None:
    run = of(runs, "fedavg")[0]
    rows = [{"round": 3, "metric": "generic/nc1", "value": 4.0}, {"round": 6, "metric": "generic/nc1", "value": 0.5}]
    kept = run.metrics[~run.metrics.metric.str.contains("/nc1")]
    pd.concat([kept, pd.DataFrame(rows)]).to_parquet(run.folder / "metrics.parquet")
    figure = plots.draw("collapse", [open_run(run.folder)])
    assert line(figure.axes[0], "fedavg").tolist() == [[3, 6], [4.0, 0.5]]
    assert figure.axes[0].get_ylim()[0] == 0


def test_calibration_is_pooled_over_seeds_by_samples(axes: Axes, runs: list[Run]) -> None:
    for run, samples in zip(of(runs, "fedavg"), ([30, 0, 10], [10, 1, 349]), strict=True):
        table = pd.DataFrame({
            "round": 6, "model": "generic", "bin": [0, 1, 2], "samples": samples,
            "confidence": [0.2, 0.5, 0.9], "accuracy": [0.1 * run.summary["seed"], 0.5, 0.8],
        })  # fmt: skip
        table.to_parquet(run.folder / "calibration.parquet")
        run.summary["final"]["generic/ece"] = 0.1 + 0.2 * run.summary["seed"]
    plots.calibration_curve(axes, of(runs, "fedavg"))
    x, y = line(axes, "fedavg: error 20.0")
    assert x.tolist() == pytest.approx([20, 90])  # the bin in between holds less than a hundredth of the samples
    assert y.tolist() == pytest.approx([100 * 0.1 * 10 / 40, 80])


# How it is drawn ------------------------------------------------------------------------------------------------------


def lightness(colour: Any) -> float:
    """Relative luminance, 0 to 1 (sRGB, IEC 61966-2-1)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_neighbouring_methods_differ_in_grey_dash_and_marker() -> None:
    drawn = list(looks(f"m{i}" for i in range(35)).values())
    assert len({(str(look.colour), str(look.dash)) for look in drawn}) == 35
    for one, two in pairwise(drawn):
        assert str(one.dash) != str(two.dash)
        assert one.marker != two.marker
    for first, second in pairwise(COLOURS[:4]):
        assert abs(lightness(first) - lightness(second)) > 0.15


def test_shades_darken_steadily_and_never_look_white() -> None:
    values = np.array([lightness(shades()(place)[:3]) for place in np.linspace(0, 1, 50)])
    assert (np.diff(values) < 0).all()
    assert values[0] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(plots.KINDS))
def test_every_kind_becomes_a_picture(kind: str, runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.png"
    options = ["--kind", kind, "--reference", "fedavg", "-o", str(path)]
    result = CliRunner().invoke(app, ["plot", str(tmp_path / "runs"), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 3000


def test_every_form_of_runs_becomes_methods_by_name(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind of figure is given the methods, whatever was given for them."""
    folder, fedavg, local = tmp_path / "runs", of(runs, "fedavg"), of(runs, "local")
    forms: list[tuple[str, tuple[Any, ...]]] = [
        ("fedavg", (folder,)),
        ("fedavg", (str(folder),)),
        ("fedavg", (runs,)),
        ("fedavg", tuple(runs)),
        ("ours", ({"ours": fedavg, "theirs": local},)),
        ("ours", ({"ours": fedavg[0], "theirs": local[0].folder},)),
        ("ours", ({"ours": str(folder / "*fedavg*"), "theirs": folder / "*local*"},)),
    ]
    given: dict[str, list[Path]] = {}

    def kind(methods: dict[str, list[Run]], reference: str, **options: Any) -> Figure:
        assert reference == next(iter(methods))
        given.update((name, [run.folder for run in found]) for name, found in methods.items())
        return Figure()

    monkeypatch.setitem(plots.KINDS, "curves", kind)
    for reference, form in forms:
        given.clear()
        assert isinstance(plots.draw("curves", *form, reference=reference), Figure)
        number = 1 if form == forms[5][1] else 2
        assert list(given.values()) == [[run.folder for run in method[:number]] for method in (fedavg, local)]
        assert list(given) == (["ours", "theirs"] if reference == "ours" else ["fedavg", "local"])


def test_a_mapping_names_the_methods(axes: Axes, runs: list[Run], tmp_path: Path) -> None:
    figure = plots.draw("curves", {"ours": str(tmp_path / "runs" / "*fedavg*")}, metrics=["generic/accuracy"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ours"]
    assert legend.get_title().get_text() == "Mean of 2 seeds; band: ± 1 standard deviation."
    plots.client_scatter(axes, tmp_path / "runs" / "*fedavg*", "ours")
    assert len(dots(axes).get_offsets()) == 6
    with pytest.raises(ScenarioError, match="either one mapping of names to runs, or folders and runs"):
        plots.draw("curves", {"ours": runs}, runs)
    with pytest.raises(ScenarioError, match="ours: there is no run with an evaluation"):
        plots.draw("curves", {"ours": []})
    with pytest.raises(ScenarioError, match=r"--width: expected 2\.5 to 20 inches, got 1"):
        plots.draw("curves", runs, width=1)


@pytest.mark.slow
def test_the_ending_chooses_the_format(runs: list[Run], tmp_path: Path) -> None:
    figure = plots.draw("curves", runs)
    for ending, magic in ((".pdf", b"%PDF"), (".svg", b"<?xml")):
        plots.save(figure, tmp_path / f"curves{ending}")
        assert (tmp_path / f"curves{ending}").read_bytes().startswith(magic)


@pytest.mark.slow
def test_equal_runs_give_equal_files(runs: list[Run], tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plots.save(plots.draw("curves", runs), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.slow
def test_the_command_says_what_is_wrong(runs: list[Run], tmp_path: Path) -> None:
    for options, message in (
        (["--kind", "clinets"], "--kind: unknown kind 'clinets'; did you mean 'clients'?"),
        (["--kind", "gain"], "--reference: gain needs one of fedavg, local"),
        (["--reference", "fedavgg"], "--reference: 'fedavgg' names no single row; did you mean 'fedavg'?"),
        (["-o", "picture.bmpp"], "--output: cannot draw into picture.bmpp"),
        (
            ["-o", "x.gif"],
            "--output: cannot draw into x.gif: expected a file that ends in .png, .pdf, .svg, .eps, .jpg, ",
        ),
        (["-o", "picture"], "--output: cannot draw into picture: expected a file that ends in"),
    ):
        result = CliRunner().invoke(app, ["plot", str(tmp_path / "runs"), *options])
        assert result.exit_code == 2
        assert message in result.stderr
    with pytest.raises(ScenarioError, match=r"data\.longtail\.imbalance_factor"):
        other = make_run(tmp_path / "other", {}, "data.longtail.imbalance_factor=3", "federation.clients=3")
        plots.draw("curves", runs, [other])


@pytest.mark.usefixtures("few_kinds")
def test_all_kinds_at_once_fill_a_folder(runs: list[Run], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plot", str(tmp_path / "runs"), "--kind", "all", "-o", str(tmp_path / "figures")])
    assert result.exit_code == 0, result.output
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(plots.KINDS) - {"gain"}


def test_the_help_names_every_kind() -> None:
    assert PLOTS.split(", ") == list(plots.KINDS)


@pytest.mark.slow
def test_drawing_needs_no_display_and_leaves_settings_alone(runs: list[Run]) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.draw("curves", runs)
    assert dict(matplotlib.rcParams) == before
    code = "import fedlt.plots, sys; assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_notebook_shows_a_figure_though_pyplot_was_never_imported(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure: Any = plots.draw("curves", make_run(tmp_path, tiny))
    image = figure._repr_png_()
    assert image.startswith(b"\x89PNG")
    width = int.from_bytes(image[16:20], "big")
    assert width == int(100 * figure.get_figwidth())
