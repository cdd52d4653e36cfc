"""Starts and stops the store (local/engine_server.py), for the stack and for tests.

with Engine() as engine:                       # in memory, on a free port
    boto3.client("dynamodb", endpoint_url=engine.endpoint_url, ...)

with Engine(state_dir=folder, port=3001): ...  # survives restarts, also after a kill
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from local.process import ROOT, Program, ProgramError, ShowLine, die_with_parent, quiet
from local.template import REGION

START_SECONDS = 300.0  # a start takes half a second; this limit is for one that hangs

# The store checks no signatures, but SDKs need credentials to sign with.
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",  # the key of the local engine # nosec B105
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}


def engine_python() -> Path:
    """The interpreter of the store's own virtual environment. Raises ProgramError when there is none."""
    python = Path(os.environ.get("ENGINE_PYTHON") or ROOT / ".venv-engine" / "bin" / "python")
    if not python.exists():
        raise ProgramError(
            "engine", f"has no interpreter: {python} does not exist; `python3 tools/bootstrap.py engine` makes it", ()
        )
    return python


class Engine:
    def __init__(
        self,
        state_dir: Path | None = None,
        port: int = 0,
        *,
        show: ShowLine = quiet,
        on_exit: Callable[[Program], None] | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.port = port
        self._show = show
        self._on_exit = on_exit
        self._program: Program | None = None

    def start(self) -> None:
        """Start, and return once it accepts requests. Raises ProgramError."""
        arguments = ["--port", str(self.port)]
        if self.state_dir is not None:
            arguments += ["--state-dir", str(self.state_dir.resolve())]
        self._program = Program(
            "engine",
            die_with_parent(str(ROOT / "local" / "engine_server.py"), *arguments, python=str(engine_python())),
            show=self._show,
            on_exit=self._on_exit,
        )
        try:
            line = self._program.wait_for_line(lambda line: line.startswith("listening on "), START_SECONDS)
        except BaseException:
            self.kill()
            raise
        self.port = int(line.rpartition(":")[2])

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._program is not None
        return self._program.pid

    def stop(self) -> None:
        """Stop cleanly; everything is saved."""
        if self._program is not None:
            self._program.stop()

    def kill(self) -> None:
        """Send SIGKILL, as in a crash."""
        if self._program is not None:
            self._program.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
