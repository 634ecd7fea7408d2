"""A Ray worker: its ClientApp lives in an importable module, so the module's caches last."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import ray

from fedlt.process.gpus import hide_gpus
from server.grids.local import new_context, set_identity
from server.grids.ray_transport import Transport


class Host:
    """Answers messages.

    Attributes:
        app: `module:name` of the ClientApp.
        transport: how messages get here and back.
    """

    def __init__(self, app: str, transport: Transport) -> None:
        if not ray.get_gpu_ids():  # without a share of a GPU; Ray would let it see every GPU of the machine
            hide_gpus()
        set_identity(run_id=1)
        self.app, self.transport = _named(app), transport

    def install(self, function: str, payload: list[Any]) -> int:
        """Returns the process id.

        Args:
            function: `module:name`.
            payload: a list with a reference to its arguments.
        """
        _named(function)(*ray.get(payload[0]))
        return os.getpid()

    def answer(self, *call: Any) -> Any:
        """The reply to a message, each as the transport has it."""
        message = self.transport.receive(*call)
        return self.transport.reply(self.app(message, new_context(message.metadata.dst_node_id, moved=True)))


def _named(name: str) -> Any:
    """The object that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
