"""What is written to a file has its whole text: nothing touches the edges of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import make_run
from PIL import Image

from fedlt import plots


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_saved_picture_of_clients_has_its_titles(number: int, tmp_path: Path) -> None:
    scenario: dict[str, Any] = {"data": {"name": "digits"}, "federation": {"clients": 3, "rounds": 2}}
    run = make_run(tmp_path, scenario, "seed=0", right=(40, 60), personal=(30, 60, 100))
    figure = plots.draw("clients", {name: [run] for name in ("fedavg", "fedloge", "fedrod")[:number]})
    plots.save(figure, tmp_path / "clients.png")
    ink = np.asarray(Image.open(tmp_path / "clients.png").convert("L")) < 200
    assert not any(edge.any() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
