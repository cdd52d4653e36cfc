"""`make deploy` asks for region and credentials before it builds for minutes."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::111122223333:user/alice</Arn><UserId>AIDA</UserId><Account>111122223333</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
EXPIRED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error>
</ErrorResponse>"""


class Sts(BaseHTTPRequestHandler):
    status, body = 200, IDENTITY

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


class RefusingSts(Sts):
    status, body = 403, EXPIRED


@pytest.fixture(params=[Sts])
def sts(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a Python of the name that `sam build` starts."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.13").symlink_to(shutil.which("true") or "/bin/true")
    return tmp_path


def check(home: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "deploy_check.py"), *options],
        cwd=home,
        env={"PATH": str(home / "bin"), "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **environment},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_says_where_it_goes_and_as_whom(home: Path, sts: str) -> None:
    ended = check(home, "--stack-name", "other", AWS_DEFAULT_REGION="eu-west-1", AWS_ENDPOINT_URL_STS=sts, **KEYS)
    assert ended.returncode == 0, ended.stderr
    expected = "deploying other to eu-west-1, account 111122223333, as arn:aws:iam::111122223333:user/alice\n"
    assert ended.stdout == expected


def test_takes_region_and_profile_from_the_options_and_the_stack_from_samconfig(home: Path, sts: str) -> None:
    (home / ".aws").mkdir()
    lines = ["[work]", *(f"{name.lower()} = {value}" for name, value in KEYS.items())]
    (home / ".aws" / "credentials").write_text("\n".join(lines))
    options = ("--parameter-overrides", "ProtectTables=false", "--region", "us-east-2", "--profile", "work")
    ended = check(home, *options, AWS_ENDPOINT_URL_STS=sts)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("deploying playground to us-east-2, account 111122223333")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (KEYS, "nothing was built: no AWS region is set: "),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "nothing was built: no AWS credentials were found: "),
        (
            {"AWS_PROFILE": "nobody"},
            "nothing was built: the credentials cannot be checked: The config profile (nobody)",
        ),
    ],
)
def test_what_is_missing_is_said(home: Path, environment: dict[str, str], said: str) -> None:
    ended = check(home, **environment)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("sts", [RefusingSts], indirect=True)
def test_credentials_that_have_ended_are_said(home: Path, sts: str) -> None:
    ended = check(home, AWS_DEFAULT_REGION="eu-west-1", AWS_ENDPOINT_URL_STS=sts, **KEYS)
    assert ended.returncode == 1
    assert ended.stderr == (
        "nothing was built: AWS refuses the credentials: The security token included in the request is expired\n"
    )


def test_a_python_that_the_functions_run_on_is_needed(home: Path) -> None:
    (home / "bin" / "python3.13").unlink()
    ended = check(home)
    assert (ended.returncode, ended.stderr) == (
        1,
        "sam build needs python3.13 on PATH: install Python 3.13\n",
    )


@pytest.mark.parametrize(
    ("target", "order"),
    [
        ("check", [r"tools/bootstrap\.py dev;", r"ruff check", r"tools/bootstrap\.py sam;", r"validate --lint"]),
        ("deploy", [r"tools/bootstrap\.py sam;", r"deploy_check\.py +--stack-name x", r"sam build", r"sam deploy"]),
    ],
)
def test_what_answers_soonest_comes_first(target: str, order: list[str]) -> None:
    """make says what it would do: ruff does not wait for SAM, and no build begins without a region."""
    program = shutil.which("make")
    assert program is not None
    command = [program, "--no-print-directory", "--dry-run", target, "STACK=x"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert re.search(".*".join(order), ended.stdout, re.DOTALL), ended.stdout
