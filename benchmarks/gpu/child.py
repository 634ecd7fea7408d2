"""Measures the cases that it is asked for, one line of JSON each, on its standard input; answers likewise.

One process for many cases: PyTorch is imported, and the GPU's runtime started, once. The parent (`benchmarks.gpu`)
starts another one where a case takes too long, or leaves the GPU in an unknown state.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Until the input ends, or a case fails in a way that may harm the next."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from benchmarks.gpu.cases import Case
    from benchmarks.gpu.measure import measure

    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        sound = True
        try:
            case = Case(**order.pop("case"))
            found = measure(case, Path(order.pop("folder")), **order)
        except Exception as error:
            traceback.print_exc()
            found, sound = {"note": reason(error)}, harmless(error)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        if not sound:
            return


def reason(error: Exception) -> str:
    """One line: the last that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if "out of memory" in str(error) else lines[-1] if lines else ""
    return f"{type(error).__name__}: {text}"[:200]


def harmless(error: Exception) -> bool:
    """Whether this process can go on: it was refused before any work, or wanted for memory only."""
    import torch

    from fedlt.errors import FedLTError

    return isinstance(error, FedLTError | torch.cuda.OutOfMemoryError)


if __name__ == "__main__":
    main()
