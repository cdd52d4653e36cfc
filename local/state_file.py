"""STATE_DIR and its stack.json, with the ports and the process id of the running stack, for other commands."""

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAME = "stack.json"
LOCK_NAME = "lock"


class FolderInUseError(Exception):
    """Another stack uses this folder."""

    def __init__(self, folder: Path, state: Mapping[str, Any] | None) -> None:
        self.folder = folder
        who = "another stack" if state is None else f"the stack at {state['url']} (process {state['pid']})"
        super().__init__(f"{who} keeps its state in {folder}: end it, or choose another folder with STATE_DIR=...")


class UnusableFolderError(Exception):
    """STATE_DIR cannot be created or written to."""

    def __init__(self, folder: Path, error: OSError) -> None:
        self.folder = folder
        super().__init__(
            f"STATE_DIR={folder} cannot be used ({error.strerror}): name a folder that you may write to, as in "
            "`make run STATE_DIR=.local`"
        )


def prepare_state_dir(folder: Path) -> None:
    """Create the folder, readable by its owner only: it contains secrets and, in the store, an API key.

    Raises UnusableFolderError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UnusableFolderError(folder, error) from error


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    draft = folder / f"{FILE_NAME}.{os.getpid()}"
    draft.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / FILE_NAME)


def remove_state(folder: Path) -> None:
    (folder / FILE_NAME).unlink(missing_ok=True)


def read_state(folder: Path) -> dict[str, Any] | None:
    """The state of the running stack; None if none is running, even if a killed one left its file."""
    try:
        state: dict[str, Any] = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        os.kill(int(state["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return state


def lock_folder(folder: Path) -> int:
    """Lock the folder until this process ends, for any reason.

    Raises FolderInUseError, UnusableFolderError.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnusableFolderError(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FolderInUseError(folder, read_state(folder)) from error
    return descriptor
