"""Classes of a notebook or of a script become files, with what they use; what cannot be written is refused by name."""

from __future__ import annotations

import importlib
import json
import linecache
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fedlt
from fedlt.checks.suite import fingerprint
from fedlt.config.overrides import as_words
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError
from fedlt.sweeps.grid import plan

Cells = Callable[..., ModuleType]

FIRST = "import math\nfrom dataclasses import dataclass\nfrom typing import ClassVar\nimport fedlt\nTAU = 0.5\n"
SCALE = "def scale(x):\n    return TAU * math.exp(x)\n"
BALANCED = '''
@dataclass(frozen=True)
class Balanced(fedlt.Strategy):
    """Weighs."""

    young: ClassVar[tuple[str, ...]] = ()
    tau: float = 1.0  # 0 is FedAvg

    def weight(self, client):
        return scale(self.tau) * client.num_samples
'''
FILE = '''from dataclasses import dataclass
from typing import ClassVar
import fedlt
import math
TAU = 0.5


def scale(x):
    return TAU * math.exp(x)


@dataclass(frozen=True)
class Balanced(fedlt.Strategy):
    """Weighs."""

    young: ClassVar[tuple[str, ...]] = ()
    tau: float = 1.0  # 0 is FedAvg

    def weight(self, client):
        return scale(self.tau) * client.num_samples
'''


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cells:
    """Executes cells one after the other, as a notebook does, and gives its module."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))

    def run(*cells: str) -> ModuleType:
        main: Any = ModuleType("__main__")
        main.In = [""]
        monkeypatch.setitem(sys.modules, "__main__", main)
        for number, text in enumerate(cells):
            name = f"<cell {number} of {id(main)}>"
            linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
            main.In.append(text)
            exec(compile(text, name, "exec", dont_inherit=True), vars(main))
        return main  # type: ignore[no-any-return]

    return run


def file_of(made: Any) -> Path:
    (word,) = as_words([{"strategy": made}])
    return Path(word.removeprefix("strategy=").rpartition(":")[0])


def test_a_class_is_written_with_what_it_uses(notebook: Cells) -> None:
    main = notebook(FIRST, SCALE, BALANCED)
    path = file_of(main.Balanced)
    assert path.name == "balanced.py" and path.read_text(encoding="utf-8") == FILE
    scenario = load_scenario("digits_lt", strategy=main.Balanced(tau=2))
    assert scenario.strategy.options == {"tau": 2.0}
    assert [field.doc for field in scenario.strategy.component.fields] == ["0 is FedAvg"]
    assert scenario.strategy.component.load().__name__ == "Balanced"


def test_the_newest_text_of_a_class_counts_and_a_subclass_brings_its_base(notebook: Cells) -> None:
    bare = "@dataclass(frozen=True)\nclass Keep(fedlt.Strategy):\n    private = ('head.*',)\n"  # without a function
    main = notebook(FIRST, SCALE, bare, BALANCED, bare.replace("head", "fc"), "class Heir(Balanced):\n    pass\n")
    assert "('fc.*',)" in file_of(main.Keep).read_text(encoding="utf-8")
    text = file_of(main.Heir).read_text(encoding="utf-8")
    assert text.index("class Balanced") < text.index("class Heir") and "def scale" in text


def test_aliases_and_deferred_annotations_are_kept(notebook: Cells) -> None:
    typed = BALANCED.replace("scale(", "grow(").replace("(self, client)", "(self, client: Nothing)")
    main = notebook(FIRST + SCALE + "grow = scale\n", "from __future__ import annotations\n" + typed)
    text = file_of(main.Balanced).read_text(encoding="utf-8")
    assert text.startswith("from __future__ import annotations\n") and "grow = scale" in text  # Nothing is not needed
    main = notebook(FIRST, "import os.path as paths\n", BALANCED.replace("scale(self.tau)", "paths.sep"))
    assert "import posixpath as paths" in file_of(main.Balanced).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((FIRST, BALANCED), "Balanced uses scale, which cannot be written"),
        ((FIRST, SCALE, "table = object()\n", BALANCED.replace("* client", "* table * gone * client")),
         "Balanced uses gone, table, which cannot be written"),
        ((FIRST, "def make():\n    class Balanced(fedlt.Strategy): ...\n    return Balanced\nBalanced = make()\n"),
         "Balanced is defined within another block"),
        ((FIRST, "Balanced = fedlt.Strategy\n"), "Strategy is no component that a scenario names"),
        ((FIRST, "from pandas import DataFrame as Balanced\n"), "DataFrame comes with pandas"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_with_its_names(notebook: Cells, cells: Any, message: str) -> None:
    main = notebook(*cells)
    with pytest.raises(ScenarioError, match=message) as caught:
        load_scenario("digits_lt", strategy=main.Balanced)
    assert caught.value.problems[0].key == "strategy"


def test_a_built_in_class_has_its_short_name() -> None:
    from fedlt.learners.focal import Focal
    from fedlt.nn.cnn import CNN
    from strategies.fedprox import FedProx

    words = as_words([{"strategy": FedProx(mu=0.5), "learner": Focal, "model": CNN}])
    assert words == ["strategy={name: fedprox, mu: 0.5}", "learner=focal", "model=cnn"]


def test_labels_of_a_sweep_show_no_folder(notebook: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = notebook(FIRST, SCALE, BALANCED)
    jobs = plan("digits_lt", as_words([{"strategy": ["fedavg", main.Balanced]}], several=True))
    assert [job.label for job in jobs] == ["strategy=fedavg", "strategy=balanced.py:Balanced"]

    (tmp_path / "mine_in_a_folder.py").write_text(FIRST + SCALE + BALANCED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    imported = importlib.import_module("mine_in_a_folder").Balanced
    assert as_words([{"strategy": imported}]) == ["strategy=./mine_in_a_folder.py:Balanced"]


@pytest.mark.slow
def test_a_run_keeps_the_text_and_is_the_same_from_its_folder(
    notebook: Cells, tiny: dict[str, Any], tmp_path: Path
) -> None:
    main = notebook(FIRST, SCALE, BALANCED)
    changes = {"strategy": main.Balanced, "strategy.tau": 0.5, "resources": {"backend": "processes", "workers": 2}}
    run = fedlt.run(tiny, changes, out=tmp_path / "runs")
    assert run.summary["inputs"]["strategy"].keys() == {"balanced.py"}
    copy = run.folder / "code" / "strategy" / "balanced.py"
    assert copy.read_text(encoding="utf-8") == FILE

    shutil.rmtree(tmp_path / "cache")
    moved = run.folder.rename(tmp_path / "moved")
    again = load_scenario(moved / "scenario.yaml")
    assert again.hash == run.summary["scenario_hash"]
    assert again.strategy.name == f"{moved}/code/strategy/balanced.py:Balanced"
    assert fedlt.run(again, out=tmp_path / "again").summary["model_hash"] == run.summary["model_hash"]


def test_a_check_looks_for_state_in_what_a_class_uses_of_its_notebook(notebook: Cells) -> None:
    main = notebook(
        FIRST + "seen, Out = [], {1: 'a result'}\n\ndef note(x):\n    seen.append(x)\n",
        "@dataclass(frozen=True)\nclass Notes(fedlt.Strategy):\n"
        "    def weight(self, client):\n        return [note(each) for each in (1.0,)]\n",
    )
    assert {name for name in fingerprint(main.Notes(), fedlt.Strategy) if "." in name} >= {"__main__.seen"}
    assert "__main__.Out" not in fingerprint(main.Notes(), fedlt.Strategy)


@pytest.mark.slow
def test_a_class_of_a_real_notebook_and_of_a_script_is_run(tmp_path: Path) -> None:
    changes = "{'federation': {'rounds': 1, 'clients': 4}, 'model': 'mlp', 'evaluation.every': 1, 'strategy': Balanced}"
    end = f"run = fedlt.run('digits_lt', {changes}, backend='processes', workers=2)\n"
    tell = "import json; print(json.dumps([run.folder.name, run.summary['model_hash']]))\n"
    script = FIRST + SCALE + BALANCED + f"if __name__ == '__main__':\n    {end}    {tell}"
    shell = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {[FIRST + SCALE + BALANCED, end, 'run', 'fedlt.check_strategy(Balanced)', tell]!r}:\n"
        "    shell.run_cell(cell, store_history=True).raise_error()\n"
    )
    told = []
    for name, text in (("script", script), ("shell", shell)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(text, encoding="utf-8")
        words = [sys.executable, "main.py"]
        done = subprocess.run(words, cwd=tmp_path / name, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(json.loads(done.stdout.splitlines()[-1]))
    assert told[0] == told[1]
