#!/usr/bin/env bash
# flwr 1.42.0 leaves modules named test_*.py and *_test.py out of an app, without a word.
#
# Expected: what the app's package holds is in the bundle, or `flwr build` says what is not.
# Seen: `flwr build` ends with success and names no file; the bundle lacks both modules, wherever they lie, though the
# app imports them. The run then ends in the worker with ModuleNotFoundError. A module that tests a model
# (local_test.py, say) is an ordinary part of an app in this field.
#
#     bash findings/flwr_build_leaves_out_modules.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
export PATH="$work/venv/bin:$PATH" FLWR_TELEMETRY_ENABLED=0 FLWR_HOME="$work/home"
pip install -q flwr==1.42.0 "typer>=0.19"
mkdir -p "$work/app/task"
cd "$work/app"
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "app"
version = "1.0.0"
license = "Apache-2.0"
dependencies = ["flwr>=1.42"]

[tool.flwr.app]
publisher = "someone"

[tool.flwr.app.components]
serverapp = "task.server:app"
clientapp = "task.client:app"
TOML
touch task/__init__.py
echo "from flwr.serverapp import ServerApp; app = ServerApp()" > task/server.py
echo "from task.local_test import accuracy; from flwr.clientapp import ClientApp; app = ClientApp()" > task/client.py
echo "def accuracy(): return 0.5" | tee task/local_test.py > task/test_split.py
flwr build
listed=$(python -m zipfile -l ./*.fab)
echo "$listed"
[[ "$listed" == *"task/client.py"* ]]
[[ "$listed" != *"local_test.py"* && "$listed" != *"test_split.py"* ]] || exit 1
