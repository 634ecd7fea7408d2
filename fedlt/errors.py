"""The errors that a user can meet. Each says what was wrong and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


class FedLTError(Exception):
    """Base of the errors that end a command with a message instead of a traceback."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a scenario.

    Attributes:
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


class UsageError(FedLTError):
    """What a call names is not there, or is not in a state to serve it: a run, a client, a variant of a model."""


class HookError(FedLTError):
    """A hook of a strategy or a learner gave, or did, what it must not.

    The message names the hook and the remedy; who called it adds side and round.
    """


class CodeError(FedLTError):
    """Code of a strategy, a learner or a model failed in a run.

    Attributes:
        message: a sentence with side, round, hook and line.
        remote_traceback: where it failed, at the server or a worker.
    """

    def __init__(self, message: str, remote_traceback: str) -> None:
        self.remote_traceback = remote_traceback
        super().__init__(message)


class ClientError(CodeError):
    """A client failed while it was trained or evaluated.

    Attributes:
        client: id of the client; below 0: the one site that holds all data.
        round: 1-based round.
        reason: what failed, and where.
    """

    def __init__(self, client: int, round: int, reason: str, remote_traceback: str) -> None:
        self.client, self.round = client, round
        whom = "the site" if client < 0 else f"client {client}"
        super().__init__(f"{whom} failed in round {round}: {reason}", remote_traceback)


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, after it had kept all that it needs to go on.

    Attributes:
        number: the signal's.
        round: the last complete round.
    """

    def __init__(self, number: int, round: int) -> None:
        self.number, self.round = number, round
        super().__init__(f"stopped after round {round}, which is kept; the same call goes on from there")

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that the signal ended."""
        return 128 + self.number
