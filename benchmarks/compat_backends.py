"""One run under each backend, for `benchmarks.compat`: FEDLT_COMPAT=FOLDER pytest benchmarks/compat_backends.py"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OUT = "FEDLT_COMPAT"
"""Names the folder into which the runs go, one folder for each backend."""

BACKENDS = ("inline", "processes", "ray", "flower")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_ends_its_run(backend: str) -> None:
    """Two rounds on two workers, and no process is left behind."""
    import fedlt

    changes = "federation.rounds=2", "resources.workers=2"
    run = fedlt.run("digits_lt", *changes, backend=backend, out=Path(os.environ[OUT]) / backend)
    assert run.summary["model_hash"]
