"""A file that says who holds which training row: what it may look like, and what is refused, with row and file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fedlt
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate, plan
from fedlt.data.partitions.dealing import partition
from fedlt.data.partitions.given import Given
from fedlt.data.partitions.given_file import read_holders
from fedlt.data.partitions.scheme import SourceRows
from fedlt.data.provenance import names_files
from fedlt.data.ragged import Ragged
from fedlt.errors import ScenarioError

# A source of eight rows, of which the long tail keeps five: rows 0, 2, 7 of class 0 and rows 1, 6 of class 1.
LABELS = np.array([0, 0, 0, 1, 1])
ROWS = np.array([0, 2, 7, 1, 6])

NAMED = "row,client\n0,site10\n1,site9\n2,site9\n3,site10\n4,site9\n5,site9\n6,site10\n7,site10\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def deal(file: str, clients: int | None = None, rows: NDArray[np.int64] = ROWS, **fields: Any) -> Ragged:
    return partition(Given(file, **fields), LABELS[: len(rows)], {}, clients, 0, source=SourceRows(rows, 8))


def refused(text: str, **fields: Any) -> str:
    """The message of the one problem with a file `clients.csv` of this text."""
    Path("clients.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        deal("clients.csv", **fields)
    (problem,) = caught.value.problems
    assert problem.key == "federation.partition.file"
    return problem.message


def test_rows_are_those_of_the_source_and_what_the_tail_leaves_out_is_not_held(folder: Path) -> None:
    Path("clients.csv").write_text(NAMED, encoding="utf-8")
    held = deal("clients.csv")
    # site9 comes before site10. It holds the source's rows 1 and 2, the samples 3 and 1; site10 holds 0, 6 and 7.
    assert [row.tolist() for row in held] == [[1, 3], [0, 2, 4]]
    assert read_holders("clients.csv").names == ("site9", "site10")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("quoted.csv", "row, client\n" + "".join(f'{row}, "{"ba"[row in (1, 2)]}"\n' for row in range(8))),
        ("turned.csv", "client,row\n" + "".join(f"{'ba'[row in (1, 2)]},{row}\n" for row in (7, 6, 5, 4, 3, 2, 1, 0))),
        ("alone.csv", "client\nb\na\na\nb\nb\nb\nb\nb\n"),
        ("tabs.tsv", "row\tclient\n" + "".join(f"{row}\t{10 if row in (1, 2) else 11}\n" for row in range(8))),
        ("marked.csv", "\ufeffclient\r\n11\r\n9\r\n9\r\n11\r\n11\r\n11\r\n11\r\n11\r\n"),
        ("numbers.npy", np.array([7, 3, 3, 7, 7, 7, 7, 7])),
        ("texts.npy", np.array(["b", "a", "a", "b", "b", "b", "b", "b"])),
        ("both.npz", {"row": np.arange(8)[::-1], "client": np.array([7, 7, 7, 7, 7, 3, 3, 7])}),
        ("one.npz:site", {"site": np.array([7, 3, 3, 7, 7, 7, 7, 7], np.uint8)}),
    ],
)
def test_every_form_of_the_file_gives_the_same_clients(folder: Path, name: str, content: Any) -> None:
    file = name.partition(":")[0]
    if isinstance(content, str):
        Path(file).write_text(content, encoding="utf-8")
    elif isinstance(content, dict):
        np.savez(file, **content)
    else:
        np.save(file, content)
    assert [row.tolist() for row in deal(name)] == [[1, 3], [0, 2, 4]]
    assert read_holders(name).names in (("a", "b"), ("3", "7"), ("9", "11"), ("10", "11"))


REFUSALS = [
    (
        "row,client\n" + "".join(f"{row},a\n" for row in (0, 1, 2, 8)),
        r"clients.csv, line 5: there is no row 8; .* 0..7",
    ),
    ("row,client\n0,a\n3,a\n1,b\n3,b\n", "clients.csv, line 5 names row 3 again, after line 3"),
    (NAMED.replace("5,site9\n", ""), r"clients.csv: row 5 has no client \(1 of 8 rows have none\)"),
    (NAMED.replace("5,site9\n", "5,\n"), r"clients.csv, line 7: row 5 has no client \(1 of 8"),
    ("client\n" + 7 * "a\n", "clients.csv names 7 clients for the 8 rows of the training set"),
    ("row,client\n0,a\n1.0,a\n", "clients.csv, line 3: row '1.0' is no whole number from 0"),
    ("row,client\n0,a\n-1,a\n", "clients.csv, line 3: row '-1' is no whole number from 0"),
    ("row,client\n0,a\n1\n", "clients.csv, line 3 has 1 of the 2 columns"),
    ("client\na\n\nb\n", "clients.csv, line 3 is empty; remove it"),
    ("0,a\n1,b\n", "clients.csv: its first line must name the columns, row and client, .*; got 0, a"),
    ("row;client\n0;a\n", "got row;client"),
    ("", "got an empty file"),
    ("row,client\n", "clients.csv names no client"),
    ('row,client\n0,"a\n', "clients.csv is not a readable table"),
    (
        # Client c holds the rows 3 and 4, which are not among the samples.
        NAMED.replace("3,site10", "3,c").replace("4,site9", "4,c"),
        r"clients.csv, line 5: client 'c' has no training sample: row 3 and all its others .*\(1 of 3 clients",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSALS, ids=lambda value: repr(value)[:40])
def test_what_is_wrong_is_named_with_its_line(folder: Path, text: str, message: str) -> None:
    assert re.search(message, refused(text))


def test_rows_may_be_left_out_where_that_is_said(folder: Path) -> None:
    Path("clients.csv").write_text("row,client\n1,b\n6,\n7,a\n2,b\n", encoding="utf-8")
    held = deal("clients.csv", unnamed="leave_out")
    assert [row.tolist() for row in held] == [[2], [1, 3]]  # the samples of rows 0 and 6 are held by nobody
    np.save("owner.npy", np.array([-1, 0, 1, 1, 1, 1, -1, 1]))
    assert [row.tolist() for row in deal("owner.npy", unnamed="leave_out")] == [[3], [1, 2]]
    with pytest.raises(ScenarioError, match=r"owner.npy, entry 0: row 0 has no client"):
        deal("owner.npy")


def test_no_class_is_left_to_nobody(folder: Path) -> None:
    Path("clients.csv").write_text("row,client\n0,a\n2,b\n7,b\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"federation.partition: Given.assign leaves 1 class \(class 1 first\)"):
        deal("clients.csv", unnamed="leave_out")


def test_files_that_are_no_tables(folder: Path) -> None:
    np.save("flat.npy", np.zeros((4, 2)))
    np.save("below.npy", np.array([0, 0, -2, 0, 0, 0, 0, 0]))
    np.save("objects.npy", np.array([None, "a"], object), allow_pickle=True)
    np.savez("rows.npz", client=np.arange(8), row=np.arange(7))
    Path("clients.json").write_text("[]", encoding="utf-8")
    Path("latin.csv").write_bytes(b"client\n\xe9\n")
    for file, message in {
        "flat.npy": r"flat.npy: expected one whole number or text for each row, got float64 \[4, 2\]",
        "below.npy": "below.npy, entry 2: clients are numbered from 0, got -2",
        "objects.npy": "objects.npy is not a readable .npy file of a plain array",
        "rows.npz": "rows.npz: rows must be 8 whole numbers",
        "rows.npz:site": "rows.npz has no array 'site', but client, row",
        "clients.json": "expected a .csv, .tsv, .npy or .npz file, got clients.json",
        "latin.csv": "latin.csv is not a readable table of texts in UTF-8",
        "gone.csv": f"no such file: {folder}/gone.csv",
    }.items():
        with pytest.raises(ScenarioError, match=rf"federation.partition.file: {message}"):
            deal(file)


def test_the_number_of_clients_is_the_file_s(folder: Path) -> None:
    Path("clients.csv").write_text(NAMED, encoding="utf-8")
    assert len(deal("clients.csv", clients=2)) == 2
    with pytest.raises(ScenarioError, match=r"federation.clients: Given makes 2 clients, not 3; write null or 2"):
        deal("clients.csv", clients=3)


# In a scenario --------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(folder: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny scenario on 24 rows of two classes, of which the tail keeps 12 of class 0 and 4 of class 1."""
    y = np.tile([0, 1], 12)
    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    Path("clients.csv").write_text("client\n" + "".join(f"{'abc'[row % 3]}\n" for row in range(24)), encoding="utf-8")
    tiny["data"] = {"name": "./mine.npz", "longtail": {"profile": "exponential", "imbalance_factor": 3}}
    tiny["model"] = {"name": "mlp", "width": 4}
    tiny["federation"] |= {"clients": None, "rounds": 1, "partition": {"name": "given", "file": "clients.csv"}}
    return tiny


def test_a_client_holds_its_rows_of_the_file_as_far_as_the_tail_keeps_them(written: dict[str, Any]) -> None:
    federation = federate(load_scenario(written))
    assert federation.class_counts.tolist() == [12, 4]
    for client, rows in enumerate(federation.clients):
        assert (rows % 3 == client).all()
    assert sorted(federation.clients.values) == sorted(federation.union())
    assert plan(load_scenario(written)).digest == federation.digest()


def test_the_path_starts_at_the_scenario_s_folder(written: dict[str, Any], folder: Path) -> None:
    from omegaconf import OmegaConf

    there = folder / "there"
    there.mkdir()
    for file in ("mine.npz", "clients.csv"):
        shutil.move(file, there / file)
    OmegaConf.save(OmegaConf.create(written), there / "mine.yaml")
    scenario = load_scenario(there / "mine.yaml")
    assert scenario.federation.partition.options["file"] == str(there / "clients.csv")
    assert len(federate(scenario).clients) == 3


def test_a_run_is_made_of_the_file_s_content(written: dict[str, Any]) -> None:
    first = fedlt.run(written, backend="inline")
    assert set(first.summary["inputs"]["federation.partition.file"]) == {"clients.csv"}
    text = Path("clients.csv").read_text(encoding="utf-8")
    Path("clients.csv").write_text(text.replace("a\nb\n", "b\na\n", 1), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"federation.partition.file: clients.csv changed since the run in"):
        fedlt.run(written, backend="inline")
    assert fedlt.run(written, backend="inline", force=True).summary["inputs"] != first.summary["inputs"]


def test_a_run_of_built_in_data_is_of_a_file_too(written: dict[str, Any]) -> None:
    written["data"] = {"name": "digits"}
    assert names_files(load_scenario(written).to_dict())
    assert not names_files(load_scenario(written, ["federation.partition=iid", "federation.clients=4"]).to_dict())


def test_rows_are_not_known_from_public_counts(written: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDLT_DATA", raising=False)
    written["data"] = {"name": "cifar10"}
    with pytest.raises(
        ScenarioError, match="Given knows the rows of the data set by number, and only the class counts"
    ):
        plan(load_scenario(written))


def test_it_passes_the_check_of_partitions(folder: Path) -> None:
    np.save("owner.npy", np.arange(400) % 20)
    fedlt.check_partition("given", file="owner.npy")
    Path("mine.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Blocks:\n"
        "    def assign(self, labels, groups, clients, seed, source):\n"
        "        return source.rows * clients // source.size\n",
        encoding="utf-8",
    )
    fedlt.check_partition("./mine.py:Blocks")
