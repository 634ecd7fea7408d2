"""`python -c CODE` as a fork of this process, for tests of whole commands: what is imported here is imported there, so
that a command starts in milliseconds, and not after the seconds that PyTorch takes.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any


def in_place_of_subprocess() -> Any:
    """What the workers of sweeps use of the module `subprocess`, with processes that are forks."""
    return SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)


class Forked:
    """What tests and the workers of sweeps use of `subprocess.Popen`, for commands `[sys.executable, "-c", CODE, ...]`.

    What it prints is kept in files, so that nobody need read it meanwhile. pass_fds: the open files that it inherits.
    """

    def __init__(
        self,
        command: Sequence[Any],
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
        pass_fds: Sequence[int] = (),
        stdin: Any = subprocess.DEVNULL,
    ) -> None:
        words = [str(word) for word in command if word != "-P"]  # a fork has the path of this process anyway
        executable, flag, code, *arguments = words
        assert (executable, flag, stdin) == (sys.executable, "-c", subprocess.DEVNULL)
        self.returncode: int | None = None
        self._files = [TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115  # closed when the process has ended
        self._printed: list[str] = []

        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # the child must not collect what other threads of this process hold
        self.pid = os.fork()
        if not self.pid:
            os._exit(self._live(code, arguments, env, start_new_session, pass_fds))
        gc.unfreeze()

    def _live(
        self, code: str, arguments: list[str], env: Mapping[str, str] | None, session: bool, inherited: Sequence[int]
    ) -> int:
        """The whole life of the child; returns its exit code."""
        try:
            if session:
                os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, file in enumerate(self._files, 1):
                os.dup2(file.fileno(), number)
            for open_file in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *inherited}:
                with suppress(OSError):  # that of the list itself
                    os.close(open_file)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            sys.argv = ["-c", *arguments]

            ended: object = None
            try:
                exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
            except SystemExit as error:
                ended = error.code
            if isinstance(ended, str):
                print(ended, file=sys.stderr)
            return ended if isinstance(ended, int) else int(ended is not None)
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self._wait(os.WNOHANG)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked command", timeout or 0.0)
            time.sleep(0.005)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it has printed on either stream."""
        self.wait(timeout)
        return self._printed[0], self._printed[1]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                for file in self._files:
                    file.seek(0)
                    self._printed.append(file.read())
                    file.close()
        return self.returncode
