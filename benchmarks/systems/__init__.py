"""The systems that are compared. Each module has `run(job, **options)`; its package is imported only in its child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.job import Job, Outcome


@dataclass(frozen=True)
class System:
    """One way to run a workload.

    module: in this package. options: of its `run`. package: what it needs beside FedLT, and how pip gets it.
    share: of the workload's rounds, for slow systems. processes: started by torchrun where there is more than one.
    """

    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""
    pip: str = ""
    share: float = 1.0
    processes: int = 1

    def missing(self) -> str:
        """How to get what it needs, or "" where it is there."""
        return f"pip install {self.pip}" if self.package and find_spec(self.package) is None else ""

    def run(self, job: Job, options: Mapping[str, Any]) -> Outcome | None:
        """Run the job in this process; None where another process of the system answers."""
        outcome: Outcome | None = import_module(f"{__name__}.{self.module}").run(job, **{**self.options, **options})
        return outcome


PLAIN = {"channels_last": False}

SYSTEMS: dict[str, System] = {
    "bare-threads": System("bare", {"processes": 1, "threads": 2}),
    "bare-processes": System("bare", {"processes": 2, "threads": 1}),
    "fedlt-inline": System("fedlt_run", {"backend": "inline", **PLAIN}),
    "fedlt-processes": System("fedlt_run", {"backend": "processes", **PLAIN}),
    "fedlt-ray": System("fedlt_run", {"backend": "ray", **PLAIN}),
    "fedlt-flower": System("fedlt_run", {"backend": "flower", **PLAIN}),
    "fedlt-best": System("fedlt_run", {"backend": "processes"}),
    "fedlt-bf16": System("fedlt_run", {"backend": "processes", "precision": "bfloat16"}),
    "fedlt-ray-best": System("fedlt_run", {"backend": "ray"}),
    "fedlt-ray-bf16": System("fedlt_run", {"backend": "ray", "precision": "bfloat16"}),
    "flower": System("flower_run", share=0.2),
    "pfl": System("pfl_run", package="pfl", pip="pfl==0.6.0"),
    "pfl-2": System("pfl_run", package="pfl", pip="pfl==0.6.0", processes=2),
    "fluke": System("fluke_run", package="fluke", pip="fluke-fl==0.8.1"),
    "personal-off": System("personal", {"evaluated": False}),
    "personal-on": System("personal", {"evaluated": True}),
    "personal-kpass": System("personal", {"evaluated": True, "cached": False}),
}
GROUPS = {"bare": ("bare-threads", "bare-processes")}
BARE = GROUPS["bare"]
