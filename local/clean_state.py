"""Removes the local data of a stack: `make clean-state`, or `make clean-state STATE_DIR=elsewhere`.

Only files that a stack creates are removed, and the folder if it is empty then: STATE_DIR may be a typing error.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from local.command import command
from local.metric_file import FILE_NAME as METRICS
from local.metric_file import OLDER_NAME as OLDER_METRICS
from local.settings import state_dir
from local.state_file import FILE_NAME as STATE
from local.state_file import LOCK_NAME, FolderInUseError, UnusableFolderError, lock_folder
from local.stripe_keys import FILE_NAME as WEBHOOK_SECRET
from local.tokens import FILE_NAME as TOKEN_SECRETS

FOLDERS = ("store", "stripe")
FILES = (STATE, TOKEN_SECRETS, WEBHOOK_SECRET, METRICS, OLDER_METRICS)


def main(arguments: Sequence[str] | None = None) -> int:
    command("clean-state", "[STATE_DIR=.local]", "Remove the data of a stack that is not running.").parse_args(
        arguments
    )
    folder = state_dir()
    try:
        print(clean(folder))
    except (FolderInUseError, UnusableFolderError) as error:
        print(f"nothing was removed: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"not all of {folder} could be removed: {error}", file=sys.stderr)
        return 1
    return 0


def clean(folder: Path) -> str:
    """Remove it and describe what was removed. Raises FolderInUseError (a stack is running), UnusableFolderError,
    OSError."""
    if not any((folder / name).is_file() for name in (LOCK_NAME, TOKEN_SECRETS)):  # every command creates one of these
        return f"no stack keeps its state in {folder}; nothing was removed"
    lock = lock_folder(folder)
    try:
        removed = [path.name for path in sorted(folder.iterdir()) if _is_ours(path)]
        for name in removed:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / LOCK_NAME).unlink()
        left = len(list(folder.iterdir()))
        if not left:
            folder.rmdir()
    finally:
        os.close(lock)
    others = f"; {left} that no stack has made {'is' if left == 1 else 'are'} left" if left else ""
    return f"removed from {folder}: {', '.join(removed) or 'nothing but the lock'}{others}"


def _is_ours(path: Path) -> bool:
    if path.is_symlink():
        return False
    # A killed process may leave a temporary file: the file's name with a suffix.
    return path.name in FOLDERS if path.is_dir() else path.name.startswith(FILES)


if __name__ == "__main__":
    sys.exit(main())
