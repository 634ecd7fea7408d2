"""The errors that a user can meet. Each says what was wrong and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


class FedLTError(Exception):
    """Base of the errors that end a command with a message instead of a traceback."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a scenario.

    key: dotted path of the offending key, for example `federation.partition.alpha`.
    message: what was expected, what was found, and the remedy.
    """

    key: str
    message: str

    def __str__(self) -> str:
        key = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in self.key)
        return f"{key}: {self.message}" if key else self.message


class ScenarioError(FedLTError):
    """A scenario cannot be run as written. Lists every problem that was found, not only the first."""

    def __init__(self, problems: list[Problem] | Problem, source: str = "") -> None:
        self.problems = [problems] if isinstance(problems, Problem) else problems
        self.source = source
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        where = f" in {source}" if source else ""
        super().__init__("\n".join([f"{count}{where}", *(f"  {problem}" for problem in self.problems)]))


class ClientError(FedLTError):
    """A client failed while it was trained or evaluated.

    client: id of the client. round: 1-based round. remote_traceback: the traceback on the worker.
    """

    def __init__(self, client: int, round: int, remote_traceback: str) -> None:
        self.client, self.round, self.remote_traceback = client, round, remote_traceback
        last = remote_traceback.strip().splitlines()[-1] if remote_traceback.strip() else "unknown error"
        super().__init__(f"client {client} failed in round {round}: {last}\n\n{remote_traceback.rstrip()}")


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, after it had kept all that it needs to go on.

    number: the signal's. round: the last complete round.
    """

    def __init__(self, number: int, round: int) -> None:
        self.number, self.round = number, round
        super().__init__(f"stopped after round {round}, which is kept; the same call goes on from there")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that the signal ended."""
        return 128 + self.number
