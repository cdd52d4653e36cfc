"""Builds the page: `make web`, and `make run` where that can be done.

    python3 -m tools.web              # status 1 and the reason if it cannot be built
    python3 -m tools.web --optional   # one line instead, and status 0
    python3 -m tools.web test         # another script of web/package.json, with the same Node.js

Node.js is the one on PATH if it is new enough, otherwise the one that PyPI has, in .venv-node. What is built already is
left alone: a stamp written last holds the hash of the sources. With --optional a build that has failed is not tried
again until the sources change. Two commands at the same time wait for each other.

Standard library only, and any python3 from 3.8 on can run it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence  # noqa: UP035 - has to run on 3.8

from tools.bootstrap import BootstrapError, bootstrap, say

ROOT = Path(__file__).resolve().parent.parent
WEB = "web"
MIN_NODE = (20, 19)  # what Vite needs
STAMP = ".built"  # local/page.py looks for it
FAILED = ".build-failed"
INSTALLED = ".installed"
NOT_SOURCES = frozenset({"node_modules", "dist", "schema.d.ts", FAILED})  # what a build writes
# The types of the API's bodies are made from it.
DESCRIPTION = Path("functions") / "catalog" / "openapi.json"
COMMAND_SECONDS = 900
SHOWN_LINES = 20  # of the beginning and of the end of a command's output, when it fails: npm begins with the reason
NPM_OPTIONS = ("--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=1", "--loglevel=error")


class WebError(Exception):
    """The page cannot be built; the message says what to do."""


class Node(NamedTuple):
    folder: Path  # has node and npm
    version: tuple[int, int]


# --- Node.js -----------------------------------------------------------------------------------------------------


def find_node(path: str) -> Node | None:
    """The first Node.js in the folders of `path` that is new enough and has npm beside it."""
    for entry in path.split(os.pathsep):
        folder = Path(entry)
        version = node_version(folder / "node") if entry and (folder / "npm").exists() else None
        if version is not None and version >= MIN_NODE:
            return Node(folder, version)
    return None


def node_version(program: Path) -> tuple[int, int] | None:
    """Really start it: a shim may exist without having anything behind it."""
    if not (program.is_file() and os.access(str(program), os.X_OK)):
        return None
    try:
        ended = subprocess.run(
            [str(program), "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"v(\d+)\.(\d+)\.", ended.stdout.decode("utf-8", errors="replace"))
    return (int(match[1]), int(match[2])) if match else None


def packaged_node(root: Path) -> Node | None:
    """The one that has been installed from PyPI."""
    return find_node(str(root / ".venv-node" / "bin"))


def get_node(root: Path, path: str) -> Node:
    """Raises WebError."""
    found = find_node(path)
    if found is not None:
        return found
    wanted = f"Node.js {MIN_NODE[0]}.{MIN_NODE[1]} or newer"
    say(f"{wanted} is not on PATH; taking the one that PyPI has")
    try:
        bootstrap(["node"], root)
    except (BootstrapError, OSError) as error:
        raise WebError(f"{wanted} is not on PATH, and PyPI's cannot be installed:\n{error}") from error
    found = packaged_node(root)
    if found is None:
        raise WebError(f"{wanted} is not on PATH, and PyPI's does not start on this machine")
    return found


# --- building ----------------------------------------------------------------------------------------------------


def sources(root: Path) -> Iterator[Path]:
    """All that a build depends on."""
    pending = [root / WEB]
    while pending:
        for file in sorted(pending.pop().iterdir()):
            if file.name in NOT_SOURCES:
                continue
            if file.is_dir():
                pending.append(file)
            else:
                yield file
    if (root / DESCRIPTION).exists():
        yield root / DESCRIPTION


def fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(sources(root)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def write(file: Path, text: str) -> None:
    draft = file.with_name(file.name + ".draft")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(file)


def is_built(root: Path, wanted: str) -> bool:
    return read(root / WEB / "dist" / STAMP) == wanted


def install(root: Path, node: Node) -> None:
    """node_modules as package-lock.json describes it. Raises WebError."""
    web = root / WEB
    lock = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    wanted = f"{lock} {node.version[0]}"
    stamp = web / "node_modules" / INSTALLED
    if read(stamp) == wanted:
        return
    say("installing what the page is made of")
    npm(root, node, ["ci", *NPM_OPTIONS])
    write(stamp, wanted)


def npm(root: Path, node: Node, arguments: Sequence[str], *, shown: bool = False) -> None:
    """Run npm in web/. Raises WebError with the end of its output when it fails."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(node.folder), os.environ.get("PATH", "")])}
    command = [str(node.folder / "npm"), *arguments]
    try:
        ended = subprocess.run(
            command,
            cwd=str(root / WEB),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.STDOUT,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WebError(f"npm {arguments[0]} took longer than {COMMAND_SECONDS} s") from error
    except OSError as error:
        raise WebError(f"npm cannot be started: {error}") from error
    if ended.returncode != 0:
        lines = [] if ended.stdout is None else ended.stdout.decode("utf-8", errors="replace").splitlines()
        if len(lines) > 2 * SHOWN_LINES:
            lines = [*lines[:SHOWN_LINES], "...", *lines[-SHOWN_LINES:]]
        raise WebError("\n".join([f"npm {' '.join(arguments[:2])} ended with status {ended.returncode}", *lines]))


def build(root: Path = ROOT, *, optional: bool = False) -> None:
    """Build the page unless it is there. Raises WebError."""
    web = root / WEB
    if not (web / "package-lock.json").exists():
        raise WebError(f"{web} has no package-lock.json")
    if is_built(root, fingerprint(root)):
        return
    with locked(web):
        wanted = fingerprint(root)
        if is_built(root, wanted):
            return
        if optional and read(web / FAILED) == wanted:
            raise WebError("the last build of the same files has failed")
        try:
            node = get_node(root, os.environ.get("PATH", ""))
            install(root, node)
            say("building the page")
            if (web / "dist" / STAMP).exists():
                (web / "dist" / STAMP).unlink()
            npm(root, node, ["run", "build"])
            if not (web / "dist" / "index.html").exists():
                raise WebError("npm run build has made no web/dist/index.html")
        except WebError:
            write(web / FAILED, wanted)
            raise
        write(web / "dist" / STAMP, wanted)
        if (web / FAILED).exists():
            (web / FAILED).unlink()
        say("the page is built")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder itself: no file is left behind."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another command that builds the page")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def run_script(name: str, root: Path = ROOT) -> None:
    """A script of web/package.json. Raises WebError."""
    node = get_node(root, os.environ.get("PATH", ""))
    with locked(root / WEB):
        install(root, node)
    npm(root, node, ["run", name], shown=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the page.")
    parser.add_argument("script", nargs="?", help="run this script of web/package.json instead")
    parser.add_argument("--optional", action="store_true", help="if it cannot be built, say so in one line only")
    arguments = parser.parse_args()
    try:
        if arguments.script is None:
            build(optional=arguments.optional)
        else:
            run_script(arguments.script)
    except WebError as error:
        if not arguments.optional:
            say(f"web: {error}")
            return 1
        say(f"the page is not built: {str(error).splitlines()[0]} (`make web` tries again)")
    except KeyboardInterrupt:
        say("interrupted; the next call goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
