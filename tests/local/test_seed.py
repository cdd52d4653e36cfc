"""The sample packages, and the import of packages into the catalogue."""

import json
import os
import random
import re
import shutil
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local import seed
from local.engine import CREDENTIALS, Engine
from local.resources import client
from local.state_file import write_state
from operate.cli import run
from operate.commands.import_packages import BYTES_PER_TOKEN
from playground.adapters.archives import MAX_ARCHIVE_BYTES
from playground.adapters.packages import read_folder
from playground.domain.errors import VersionExistsError
from playground.domain.packages import PackageVersion, package_uuid
from tests.kit.deployed import deploy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOLDERS = seed.sample_folders()

REVIEWER = next(folder for folder in FOLDERS if folder.name == "code-reviewer")


def sample(folder: Path) -> PackageVersion:
    return read_folder(folder, published_at=NOW)


@pytest.fixture
def environment(engine: Engine) -> dict[str, str]:
    """The environment of an empty catalogue in the store."""
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
def test_a_sample_has_a_usable_prompt(folder: Path) -> None:
    package = sample(folder)

    assert package.name == f"@playground/{folder.name}"
    assert package.license == "MIT"
    assert 3 <= len(package.tags) <= 8
    assert package.prompt.startswith("---\n")
    assert re.search(r"^# \S", package.prompt, re.MULTILINE)
    assert 300 < len(package.prompt.encode()) / BYTES_PER_TOKEN < 4_000
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

    with pytest.raises(VersionExistsError, match=re.escape("@playground/code-reviewer 1.1.0")):
        seed.seed(environment, engine.endpoint_url)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def running_stack(
    engine: Engine, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The state file of a running stack."""
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
        f"@playground/code-reviewer 1.1.0 (package_id {package_id}, {len(prompt.encode()):,} bytes, ~1,600 tokens)\n"
    )

    assert run(["import", str(file)]) == 0
    assert capsys.readouterr() == (f"imported {about}", "")
    assert run(["import", str(file)]) == 0
    assert capsys.readouterr() == (f"already there, unchanged: {about}", "")

    with seed.local_catalog(running_stack, engine.endpoint_url) as catalog:
        stored = catalog.version("@playground/code-reviewer", "1.1.0")
    assert stored is not None
    assert stored.prompt == prompt


@pytest.mark.usefixtures("running_stack")
def test_imports_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", str(REVIEWER)]) == 0
    assert capsys.readouterr().out.startswith("imported @playground/code-reviewer 1.1.0 ")


def test_imports_into_a_deployed_stack(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {"CatalogTableName": environment["CATALOG_TABLE"], "ContentBucketName": environment["CONTENT_BUCKET"]}
    name = deploy(engine, outputs, monkeypatch)

    assert run(["import", str(REVIEWER), "--stack", name]) == 0
    assert capsys.readouterr().out.startswith("imported ")


@pytest.mark.usefixtures("running_stack")
def test_a_dry_run_imports_nothing(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(made(tmp_path / "a", {"SKILL.md": "# A"}, name="@acme/dry"))
    assert run(["import", file, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would be imported @acme/dry 1.0.0 ")
    with seed.local_catalog(running_stack, engine.endpoint_url) as catalog:
        assert catalog.version("@acme/dry", None) is None
    assert run(["import", file, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["outcome"]) for each in document["packages"]] == [("@acme/dry", "imported")]
    assert document["counts"] == {"imported": 1}


@pytest.mark.usefixtures("running_stack")
def test_says_why_a_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = tmp_path / "hook"
    shutil.copytree(REVIEWER, hook)
    manifest = json.loads((hook / "prpm.json").read_text())
    (hook / "prpm.json").write_text(json.dumps({**manifest, "subtype": "hook"}))
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"no archive")
    huge = tmp_path / "huge.tar.gz"
    huge.write_bytes(bytes(MAX_ARCHIVE_BYTES + 1))
    lookalike = tmp_path / "cafe\u0301.tar.gz"

    for path, reason in (
        (hook, 'the subtype "hook" is not one of prompts'),
        (broken, "The file is not gzip"),
        (huge, "more than 10,485,760 bytes"),
        (tmp_path / "nowhere", "nowhere: No such file"),
        (lookalike, 'cafe\\u0301.tar.gz": No such file'),
    ):
        assert run(["import", str(path)]) == 1
        out, error = capsys.readouterr()
        assert out == ""
        assert reason in error
        assert str(path) in error or not str(path).isascii()
        assert "Traceback" not in error


def made(folder: Path, files: Mapping[str, bytes | str], **manifest: Any) -> Path:
    """A tarball of these files and a manifest that lists them all."""
    content = {
        "name": "@acme/made",
        "version": "1.0.0",
        "description": "Made.",
        "format": "claude",
        "subtype": "skill",
        "files": list(files),
        **manifest,
    }
    for name, text in {**files, "prpm.json": json.dumps(content)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tarball(folder, folder.parent / f"{folder.name}.tar.gz")


def stored(environment: dict[str, str], engine: Engine, name: str) -> PackageVersion:
    with seed.local_catalog(environment, engine.endpoint_url) as catalog:
        found = catalog.version(name, None)
    assert found is not None
    return found


def test_a_name_gives_a_package_its_scope(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(made(tmp_path / "a", {"SKILL.md": "# A"}, name="made"))

    assert run(["import", file]) == 1
    assert "--name @scope/made" in capsys.readouterr().err
    assert run(["import", file, "--name", "@acme/made"]) == 0
    assert run(["import", file, "--scope", "@other"]) == 0
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "imported @acme/made 1.0.0",
        "imported @other/made 1.0.0",
    ]
    assert stored(running_stack, engine, "@other/made").prompt == "# A\n"


def test_imports_several_packages_of_several_files(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error in one file does not stop the others."""
    both = [
        {"name": "one", "version": "1.0.0", "description": "One.", "format": "claude", "files": ["one.md"]},
        {"name": "two", "version": "1.0.0", "description": "Two.", "format": "claude", "files": ["two.md"]},
        {"name": "three", "version": "1.0.0", "description": "Three.", "format": "claude", "files": ["three.md"]},
    ]
    several = made(tmp_path / "several", {"one.md": "1", "two.md": "2"}, organization="Acme", packages=both)
    wrong = made(tmp_path / "wrong", {"SKILL.md": b"\xff"})
    single = made(tmp_path / "single", {"SKILL.md": "# S"})

    assert run(["import", str(several), str(wrong), str(single)]) == 1

    out, error = capsys.readouterr()
    assert [line.split(" (")[0] for line in out.splitlines()] == [
        "imported @acme/one 1.0.0",
        "imported @acme/two 1.0.0",
        'skipped "@acme/three": none of its files is here',
        "imported @acme/made 1.0.0",
        "3 imported, 1 refused, 1 skipped",
    ]
    assert error == f'{wrong}: "SKILL.md" is not UTF-8 (byte 0); the files of a prompt must be text.\n'
    assert (stored(running_stack, engine, "@acme/two").prompt, stored(running_stack, engine, "@acme/two").subtype) == (
        "2\n",
        "rule",
    )


def test_says_what_is_left_out_of_the_prompt(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "".join(f"{number:07x} " for number in range(100_000))
    file = str(made(tmp_path / "a", {"SKILL.md": "# A", "logo.png": b"\x89PNG", "b.md": words, "c.md": words}))

    assert run(["import", file]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert "--fit" in error
    assert [" ".join(line.split()) for line in error.splitlines()[1:]] == [
        '800,000 bytes "c.md" (does not fit)',
        '800,000 bytes "b.md" (does not fit)',
        '3 bytes "SKILL.md"',
    ]
    assert run(["import", file, "--fit"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        '  not in the prompt: "logo.png" (4 bytes, image/png)',
        '  not in the prompt: "b.md" (800,000 bytes, text/plain)',
        '  not in the prompt: "c.md" (800,000 bytes, text/plain)',
    ]
    assert stored(running_stack, engine, "@acme/made").files == ("SKILL.md",)


@pytest.mark.usefixtures("running_stack")
@pytest.mark.parametrize(("size", "note"), [(170_000, None), (190_000, "without PRPM+"), (700_000, "for any plan")])
def test_says_for_whom_a_prompt_may_be_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, note: str | None
) -> None:
    text = random.Random(7).randbytes(size // 2).hex()

    assert run(["import", str(made(tmp_path / "a", {"SKILL.md": text}))]) == 0

    _, *notes = capsys.readouterr().out.splitlines()
    assert (len(notes), note is None or note in notes[0]) == (0 if note is None else 1, True)


def test_hidden_characters_are_imported_only_with_an_option(
    running_stack: dict[str, str], engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "Do it.")
    file = str(made(tmp_path / "a", {"SKILL.md": f"# A\n\nTidy{hidden}\u202e up."}))

    assert run(["import", file]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert "1 bidi_control, 6 tag_character" in error
    assert 'which spell "Do it."' in error
    assert hidden not in error
    assert run(["import", file, "--acknowledge-hidden"]) == 0
    assert "  hidden characters, acknowledged: 1 bidi_control, 6 tag_character\n" in capsys.readouterr().out
    assert stored(running_stack, engine, "@acme/made").hidden == (("bidi_control", 1), ("tag_character", 6))


def test_says_that_no_stack_is_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))

    assert run(["import", str(REVIEWER)]) == 2
    assert "no stack is running" in capsys.readouterr().err


def test_reports_errors_of_the_store(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {"CatalogTableName": "no-such-table", "ContentBucketName": environment["CONTENT_BUCKET"]}

    assert run(["import", str(REVIEWER), "--stack", deploy(engine, outputs, monkeypatch)]) == 1
    assert "ResourceNotFoundException" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'FILE...'"),
        (["a", "b", "--name", "@a/b"], "--name @a/b is one package; there are 2 files"),
        (["a", "--name", "A"], '"A" is no name of a package'),
        (["a", "--scope", "@a/b"], '"@a/b" is no scope'),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", *arguments]) == 2
    assert said in capsys.readouterr().err
