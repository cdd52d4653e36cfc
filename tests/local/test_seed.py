"""The sample packages and how they, and others, get into the catalogue of the laptop stack."""

import json
import os
import re
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local import seed
from local.engine import CREDENTIALS, Engine
from local.resources import client
from local.state_file import write_state
from operate import import_package
from playground.adapters.packages import read_folder
from playground.domain.errors import VersionExistsError
from playground.domain.packages import PackageVersion, package_uuid

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOLDERS = seed.sample_folders()
REVIEWER = next(folder for folder in FOLDERS if folder.name == "code-reviewer")


def sample(folder: Path) -> PackageVersion:
    return read_folder(folder, published_at=NOW)


@pytest.fixture
def environment(engine: Engine) -> dict[str, str]:
    """The names of an empty catalogue in the store."""
    name = f"seed-{uuid4().hex}"
    dynamodb, s3 = client("dynamodb", engine.endpoint_url), client("s3", engine.endpoint_url)
    try:
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        s3.create_bucket(Bucket=name)
    finally:
        dynamodb.close()
        s3.close()
    return {**CREDENTIALS, "CATALOG_TABLE": name, "CONTENT_BUCKET": name}


# --- the samples ------------------------------------------------------------------------------------------------------


def test_there_are_samples_of_every_common_kind() -> None:
    assert {sample(folder).subtype for folder in FOLDERS} == {"agent", "rule", "skill", "slash-command"}
    assert any(len(sample(folder).files) > 1 for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_sample_is_worth_a_try(folder: Path) -> None:
    package = sample(folder)

    assert package.name == f"@playground/{folder.name}"
    assert package.license == "MIT"
    assert 3 <= len(package.tags) <= 8
    assert package.prompt.startswith("---\n")
    assert re.search(r"^# \S", package.prompt, re.MULTILINE)
    assert 300 < len(package.prompt.encode()) / import_package.BYTES_PER_TOKEN < 4_000
    assert package.files == tuple(
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.md*"), key=lambda p: p.name != "SKILL.md")
    )


def test_seeding_publishes_all_samples_and_may_be_repeated(engine: Engine, environment: dict[str, str]) -> None:
    for _ in range(2):
        assert seed.seed(environment, engine.endpoint_url) == len(FOLDERS) >= 5

    with seed.local_catalog(environment, engine.endpoint_url) as catalog:
        summaries, after = catalog.search("", after=None, limit=100)
        assert ([summary.name for summary in summaries], after) == ([sample(folder).name for folder in FOLDERS], None)
        for folder in FOLDERS:
            stored = catalog.version(f"@playground/{folder.name}", None)
            assert stored is not None
            assert stored.prompt == sample(folder).prompt


def test_a_sample_that_changed_needs_a_new_version(
    engine: Engine, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / REVIEWER.name
    shutil.copytree(REVIEWER, copy)
    monkeypatch.setattr(seed, "PACKAGES", tmp_path)
    assert seed.seed(environment, engine.endpoint_url) == 1
    with (copy / sample(copy).files[0]).open("a") as file:
        file.write("\nOne more thing.\n")

    with pytest.raises(VersionExistsError, match=re.escape("@playground/code-reviewer 1.0.0")):
        seed.seed(environment, engine.endpoint_url)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def running_stack(
    engine: Engine, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What a running stack leaves in its folder."""
    state: dict[str, Any] = {
        "pid": os.getpid(),
        "engine_url": engine.endpoint_url,
        "tables": {"CatalogTable": environment["CATALOG_TABLE"]},
        "buckets": {"ContentBucket": environment["CONTENT_BUCKET"]},
    }
    folder = tmp_path / "state"
    folder.mkdir()
    write_state(folder, state)
    monkeypatch.setenv("STATE_DIR", str(folder))
    return environment


def tarball(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=".")
    return path


def test_imports_a_tarball_once(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tarball(REVIEWER, tmp_path / "package.tar.gz")
    prompt = sample(REVIEWER).prompt
    package_id = package_uuid("@playground/code-reviewer")
    about = (
        f"@playground/code-reviewer 1.0.0 (package_id {package_id}, {len(prompt.encode()):,} bytes, ~1,600 tokens)\n"
    )

    assert import_package.main([str(file)]) == 0
    assert capsys.readouterr() == (f"imported {about}", "")
    assert import_package.main([str(file)]) == 0
    assert capsys.readouterr() == (f"already there, unchanged: {about}", "")

    with seed.local_catalog(running_stack, engine.endpoint_url) as catalog:
        stored = catalog.version("@playground/code-reviewer", "1.0.0")
    assert stored is not None
    assert stored.prompt == prompt


@pytest.mark.usefixtures("running_stack")
def test_imports_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert import_package.main([str(REVIEWER)]) == 0
    assert capsys.readouterr().out.startswith("imported @playground/code-reviewer 1.0.0 ")


def test_imports_into_a_deployed_stack(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the names of its table and bucket, and the environment that the AWS SDK reads."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": engine.endpoint_url}.items():
        monkeypatch.setenv(name, value)
    names = ["--catalog-table", environment["CATALOG_TABLE"], "--bucket", environment["CONTENT_BUCKET"]]

    assert import_package.main([*names, str(REVIEWER)]) == 0
    assert capsys.readouterr().out.startswith("imported ")


@pytest.mark.usefixtures("running_stack")
def test_says_why_a_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = tmp_path / "hook"
    shutil.copytree(REVIEWER, hook)
    manifest = json.loads((hook / "prpm.json").read_text())
    (hook / "prpm.json").write_text(json.dumps({**manifest, "subtype": "hook"}))
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"no archive")
    huge = tmp_path / "huge.tar.gz"
    huge.write_bytes(bytes(1_000_001))

    for path, reason in (
        (hook, 'The subtype "hook" is not one of prompts'),
        (broken, "The file is not gzip"),
        (huge, "1,000,000 are allowed"),
        (tmp_path / "nowhere", "No such file"),
    ):
        assert import_package.main([str(path)]) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert reason in error
        assert "Traceback" not in error


def test_says_that_no_stack_is_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))

    assert import_package.main([str(REVIEWER)]) == 1
    assert "no stack is running" in capsys.readouterr().err


def test_says_what_the_store_said(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": engine.endpoint_url}.items():
        monkeypatch.setenv(name, value)

    assert (
        import_package.main(
            ["--catalog-table", "no-such-table", "--bucket", environment["CATALOG_TABLE"], str(REVIEWER)]
        )
        == 1
    )
    assert "ResourceNotFoundException" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([""], 2, "make import PACKAGE=file.tar.gz"),
        (["--catalog-table", "t", "x.tar.gz"], 2, "--catalog-table and --bucket must be given"),
        (["--help"], 0, "exit status"),
    ],
)
def test_explains_itself(arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_package.main(arguments)
    assert ended.value.code == status
    assert said in "".join(capsys.readouterr())
