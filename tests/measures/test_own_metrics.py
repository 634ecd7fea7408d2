"""Metrics of a user's own: sums are added up in one order everywhere, and stand beside the figures of every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError
from fedlt.measures.sums import Pieces

pytestmark = pytest.mark.slow

TOP = """
from fedlt import Metric

@dataclass(frozen=True)
class Top(Metric):
    k: int = 1

    def sums(self, logits, y, task):
        right = (logits.topk(self.k, dim=1).indices == y[:, None]).sum()
        return {"right": right, "samples": len(y), "losses": torch.nn.functional.cross_entropy(
            logits, y, reduction="none").clamp(max=20.0).sum() / 3}

    def figures(self, sums):
        return {f"top_{self.k}": float(sums["right"] / sums["samples"]),
                f"third_of_loss_{self.k}": float(sums["losses"] / sums["samples"])}
"""


@pytest.fixture
def top(own_file: Callable[..., Path]) -> str:
    return f"{own_file(TOP, 'top.py')}:Top"


def figures(run: Any) -> dict[str, float]:
    return {name: value for name, value in run.final.items() if "/top_" in name or "/third_" in name}


def test_a_figure_stands_beside_the_others(tiny: dict[str, Any], tmp_path: Path, top: str) -> None:
    """The best one of one is the accuracy, for every model, variant and set; three are more."""
    tiny["evaluation"]["batch_size"] = 16
    chosen = f"evaluation.metrics=[{top}, {{name: {top}, k: 3}}]"
    run = fedlt.run(tiny, chosen, "strategy=fedavg_posthoc", "data.validation=0.2", out=tmp_path, backend="inline")
    models = {name.rpartition("/")[0] for name in run.final if name.endswith("/accuracy")}
    assert {"generic", "generic[plain]", "personal", "personal_masked", "validation/generic"} <= models
    for model in models:
        assert run.final[f"{model}/top_1"] == pytest.approx(run.final[f"{model}/accuracy"], abs=1e-12)
        assert run.final[f"{model}/top_3"] >= run.final[f"{model}/top_1"]
    assert run.final["generic/top_3"] > run.final["generic/top_1"]
    held = run.metrics[run.metrics.metric == "generic/top_3"]
    assert held["round"].tolist() == [1, 2] and held.value.iloc[-1] == run.final["generic/top_3"]
    assert f"{run.final['generic/top_3'] * 100:.1f}" in str(fedlt.compare(run, metrics=["generic/top_3"]))


def test_floating_point_sums_have_equal_bits_everywhere(tiny: dict[str, Any], tmp_path: Path, top: str) -> None:
    tiny["evaluation"]["batch_size"] = 7
    chosen = f"evaluation.metrics={top}"
    found = [
        figures(fedlt.run(tiny, chosen, out=tmp_path / str(workers), backend=backend, workers=workers))
        for backend, workers in (("inline", 1), ("processes", 1), ("processes", 3))
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 6


def test_a_metric_changes_no_model_and_is_left_out_where_there_is_none(
    tiny: dict[str, Any], tmp_path: Path, top: str
) -> None:
    plain, measured = load_scenario(tiny), load_scenario(tiny, [f"evaluation.metrics=[{top}]"])
    assert "metrics" not in plain.to_dict()["evaluation"]
    assert plain.hash != measured.hash
    hashes = [fedlt.run(s, out=tmp_path, backend="inline").summary["model_hash"] for s in (plain, measured)]
    assert hashes[0] == hashes[1]


def test_pieces_are_added_up_in_the_order_of_their_rows() -> None:
    values = [(0, 1e16), (7, 1.0), (14, -1e16), (21, 1.0)]
    pieces = [((-1, first), {"a": np.array([value])}) for first, value in values]
    expected = ((1e16 + 1.0) - 1e16) + 1.0
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        held = Pieces([pieces[place] for place in order])
        for found in (held, Pieces.from_arrays(held.to_arrays())):
            assert [(client, sums["a"].tolist()) for client, sums in found.totals()] == [(-1, [expected])]


# Files ----------------------------------------------------------------------------------------------------------------


def test_an_edited_metric_is_another_run(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], top: str
) -> None:
    chosen = f"evaluation.metrics=[{top}]"
    fedlt.run(tiny, chosen, out=tmp_path / "r", backend="inline")
    own_file(TOP.replace('float(sums["right"]', '2 * float(sums["right"]'), "top.py")
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0: top\.py changed since the run"):
        fedlt.run(tiny, chosen, out=tmp_path / "r", backend="inline")
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0: top\.py"):
        fedlt.compare(
            fedlt.run(tiny, chosen, "seed=1", out=tmp_path / "s", backend="inline"), *(tmp_path / "r").glob("*")
        )


def test_a_path_in_a_file_starts_at_its_folder(tmp_path: Path, top: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    Path(top.partition(":")[0]).rename(tmp_path / "lab" / "top.py")
    text = "data: {name: digits}\nevaluation: {metrics: [./top.py:Top, {name: ./top.py:Top, k: 2}]}\n"
    (tmp_path / "lab" / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = [choice.name for choice in load_scenario("lab/mine.yaml").evaluation.metrics]
    assert names == [f"{tmp_path / 'lab' / 'top.py'}:Top"] * 2


# What is refused ------------------------------------------------------------------------------------------------------

BAD = {
    "raises": ("return {'a': logits[:, 99].sum()}", "return {'a_sum': 1.0}", "failed on made-up logits: IndexError"),
    "a shape for each batch": ("return {'a': logits[:, 0]}", "return {'a_sum': 1.0}", "gives other names or shapes"),
    "a name that is taken": ("return {'a': len(y)}", "return {'nll': 1.0}", "'nll' is taken"),
    "no plain word": ("return {'a': len(y)}", "return {'top 3': 1.0}", "'top 3' is no plain word"),
    "no number": ("return {'a': len(y)}", "return {'a_sum': 'high'}", "expected a number by name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_metric_that_cannot_work_is_refused_before_any_work(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path], case: str
) -> None:
    sums, figures, message = BAD[case]
    methods = (
        f"    def sums(self, logits, y, task):\n        {sums}\n\n    def figures(self, sums):\n        {figures}\n"
    )
    text = f"from fedlt import Metric\n\n@dataclass(frozen=True)\nclass Bad(Metric):\n{methods}"
    chosen = f"evaluation.metrics=[{own_file(text)}:Bad]"
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0") as error:
        fedlt.run(tiny, chosen, out=tmp_path / "r", backend="inline")
    assert message in str(error.value)
    assert not (tmp_path / "r").exists()


def test_what_is_no_metric_is_refused_with_the_key(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    with pytest.raises(ScenarioError, match=r"evaluation\.metrics\.0: unknown metric 'auc'; there is none built in"):
        load_scenario(tiny, ["evaluation.metrics=[auc]"])
    path = own_file("@dataclass(frozen=True)\nclass Plain:\n    pass\n")
    with pytest.raises(ScenarioError, match=r"Plain is no subclass of fedlt\.Metric"):
        fedlt.run(tiny, f"evaluation.metrics=[{path}:Plain]", backend="inline")


def test_a_figure_that_fails_on_real_sums_is_left_out_with_a_word(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    text = TOP.replace("class Top(Metric):", "class Top(Metric):\n    limit: int = 10").replace(
        '        return {f"top_', "        assert sums['samples'] <= self.limit\n        return {f\"top_"
    )
    run = fedlt.run(tiny, f"evaluation.metrics=[{own_file(text)}:Top]", out=tmp_path, backend="inline")
    assert run.status == "finished" and "generic/top_1" not in run.final
    assert "Top of generic cannot be computed" in (run.folder / "log.txt").read_text(encoding="utf-8")


def test_a_component_may_also_inherit_from_a_class_of_python(
    tiny: dict[str, Any], tmp_path: Path, own_file: Callable[..., Path]
) -> None:
    text = "from abc import ABC\n\n@dataclass(frozen=True)\nclass Mine(Strategy, ABC):\n    mu: float = 0.5\n"
    scenario = load_scenario(tiny, [f"strategy={own_file(text)}:Mine"])
    assert scenario.strategy.options == {"mu": 0.5}
    assert fedlt.run(scenario, out=tmp_path, backend="inline").status == "finished"
