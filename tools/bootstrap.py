"""Makes the project's virtual environments: `python3 tools/bootstrap.py dev engine`.

| name   | folder       | for                                                                       |
| ------ | ------------ | ------------------------------------------------------------------------- |
| run    | .venv        | the laptop stack and ./playground                                         |
| dev    | .venv        | tests and checks, too                                                     |
| engine | .venv-engine | the store, whose pins contradict ours                                     |
| sam    | .venv-sam    | `sam build`, `sam deploy` and `sam validate`                              |
| api    | .venv-api    | what reads the description of the API in tests                            |
| load   | .venv-load   | locust, for `make load`                                                   |
| node   | .venv-node   | `make web` where there is no Node.js                                      |
| security | .venv-security | what audits packages and the template (`make security`)               |
| lock   | .venv-lock   | `make lock`, which writes requirements/<name>.txt from <name>.in          |

Packages are installed from the lock file requirements/<name>.txt, with versions and SHA-256.

Standard library only; runs on python3 from 3.8 on. The environments get Python 3.13 if there is one (on PATH, or among
pyenv's versions), otherwise 3.12 or 3.11. An up-to-date environment is left alone; a stamp that is written last records
what was installed, so an interrupted installation is repeated. Concurrent commands wait for each other.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence  # noqa: UP035 - has to run on 3.8

ROOT = Path(__file__).resolve().parent.parent
STAMP = "installed.stamp"
LOG = "pip.log"
MINORS = (13, 12, 11, 14)  # in this order; 3.13 is what the functions run on
# A lock names everything, so nothing is resolved. pip 23.0 of Debian 12 could not: where hashes are required, it takes
# a dependency `name[extra]` for another package than the pinned `name`.
PIP_OPTIONS = ("--no-deps", "--compile", "--no-input", "--disable-pip-version-check", "--progress-bar=off")
LOG_TAIL = 30  # lines of pip's output that are shown when it fails
PROGRESS_SECONDS = 5  # between two lines about an installation, where stderr is no terminal

# Prints the version, and whether it can make environments (Debian packages ensurepip separately).
PROBE = """
import sys
try:
    import ensurepip, venv
    able = "able"
except ImportError:
    able = "unable"
# Inside of a virtual environment: the interpreter that it was made with, because the environment may be ours.
print(sys.version_info[0], sys.version_info[1], able, getattr(sys, "_base_executable", sys.executable))
"""


class BootstrapError(Exception):
    """The environments cannot be made; the message says what to do."""


class Environment(NamedTuple):
    """A folder and its requirements. The environment `within` includes all of them."""

    folder: str
    requirements: str
    within: str = ""


ENVIRONMENTS = {
    "run": Environment(".venv", "requirements/run.txt", within="requirements/dev.txt"),
    "dev": Environment(".venv", "requirements/dev.txt"),
    "engine": Environment(".venv-engine", "requirements/engine.txt"),
    "sam": Environment(".venv-sam", "requirements/sam.txt"),
    "api": Environment(".venv-api", "requirements/api.txt"),
    "load": Environment(".venv-load", "requirements/load.txt"),
    "node": Environment(".venv-node", "requirements/node.txt"),
    "security": Environment(".venv-security", "requirements/security.txt"),
    "lock": Environment(".venv-lock", "requirements/lock.txt"),
}


class Interpreter(NamedTuple):
    path: Path
    minor: int
    able: bool


def say(text: str) -> None:
    """One write for the whole line: two environments may be made at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# --- interpreters ------------------------------------------------------------------------------------------------


def candidates(minor: int) -> Iterator[Path]:
    """Where a Python 3.<minor> may be, best guess first."""
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    for folder in folders:
        yield folder / f"python3.{minor}"
    for versions in pyenv_versions(folders):
        found = [path for path in versions.glob(f"3.{minor}.*") if path.name.rpartition(".")[2].isdigit()]
        for path in sorted(found, key=lambda path: int(path.name.rpartition(".")[2]), reverse=True):
            yield path / "bin" / "python3"
    for folder in folders:
        yield folder / "python3"
    yield Path(sys.executable)


def pyenv_versions(folders: Sequence[Path]) -> Iterator[Path]:
    """Folders in which pyenv keeps interpreters. HOME may be another one than pyenv was installed in."""
    roots = [Path(os.environ["PYENV_ROOT"])] if os.environ.get("PYENV_ROOT") else []
    roots.append(Path(os.path.expanduser("~")) / ".pyenv")  # noqa: PTH111 - Path.expanduser fails without a home
    roots.extend(folder.parent for folder in folders if folder.name == "shims")
    seen = set()
    for root in roots:
        if root not in seen:
            seen.add(root)
            yield root / "versions"


def probe(path: Path) -> Interpreter | None:
    """Start it: a pyenv shim may exist without an interpreter."""
    if not (path.is_file() and os.access(path, os.X_OK)):
        return None
    try:
        result = subprocess.run(
            [str(path), "-I", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=True
        )
        major, minor, able, base = result.stdout.decode().rstrip("\n").split(" ", 3)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter(Path(base), int(minor), able == "able") if major == "3" else None


def find_interpreter() -> Interpreter:
    """The best interpreter of this machine. Raises BootstrapError."""
    probed = {}
    unable = None
    for wanted in MINORS:
        for path in candidates(wanted):
            if path not in probed:
                probed[path] = probe(path)
            found = probed[path]
            if found is None or found.minor != wanted:
                continue
            if found.able:
                return found
            unable = unable or found
    if unable is not None:
        raise BootstrapError(
            f"{unable.path} cannot make virtual environments: its venv or ensurepip module is missing.\n"
            f"Install it, on Debian and Ubuntu with: sudo apt install python3.{unable.minor}-venv"
        )
    raise BootstrapError(
        "no Python 3.11 or newer was found on PATH or among pyenv's versions.\n"
        "Install Python 3.13, for example with: pyenv install 3.13 (or from https://www.python.org/downloads/)"
    )


# --- environments ------------------------------------------------------------------------------------------------


def requirement_files(path: Path) -> list[Path]:
    """A requirements file and all that it includes."""
    files, pending = [], [path]
    while pending:
        current = pending.pop()
        if current in files:
            continue
        files.append(current)
        for line in current.read_text(encoding="utf-8").splitlines():
            option, _, name = line.strip().partition(" ")
            if option in ("-r", "--requirement", "-c", "--constraint"):
                pending.append(current.parent / name.split(" #")[0].strip())
    return files


def fingerprint(requirements: Path) -> str:
    digest = hashlib.sha256()
    for path in requirement_files(requirements):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def environment_version(folder: Path) -> str | None:
    """The Python version that an environment was made with; None when its interpreter is gone."""
    config = folder / "pyvenv.cfg"
    if not (folder / "bin" / "python").exists() or not config.exists():  # a dangling link does not exist
        return None
    for line in config.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.strip() in ("version", "version_info"):
            return ".".join(value.strip().split(".")[:3])
    return None


def read_stamp(folder: Path) -> tuple[str, str] | None:
    """Fingerprint and version of the last complete installation."""
    try:
        first, second = (folder / STAMP).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return first, second


def current(folder: Path, *requirements: Path) -> bool:
    """Whether the folder has what one of these files wants."""
    version = environment_version(folder)
    stamp = read_stamp(folder)
    return version is not None and stamp in [(fingerprint(path), version) for path in requirements]


class Progress:
    """Progress of an installation on stderr: one line that is overwritten, or a few lines without a terminal."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = self.shown_at = time.monotonic()
        self.packages = 0
        self.what = "starting"

    def line(self, text: str) -> None:
        """A line that pip has printed."""
        word, _, rest = text.strip().partition(" ")
        if word == "Collecting":
            self.packages += 1
            self.what = "looking up {}".format(rest.split(" ")[0])
        elif word == "Downloading":
            self.what = "downloading {}".format(rest.split(" ")[0].rpartition("/")[2])
        elif text.startswith("Installing collected packages"):
            self.what = "unpacking and compiling"
        now = time.monotonic()
        if sys.stderr.isatty():
            self._overwrite(self.text(now))
        elif now - self.shown_at >= PROGRESS_SECONDS:
            self.shown_at = now
            say(self.text(now))

    def text(self, now: float) -> str:
        return f"{self.name}: {self.packages} packages, {now - self.begun:.0f} s, {self.what}"

    def end(self) -> None:
        if sys.stderr.isatty():
            self._overwrite("")

    @staticmethod
    def _overwrite(text: str) -> None:
        sys.stderr.write(f"\r{text:<78.78}" if text else "\r{:<78}\r".format(""))
        sys.stderr.flush()


def install(folder: Path, requirements: Path, python: Path) -> None:
    """Bring one environment up to date. Raises BootstrapError."""
    stamp = read_stamp(folder)
    reusable = stamp is not None and stamp[1] == environment_version(folder)
    if stamp is not None:
        (folder / STAMP).unlink()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }
    environment["PIP_USER"] = "0"  # --user as the user's default fails in an environment
    if not reusable:
        if folder.exists():
            shutil.rmtree(folder)
        say(f"making {folder.name} with {python}")
        run([str(python), "-m", "venv", str(folder)], environment, None)
    say(f"installing {requirements.name} into {folder.name}")
    run(
        [str(folder / "bin" / "python"), "-m", "pip", "install", *PIP_OPTIONS, "--requirement", str(requirements)],
        environment,
        folder / LOG,
    )
    version = environment_version(folder)
    if version is None:
        raise BootstrapError(f"{folder} has no interpreter")
    draft = folder / (STAMP + ".draft")
    draft.write_text(f"{fingerprint(requirements)} {version}\n", encoding="utf-8")
    draft.replace(folder / STAMP)
    say(f"{folder.name} is ready")


def run(command: Sequence[str], environment: dict[str, str], log: Path | None) -> None:
    """Run, and show the progress on `log`. Raises BootstrapError with the last lines of output on failure."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    progress = Progress(log.parent.name) if log is not None else None
    lines = []
    with process:
        for raw in process.stdout:
            lines.append(raw.decode("utf-8", errors="replace"))
            if progress is not None:
                progress.line(lines[-1])
    status = process.returncode
    if progress is not None:
        progress.end()
    if log is not None:
        log.write_text("".join(lines), encoding="utf-8")
    if status != 0:
        tail = "".join(lines[-LOG_TAIL:])
        raise BootstrapError(f"{' '.join(command)}\nended with status {status}:\n{tail}")


def bootstrap(names: Sequence[str], root: Path = ROOT) -> None:
    """Bring the named environments up to date. Raises BootstrapError."""

    def stale() -> list[Environment]:
        wanted = [ENVIRONMENTS[name] for name in names]
        return [each for each in wanted if not is_current(each)]

    def is_current(each: Environment) -> bool:
        names = [each.requirements, each.within] if each.within else [each.requirements]
        return current(root / each.folder, *(root / name for name in names))

    if not stale():
        return
    lock = os.open(str(root), os.O_RDONLY)  # the project's folder itself: no file is left behind
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another command that is installing")
            fcntl.flock(lock, fcntl.LOCK_EX)
        pending = stale()
        if not pending:
            return
        python = find_interpreter().path
        with concurrent.futures.ThreadPoolExecutor(len(pending)) as pool:
            jobs = [pool.submit(install, root / each.folder, root / each.requirements, python) for each in pending]
        for job in jobs:
            job.result()
    finally:
        os.close(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the project's virtual environments.")
    parser.add_argument(
        "names",
        nargs="+",
        choices=sorted(ENVIRONMENTS),
        metavar="name",
        help="run, dev, engine, sam, node, api, load, security or lock",
    )
    arguments = parser.parse_args()
    try:
        bootstrap(arguments.names)
    except BootstrapError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next call continues from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
