"""Hostile input: scenarios, overrides and data files are mutated at random; each runs, or is refused with a reason.

pytest tests/config/test_hostile.py                                   a few hundred examples, the same ones each time
pytest tests/config/test_hostile.py --hypothesis-profile=thorough     thousands, other ones each time
"""

from __future__ import annotations

import io
import re
import resource
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.commands.listing import listing
from fedlt.config import catalog

pytestmark = pytest.mark.slow

SECONDS = 30  # an example that takes longer hangs
MEMORY = 6 * 2**30  # bytes of address space, beyond what the process has: Ray of other tests has mapped much

KEYS = [row["name"] for row in listing("keys")]
PARTS = [
    f"{key}.{spec.name}"
    for key, kind in (("model", "model"), ("strategy", "strategy"), ("federation.partition", "partition"))
    for name in catalog.names(kind)
    for spec in catalog.find(kind, name).fields
]
NAMES = [*catalog.names("model"), *catalog.names("strategy"), *catalog.names("partition"), *catalog.flower_names()]
TEXTS = [
    "", "auto", "null", "~", "${seed}", "${a.b}", "${oc.env:HOME}", "${seed", "${federation}", "../../etc/passwd",
    "/dev/zero", ".", "..", "a/b/c", "\x00", "é\u202e", "1e400", ".nan", ".inf", "-.inf", "0x10", "1_000", "[", "{a: 1",
    "strategies/fedavg.py:FedAvg", "./x.py:Y", "a.npz", "a.npz:b", "flower:", "flower:Nope", "many" * 100,
]  # fmt: skip
YAMLS = [
    "seed: !!python/object/apply:os.system ['touch hacked']", "seed: &a [*a]", "a: &a {b: *a}", "? [1]\n: 2",
    "seed: 1\nseed: 2", "---\n---\n", "%YAML 9.9\n---\na: 1", "\t- a", "seed: !!binary aGFjaw==", "<<: {seed: 3}",
    "seed: 2020-01-01", "1: 2", "null: 1", "true: {}", "data: {longtail: [1, 2]}", "model: []", "strategy: {}",
]  # fmt: skip

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 200),
        st.integers(-(10**20), 10**20),
        st.floats(width=32),
        st.sampled_from([1e-300, 1e300, 5e-324, 0.0, -0.0]),
        st.sampled_from(TEXTS),
        st.sampled_from(NAMES),
        st.text(max_size=8),
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=6,
)
changes = st.lists(st.tuples(st.sampled_from(KEYS + PARTS) | st.text(max_size=10), junk), min_size=1, max_size=4)


def scenario_text(content: dict[str, Any], edits: list[tuple[str, Any]]) -> str:
    """The scenario with the edits applied, as YAML."""
    tree: dict[str, Any] = yaml.safe_load(yaml.safe_dump(content))
    for path, value in edits:
        *parents, last = path.split(".")
        node = tree
        for part in parents:
            child = node.get(part)
            node[part] = child if isinstance(child, dict) else {"name": child} if isinstance(child, str) else {}
            node = node[part]
        node[last] = value
    return yaml.safe_dump(tree, allow_unicode=True)


@contextmanager
def limits() -> Iterator[None]:
    """An alarm and a roof of memory for one example."""

    def hang(*_: object) -> None:
        raise AssertionError(f"no answer after {SECONDS} s")

    before, roof = signal.signal(signal.SIGALRM, hang), resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, roof[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, roof)


# What runs is made short: neither the number of rounds nor Ray is what is tried here.
SHORT = ["federation.rounds=1", "local.epochs=1", "resources.backend=inline", "resources.device=cpu"]


def judge(result: Result) -> bool:
    """Whether it ran; fails unless it ran, or was refused with a key and a message, leaving nothing behind."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{result.output}\nended with {result.exception!r}") from result.exception
    left = {path.name for path in Path.cwd().iterdir()} - {"s.yaml", "d.npz", "folder", "c.json", "x.py"}
    if result.exit_code == 0:
        shutil.rmtree("runs")
        return True
    if result.exit_code == 1:  # a run that began and failed: a client that diverged, above all
        assert re.search(
            r"error: (client -?\d+ failed in round|the generic model is not finite|Flower's)", result.stderr
        )
        shutil.rmtree("runs")
        return False
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: "), result.output
    assert "Traceback" not in result.output
    assert not left, left
    problems = [line for line in result.stderr.splitlines()[1:] if re.match(r"  \S", line)]
    assert problems, result.stderr
    return False


def attempt(*arguments: str) -> bool:
    with limits():
        return judge(CliRunner().invoke(app, ["run", *arguments, *SHORT]))


@pytest.fixture
def base(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The tiny scenario, an empty working folder, and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        yield tiny
        monkeypatch.chdir("/")


def test_the_scenario_that_is_mutated_runs(base: dict[str, Any]) -> None:
    Path("s.yaml").write_text(scenario_text(base, []), encoding="utf-8")
    assert attempt("s.yaml")


@given(edits=changes)
def test_mutated_scenarios_run_or_are_refused(base: dict[str, Any], edits: list[tuple[str, Any]]) -> None:
    Path("s.yaml").write_text(scenario_text(base, edits), encoding="utf-8", errors="surrogatepass")
    attempt("s.yaml")


@given(
    edits=st.lists(
        st.tuples(st.sampled_from(KEYS + PARTS), st.sampled_from(TEXTS) | st.text(max_size=8)), min_size=1, max_size=3
    )
)
def test_mutated_overrides_run_or_are_refused(base: dict[str, Any], edits: list[tuple[str, str]]) -> None:
    Path("s.yaml").write_text(scenario_text(base, []), encoding="utf-8")
    attempt("s.yaml", *(f"{key}={value}" for key, value in edits))


@given(data=st.data())
def test_broken_yaml_is_refused(base: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(scenario_text(base, []).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        match data.draw(st.integers(0, 3)):
            case 0:
                del text[at : at + data.draw(st.integers(1, 40))]
            case 1:
                text[at:at] = data.draw(st.binary(max_size=6))
            case 2:
                text[at:at] = b"\n" + data.draw(st.sampled_from(YAMLS)).encode() + b"\n"
            case _:
                del text[at:]
    Path("s.yaml").write_bytes(bytes(text))
    attempt("s.yaml")


# Data files -----------------------------------------------------------------------------------------------------------


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    x = rng.integers(0, 256, (60, 6, 6), np.uint8)
    return {
        "x_train": x,
        "y_train": y,
        "x_test": x[::2],
        "y_test": y[::2],
        "site_train": y % 2,
        "site_test": y[::2] % 2,
    }


@st.composite
def array(draw: st.DrawFn) -> Any:
    """An array of any kind, shape and content that a file may hold."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 6, 30, 60]), max_size=4))
    kind = draw(st.sampled_from(["u1", "i8", "u8", "f4", "f8", "?", "U3", "S3", "c8", "M8[s]", "f2", ">i4", "O"]))
    if kind == "O":
        return np.full(shape, None)
    fill = draw(st.sampled_from([0, 1, -1, 255, 2**31, float("nan"), float("inf"), 1e30]))
    with np.errstate(all="ignore"):
        try:
            return np.full(shape, fill).astype(kind)
        except (ValueError, OverflowError, TypeError):
            return np.zeros(shape, kind)


@given(data=st.data())
def test_mutated_npz_files_run_or_are_refused(base: dict[str, Any], data: st.DataObject) -> None:
    content = arrays()
    for _ in range(data.draw(st.integers(0, 2))):
        key = data.draw(st.sampled_from([*content, "class_names", "../evil_train", "x_train/", "group_train", ""]))
        match data.draw(st.integers(0, 2)):
            case 0:
                content.pop(key, None)
            case 1:
                content[key] = data.draw(array())
            case _ if key in content and content[key].size and content[key].dtype.kind in "iu":
                flat = content[key].astype(np.int64).ravel()
                flat[data.draw(st.integers(0, len(flat) - 1))] = data.draw(st.integers(-2, 300))
                content[key] = flat.reshape(content[key].shape)
    stream = io.BytesIO()
    np.savez(stream, **content)
    raw = bytearray(stream.getvalue())
    match data.draw(st.integers(0, 3)):
        case 0:
            raw = raw[: data.draw(st.integers(0, len(raw)))]
        case 1:
            for _ in range(data.draw(st.integers(1, 6))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    Path("d.npz").write_bytes(bytes(raw))
    longtail = {"profile": "none"}
    Path("s.yaml").write_text(
        scenario_text(base, [("data", {"name": "./d.npz", "longtail": longtail})]), encoding="utf-8"
    )
    attempt("s.yaml")


@given(data=st.data())
def test_mutated_parquet_folders_run_or_are_refused(base: dict[str, Any], data: st.DataObject) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    shutil.rmtree("folder", ignore_errors=True)
    Path("folder").mkdir()
    rng = np.random.default_rng(0)
    for split, rows in (("train", 60), ("test", 30)):
        columns: dict[str, Any] = {
            "input": [rng.normal(size=4).tolist() for _ in range(rows)],
            "label": (np.arange(rows) % 3).tolist(),
        }
        for _ in range(data.draw(st.integers(0, 2))):
            row = data.draw(st.integers(0, rows - 1))
            key = data.draw(st.sampled_from(list(columns)))
            columns[key] = list(columns[key])
            if key == "input":
                columns[key][row] = data.draw(st.sampled_from([None, [], [1.0], [float("nan")] * 4, [1e300] * 4]))
            else:
                columns[key][row] = data.draw(st.sampled_from([None, -1, 7, 2**40]))
        stream = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(columns), stream)
        raw = bytearray(stream.getvalue())
        match data.draw(st.integers(0, 4)):
            case 0:
                raw = raw[: data.draw(st.integers(0, len(raw)))]
            case 1:
                for _ in range(data.draw(st.integers(1, 6))):
                    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        Path("folder", f"{split}.parquet").write_bytes(bytes(raw))
    source = {"name": "./folder", "input_column": "input", "longtail": {"profile": "none"}}
    Path("s.yaml").write_text(scenario_text(base, [("data", source)]), encoding="utf-8")
    attempt("s.yaml")


@given(
    text=st.text(max_size=30) | st.sampled_from(["[1, 2]", "[]", "{}", "[true]", "[1e9]", "[" * 5000, "[NaN]", "null"])
)
def test_mutated_count_files_run_or_are_refused(base: dict[str, Any], text: str) -> None:
    Path("c.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    longtail = {"profile": "counts", "counts": "./c.json"}
    Path("s.yaml").write_text(scenario_text(base, [("data.longtail", longtail)]), encoding="utf-8")
    attempt("s.yaml")


@given(
    text=st.text(max_size=60)
    | st.sampled_from(["class Y: pass", "raise SystemExit(3)", "import os; os._exit", "1/0", "Y = 3"])
)
def test_mutated_strategy_files_run_or_are_refused(base: dict[str, Any], text: str) -> None:
    Path("x.py").write_text(text, encoding="utf-8", errors="surrogatepass")
    Path("s.yaml").write_text(scenario_text(base, [("strategy", "./x.py:Y")]), encoding="utf-8")
    attempt("s.yaml")
