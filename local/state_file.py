"""STATE_DIR/stack.json: what other commands need to know of the stack that is running, and only while it is."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "stack.json"
LOCK_NAME = "lock"


class FolderInUseError(Exception):
    """Another stack keeps its state in that folder."""

    def __init__(self, folder: Path, state: Mapping[str, Any] | None) -> None:
        self.folder = folder
        who = "another stack" if state is None else f"the stack at {state['url']} (process {state['pid']})"
        super().__init__(f"{who} keeps its state in {folder}: end it, or choose another folder with STATE_DIR=...")


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    draft = folder / f"{FILE_NAME}.{os.getpid()}"
    draft.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / FILE_NAME)


def remove_state(folder: Path) -> None:
    (folder / FILE_NAME).unlink(missing_ok=True)


def read_state(folder: Path) -> dict[str, Any] | None:
    """What the running stack wrote; None if none is running, whatever file a killed one has left behind."""
    try:
        state: dict[str, Any] = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        os.kill(int(state["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return state


def lock_folder(folder: Path) -> int:
    """Keep the folder for this process; the kernel gives it back however we end. Raises FolderInUseError."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FolderInUseError(folder, read_state(folder)) from error
    return descriptor
