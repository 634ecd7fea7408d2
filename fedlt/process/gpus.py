"""Which GPUs a process sees."""

from __future__ import annotations

import os

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Variables of Nvidia's and AMD's runtimes, which read them when a GPU is first used."""


def hide_gpus() -> None:
    """From now on this process and those that it starts see no GPU; to be called before it has used one."""
    for name in VISIBLE:
        os.environ[name] = "-1"
