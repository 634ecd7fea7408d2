"""What is used of Flower beyond its documentation: in one module, and only with releases with which it was tried."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict
from source_files import ROOT, imports, modules

from fedlt.errors import FedLTError
from server.grids.flower_private import TESTED, check_release, set_identity, set_message_id, superlink_options

pytestmark = pytest.mark.slow

HOME = "server/grids/flower_private.py"
PUBLIC = ("flwr.app", "flwr.clientapp", "flwr.serverapp")
SPELT = re.compile(r"FLWR_LOCAL|FLWR_HOME|--control-api-address|\._message_id|metadata\.__dict__")
"""Options, variables and fields that are Flower's own, whatever module writes them."""


def private(name: str, source: str) -> list[str]:
    """Uses of what Flower does not document."""
    found = [
        f"{name}:{line} imports {module}"
        for module, _, line in imports(ast.parse(source))
        if module.split(".")[0] == "flwr" and not module.startswith(PUBLIC)
    ]
    return found + [f"{name} writes {match[0]}" for match in SPELT.finditer(source)]


def test_private_names_of_flower_stand_in_one_module() -> None:
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in modules()}
    assert len(private(HOME, found.pop(HOME))) >= 6
    assert [use for name, source in found.items() for use in private(name, source)] == []
    bad = "import flwr.common\ndef late():\n    from flwr.supercore.run import Run\n    m.metadata.__dict__['x'] = 1\n"
    assert private("bad.py", bad) == [
        "bad.py:1 imports flwr.common",
        "bad.py:3 imports flwr.supercore.run.Run",
        "bad.py writes metadata.__dict__",
    ]


@pytest.mark.parametrize("version", ["1.41.0", "1.42.0", "1.42.7", "1.42.0.dev1"])
def test_releases_that_were_tried_are_taken(version: str) -> None:
    assert check_release(version)


@pytest.mark.parametrize("version", ["1.40.0", "1.43.0", "1.4.1", "1.420.0", "2.41.0", "unknown"])
def test_other_releases_are_refused_with_the_way_out(version: str) -> None:
    with pytest.raises(FedLTError, match=rf"Flower {re.escape(version)} is installed.*1\.41 to 1\.42.*pip install"):
        check_release(version)


def test_a_run_beside_another_release_ends_before_it_starts(tmp_path: Path) -> None:
    """The ceiling of pyproject.toml keeps pip from such a release, and nothing else does."""
    script = (
        "import importlib.metadata as m\n"
        "found = m.version\n"
        "m.version = lambda name: '1.43.0' if name == 'flwr' else found(name)\n"
        f"import fedlt\nfedlt.run('digits_lt', out={str(tmp_path)!r}, backend='inline')\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.returncode == 1
    assert "FedLTError: Flower 1.43.0 is installed" in said.stderr
    assert not list(tmp_path.iterdir())


def test_pip_allows_the_same_releases() -> None:
    (low_major, low), (high_major, high) = TESTED[0], TESTED[-1]
    allowed = f"flwr>={low_major}.{low},<{high_major}.{high + 1}"
    assert f'"{allowed}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert check_release(importlib.metadata.version("flwr"))


def test_a_named_message_is_known_to_its_reply() -> None:
    set_identity(run_id=1, node_id=1)
    message = Message(RecordDict(), 2, "train", group_id="1")
    set_message_id(message, "1/0")
    assert message.metadata.message_id == "1/0"
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == "1/0"


def test_the_superlink_knows_all_the_options_that_it_is_given() -> None:
    program = str(Path(sys.executable).parent / "flower-superlink")
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    names = [option for option in superlink_options(1, 2) if option.startswith("--")]
    assert names == ["--insecure", "--simulation", "--isolation", "--control-api-address", "--host", "--port"]
    assert all(re.search(rf"\[{name}\b", shown) for name in names)
