#!/usr/bin/env bash
# pyarrow 26.0.1 refuses NumPy below 2 when it is imported, and names no NumPy among its requirements.
#
# Expected: an installer that holds NumPy below 2 takes an older pyarrow, or refuses.
# Seen (Python 3.11.7): both are installed, `pip check` finds nothing broken, and `import pyarrow` raises "ImportError:
# pyarrow requires NumPy 2.0 or newer, found 1.26.0". Programs that import it late meet that in the midst of their work.
# Without NumPy it can be imported: the requirement is an option, so that no metadata tell of it.
#
#     bash findings/pyarrow_needs_numpy_2.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q pyarrow==26.0.1
echo "without NumPy: pyarrow $(python -c 'import pyarrow; print(pyarrow.__version__)')"
pip install -q numpy==1.26.0
pip check
python - <<'PY'
import importlib.metadata

print("numpy", importlib.metadata.version("numpy"), "pyarrow requires", importlib.metadata.requires("pyarrow"))
try:
    import pyarrow
except ImportError as error:
    print(type(error).__name__, error)
else:
    raise SystemExit(f"pyarrow {pyarrow.__version__} was imported beside NumPy 1.26")
PY
