"""Commands that nothing else runs: they must go on working when what they measure or break changes."""

import os
import re
import subprocess
import sys
from collections.abc import Container
from pathlib import Path

import pytest

from tests.kit import crash_matrix
from tests.kit.extent import HANG_SECONDS, whole_only
from tests.mutants.__main__ import plant
from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


def run(*arguments: str, statuses: Container[int] = (0,)) -> str:
    """What `python -m …` printed. It must end well."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "layers" / "shared")}
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert ended.returncode in statuses, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


@whole_only
def test_the_bench_measures_everything_that_it_names() -> None:
    printed = run("bench", "--runs", "3", "--seed", "1")
    for heading in ("round trips", "write units", "parallel", "two ways"):
        assert f"\n{heading}" in printed
    assert re.search(r"warm function ÷ its handler called directly: \d", printed)


@whole_only
def test_settlements_at_the_same_moment_take_half_a_second_at_most() -> None:
    """In virtual time: the load of this machine does not matter."""
    printed = run("bench.settle", "--rounds", "1", "--seed", "1")
    assert printed.count("target p99 ≤ 500 ms: reached") == 4
    assert printed.count("failed 0, findings 0") == 10


@whole_only
def test_the_bench_of_streams_measures_everything_that_it_names() -> None:
    """Its targets are for a machine that does nothing else."""
    printed = run("bench.streams", "--short", "3", "--long", "1", statuses=(0, 1))
    for line in ("asking directly", "our function", "the reference", "added to a delta, p50", "round trips after it"):
        assert f"\n  {line}" in printed


@whole_only
def test_the_bench_of_cold_starts_compares_with_the_reference() -> None:
    printed = run("bench.cold", "--source", "--rounds", "1", "--only", "reset")
    for name in ("reference, small", "reference, full", "reset"):
        assert re.search(rf"\n  {name} +\d+ +\d\.\d\d", printed)


@whole_only
def test_the_bench_of_the_schedule_advances_everybody() -> None:
    printed = run("bench.reset", "--accounts", "30")
    assert "30 advanced, 0 failed" in printed


def test_the_crash_matrix_is_of_paths_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status, words in ((["typo"], 2, "no path begins with 'typo'"), (["--help"], 0, "\n  bonus\n")):
        with pytest.raises(SystemExit) as ended:
            crash_matrix.main(arguments)
        assert ended.value.code == status
        assert words in "".join(capsys.readouterr())
    name = crash_matrix.PATHS[0].name
    assert [path.name for path in crash_matrix.chosen([name])][:1] == [name]
    assert crash_matrix.chosen([]) == list(crash_matrix.PATHS)


def test_every_planted_mistake_fits_the_code(tmp_path: Path) -> None:
    """Its text is there exactly once, and its tests exist."""
    texts = {edit.file: (ROOT / edit.file).read_text(encoding="utf-8") for mutant in MUTANTS for edit in mutant.edits}
    for file in texts:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    for mutant in MUTANTS:
        for edit in mutant.edits:
            (tmp_path / edit.file).write_text(texts[edit.file], encoding="utf-8")
        plant(mutant, tmp_path)
        assert changed(mutant, tmp_path)
        assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests), mutant.name
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))


def changed(mutant: Mutant, folder: Path) -> bool:
    """Whether what is planted is something else than before, and Python where that was."""
    for edit in mutant.edits:
        planted = (folder / edit.file).read_text(encoding="utf-8")
        if edit.file.endswith(".py"):
            compile(planted, edit.file, "exec")
        if planted == (ROOT / edit.file).read_text(encoding="utf-8"):
            return False
    return True
