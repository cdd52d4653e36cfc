"""Installs and runs the programs that read the description of the API. Versions are locked: those of node by
tools/openapi_clients/package-lock.json, those of Python by requirements/api.txt."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from local.process import ROOT

SETTINGS = ROOT / "tools" / "openapi_clients"
CACHE = ROOT / ".cache" / "openapi_clients"
INSTALL_SECONDS = 180
RUN_SECONDS = 120
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1", "CI": "true"}


class ToolMissingError(Exception):
    """Something cannot be installed here; the message says what is needed."""


@cache
def node_programs() -> Path:
    """The folder of the locked programs for node, installed if they are not there."""
    npm = shutil.which("npm")
    if npm is None:
        raise ToolMissingError("node and npm are needed to check openapi.json: install Node.js 20 or later")
    files = [SETTINGS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = CACHE / digest
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            for file in files:
                shutil.copy(file, folder)
            _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, INSTALL_SECONDS)
            (folder / "installed").touch()
    return folder / "node_modules" / ".bin"


@cache
def python_programs() -> Path:
    """The folder of the programs of .venv-api, which is made if it is not there."""
    _run([sys.executable, "tools/bootstrap.py", "api"], ROOT, INSTALL_SECONDS)
    return ROOT / ".venv-api" / "bin"


def run(program: Path, *arguments: str | Path, folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run a program in `folder` to its end; what it printed. Fails with that if its status is not 0."""
    return _run([program, *arguments], folder, RUN_SECONDS, variables)


def _run(command: list[str | Path], folder: Path, seconds: float, variables: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            **QUIET,
            **(variables or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-12000:]}")
    return done.stdout
