"""Keeps a run so that it can go on: when a checkpoint is due, what a signal does, what to say when the disk is full."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fedlt.callback import Callback
from fedlt.errors import CodeError, FedLTError, Interrupted, Problem, ScenarioError
from fedlt.process.files import from_here
from fedlt.process.memory import give_back
from fedlt.process.wording import counted
from fedlt.training.server_tensors import held_tensors
from server.rounds.progress import Progress
from server.state.checkpoint import KEPT, Checkpoint, Checkpoints
from server.state.interrupts import Interrupts
from server.state.lengthen import Shorter, copy_end

if TYPE_CHECKING:
    from fedlt.callback import RunState
    from fedlt.results.record import RunWriter
    from fedlt.training.assembly import Assembly
    from server.rounds.hooks import Hooks

END_BYTES = 2**26  # that the end of a finished run may take, for going on with more rounds
AUTO_SECONDS = 60.0  # between two checkpoints; what a crash costs at most, beside the round that it meets
TABLES_BYTES = 2**24  # room for the tables of a run
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


class Keeper(Callback):
    """The last one that hears of a round, so that a checkpoint holds what all others have become.

    Attributes:
        every: rounds between two checkpoints, "auto" (one a minute), or 0 (only when a signal ends the run).
        end: the round whose checkpoint outlives the run, for going on with more rounds; None: nobody can, whatever is
            kept.
        hooks: the callbacks whose state is kept.
        trains: whether the run trains its rounds itself; else it is so quick to repeat that it keeps its end only.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        writer: RunWriter,
        every: int | str,
        say: Callable[[str], None],
        end: int | None = None,
        hooks: Hooks | None = None,
        trains: bool = True,
    ) -> None:
        self.checkpoints, self.writer, self.every, self._say, self.end = checkpoints, writer, every, say, end
        self._hooks, self._trains = hooks, trains
        self._progress: Progress | None = None
        self.interrupts = Interrupts(say)
        self._evaluations = 0  # after which memory was given back
        self._before = 0.0  # seconds that earlier processes have computed
        self._started = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken so far, in this process and in those before it."""
        return self._before + time.monotonic() - self._started

    def begin(self, progress: Progress, force: bool, resume_from: int | None, shorter: Shorter | None = None) -> None:
        """Start the record anew, or go on from a checkpoint, or else from the end of a finished run of fewer rounds.

        Args:
            progress: brought to where the run goes on.
            force: start anew, whatever is there.
            resume_from: the round whose checkpoint to go on from; None: the last one.
            shorter: a finished run of fewer rounds, if there is one.
        """
        self._progress = progress
        warnings: list[str] = []
        checkpoint = None
        if not force:
            checkpoint, warnings = self.checkpoints.restore(progress, resume_from)

        if checkpoint is None:
            self.checkpoints.clear()
            self.writer.start()
            if shorter is not None and not force:
                checkpoint, more = self._lengthen(shorter, progress)
                warnings += more

        if checkpoint is not None:
            self.checkpoints.forget_after(checkpoint.round, progress)
            self._before = float(checkpoint.head["seconds"])
            self.writer.resume(checkpoint.folder, checkpoint.head["record"])
            self.writer.log(f"going on after round {checkpoint.round}")

        if self._hooks is not None:
            self._hooks.restore(checkpoint.head.get("callbacks", {}) if checkpoint is not None else {})

        for warning in warnings:
            self._say(f"warning: {warning}")
            self.writer.log(f"warning: {warning}")

    def _lengthen(self, shorter: Shorter, progress: Progress) -> tuple[Checkpoint | None, list[str]]:
        """Take over the end of the shorter run; None where that is not possible, which is said."""
        name, rounds = shorter.run.folder.name, f"its {counted(shorter.rounds, 'round')}"
        if reason := shorter.obstacle(self.checkpoints):
            self._say(f"starts from the first round, as {name} with {rounds} cannot be gone on with: {reason}")
            return None, []
        copy_end(shorter, self.checkpoints)
        checkpoint, warnings = self.checkpoints.restore(progress)
        if checkpoint is None:
            self.checkpoints.clear()
        else:
            self._say(f"goes on from the end of {name} and {rounds}; --force starts over")
            self.writer.summary["goes_on_from"] = name
        return checkpoint, warnings

    def on_round(self, run: RunState) -> None:
        """Write a checkpoint after a round, where one is due."""
        assert self._progress is not None
        self.after_round(self._progress)

    def after_round(self, progress: Progress) -> None:
        """Write a checkpoint where one is due. Raises `Interrupted` where a signal has asked for the end."""
        self.interrupts.beat()

        # What an evaluation has freed goes back to the system.
        if self._evaluations != self.writer.summary["evaluations"]:
            self._evaluations = self.writer.summary["evaluations"]
            give_back()

        last = progress.round == self.end and self._keeps(progress)
        due = last or (self._trains and self._due(progress.round))
        if self.interrupts.number is None and not due:
            return

        if last or self._trains:
            self._save(progress)
        give_back()
        self._last = time.monotonic()

        if self.interrupts.number is not None:
            raise Interrupted(self.interrupts.number, progress.round)

    def keep(self) -> None:
        """Write a checkpoint of what is best so far, whether or not one is due."""
        assert self._progress is not None
        self._save(self._progress)

    def _save(self, progress: Progress) -> None:
        """Write a checkpoint, with what callbacks remember."""
        remembered = self._hooks.kept() if self._hooks is not None else None
        self.checkpoints.save(progress, self.writer, self.seconds, remembered)

    def back_to(self, round: int, progress: Progress) -> None:
        """Make the progress again that of a round which was kept."""
        if round != progress.round:
            self.checkpoints.restore(progress, round)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record how the block ended if it did not finish, else delete the checkpoints, but for that of the run's end.

        Raises:
            FedLTError: where the disk was to blame.
        """
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # a full disk must not hide what went wrong
                if isinstance(error, Interrupted):
                    self.writer.finish("interrupted")
                else:
                    self.writer.fail(error)
                    self._keep_traceback(error)
            if isinstance(error, OSError) and (error.errno in DISK or "No space left" in str(error)):
                raise FedLTError(
                    f"cannot write to {self.writer.folder}: {error.strerror or error}. The checkpoints there are "
                    "whole: make room, and the same command goes on from the last one"
                ) from error
            raise
        with suppress(OSError):  # leftovers harm nobody
            whole = self.end is not None and self.checkpoints.keep_only(self.end)
            if not whole and not self.checkpoints.keeps:
                self.checkpoints.clear()

    def _keep_traceback(self, error: BaseException) -> None:
        """Where code of a strategy or a model failed, the traceback goes to the log, and the error says so."""
        if isinstance(error, CodeError) and self.writer.folder.is_dir():
            self.writer.log(error.remote_traceback.rstrip())
            error.add_note(f"the whole traceback is in {from_here(self.writer.folder / 'log.txt')}")

    def ended(self, progress: Progress) -> int | None:
        """Note whether the run, whose models are final, can be gone on with for more rounds; the round whose checkpoint
        stays for that.
        """
        if not progress.open_ended or progress.round != self.end:
            self.end = None
        self.writer.summary["open_ended"] = self.end is not None
        return self.end if self._keeps(progress) else None

    def _keeps(self, progress: Progress) -> bool:
        """Whether the end of the run is worth its room on the disk: a checkpoint of it is asked for, or is small."""
        server = progress.server
        tensors = [server.flat.storage, *held_tensors(server).values()]
        size = progress.states.size + sum(tensor.nbytes for tensor in tensors)
        return progress.open_ended and self.every != 0 and (self.every != "auto" or size <= END_BYTES)

    def _due(self, round: int) -> bool:
        """Whether a checkpoint is due after the round, by rounds or by time."""
        if round in self.checkpoints.keeps:
            return True
        if self.every == "auto":
            return time.monotonic() - self._last >= AUTO_SECONDS
        return self.every != 0 and round % int(self.every) == 0


def check_space(folder: Path, parts: Assembly, clients: int) -> None:
    """Raise `ScenarioError` where the disk has no room for the run's models and checkpoints (a lower bound of it).

    Args:
        folder: where the run writes.
        parts: with the model.
        clients: of the federation.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    model = parts.flat.storage.nbytes * (KEPT + 2)  # one being written, and the result
    private = parts.flat.private.nbytes * clients * 4  # twice what is up to date, the copy of that, and the result
    needed, free = model + private + TABLES_BYTES, shutil.disk_usage(existing).free
    if free < needed:
        message = (
            f"{needed / 1e6:.0f} MB are needed in {existing} and {free / 1e6:.0f} MB are free; give another folder"
        )
        raise ScenarioError(Problem("--out", message))
