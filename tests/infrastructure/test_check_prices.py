"""A changed price table needs a new version, and a published one stays: what `make check` refuses."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from playground.domain.pricing import PriceTableError
from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS
from tests.kit.prices import EXAMPLE_DATA
from tools.check_prices import PUBLISH, DigestsError, problems, publish
from tools.check_prices import forgotten as history

FIRST, SECOND = EXAMPLE_DATA["version"], "2026-12-01"


@dataclass(frozen=True, slots=True)
class Tables:
    """The folder of the tables, as a file of it may be."""

    folder: Path

    @property
    def current(self) -> Path:
        return self.folder / "prices.json"

    @property
    def published(self) -> Path:
        return self.folder / "prices"

    @property
    def sums(self) -> Path:
        return self.published / "SHA256SUMS"

    def write(self, **changes: Any) -> None:
        self.current.write_text(json.dumps({**EXAMPLE_DATA, **changes}, indent=2), encoding="utf-8")

    def publish(self) -> str:
        return publish(self.current, self.published)

    def problems(self) -> str:
        return "\n".join(problems(self.current, self.published))

    def content(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """With one published table."""
    found = Tables(tmp_path)
    found.write()
    found.publish()
    return found


def test_a_published_table_that_is_current_passes(tables: Tables) -> None:
    assert tables.problems() == ""


CHEAPER = {"plan": {**EXAMPLE_DATA["plan"], "price_cents": 1900}}
LARGER = {"tiers": {**EXAMPLE_DATA["tiers"], "steps": [[3000, 1], [6000, 2], [10000, 3]]}}
STRICTER = {"failure_limits": {**EXAMPLE_DATA["failure_limits"], "free": EXAMPLE_DATA["failure_limits"]["paying"]}}


@pytest.mark.parametrize("change", [CHEAPER, LARGER, STRICTER], ids=["plan", "tier", "limits"])
def test_a_change_without_a_new_version_is_refused(tables: Tables, change: dict[str, Any]) -> None:
    tables.write(**change)
    before = tables.content()
    told = f"prices.json changed, but version {FIRST} is published: give it a new version, then run"
    assert tables.problems().startswith(told)
    with pytest.raises(PriceTableError, match=told):
        tables.publish()
    assert tables.content() == before


def test_a_new_version_has_to_be_published_and_the_earlier_one_stays(tables: Tables) -> None:
    first = (tables.published / f"{FIRST}.json").read_bytes()
    tables.write(version=SECOND, **LARGER)
    assert tables.problems() == (f"prices.json: version {SECOND} is not published: run `{PUBLISH}`")
    assert tables.publish() == SECOND
    assert tables.problems() == ""
    assert (tables.published / f"{FIRST}.json").read_bytes() == first
    assert (tables.published / f"{SECOND}.json").read_bytes() == tables.current.read_bytes()
    assert [line.split()[1] for line in tables.sums.read_text().splitlines()] == [f"{FIRST}.json", f"{SECOND}.json"]


def test_a_repeat_of_publishing_does_nothing(tables: Tables) -> None:
    before = tables.content()
    assert tables.publish() == FIRST
    assert tables.content() == before


def test_publishing_that_was_cut_off_is_finished_by_a_repeat(tables: Tables) -> None:
    tables.write(version=SECOND, **LARGER)
    (tables.published / f"{SECOND}.json").write_bytes(tables.current.read_bytes())
    assert "has no digest" in tables.problems()
    tables.publish()
    assert tables.problems() == ""


def test_going_back_to_an_earlier_table_needs_no_new_version(tables: Tables) -> None:
    tables.write(version=SECOND, **LARGER)
    tables.publish()
    tables.write()
    assert tables.problems() == ""


def edited(tables: Tables, version: str) -> None:
    (tables.published / f"{version}.json").write_text(json.dumps({**EXAMPLE_DATA, **CHEAPER}), encoding="utf-8")


def removed(tables: Tables, version: str) -> None:
    (tables.published / f"{version}.json").unlink()


def forgotten(tables: Tables, version: str) -> None:
    lines = [line for line in tables.sums.read_text().splitlines() if version not in line]
    tables.sums.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("version", [FIRST, SECOND])
@pytest.mark.parametrize(("damage", "told"), [(edited, "changed: restore it"), (removed, "is missing: restore it")])
def test_a_damaged_published_table_is_named(
    tables: Tables, damage: Callable[[Tables, str], None], told: str, version: str
) -> None:
    tables.write(version=SECOND, **LARGER)
    tables.publish()
    damage(tables, version)
    assert tables.problems().startswith(f"prices/{version}.json {told}")


def test_a_table_without_its_digest_is_named(tables: Tables) -> None:
    tables.write(version=SECOND, **LARGER)
    tables.publish()
    forgotten(tables, FIRST)
    assert tables.problems().startswith(f"prices/{FIRST}.json has no digest in SHA256SUMS")


def test_a_table_under_another_version_is_named(tables: Tables) -> None:
    digest = tables.sums.read_text().split()[0]
    (tables.published / "2001-01-01.json").write_bytes(tables.current.read_bytes())
    tables.sums.write_text(tables.sums.read_text() + f"{digest}  2001-01-01.json\n")
    assert tables.problems() == f"prices/2001-01-01.json says that it is version {FIRST}"


@pytest.mark.parametrize("line", ["", "abc  2001-01-01.json", "0" * 64 + " 2001-01-01.json", "0" * 64 + "  README.md"])
def test_a_damaged_list_of_digests_is_an_error(tables: Tables, line: str) -> None:
    tables.sums.write_text(tables.sums.read_text() + line + "\n")
    assert "SHA256SUMS: not a line of sha256sum" in tables.problems()
    with pytest.raises(DigestsError):
        tables.publish()


def test_a_list_of_digests_that_is_no_text_is_an_error(tables: Tables) -> None:
    tables.sums.write_bytes(b"\xff\xfe")
    assert "SHA256SUMS: not a line of sha256sum" in tables.problems()


def commit(folder: Path) -> None:
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Prices"]):
        git = ["git", "-c", "user.name=anna", "-c", "user.email=anna@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run([*git, *words], cwd=folder, check=True, timeout=HANG_SECONDS)


def test_what_a_commit_has_published_is_missed_with_its_digest(tables: Tables) -> None:
    """Removed, or changed, together with its line in SHA256SUMS: only the history knows of it."""
    assert history(tables.published) == []
    tables.write(version=SECOND, **LARGER)
    tables.publish()
    commit(tables.folder)
    assert history(tables.published) == []
    line = tables.sums.read_text().splitlines()[0]

    removed(tables, FIRST)
    forgotten(tables, FIRST)
    assert tables.problems() == ""
    assert history(tables.published) == [
        f"prices/SHA256SUMS: `{line}` was published and is gone: restore it and its file"
    ]

    commit(tables.folder)
    tables.write(**CHEAPER)
    tables.publish()
    assert tables.problems() == ""
    assert len(history(tables.published)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, json.dumps({**EXAMPLE_DATA, "version": "../x"})])
def test_a_table_that_cannot_be_used_is_never_published(tables: Tables, text: str) -> None:
    tables.current.write_text(text, encoding="utf-8")
    before = tables.content()
    assert tables.problems().startswith("prices.json cannot be used: ")
    with pytest.raises(PriceTableError):
        tables.publish()
    assert tables.content() == before


def test_the_command_refuses_publishes_and_passes(tmp_path: Path) -> None:
    """In a copy of the project."""
    for name in ("layers", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    here = Tables(tmp_path / "layers" / "shared" / "playground" / "data")
    here.write(version="2099-01-01", **LARGER)
    here.publish()

    def run(*options: str) -> tuple[int, str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "tools.check_prices", *options],
            cwd=tmp_path,
            env={"PYTHONPATH": "layers/shared"},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

    assert run() == (0, "", "")
    here.write(version="2099-01-01", **CHEAPER)
    for options in ((), ("--publish",)):
        status, out, err = run(*options)
        assert (status, out) == (1, "")
        assert err.startswith("check_prices: prices.json changed, but version 2099-01-01 is published: give it a new")
    here.write(version="2099-01-01.2", **CHEAPER)
    assert run()[0] == 1
    assert run("--publish") == (0, "published 2099-01-01.2\n", "")
    assert run() == (0, "", "")


def test_make_check_runs_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m tools.check_prices\n" in makefile.partition("\ncheck:")[2].partition("\n\n")[0]
