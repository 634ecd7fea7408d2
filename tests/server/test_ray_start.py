"""Ray on this machine alone: its scheduler and its workers, and nobody who watches them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.grid

ALONE = """
import os
import ray
from ray._private import services
from ray._private.runtime_env import uv_runtime_env_hook
from benchmarks import processes
from server.grids.ray_start import start_ray
services.get_ray_address_from_environment = lambda *_: "127.0.0.1:1"
uv_runtime_env_hook._get_uv_run_cmdline = lambda: ["uv", "run", "fedlt"]
before = dict(os.environ)
start_ray(1)
others = [title for pid in processes.tree(os.getpid()) if pid != os.getpid() and (title := processes.title(pid))]
print(len(ray.nodes()), "node", ray.get_runtime_context().runtime_env, dict(os.environ) == before)
print(*sorted(os.path.basename(title.split()[0]).rstrip("0123456789.") for title in others))
ray.shutdown()
"""


def test_ray_starts_alone_though_a_worker_dies_meanwhile(tmp_path: Path) -> None:
    """No process of Python but the workers and the one that forks them, nor an environment to build for these, though
    under `uv run` Ray would.

    Ray notes which cluster was started last on a machine, and joins it where it is given no address. And whatever
    worker Ray starts on its own account dies at once here; `ray.init` must not wait for it.
    """
    dies = "import os, sys\nif any('default_worker' in word for word in sys.orig_argv):\n    os._exit(1)\n"
    (tmp_path / "sitecustomize.py").write_text(dies)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env={**os.environ, "PYTHONPATH": path, "RAY_RUNTIME_ENV_HOOK": "no.such:hook"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "1 node {} True\ncat cat gcs_server python raylet\n", done.stderr
