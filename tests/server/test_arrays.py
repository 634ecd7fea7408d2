"""Tensors in Flower's arrays: what Flower itself would make of them, and vectors that travel as they lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array

import fedlt
from clients.vectors import Vectors
from clients.worker import Worker
from fedlt.data.federation import federate
from fedlt.exchange import Job, Report, Work
from server.arrays import pack_tensors, unpack_tensors, with_room

VALUES = [torch.tensor(2.5), torch.arange(6).view(2, 3), torch.zeros(0), torch.tensor([True]), torch.ones(3, 2).T]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: str(tuple(values.shape)))
@pytest.mark.parametrize("in_place", [False, True])
def test_arrays_are_those_that_flower_makes_itself(values: torch.Tensor, in_place: bool) -> None:
    record = pack_tensors({"x": values}, in_place)
    theirs = Array(np.asarray(values.numpy(), order="C"))
    assert record["x"] == theirs
    assert torch.equal(unpack_tensors(record)["x"], values)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 70_000])
def test_a_vector_with_room_is_packed_as_it_lies_and_reads_the_same(length: int) -> None:
    vector = with_room(length).copy_(torch.arange(length))
    array = pack_tensors({"x": vector}, in_place=True)["x"]
    assert bytes(array.data) == Array(vector.numpy()).data
    if length:
        vector[0] = 9.0
        assert unpack_tensors(pack_tensors({"x": vector}, in_place=True))["x"].data_ptr() == vector.data_ptr()


def test_only_a_whole_vector_with_room_is_packed_in_place_and_only_when_asked() -> None:
    vector = with_room(100).zero_()
    copied: list[Callable[[], Any]] = [
        lambda: pack_tensors({"x": vector}),  # not asked for
        lambda: pack_tensors({"x": vector[:50]}, in_place=True),
        lambda: pack_tensors({"x": vector[1:]}, in_place=True),
        lambda: pack_tensors({"x": torch.zeros(132)[32:]}, in_place=False),
    ]
    for pack in copied:
        array = pack()["x"]
        assert type(array.data) is bytes
        assert np.array_equal(array.numpy(), np.zeros(array.shape, np.float32))


def test_vectors_are_used_again_but_never_twice_at_a_time() -> None:
    vectors = Vectors(5, torch.device("cpu"))
    one, two = vectors.take(), vectors.take()
    assert one.data_ptr() != two.data_ptr()
    vectors.give(one)
    assert vectors.take() is one
    vectors.recycle()
    assert {id(vectors.take()), id(vectors.take())} == {id(one), id(two)}
    assert id(vectors.take()) not in {id(one), id(two)}


def test_a_worker_keeps_one_vector_for_each_block_and_uses_it_again(tiny: dict[str, Any]) -> None:
    worker = Worker(scenario := fedlt.load_scenario(tiny), federate(scenario))
    blocks, shared = {0: [0, 1, 2], 1: [3]}, worker.context.flat.shared.clone()

    def report() -> Report:
        return worker.run(Job({}, "", 1, [Work(blocks)], shared))

    first = report()
    kept = {block: update[0].total.clone() for block, update in first.updates.items()}
    worker.context.vectors.recycle()
    places = {vector.data_ptr() for vector in worker.context.vectors._free}
    assert len(places) == 2  # the second block's is the one that the first block's further clients had
    again = report()
    for block, update in again.updates.items():
        assert torch.equal(update[0].total, kept[block])
        assert update[0].total.data_ptr() in places
