"""Both ways to Ray's workers: what is sent arrives, what is common is moved once, and a lost worker leaves nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict

from server.arrays import pack_tensors, unpack_tensors
from server.grids.local import set_identity
from server.grids.parcels import LARGE
from server.grids.ray_grid import RayGrid
from server.grids.ray_transport import Files, Store, Transport

pytestmark = pytest.mark.grid


def message(**records: Any) -> Message:
    set_identity(1)
    return Message(RecordDict(records), 2, "train", group_id="1")


def value(found: Message, name: str) -> float:
    return float(unpack_tensors(found.content.array_records[name])["x"].mean())


class Shelf:
    """Stands for Ray's store. put: what was stored. fetched: how often something was got."""

    def __init__(self) -> None:
        self.put_in: list[Any] = []
        self.fetched = 0

    def put(self, content: Any) -> int:
        self.put_in.append(content)
        return len(self.put_in) - 1

    def get(self, reference: int) -> Any:
        self.fetched += 1
        return self.put_in[reference]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setattr("server.grids.ray_transport.ray", made)
    return made


@pytest.fixture(params=["files", "store"])
def transport(request: pytest.FixtureRequest, tmp_path: Path, shelf: Shelf) -> Transport:
    return Files(tmp_path) if request.param == "files" else Store()


@pytest.mark.parametrize("length", [3, LARGE])
def test_messages_and_answers_arrive_even_if_a_worker_is_lost(
    transport: Transport, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = pack_tensors({"x": torch.full((length,), 5.0)})
    own = [pack_tensors({"x": torch.full((length,), float(number))}) for number in range(3)]
    messages = [message(common=common, own=record) for record in own]
    with transport.sending(messages) as call:
        for number, sent in enumerate(messages):
            lost = pickle.loads(pickle.dumps(transport)).receive(*pickle.loads(pickle.dumps(call(sent))))
            assert value(lost, "own") == number
            there = pickle.loads(pickle.dumps(transport))
            found = there.receive(*pickle.loads(pickle.dumps(call(sent))))
            assert (value(found, "own"), value(found, "common")) == (number, 5.0)
            doubled = pack_tensors({"x": 2 * unpack_tensors(found.content.array_records["own"])["x"]})
            reply = Message(RecordDict({"answer": doubled}), reply_to=found)
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr(os, "getpid", lambda: 1)
                packed = pickle.dumps(there.reply(reply))
            answer = transport.read(pickle.loads(packed))
            assert value(answer, "answer") == 2 * number


def test_the_store_takes_once_what_is_common_and_each_worker_fetches_it_once(shelf: Shelf) -> None:
    common, worker = pack_tensors({"x": torch.ones(3)}), Store()
    messages = [message(common=common, own=pack_tensors({"x": torch.zeros(3)})) for _ in range(4)]
    server = Store()
    with server.sending(messages) as call:
        for sent in messages:
            worker.receive(*call(sent))
    assert shelf.put_in == [common]
    assert shelf.fetched == 1


def test_what_a_lost_worker_has_left_is_deleted_when_all_answers_are_read(tmp_path: Path) -> None:
    worker = Files(tmp_path)
    answers = [worker.reply(message(answer=pack_tensors({"x": torch.full((LARGE,), float(k))}))) for k in range(2)]
    half = tmp_path / f"{os.getpid()}-99"
    half.write_bytes(b"half of an answer")
    grid = object.__new__(RayGrid)
    grid._transport = Files(tmp_path)
    grid._pool = SimpleNamespace(lost=[os.getpid()], answer=lambda messages, call: iter(answers))  # type: ignore[assignment]
    assert [value(found, "answer") for found in grid._answer([])] == [0.0, 1.0]
    assert not half.exists()
    assert grid._pool.lost == []
