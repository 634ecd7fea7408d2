"""Which GPUs a process sees."""

from __future__ import annotations

import os
from pathlib import Path

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""Variables of Nvidia's and AMD's runtimes, which read them when a GPU is first used."""


DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of Nvidia's and AMD's GPUs, and of both under Windows' Linux."""


def may_have_gpus() -> bool:
    """Whether this machine has a driver of GPUs. To ask PyTorch would be to begin to use one."""
    return any(Path(name).exists() for name in DRIVERS)


def hide_gpus() -> None:
    """From now on this process and those that it starts see no GPU; to be called before it has used one."""
    for name in VISIBLE:
        os.environ[name] = "-1"
