"""The lock files: what is named in requirements/*.in, and all that it needs, each with hashes."""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tools.lock import CONSTRAINED_BY, LOCKS

ROOT = Path(__file__).parent.parent.parent
LOCKED = re.compile(r"^(?P<name>[\w.\-]+)(?:\[[\w,]+\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))?(?: \\)?$")


def locked(name: str) -> Mapping[str, str]:
    """Versions by name, of those that this interpreter needs."""
    found = {}
    for line in (ROOT / LOCKS[name]).read_text(encoding="utf-8").splitlines():
        if (match := LOCKED.match(line)) and (match["marker"] is None or Marker(match["marker"]).evaluate()):
            found[canonicalize_name(match["name"])] = match["version"]
    return found


def named(name: str) -> Mapping[str, str]:
    """What an .in file asks for, with what it includes."""
    found: dict[str, str] = {}
    for line in (ROOT / f"requirements/{name}.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= named(line.removeprefix("-r ").removesuffix(".in"))
        elif match := LOCKED.match(line):
            found[canonicalize_name(match["name"])] = match["version"]
        else:
            assert line.startswith("#"), f"{name}.in: {line!r} names no version"
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_named_is_locked_in_that_version(name: str) -> None:
    assert named(name)
    assert named(name).items() <= locked(name).items()


@pytest.mark.parametrize("name", LOCKS)
def test_everything_that_is_locked_has_a_hash(name: str) -> None:
    text = (ROOT / LOCKS[name]).read_text(encoding="utf-8")
    for requirement in text.replace("\\\n", "").splitlines():
        if not requirement.startswith("#"):
            first, *hashes = requirement.split("--hash=")
            assert LOCKED.match(first.strip()), requirement[:80]
            assert hashes, first
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes), first


@pytest.mark.parametrize(("larger", "smaller"), CONSTRAINED_BY.items())
def test_an_environment_that_has_more_has_the_same_versions(larger: str, smaller: str) -> None:
    """So what is tested is what is deployed."""
    assert locked(smaller).items() <= locked(larger).items()


def test_these_tests_run_with_what_is_locked() -> None:
    assert sys.version_info >= (3, 11)
    assert {name: version(name) for name in locked("dev")} == locked("dev")
