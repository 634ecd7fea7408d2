"""A bar at the foot of a terminal, with the time left from the first step on, however long a step takes."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class Bar:
    """Shows how far something is until it is stopped.

    Attributes:
        what: is being done.
        total: steps of it.
        done: of these before.
        left: gives the words for the time left; it is asked anew several times a second, so that they count down
            between two steps.
        console: where to draw.
    """

    def __init__(self, what: str, total: int, done: int, left: Callable[[], str], console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[beside]}"),
            _Left(left),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task(what, total=total, completed=done, beside="")
        self._progress.start()

    def to(self, done: int, beside: str = "") -> None:
        """So many steps are done.

        Args:
            beside: is shown with them.
        """
        self._progress.update(self._task, completed=done, beside=beside)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class _Left(ProgressColumn):
    """Rich's own column knows nothing before the second step, nor where a step takes longer than half a minute."""

    def __init__(self, left: Callable[[], str]) -> None:
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:
        return Text(self._left(), style="progress.remaining")
