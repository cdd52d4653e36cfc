"""What writes the committed descriptions and compares routes, run as commands: in a copy of the project that has never
been set up, by somebody who has no store and no account at AWS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS, whole_only

FILES = ("functions/catalog/openapi.json", "docs/notices.schema.json")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project without environments, as far as the commands read it."""
    folder = tmp_path / "clone"
    for name in ("docs", "functions", "layers", "local", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "template.yaml", folder)
    return folder


def run(clone: Path, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    assert not (clone / ".venv-engine").exists()
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone), "PYTHONPATH": "layers/shared", **environment},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


@whole_only
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "AWS_PROFILE": "absent",
            "AWS_REGION": "mars-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "http_proxy": "http://127.0.0.1:1",
        },
    ],
    ids=["nothing is set", "AWS and a proxy are set"],
)
def test_the_descriptions_are_written_without_a_store_and_without_aws(clone: Path, environment: dict[str, str]) -> None:
    for name in FILES:
        (clone / name).unlink()
    ended = run(clone, "tools.openapi", **environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"wrote {name}" for name in FILES]
    for name in FILES:
        assert (clone / name).read_bytes() == (ROOT / name).read_bytes(), "run `make openapi`"


@whole_only
@pytest.mark.parametrize("name", FILES)
def test_a_description_that_is_out_of_date_fails_the_check(clone: Path, name: str) -> None:
    before = (clone / name).read_text(encoding="utf-8") + "\n"
    (clone / name).write_text(before, encoding="utf-8")
    ended = run(clone, "tools.openapi", "--check")
    assert ended.returncode == 1
    assert ended.stderr == f"openapi: {name} is out of date: run `make openapi`\n"
    assert (clone / name).read_text(encoding="utf-8") == before


@whole_only
@pytest.mark.parametrize(
    ("command", "file", "old", "new", "said"),
    [
        (
            "tools.openapi",
            "functions/webhook/app.py",
            'stripe_secret_arn, "api_key")',
            'stripe_secret_arn, "api_key", "account")',
            "tools/functions.py needs another placeholder: the secret ",
        ),
        (
            "tools.check_routes",
            "functions/credits/app.py",
            "from playground.adapters.ids import id_maker",
            "from playground.adapters.ids import absent",
            "a function cannot be loaded: ImportError: cannot import name 'absent'",
        ),
        ("tools.openapi", "template.yaml", "Default: HS256", "Default: [", "template.yaml cannot be read: "),
        ("tools.check_routes", "template.yaml", "Default: HS256", "Default: MD5", "template.yaml cannot be read: "),
    ],
)
def test_a_command_that_cannot_do_it_says_why_in_one_line(
    clone: Path, command: str, file: str, old: str, new: str, said: str
) -> None:
    edit(clone / file, old, new)
    ended = run(clone, command)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{command.removeprefix('tools.')}: {said}")
    assert len(ended.stderr.splitlines()) == 1


@whole_only
def test_a_folder_that_does_not_exist_is_named(clone: Path) -> None:
    ended = run(clone, "tools.openapi", "--into", str(clone / "absent"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("openapi: [Errno 2] No such file or directory: ")


@whole_only
def test_routes_that_are_the_same_pass(clone: Path) -> None:
    ended = run(clone, "tools.check_routes")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@whole_only
def test_a_route_that_is_missing_from_the_template_is_named(clone: Path) -> None:
    edit(clone / "template.yaml", "Path: /v1/playground/pricing }", "Path: /v1/playground/prices }")
    ended = run(clone, "tools.check_routes")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "check_routes: GET /v1/playground/prices is in template.yaml (CreditsFunction), but not in the code",
        "check_routes: GET /v1/playground/pricing is in the code of CreditsFunction, but not in template.yaml",
    ]


@whole_only
def test_a_route_that_the_template_does_not_have_yet_is_named(clone: Path) -> None:
    edit(clone / "functions/run/app.py", '"/playground/run",\n', '"/playground/runs/<run_id>/again",\n')
    ended = run(clone, "tools.check_routes")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "check_routes: POST /v1/playground/run is in template.yaml (RunFunction), but not in the code",
        "check_routes: POST /v1/playground/runs/{run_id}/again is in the code of RunFunction, but not in template.yaml",
    ]


def test_make_check_runs_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    for command in ("tools.check_routes", "tools.openapi --check", "-m mypy\n"):
        assert command in recipe
    assert "engine" not in makefile.partition("\nopenapi:")[2].partition("\n\n")[0]
