"""The Makefile: arguments that it passes on, and its help."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import jwt
import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def make(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("make")
    assert program is not None
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [program, "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**kept, "USER": "login", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_help_lists_every_target_in_80_columns() -> None:
    ended = make("help")
    assert ended.returncode == 0
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+) ", ended.stdout, re.MULTILINE)) == targets
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\", " ").split()) == targets


def test_a_token_is_for_the_user_of_the_command_line(tmp_path: Path) -> None:
    """`USER` of the environment is the login name and is ignored."""
    ended = make("token", STATE_DIR=str(tmp_path))
    assert ended.returncode != 0
    assert "make token USER=alice" in ended.stderr
    ended = make("-s", "token", "USER=alice", STATE_DIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    (token,) = ended.stdout.splitlines()
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == "alice"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (["audit"], "no stack is running"),
        (["reconcile"], "no stack is running"),
        (["import", "PACKAGE=x.tar.gz"], "no stack is running"),
        (["import"], "name the package, as in `make import PACKAGE=review-1.0.2.tar.gz`"),
        (["audit", "ARGS=--json --nonsense"], "No such option"),
    ],
)
def test_aliases_are_the_commands_of_the_operator(target: list[str], said: str, tmp_path: Path) -> None:
    ended = make(*target, STATE_DIR=str(tmp_path))
    assert ended.returncode != 0
    assert said in ended.stderr


def test_the_command_line_works_from_anywhere_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "playground").symlink_to(ROOT / "playground")
    ended = subprocess.run(
        [tmp_path / "playground", "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Usage: ./playground ")
