"""What becomes of what fails.

A client: the run ends with its name, or goes on without it and says so. The server: the run ends with the hook and its
line.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fedlt.config.own_lines import told
from fedlt.errors import ClientError, CodeError, FedLTError, HookError
from fedlt.exchange import GENERIC, UNION, Failure, Report
from fedlt.strategy import Weightless


class Failures:
    """What becomes of clients that fail.

    Attributes:
        policy: "fail" or "skip".
        log: takes the lines that tell of skipped clients.
        note: what the user should know.
    """

    def __init__(self, policy: str, log: Callable[[str], None]) -> None:
        self.policy, self._log = policy, log
        self.note = log
        self._apart = False  # whether it was said that clients are trained one by one
        self._told: set[tuple[int, str]] = set()

    def settle(self, round: int, reports: Sequence[Report]) -> None:
        """Raise `ClientError` for the first client that failed, or log what is skipped.

        Two things end the run under both policies: a generic model whose logits are no predictions, and a machine
        without memory, since results would else follow from where it is computed.
        """
        reported = (failure for report in reports for failure in report.failures)
        failures = sorted(
            reported, key=lambda failure: (failure.purpose == "train", failure.client)
        )  # as they happened
        for failure in failures:
            when = round if failure.purpose in ("select", "train", "conclude") else round - 1
            if failure.memory:
                whom = _named(failure.client)
                remedy = "(resources.workers), or a smaller local.batch_size or evaluation.batch_size"
                message = f"memory ran out for {whom} in round {when}: take fewer workers {remedy}"
                raise CodeError(message, failure.traceback)
            if failure.purpose == "generic":
                reason = failure.reason.removeprefix("FloatingPointError: ")
                message = f"the generic model cannot be tested after round {when}: {reason}"
                raise CodeError(message, failure.traceback)
            if self.policy == "fail":
                raise ClientError(failure.client, when, failure.reason, failure.traceback)
            self._tell(when, failure)
        self._tell_apart(reports)

    def _tell_apart(self, reports: Sequence[Report]) -> None:
        """Say once that clients of `local.together` are trained one by one: a slower run, with other rounding."""
        reason = next((report.apart for report in reports if report.apart), "")
        if reason and not self._apart:
            self.note(f"local.together: clients are trained one by one, since {reason}")
            self._apart = True

    def _tell(self, round: int, failure: Failure) -> None:
        """Log that a client is left out, and its traceback once."""
        what = {
            "train": "round", "select": "the selection for round",
            "conclude": "the exchange after round", "evaluate": "the evaluation after round",
        }[failure.purpose]  # fmt: skip
        self._log(f"{_named(failure.client)} is left out of {what} {round}: {failure.reason}")
        if (failure.client, failure.reason) not in self._told:  # the same traceback would fill the log
            self._told.add((failure.client, failure.reason))
            self._log(failure.traceback.rstrip())


def _named(client: int) -> str:
    """A client in words, by its number; two of these are no client's."""
    return {GENERIC: "the generic model", UNION: "the site"}.get(client, f"client {client}")


@contextmanager
def at_server(round: int) -> Iterator[None]:
    """What the server half of a strategy or link raises in the block becomes an error with round, hook and line.

    Errors of this project that are sentences already, and no hook's, are left as they are.
    """
    try:
        yield
    except Weightless as error:
        raise FedLTError(f"round {round}: {error}") from error
    except Exception as error:
        if isinstance(error, FedLTError) and not isinstance(error, HookError):
            raise
        message = f"the server failed in round {round}: {told(error)}"
        raise CodeError(message, traceback.format_exc()) from error


def evaluated_in_part(reports: Sequence[Report]) -> set[int]:
    """Clients that failed in some part of an evaluation: what the other parts found says nothing."""
    return {failure.client for report in reports for failure in report.failures if failure.purpose == "evaluate"}
