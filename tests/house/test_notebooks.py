"""The notebooks run from the first cell to the last, and what is committed are their outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SIZE = 400_000
"""Bytes: pictures stay small, so that the repository does."""

nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[notebooks]' to run the notebooks")


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_all_of_them_are_there() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < SIZE
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom before it is committed"
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs) or path.stem.startswith("03")
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/tmp/" not in text
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words > 150, "a notebook explains itself"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """One process for all notebooks, which need not import PyTorch each."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason="pip install -e '.[notebooks]' to run the notebooks")
    from jupyter_client.manager import start_new_kernel

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        manager, client = start_new_kernel(startup_timeout=300)
    client.stop_channels()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, kernel: Any, tmp_path: Path) -> None:
    """From a clean namespace, in a folder of its own."""
    import nbclient

    notebook = nbformat.read(path, as_version=4)
    for cell in code(notebook):
        cell.outputs, cell.execution_count, cell.source = [], None, quick(cell.source)
    clean = f"%reset -f\nimport os\nos.chdir({str(tmp_path)!r})\ndel os"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(clean))
    nbclient.NotebookClient(notebook, timeout=300, km=kernel).execute()
    assert all(cell.execution_count for cell in code(notebook))


def quick(source: str) -> str:
    """Fewer rounds and one seed: what is tested is that the cells run."""
    shorter = ("rounds=20", "rounds=2"), ("rounds=100", "rounds=2"), ("every=20", "every=1"), ("every=4", "every=1")
    texts = ("rounds=40", "rounds=2"), ("every=8", "every=1"), ("== 40", "== 2")
    for old, new in (*shorter, *texts, ("rounds=15", "rounds=1"), ("== 20", "== 2")):
        source = source.replace(old, new)
    return source.replace("seeds=range(2)", "seeds=range(1)")
