"""Large arrays: written to files as they are made, moved into the cache, and mapped with a bounded resident size."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fedlt
from fedlt.config.sections import Data
from fedlt.data import sources, stored
from fedlt.data.inputs import shaped
from fedlt.data.inputs.on_disk import OnDisk, opened
from fedlt.errors import ScenarioError

GRAY = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)
LABELS = np.arange(10) % 2


@pytest.fixture(autouse=True)
def _all_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array counts as large, and pieces hold one or two rows."""
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDLT_DATA", raising=False)
    for module in ("stored", "npz"):
        monkeypatch.setattr(f"fedlt.data.{module}.LARGE", 0)
    monkeypatch.setattr(stored, "PIECE", 12)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arrays that came into the cache by a new name, without a copy."""
    found: list[str] = []
    whole = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.suffix == ".npy":
            found.append(Path(target).name)
        return whole(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    return found


def test_an_image_folder_is_decoded_into_the_files_of_the_cache(tmp_path: Path, moved: list[str]) -> None:
    import PIL.Image

    for split in ("train", "test"):
        for number, pixels in enumerate(GRAY):
            place = tmp_path / "pets" / split / "ab"[number % 2] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(place)
    order = [*range(0, 10, 2), *range(1, 10, 2)]
    raw = sources.load(Data(str(tmp_path / "pets")))
    assert (raw.x_train[..., 0] == GRAY[order]).all() and raw.y_train.tolist() == [0] * 5 + [1] * 5
    assert moved == ["x_train.npy", "x_test.npy"]
    (entry,) = (path for path in (tmp_path / "cache").iterdir() if path.name != "digests")
    files = {"x_train.npy", "x_test.npy", "y_train.npy", "y_test.npy", "inputs_mean.npy", "inputs_std.npy", "meta.json"}
    assert {path.name for path in entry.iterdir()} == files
    assert raw.inputs.arrays()["mean"] == pytest.approx(GRAY.mean() / 255)

    # A picture in colour after gray ones: what was written before is written anew.
    PIL.Image.fromarray(np.full((2, 3, 3), (1, 2, 3), np.uint8)).save(tmp_path / "pets/train/b/5.png")
    raw = sources.load(Data(str(tmp_path / "pets")))
    expected = np.repeat(GRAY[order][..., None], 3, axis=3)
    expected[7] = (1, 2, 3)
    assert (raw.x_train == expected).all() and (raw.x_test == np.repeat(GRAY[order][..., None], 3, axis=3)).all()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [None, 0.2])
def test_arrays_of_an_npz_file_are_unpacked_to_the_disk(
    save: Any, share: float | None, tmp_path: Path, moved: list[str]
) -> None:
    arrays = {"x_train": GRAY[..., None], "y_train": LABELS}
    save(tmp_path / "s.npz", **arrays, **({} if share else {"x_test": GRAY[::-1, ..., None], "y_test": LABELS}))
    raw = sources.load(Data(str(tmp_path / "s.npz"), test_share=share))
    assert moved == ["x_train.npy", "x_test.npy"]
    if share is None:
        assert (raw.x_train[..., 0] == GRAY).all() and (raw.x_test[..., 0] == GRAY[::-1]).all()
        return
    rows = [int(x[0, 0, 0]) // 6 for x in (*raw.x_train, *raw.x_test)]
    assert sorted(rows) == list(range(10)) and [*raw.y_train, *raw.y_test] == [row % 2 for row in rows]
    assert (raw.x_train[..., 0] == GRAY[rows[:8]]).all()


def test_what_is_converted_on_the_way_is_the_same_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = GRAY[..., None] / 255
    np.savez(tmp_path / "s.npz", x_train=x, y_train=LABELS, x_test=x, y_test=LABELS)
    config = Data(str(tmp_path / "s.npz"), size=4)
    large = sources.load(config)
    monkeypatch.setattr(stored, "LARGE", 2**26)
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "other"))
    small = sources.load(config)
    assert large.x_train.shape == (10, 4, 4, 1) and (large.x_train == small.x_train).all()
    assert [*large.inputs.arrays().values()] == [*small.inputs.arrays().values()]
    assert (sources.load(replace(config, size=None)).x_train[..., 0] == GRAY).all()


def test_a_disk_that_is_full_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "s.npz", x_train=GRAY, y_train=LABELS, x_test=GRAY, y_test=LABELS)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ScenarioError, match=r"unpacks to .* GiB left; set FEDLT_CACHE to a folder with more"):
        sources.load(Data(str(tmp_path / "s.npz")))
    with pytest.raises(ScenarioError, match=r"cannot be written to .*nowhere.*set FEDLT_CACHE"):
        stored.RowWriter(2, (3,), np.uint8, tmp_path / "nowhere", "x")


def resident(file: Path) -> int:
    """Bytes of a mapped file that are resident in this process, as Linux counts them."""
    maps = Path("/proc/self/smaps").read_text().split(str(file))[1:]
    return sum(int(match.group(1)) for part in maps if (match := re.search(r"Rss:\s+(\d+) kB", part))) * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux counts what is resident")
def test_the_resident_size_of_mapped_inputs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PIECE", 2**24)
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 64, 64, 1), np.uint8)  # 8 MiB
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    kind, rows = shaped((1, 64, 64)), torch.arange(2048)
    plain = opened(kind, mapped, "cpu")
    assert not isinstance(plain, OnDisk)  # smaller than what a process may keep
    whole = plain.take(rows)
    assert resident(tmp_path / "x.npy") == pytest.approx(pixels.nbytes, rel=0.01)

    monkeypatch.setattr("fedlt.data.inputs.on_disk.RESIDENT", 2**20)
    on_disk = opened(kind, mapped, "cpu")
    assert isinstance(on_disk, OnDisk)
    for part in (mapped[1:], mapped[:, :32], np.array(mapped)):  # no whole file in its order
        assert not isinstance(opened(kind, part, "cpu"), OnDisk)
    stored.release(mapped)
    assert resident(tmp_path / "x.npy") == 0
    for part in rows.flip(0).split(100):
        draws = [torch.Generator().manual_seed(0) for _ in range(2)]
        assert torch.equal(on_disk.take(part), whole[part])
        augmented = [inputs.take(part, "crop_flip", draw) for inputs, draw in zip((on_disk, plain), draws, strict=True)]
        stored.release(mapped)
        assert torch.equal(*augmented)
    assert resident(tmp_path / "x.npy") == 0 and len(on_disk) == 2048


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    """A day later; what is being written stays."""
    for name, age in ((".draft-old", 2 * 24 * 3600), (".draft-new", 60)):
        (tmp_path / "cache" / name).mkdir(parents=True)
        (tmp_path / "cache" / name / "train.npy").write_bytes(b"x")
        for path in (tmp_path / "cache" / name / "train.npy", tmp_path / "cache" / name):
            os.utime(path, (time.time() - age,) * 2)
    np.savez(tmp_path / "s.npz", x_train=GRAY, y_train=LABELS, x_test=GRAY, y_test=LABELS)
    sources.load(Data(str(tmp_path / "s.npz")))
    assert [path.name for path in (tmp_path / "cache").glob(".draft-*")] == [".draft-new"]


def test_a_run_on_inputs_on_the_disk_has_the_same_bits(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("federation.rounds=2", "local.augment=crop_flip")
    hashes, opened_on_disk = [], []
    init = OnDisk.__init__
    monkeypatch.setattr(OnDisk, "__init__", lambda self, *given: opened_on_disk.append(1) or init(self, *given))
    for resident_bytes, backend in ((2**28, "inline"), (0, "inline"), (0, "processes")):
        monkeypatch.setattr("fedlt.data.inputs.on_disk.RESIDENT", resident_bytes)
        run = fedlt.run(tiny, *changes, out=tmp_path / f"{backend}{resident_bytes}", backend=backend, workers=1)
        hashes.append(run.summary["model_hash"])
    assert len(set(hashes)) == 1
    assert len(opened_on_disk) == 2  # the inline run's training and test set
