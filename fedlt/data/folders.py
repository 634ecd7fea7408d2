"""Which reader a folder needs, by what it holds; pickled layouts are refused with the way to bring them over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.data.coding import refuse
from fedlt.data.files import NpyFolder
from fedlt.data.image_folder import PICTURES, ImageFolder, site_folders
from fedlt.data.leaf import Leaf, leaf_files, unsplit_files
from fedlt.data.picture_list import PictureList, lists_pictures, names_a_list
from fedlt.data.table_files import TableFiles, split_files
from fedlt.data.text_folder import TextFolder

if TYPE_CHECKING:
    from fedlt.config.sections import Data

Reader = TableFiles | ImageFolder | TextFolder | NpyFolder | Leaf | PictureList


def folder_source(config: Data, folder: Path) -> Reader:
    """The reader for a folder, by what it holds. Raises `ScenarioError`."""
    split = config.train_split
    if names_a_list(split):
        return PictureList(config, folder)
    train = split_files(folder, split, "parquet", "saved")
    if train is None and config.test_share is not None:
        train = split_files(folder, "", "saved")
    if train is None and not _has_class_folders(config, folder):
        train = split_files(folder, split, "csv", "jsonl")
    if train is not None and train.kind == "csv" and lists_pictures(train.files[0], config):
        test = split_files(folder, config.test_split, "csv")
        return _listed(config, folder, [*train.files], [*test.files] if test else [config.test_split])
    if train is not None:
        return TableFiles(config, folder.name, str(folder), train, split_files(folder, config.test_split, train.kind))

    if NpyFolder.fits(config, folder):
        return NpyFolder(config, folder)
    if leaf_files(folder, split) or unsplit_files(folder):
        return Leaf(config, folder)
    _refuse_other_layouts(folder)
    if _has_class_folders(config, folder):
        return (ImageFolder if config.tokenizer is None else TextFolder)(config, folder)

    expected = f"{split}.parquet, {split}/*.parquet, {split}.csv, {split}.jsonl, x_{split}.npy or {split}/CLASS/*.png"
    named = sorted(path.name for path in folder.glob(f"*{split}*") if path.suffix in (".parquet", ".csv", ".jsonl"))
    hint = f"; {named[0]} is not of the split {split!r} by its name (data.train_split)" if named else ""
    raise refuse(f"{folder} holds no data set: expected {expected}{hint}")


def _listed(config: Data, folder: Path, train: list[Path], test: list[Path] | list[str]) -> PictureList:
    """The reader of tables `train.csv` and `test.csv` that name pictures; paths start at `folder`."""
    for files in (train, test):
        if len(files) > 1:
            raise refuse(f"{files[0]} and {files[1]} list pictures of one split; join them into one file")
    return PictureList(replace(config, train_split=str(train[0]), test_split=str(test[0])), folder)


def _has_class_folders(config: Data, folder: Path) -> bool:
    """Whether it holds folders of classes: beneath the split, beneath sites, or at its top where nothing is split."""
    split = folder / config.train_split
    if split.is_dir():
        return any(path.is_dir() or path.suffix.lower() in PICTURES for path in split.iterdir())
    return bool(site_folders(folder, config.train_split)) or (
        config.test_share is not None and any(path.is_dir() for path in folder.iterdir())
    )


def _refuse_other_layouts(folder: Path) -> None:
    """Say how the layouts of other programs are brought over; nothing of a pickled file is read."""
    pickled = "pickled files may run any code when they are read, so they are not"
    if any(folder.glob("train/[0-9]*.npz")):
        remedy = "write all rows into one .npz file, with client_train and client_test to say whose each is "
        remedy += "(docs/howto/own-data.md has the lines), and take "
        remedy += "federation.partition={name: natural, column: client}"
        raise refuse(f"{folder} is in the layout of PFLlib, one dictionary per client: {pickled}; {remedy}")
    if any(folder.glob("data_batch_*")) or (folder / "meta").is_file():
        remedy = "write the arrays into one .npz file (images [N, 32, 32, 3]), or take data.name=cifar10 or cifar100"
        raise refuse(f"{folder} holds CIFAR's Python batches: {pickled}; {remedy}")

    idx = [*folder.glob("*-idx[13]-ubyte*"), *folder.glob("raw/*-idx[13]-ubyte*")]
    if idx:
        remedy = "write x_train, y_train, x_test and y_test into one .npz file: the images are "
        remedy += "numpy.fromfile(FILE, numpy.uint8)[16:].reshape(-1, 28, 28), the labels numpy.fromfile(...)[8:]"
        raise refuse(f"{idx[0]} is an IDX file, as MNIST's are; {remedy}")
    records = [path for path in sorted(folder.glob("*")) if path.suffix == ".tfrecord" or ".tfrecord-" in path.name]
    if records:
        raise refuse(f"{records[0]} is a TFRecord file; write the split by datasets' save_to_disk, or as Parquet")
