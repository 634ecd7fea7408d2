#!/usr/bin/env bash
# flwr 1.42.0 allows typer from 0.13.0 on, and its command needs 0.19.0.
#
# Expected: any typer that the package's own metadata allow lets `flwr --version` answer.
# Seen (Python 3.11.7): `pip check` finds nothing broken; with typer 0.13.0 and 0.18.0 the command, and so every run under
# Flower's runtime, ends with "RuntimeError: Type not yet supported: typing.Literal['default', 'json']"; with 0.19.0 it
# answers. Literal as the type of an option came with typer 0.19.0. Resolvers take an old typer where another package of
# the environment holds it back, or where the lowest versions are asked for.
#
#     bash findings/flwr_needs_newer_typer.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH"
pip install -q flwr==1.42.0 typer==0.18.0
pip check
said=$(flwr --version 2>&1 || true)
echo "typer 0.18.0: ${said##*$'\n'}"
[[ "$said" == *"RuntimeError: Type not yet supported: typing.Literal"* ]] || exit 1
pip install -q typer==0.19.0
echo "typer 0.19.0: $(flwr --version)"
