"""What becomes of clients that fail: the run ends with their name, or goes on without them and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedlt.errors import ClientError, FedLTError
from fedlt.exchange import Failure, Report


class Failures:
    """policy: "fail" or "skip". log: takes the lines that tell of skipped clients."""

    def __init__(self, policy: str, log: Callable[[str], None]) -> None:
        self.policy, self._log = policy, log
        self._told: set[tuple[int, str]] = set()

    def settle(self, round: int, reports: Sequence[Report]) -> None:
        """Raise `ClientError` for the first client that failed, or log what is skipped. Two things end the run under
        both policies: a generic model whose logits are no predictions, and a machine without memory, since results
        would else follow from where it is computed."""
        failures = sorted((f for report in reports for f in report.failures), key=lambda failure: failure.client)
        for failure in failures:
            when = round if failure.purpose == "train" else round - 1
            if failure.purpose == "generic":
                hint = "its features or its head are not finite; a smaller local.lr may help"
                raise FedLTError(f"the generic model cannot be tested after round {when}: {failure.reason}: {hint}")
            if failure.memory:
                raise FedLTError(
                    f"memory ran out for client {failure.client} in round {when}: take fewer workers "
                    f"(resources.workers), or a smaller local.batch_size or evaluation.batch_size\n\n"
                    f"{failure.traceback.rstrip()}"
                )
            if self.policy == "fail":
                raise ClientError(failure.client, when, failure.traceback)
            self._tell(when, failure)

    def _tell(self, round: int, failure: Failure) -> None:
        what = {"train": "round", "evaluate": "the evaluation after round"}[failure.purpose]
        self._log(f"client {failure.client} is left out of {what} {round}: {failure.reason}")
        if (failure.client, failure.reason) not in self._told:  # the same traceback would fill the log
            self._told.add((failure.client, failure.reason))
            self._log(failure.traceback.rstrip())


def evaluated_in_part(reports: Sequence[Report]) -> set[int]:
    """Clients that failed in some part of an evaluation: what the other parts found says nothing."""
    return {failure.client for report in reports for failure in report.failures if failure.purpose == "evaluate"}
