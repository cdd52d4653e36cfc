"""The stack that is running on this machine, for commands that work on it."""

from pathlib import Path
from typing import Any

from local.settings import state_dir
from local.state_file import read_state


class NoStackError(Exception):
    """No stack keeps its state in STATE_DIR."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"no stack is running with its state in {folder}: start one with `make run`")


def running() -> dict[str, Any]:
    """What the running stack wrote about itself. Raises NoStackError."""
    folder = state_dir()
    state = read_state(folder)
    if state is None:
        raise NoStackError(folder)
    return state
