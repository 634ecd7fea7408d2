"""Neural collapse, head norms and alignment: hand-sized geometry, an independent formula, and what a run records."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.exchange import Job, Report
from fedlt.measures.collapse import NAMES, Moments, class_columns, client_alignment, collapse_figures
from fedlt.measures.evaluation import merged
from fedlt.measures.features import FeatureMoments
from fedlt.statistic import ALL, Subject
from fedlt.training.assembly import assemble
from server.records import pack_report, unpack_report
from server.rounds.schedule import evaluation_units

Array = np.ndarray


def moments(features: Array, targets: Array, classes: int, rows: dict[int, list[int]] | None = None) -> Moments:
    hot = np.eye(classes)[targets]
    clients = rows or {}
    totals = [features[held].sum(axis=0) for held in clients.values()]
    counts = [hot[held].sum(axis=0) for held in clients.values()]
    return Moments(
        hot.sum(axis=0),
        hot.T @ features,
        features.T @ features,
        np.array(list(clients), float),
        np.array(totals).reshape(len(clients), features.shape[1]),
        np.array(counts).reshape(len(clients), classes),
    )


def simplex(classes: int) -> Array:
    return np.eye(classes) - 1 / classes


def test_a_collapsed_model_scores_zero() -> None:
    features, targets = np.repeat(3 * simplex(4) + 0.5, 5, axis=0), np.repeat(np.arange(4), 5)
    figures = collapse_figures(moments(features, targets, 4), 7 * simplex(4))
    assert list(figures) == ["nc1", "nc2_norms", "nc2_angles", "nc3", "head_norms", "head_angles"]
    assert all(abs(value) < 1e-9 for value in figures.values()), figures


def test_the_papers_formulas() -> None:
    """NC1 by a pseudo-inverse, NC2 and NC3 pair by pair, on random features of unequal classes."""
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(4), [9, 5, 3, 8])
    features = rng.standard_normal((25, 6)) + 2 * rng.standard_normal((4, 6))[targets]
    head = rng.standard_normal((4, 6))
    means = np.stack([features[targets == k].mean(axis=0) for k in range(4)])
    centred = means - means.mean(axis=0)
    apart = features - means[targets]
    within, between = apart.T @ apart / 25, centred.T @ centred / 4
    norms = np.linalg.norm(centred, axis=1)
    cosines = [centred[i] @ centred[j] / norms[i] / norms[j] for i in range(4) for j in range(i)]
    dual = np.linalg.norm(head / np.sqrt((head**2).sum()) - centred / np.sqrt((centred**2).sum()))
    found = collapse_figures(moments(features, targets, 4), head)
    assert found["nc1"] == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 4)
    assert found["nc2_norms"] == pytest.approx(norms.std() / norms.mean())
    assert found["nc2_angles"] == pytest.approx(np.mean([abs(c + 1 / 3) for c in cosines]))
    assert found["nc3"] == pytest.approx(dual)
    lengths = np.linalg.norm(head, axis=1)
    assert found["head_norms"] == pytest.approx(lengths.std() / lengths.mean())
    columns = class_columns(moments(features, targets, 4), head)
    assert columns["feature_norm"] == pytest.approx(norms)
    assert columns["head_norm"] == pytest.approx(lengths)
    assert columns["duality"] == pytest.approx((head * centred).sum(axis=1) / lengths / norms)


def test_absent_classes_and_missing_heads_are_left_out() -> None:
    features, targets = np.repeat(simplex(3), 2, axis=0), np.repeat([0, 1, 3], 2)
    figures = collapse_figures(moments(features, targets, 4), None)
    assert figures["nc1"] == pytest.approx(0)
    assert figures["nc2_angles"] == pytest.approx(0)
    assert math.isnan(figures["nc3"])
    assert math.isnan(figures["head_norms"])
    assert np.isnan(class_columns(moments(features, targets, 4), None)["feature_norm"]).tolist() == [0, 0, 1, 0]
    assert all(math.isnan(v) for v in collapse_figures(moments(features[:2], targets[:2], 4), None).values())


def test_alignment_tells_a_shift_of_features_from_a_skew_of_labels() -> None:
    # Classes at (1, 0) and (-1, 0) on average; client 0 holds class 0 only, at its mean: label skew, no shift. Client
    # 5 holds class 0 at (1, 1), at 45 degrees from where it should be. Client 8 has no test row.
    features = np.array([[1.0, 0], [1, 1], [1, -1], [-1, 0]])
    found = moments(features, np.array([0, 0, 0, 1]), 2, {0: [0], 5: [1], 8: []})
    assert client_alignment(found) == pytest.approx([1, math.sqrt(0.5), math.nan], nan_ok=True)
    assert collapse_figures(found, None)["alignment"] == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_parts_add_up_to_the_whole_and_must_name_the_same_clients() -> None:
    rng = np.random.default_rng(1)
    features, targets = rng.integers(-4, 5, (12, 3)).astype(float), rng.integers(3, size=12)
    whole = moments(features, targets, 3, {1: [2, 9]})
    parts = [moments(features[:6], targets[:6], 3, {1: [2]}), moments(features[6:], targets[6:], 3, {1: [3]})]
    merged = Moments.merge(parts)
    assert all(getattr(merged, name).tolist() == getattr(whole, name).tolist() for name in NAMES)
    with pytest.raises(ValueError, match="same clients"):
        Moments.merge([parts[0], moments(features, targets, 3, {2: [0]})])


def reports(tiny: dict[str, Any], bundles: int, *changes: str) -> list[Report]:
    """One evaluation of the initial model, its units dealt to that many jobs and sent through Flower's records."""
    scenario = load_scenario(tiny, [*changes, "evaluation.batch_size=32"])
    federation = federate(scenario)
    worker = Worker(scenario, federation)
    units = evaluation_units(len(federation.y_test), 32, True, list(range(6)), federation.tests.sizes, True)
    shared = worker.context.flat.shared.clone()
    jobs = [[unit.work for unit in units[start::bundles]] for start in range(bundles)]
    found = [worker.run(Job(scenario.to_dict(), scenario.hash, 2, works, shared)) for works in jobs]
    return [unpack_report(pack_report(report)) for report in found]


def test_features_and_confidence_do_not_depend_on_who_evaluates_what(tiny: dict[str, Any]) -> None:
    parts = assemble(load_scenario(tiny), federate(load_scenario(tiny)), torch.device("cpu"))
    (whole,) = reports(tiny, 1)
    spread = reports(tiny, 3)
    names = [("confusion", "generic:"), ("confidence", "generic:"), ("experts", "generic:"), ("features", "generic:*")]
    assert set(names) < set(whole.statistics)
    for order in (spread, spread[::-1]):
        found = merged([report.statistics for report in order], parts.statistics, parts.task)
        assert len(found) == len(whole.statistics) == 11
        for (name, subject), statistic in found.items():
            expected = whole.statistics[name, subject.key]
            for array, value in statistic.to_arrays().items():
                assert value.tobytes() == expected[array].tobytes(), (name, subject, array)


def test_moments_are_those_of_the_backbones_features(tiny: dict[str, Any]) -> None:
    (report,) = reports(tiny, 1)
    scenario = load_scenario(tiny, ["evaluation.batch_size=32"])
    federation = federate(scenario)
    worker = Worker(scenario, federation)
    with torch.no_grad():
        x = worker.testing.sets.inputs.take(torch.arange(len(federation.y_test)))
        features = worker.context.model.backbone(x).double().numpy()
    rows = {client: federation.tests[client].tolist() for client in range(6)}
    expected = moments(features, federation.y_test, 10, rows)
    statistic = FeatureMoments().empty(worker.context.parts.task, Subject("generic", ALL))
    statistic.from_arrays(report.statistics["features", "generic:*"])
    found = statistic.whole()
    for name in NAMES:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5, abs=1e-4), name
    assert found.client_classes.sum(axis=1).tolist() == federation.tests.sizes.tolist()


def test_a_run_records_the_measures(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    for name in ("ece", "nll", "brier", "failure_auroc"):
        for model in ("generic", "personal", "personal_masked"):
            assert math.isfinite(run.final[f"{model}/{name}"])
    for name in ("nc1", "nc2_norms", "nc2_angles", "nc3", "head_norms", "head_angles", "alignment"):
        assert math.isfinite(run.final[f"generic/{name}"])
    last = run.calibration[(run.calibration["round"] == 2) & (run.calibration.model == "generic")]
    assert last.samples.sum() == run.classes[run.classes["round"] == 2].test_count.sum()
    clients = run.clients[run.clients["round"] == 2]
    assert run.final["personal/nll"] == pytest.approx(clients.nll.mean())
    assert run.final["generic/alignment"] == pytest.approx(clients.alignment.mean())
    assert run.classes.feature_norm.notna().all()
    from safetensors.torch import load_file

    head = load_file(run.folder / "model.safetensors")["head.weight"]
    assert run.classes.head_norm.tail(10).to_numpy() == pytest.approx(head.norm(dim=1).numpy(), rel=1e-6)


@pytest.mark.slow
def test_private_heads_and_backbones_define_no_such_figures(tiny: dict[str, Any], tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom fedlt import Strategy\n@dataclass(frozen=True)\nclass Own(Strategy):\n"
    )
    (tmp_path / "own.py").write_text(text + '    """Own heads."""\n    private = ("head.*",)\n', encoding="utf-8")
    scenario = load_scenario(tiny, [f"strategy={tmp_path / 'own.py'}:Own"])
    run = fedlt.run(replace(scenario, name="own"), out=tmp_path)
    assert math.isnan(run.final["generic/nc3"])
    assert math.isfinite(run.final["generic/nc1"])
    local = fedlt.run(tiny, "strategy=local", out=tmp_path)
    assert "generic/nc1" not in local.final
    assert math.isfinite(local.final["personal/ece"])
    assert local.clients.alignment.isna().all()
