"""What the project's own grids share, and the one in this process; `process_grid` and `ray_grid` spread the work."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import cast

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from server.grids import flower_private
from server.grids.flower_private import Run

SERVER_NODE = 1


def set_identity(run_id: int) -> None:
    """Let this process build messages."""
    flower_private.set_identity(run_id, SERVER_NODE)


def new_context(node_id: int, moved: bool = False) -> Context:
    """A Flower context without any state: simulated clients keep theirs in the messages.

    Args:
        moved: tells the ClientApp that its reply is copied before the next message comes.
    """
    return Context(run_id=1, node_id=node_id, node_config={}, state=RecordDict(), run_config={"moved": moved})


ENOUGH = 5
"""Losses of workers over the same message, or in a row while they start, that are no accident."""


def cost_of(message: Message) -> float:
    """What the sender expects a message to cost beside others; 1 where it says nothing."""
    job = message.content.get("job")
    return cast(float, job["cost"]) if isinstance(job, ConfigRecord) and "cost" in job else 1.0


class LocalGrid(Grid):
    """A grid without a network. Messages are answered by `_answer`, in any order.

    Attributes:
        eager: whether one message per unit of work is better than one per node.
        moves: whether messages and replies are copied on their way, so that the memory they are packed in can be used
            again.
    """

    eager = False
    moves = False

    def __init__(self, num_nodes: int) -> None:
        set_identity(run_id=1)
        self._run = flower_private.empty_run(run_id=1)
        self._nodes = list(range(SERVER_NODE + 1, SERVER_NODE + 1 + num_nodes))
        self._replies: dict[str, Message] = {}

    @property
    def replaced(self) -> int:
        """Workers that were lost and replaced."""
        return 0

    @abstractmethod
    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        """Replies to all messages."""

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message of Flower's. Its time to live has no meaning within a machine.

        Args:
            content: its records.
            message_type: `train`, whatever is asked for.
            dst_node_id: the worker's node.
            group_id: the round.
            ttl: ignored.
        """
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages at once, and keep the replies for `pull_messages`."""
        waiting = list(messages)
        first = len(self._replies)
        for number, message in enumerate(waiting):
            flower_private.set_message_id(message, f"{message.metadata.group_id}/{first + number}")
        for reply in self._answer(waiting):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in waiting]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def close(self) -> None:
        """Give back whatever the grid holds."""


class InlineGrid(LocalGrid):
    """Everything in this process: for tests, notebooks, breakpoints, and runs that are over before Ray has started."""

    def __init__(self, client_app: ClientApp) -> None:
        super().__init__(num_nodes=1)
        self._app = client_app

    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        """The replies to the messages, in any order; here one after the other, in this process."""
        for message in messages:
            yield self._app(message, new_context(message.metadata.dst_node_id))
