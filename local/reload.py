"""Hot reload: finds the files of the functions that have changed.

The runtime (local/runtime.py) polls, and replaces the instances of the functions that the files belong to. Files are
compared by modification time, size and inode, so editors may write in place or replace them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import cache_from_source
from pathlib import Path

from local.template import Function

POLL_SECONDS = 0.25

Stamp = tuple[int, int, int]  # time of the last change in ns, size, inode


class Watcher:
    """Detects changed files of functions and their layers."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._folders = {function.logical_id: (function.code, *function.layers) for function in functions}
        self._seen = self._scan()

    def changes(self) -> frozenset[Path]:
        """Files that were written, added or removed since the last call."""
        before, self._seen = self._seen, self._scan()
        return frozenset(path for path, _ in before.items() ^ self._seen.items())

    def functions_of(self, paths: Iterable[Path]) -> frozenset[str]:
        """Logical ids of the functions whose code or layers contain one of the files."""
        parents = {parent for path in paths for parent in path.parents}
        return frozenset(name for name, folders in self._folders.items() if parents.intersection(folders))

    def _scan(self) -> Mapping[Path, Stamp]:
        folders = {folder for folders in self._folders.values() for folder in folders}
        return {path: stamp for folder in folders for path, stamp in _files(folder)}


def _files(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    """Skips compiled files, hidden files and editors' backups."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # removed meanwhile
    for entry in entries:
        if entry.name.startswith(".") or entry.name.endswith("~") or entry.name == "__pycache__":
            continue
        try:
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                found = entry.stat()
                yield Path(entry.path), (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            continue  # removed meanwhile


def forget_compiled(paths: Iterable[Path]) -> None:
    """Remove the `.pyc` of changed files: Python reuses it if the new file has the same size and second."""
    for path in paths:
        if path.suffix == ".py":
            Path(cache_from_source(path)).unlink(missing_ok=True)


def syntax_errors(paths: Iterable[Path]) -> Iterator[str]:
    """Compilation errors of the files, as `file, line: text`."""
    for path in sorted(paths):
        if path.suffix != ".py":
            continue
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except FileNotFoundError:
            continue
        except SyntaxError as error:
            yield f"{path}, line {error.lineno}: {type(error).__name__}: {error.msg}"
        except (OSError, ValueError) as error:
            yield f"{path}: {error}"
