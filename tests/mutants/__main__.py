"""Do the tests find mistakes? Plants one at a time in a copy of the project and runs tests against it.

    python -m tests.mutants [--only PART] [--jobs N] [--list]

Prints a line per mutant: the test that found it, or SURVIVED. What is replaced must be in the source exactly once, or
the mutant is STALE; and the test that found it must pass without the mistake. Ends with 1 if there is anything else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from local.engine import engine_python
from operate.options import counted
from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent.parent
MAX_SECONDS = 1200  # for the tests of one mutant
MAX_TEST_SECONDS = 180  # for one of them: some mutants wait for what never comes
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv*", ".*cache", ".cache", ".hypothesis", ".aws-sam", ".local", "__pycache__"),
    *("build", "dist", "node_modules", ".screenshots"),
)  # some of the seed packages have hidden folders
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    found_by: str | None
    trouble: str | None
    seconds: float

    def __str__(self) -> str:
        told = f"caught by {self.found_by}" if self.found_by else self.trouble
        return f"{self.mutant.name:<58} {told}  ({self.seconds:.0f} s)"


class StaleError(Exception):
    """The text to be replaced is not there exactly once."""


def plant(mutant: Mutant, root: Path) -> None:
    for edit in mutant.edits:
        path = root / edit.file
        source = path.read_text(encoding="utf-8")
        if source.count(edit.old) != 1:
            raise StaleError(f"{source.count(edit.old)} × {edit.old.strip().splitlines()[0]!r} in {edit.file}")
        path.write_text(source.replace(edit.old, edit.new), encoding="utf-8")


def run_tests(tests: Iterable[str], root: Path, *options: str) -> tuple[int | None, str]:
    """The exit status of pytest, None if it took too long, and what it printed."""
    settings = [
        "-p",
        "no:cacheprovider",
        "--hypothesis-profile=unshrunk",
        "--no-header",
        f"--timeout={MAX_TEST_SECONDS}",
    ]
    command = [sys.executable, "-m", "pytest", "-q", *settings, *options, *tests]
    # CI: with all examples and cells, for a part of them may miss what is planted.
    environment = {**os.environ, "ENGINE_PYTHON": str(engine_python().absolute()), "COLUMNS": "500", "CI": "true"}
    environment.pop("PYTHONPATH", None)  # the copy's own sources, not ours
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        printed, _ = process.communicate(timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        return None, printed
    return process.returncode, printed


def judge(mutant: Mutant, folder: Path) -> Verdict:
    begun = time.monotonic()

    def verdict(found_by: str | None, trouble: str | None = None) -> Verdict:
        return Verdict(mutant, found_by, trouble, time.monotonic() - begun)

    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name) / "project"
        shutil.copytree(folder / "original", root)
        try:
            plant(mutant, root)
        except StaleError as error:
            return verdict(None, f"STALE: {error}")
        status, printed = run_tests(mutant.tests, root, "-x")
    if status is None:
        return verdict(None, f"UNDECIDED after {MAX_SECONDS} s")
    if status == 0:
        return verdict(None, "SURVIVED")
    failed = FAILED.search(printed)
    if failed is None:
        return verdict(None, f"UNDECIDED: pytest ended with {status}: {' '.join(printed.splitlines()[-1:])}")
    return verdict(failed[1])


def fail_anyway(tests: Sequence[str], folder: Path) -> set[str]:
    """Those of `tests` that fail without any mutant."""
    status, printed = run_tests(tests, folder / "original")
    if status == 0:
        return set()
    return set(FAILED.findall(printed)) or set(tests)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="PART", default="", help="mutants whose name has this in it")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--list", action="store_true", help="print the mutants and do nothing")
    arguments = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    if arguments.list:
        print(*(mutant.name for mutant in mutants), sep="\n")
        return 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        shutil.copytree(ROOT, folder / "original", ignore=LEFT_OUT, symlinks=True)
        verdicts = []
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for verdict in pool.map(lambda mutant: judge(mutant, folder), mutants):
                print(verdict, flush=True)
                verdicts.append(verdict)
        found_by = sorted({verdict.found_by for verdict in verdicts if verdict.found_by})
        unproven = fail_anyway(found_by, folder) if found_by else set()
    missed = [verdict for verdict in verdicts if not verdict.found_by]
    for test in sorted(unproven):
        print(f"{test} fails without a mutant, too: it proves nothing")
    print(
        f"{counted({'mutants': len(verdicts)})}, {len(verdicts) - len(missed)} caught, {len(missed)} not, "
        f"tests that prove nothing: {len(unproven)}; {time.monotonic() - begun:.0f} s"
    )
    return 1 if missed or unproven or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
