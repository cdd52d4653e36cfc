"""Child processes of the stack: the store and the stand-ins for Claude and Stripe."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
ROOT = DIE_WITH_PARENT.parent.parent
TAIL = 20  # last lines of output, for error messages
MAX_LINE_CHARACTERS = 16_384  # of one line of output; the rest is cut

# Environment variables that child processes inherit; no others are passed on.
NECESSITIES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")

ShowLine = Callable[[str, str], None]  # name of the program, line


def show_line(name: str, line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be closed; shutdown must go on
        print(f"[{name}] {line}", file=sys.stderr, flush=True)


def quiet(_name: str, _line: str) -> None:
    """Shows nothing."""


def necessities() -> dict[str, str]:
    return {name: os.environ[name] for name in NECESSITIES if name in os.environ}


def die_with_parent(program: str, *arguments: str, python: str = sys.executable) -> list[str]:
    """The command for a program that ends when this process does. `-P` keeps its own folder out of `sys.path`."""
    return [python, "-P", str(DIE_WITH_PARENT), program, *arguments]


class ProgramError(Exception):
    """A program did not start, or exited unexpectedly."""

    def __init__(self, name: str, what: str, tail: Sequence[str]) -> None:
        self.name = name
        self.what = what
        self.tail = tuple(tail)
        super().__init__("\n".join([f"{name} {what}", *(f"    {line}" for line in tail)]))


class Program:
    """A child process whose output is read line by line. It ends when this process does, even by `kill -9`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        show: ShowLine = quiet,
        on_exit: Callable[["Program"], None] | None = None,
    ) -> None:
        self.name = name
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._show = show
        self._on_exit = on_exit
        self._condition = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**necessities(), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # not ended by Ctrl-C in the terminal: the stack stops its programs in order
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._ended

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode("utf-8", errors="replace").rstrip("\r\n")[:MAX_LINE_CHARACTERS]
            with self._condition:
                self.tail.append(line)
                self._condition.notify_all()
            self._show(self.name, line)
        self._process.wait()
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._on_exit is not None:
            self._on_exit(self)

    def wait_for_line(self, matches: Callable[[str], bool], seconds: float) -> str:
        """The first line of output that matches. Raises ProgramError on a timeout, or if the program exits first."""
        found: list[str] = []

        def ready() -> bool:
            found.extend(line for line in self.tail if matches(line))
            return bool(found) or self._ended

        with self._condition:
            in_time = self._condition.wait_for(ready, seconds)
        if found:
            return found[0]
        raise self.failure(f"was not ready after {seconds:g} seconds" if not in_time else self.exit_text())

    def exit_text(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def failure(self, what: str) -> ProgramError:
        return ProgramError(self.name, what, self.tail)

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._close()

    def stop(self, seconds: float = 15.0) -> None:
        """Send SIGTERM, and SIGKILL after `seconds`."""
        self._on_exit = None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._show(self.name, f"does not end within {seconds:g} seconds and is killed")
        self.kill()

    def _close(self) -> None:
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
