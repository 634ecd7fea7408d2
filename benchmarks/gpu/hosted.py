"""The process in which cases are measured, as its parent sees it: it may take too long, break down, or use memory."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.gpu.cases import Case
from fedlt.process.gpus import VISIBLE

CHILD = (sys.executable, "-m", "benchmarks.gpu.child")
EVERY = 0.3  # seconds between readings of the GPU's memory


class Host:
    """Measures cases in a process that is started when one is asked for, and again where it was lost.

    folder: for data sets and for what the process writes to its standard error. dry: on the CPU.
    """

    def __init__(self, folder: Path, dry: bool) -> None:
        self.folder, self.dry = folder, dry
        self.card = "-1" if dry else os.environ.get(VISIBLE[0], "0").split(",")[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._before = self.memory()

    def measure(self, case: Case, limit: float, **order: Any) -> dict[str, Any]:
        """Figures of a case, or under `note` why there are none. limit: seconds after which it is given up."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        line = json.dumps({"case": asdict(case), "folder": str(self.folder), "dry": self.dry, **order})
        with suppress(BrokenPipeError):
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

        end, peak = time.monotonic() + limit, self._before
        while not select.select([process.stdout], [], [], EVERY)[0]:
            peak = max(peak, self.memory())
            if time.monotonic() > end:
                self.close()
                return {"note": f"took longer than {limit:.0f} s"}
        answer = process.stdout.readline()
        if not answer:
            code = process.wait()
            self.close()
            return {"note": f"its process ended with {code}: {self._last_words()}"}
        found: dict[str, Any] = json.loads(answer)
        if peak:
            found["peak_device_mb"] = peak - self._before
        return found

    def close(self) -> None:
        """End the process and all that it has started."""
        if self._process is not None:
            for pid in processes.tree(self._process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def memory(self) -> int:
        """MB (2^20 bytes) in use on the card by all processes; 0 where `nvidia-smi` does not tell."""
        if self.dry:
            return 0
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", self.card]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
            return int(told.split()[0])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return 0

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **dict.fromkeys(VISIBLE, self.card), "RAY_USAGE_STATS_ENABLED": "0"}
        with (self.folder / "stderr.txt").open("ab") as errors:
            self._process = subprocess.Popen(
                CHILD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        return self._process

    def _last_words(self) -> str:
        lines = (self.folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip()[:150] for line in reversed(lines) if line.strip()), "it wrote nothing")
