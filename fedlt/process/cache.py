"""The folder of what is costly to make, and single arrays that are kept there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.process.files import replace_file


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """Where things that are costly to make are kept: cache_dir, else `$FEDLT_CACHE`, else `~/.cache/fedlt`."""
    return Path(cache_dir or os.environ.get("FEDLT_CACHE") or "~/.cache/fedlt").expanduser()


def kept_array(name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """The array of that name from the cache's folder, else made and put there; a disk that refuses is warned of.

    Args:
        name: of the file, without ending. It must hold everything that decides the array, and a version of `make`.
    """
    path = cache_folder() / f"{name}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    made = make()

    def write(draft: Path) -> None:
        with draft.open("wb") as file:  # NumPy would add an ending to a bare name
            np.save(file, made)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, write)
    except OSError as error:
        warnings.warn(f"{name} is not kept: {path} cannot be written ({error}); set FEDLT_CACHE", stacklevel=2)
    return made
