"""Tensors in Flower's records, without a copy that is not needed.

A large vector of fresh memory costs more than to fill it: the system hands it out page by page. So vectors that travel
often are made once, by `with_room`, with space in front for the header of the .npy format that Flower's arrays have.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from torch import Tensor

from server.grids.flower_private import NUMPY

HEADER = 1024
"""Bytes within which the header of the .npy format ends, for arrays of numbers."""

ROOM = 128
"""Bytes of the header of a vector."""


def with_room(length: int) -> Tensor:
    """[length] float32 on the CPU, of any content, that `pack_tensors` can pack in place."""
    return torch.empty(ROOM + 4 * length, dtype=torch.uint8)[ROOM:].view(torch.float32)


def pack_tensors(tensors: dict[str, Tensor], in_place: bool = False) -> ArrayRecord:
    """Tensors of any device and type as a record.

    Args:
        in_place: those made by `with_room` are not copied, and must stay as they are until the record has been moved;
            their arrays hold uint8 [bytes] of NumPy in place of `bytes`, which Flower's own network does not take.
    """
    record = ArrayRecord()
    for name, tensor in tensors.items():  # a dictionary would have all arrays made once more
        record[name] = _array(tensor.detach(), in_place)
    return record


def unpack_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """The tensors of a record, on the CPU and read-only: they share the record's memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return {name: torch.from_numpy(_view(array)) for name, array in record.items()}


def _array(tensor: Tensor, in_place: bool) -> Array:
    """What `Array(values)` gives, with one copy of the values in place of three, or with none."""
    values = np.asarray(tensor.cpu().numpy(), order="C")  # ascontiguousarray makes a vector of a number
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(values))
    header = stream.getvalue()
    if in_place and (whole := _whole(tensor, header)) is not None:
        array = Array(str(values.dtype), values.shape, NUMPY, b"")
        array.data = whole  # type: ignore[assignment]  # refused by the constructor
        return array
    data = b"".join((header, values.reshape(-1).view(np.uint8).data))
    return Array(str(values.dtype), values.shape, NUMPY, data)


def _whole(tensor: Tensor, header: bytes) -> NDArray[np.uint8] | None:
    """uint8 [bytes] of header and values, in the tensor's own memory; None where it has no room for the header."""
    offset = tensor.storage_offset() * tensor.itemsize
    storage = tensor.untyped_storage()
    if not offset == len(header) == storage.nbytes() - tensor.nbytes or tensor.device.type != "cpu":
        return None
    whole = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()  # type: ignore[call-overload]
    whole[:offset] = np.frombuffer(header, np.uint8)
    return whole  # type: ignore[no-any-return]


def _view(array: Array) -> NDArray[Any]:
    """What `array.numpy()` gives, without copying: the values that follow the header of the .npy format."""
    stream = io.BytesIO(memoryview(array.data)[:HEADER])
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if fortran or dtype.hasobject:
        return array.numpy()
    return np.frombuffer(array.data, dtype, offset=stream.tell(), count=math.prod(shape)).reshape(shape)
