"""What is typed after `make` is what the commands get, and nobody is named by accident."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.extent import HANG_SECONDS

ROOT = Path(__file__).parents[2]
HOSTILE = """it's $HOME, $(shell echo no), `id`; 50% "off" \\ #1"""

Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs make with an interpreter that prints what it was called with, as JSON."""
    program = shutil.which("make")
    assert program is not None
    python = tmp_path / "python"
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    python.write_text(
        f'#!/bin/sh\n[ "$1" != local/words.py ] || exec "{sys.executable}" "$@"\n'
        f'exec "{sys.executable}" -c \'{show}\' "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [program, "--no-print-directory", f"PYTHON={python}", "bootstrap=@:", *arguments],
            cwd=ROOT,
            env={**kept, "USER": "login", **environment},
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
            check=False,
        )

    return run


def called(ended: "subprocess.CompletedProcess[str]") -> list[str]:
    assert ended.returncode == 0, ended.stderr
    module, *arguments = json.loads(ended.stdout)[1:]
    return [module.removeprefix("local."), *arguments]


@pytest.mark.parametrize("target", ["token", "grant", "plan", "export", "erase", "audit"])
def test_whoever_is_logged_in_is_not_meant(make: Make, target: str) -> None:
    for environment in ({}, {"USER": "login"}):
        ended = make(target, "CREDITS=7", "PLAN=plus", **environment)
        assert ended.returncode != 0
        assert f"make {target} USER=alice" in ended.stderr
        assert ended.stdout == ""
    assert make("-e", target).returncode != 0
    assert called(make(target, "USER=alice"))[-2:] == ["--", "alice"]
    assert called(make(target, "USER="))[-2:] == ["--", ""]  # which the commands refuse
    assert called(make(target, "USER=-x"))[-2:] == ["--", "-x"]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("token", ["USER", "DAYS"]),
        ("invoke", ["FN", "EVENT", "AT"]),
        ("pay", ["PURCHASE", "CARD"]),
        ("import", ["PACKAGE", "NAME", "SCOPE"]),
        ("audit", ["USER"]),
        ("reconcile", ["CLOSE"]),
        ("moderate", ["DO", "SHARE"]),
        ("grant", ["USER", "CREDITS", "REF", "REASON", "BY"]),
        ("plan", ["USER", "PLAN", "UNTIL", "REF", "REASON", "BY"]),
        ("export", ["USER"]),
        ("erase", ["USER"]),
        ("soak", ["MINUTES"]),
        ("soak-payments", ["LIVES"]),
    ],
)
def test_a_value_arrives_as_it_was_typed(make: Make, target: str, names: list[str]) -> None:
    got = called(make(target, *(f"{name}={name}: {HOSTILE}" for name in names)))
    assert {f"{name}: {HOSTILE}" for name in names} <= set(got)
    assert len(got) == len(set(got))


def test_what_is_given_and_empty_is_passed_on(make: Make) -> None:
    """The commands refuse it: a script whose variable is not set must not credit on every retry."""
    assert called(make("grant", "USER=alice", "CREDITS=5", "REF=", "REASON=", "BY=")) == (
        ["grant", "--ref", "", "--reason", "", "--by", "", "--credits", "5", "--", "alice"]
    )
    assert called(make("grant", "USER=alice", "CREDITS=5")) == ["grant", "--credits", "5", "--", "alice"]


@pytest.mark.parametrize(
    ("target", "flag"), [("audit", "ALL"), ("reconcile", "ALL"), ("sweep-texts", "DELETE"), ("erase", "YES")]
)
def test_a_flag_is_one_or_not_given(make: Make, target: str, flag: str) -> None:
    option = f"--{flag.lower()}"
    assert option in called(make(target, f"{flag}=1", "USER=alice"))
    assert option not in called(make(target, f"{flag}=0", "USER=alice"))
    assert f"{flag} is either 1" in make(target, f"{flag}=yes", "USER=alice").stderr


def test_an_import_passes_on_what_is_accepted(make: Make) -> None:
    assert called(make("import", "PACKAGE=a.tar.gz")) == ["import_package", "--", "a.tar.gz"]
    got = called(make("import", "PACKAGE=a.tar.gz", "NAME=@a/b", "FIT=1", "ACKNOWLEDGE_HIDDEN=1", "ARGS=b.tar.gz"))
    assert got == (["import_package", "b.tar.gz", "--name", "@a/b", "--fit", "--acknowledge-hidden", "--", "a.tar.gz"])
    assert "FIT is either 1" in make("import", "PACKAGE=a", "FIT=yes").stderr


def test_an_audit_is_of_one_or_of_all(make: Make) -> None:
    assert called(make("audit", "ALL=1")) == ["audit", "--all"]
    assert called(make("audit", "ALL=1", "USER=x")) == ["audit", "--all", "--", "x"]  # which it refuses


def test_args_are_words_in_which_only_quotes_count(make: Make) -> None:
    got = called(make("test", """ARGS=-k 'a or "b"' "$HOME/*" $(id) ; x"""))
    assert (got[0], got[-6:]) == ("pytest", ["-k", 'a or "b"', "$HOME/*", "$(id)", ";", "x"])
    got = called(make("grant", "USER=alice", "CREDITS=5", "ARGS=--ledger-table L --sessions-table S"))
    assert got == ["grant", "--ledger-table", "L", "--sessions-table", "S", "--credits", "5", "--", "alice"]
    ended = make("grant", "USER=alice", "ARGS=it's")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "No closing quotation" in ended.stderr


def test_the_region_is_found_under_both_of_its_names(make: Make) -> None:
    """And an order for a deployed stack runs with nothing but what make gives it; nobody listens there."""
    order = ["grant", "USER=a", "CREDITS=5", "ARGS=--ledger-table L --sessions-table S", f"PYTHON={sys.executable}"]
    away = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_CONFIG_FILE": os.devnull,
    }
    assert "You must specify a region" in make(*order, **away).stderr
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        ended = make(*order, **away, **{name: "eu-west-1"})
        assert ended.returncode == 2
        assert "Could not connect to the endpoint URL" in ended.stderr, name


@pytest.mark.parametrize(
    "target",
    "token invoke pay import audit reconcile grant plan export erase moderate sweep-texts".split(),  # noqa: SIM905
)
def test_every_command_explains_itself(make: Make, target: str) -> None:
    """The help of the command itself, by the way that the documents name."""
    ended = make(target, "ARGS=--help", f"PYTHON={sys.executable}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"usage: make {target}")
    assert "python -m" not in ended.stdout
