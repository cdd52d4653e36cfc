"""`make security`: what is found in files is compared with what was reviewed; what cannot be asked is no failure."""

import json
import re
from pathlib import Path

import pytest
from detect_secrets.core.secrets_collection import SecretsCollection

from tools.security import (
    BASELINE,
    CODE,
    REVIEWED,
    ROOT,
    NotAskedError,
    answer_of,
    could_ask,
    findings,
    reason_of,
    reviewed,
    scanned,
    unreviewed,
    weaknesses,
)

KEY = "AKIA" + "Z7WQ3LXN5TRV2B6K"  # in two parts: this file is scanned, too


def test_a_key_in_a_file_is_found_until_it_was_reviewed(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f'first = 1\nkey = "{KEY}"\n', encoding="utf-8")
    found = scanned(["settings.py"], tmp_path)

    assert unreviewed(found, SecretsCollection()) == ["settings.py:2: AWS Access Key"]
    assert unreviewed(found, found) == ["settings.py:2: AWS Access Key"]  # noted is not reviewed
    for _, secret in found:
        secret.is_secret = False
    assert unreviewed(found, found) == []


def test_a_reviewed_finding_may_move_within_its_file_and_not_to_another_one(tmp_path: Path) -> None:
    for name, before in (("one.py", ""), ("moved/one.py", "first = 1\n" * 9), ("two.py", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'{before}key = "{KEY}"\n', encoding="utf-8")
    known = scanned(["one.py"], tmp_path)
    for _, secret in known:
        secret.is_secret = False

    assert unreviewed(scanned(["one.py"], tmp_path / "moved"), known) == []
    assert unreviewed(scanned(["two.py"], tmp_path), known) == ["two.py:1: AWS Access Key"]


def test_everything_in_the_baseline_was_reviewed_and_has_a_reason() -> None:
    entries = list(reviewed())
    assert entries
    assert str(ROOT) not in (ROOT / BASELINE).read_text(encoding="utf-8")
    assert [name for name, secret in entries if secret.is_secret is not False or reason_of(name) is None] == []
    assert all(any(re.fullmatch(pattern, name) for name, _ in entries) for pattern in REVIEWED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"dependencies": []}',
        '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}',
        "Traceback (most recent call last):",
    ],
)
def test_an_audit_that_could_not_ask_is_none(text: str) -> None:
    assert not could_ask(text)


SKIPPED = '{"dependencies": [{"name": "a", "skip_reason": "not found"}]}'


@pytest.mark.parametrize(
    ("stdout", "stderr", "reason"),
    [
        (SKIPPED, "No known vulnerabilities found", "it knows none of the packages"),
        (
            "",
            "Traceback (most recent call last):\nrequests.exceptions.ConnectionError: refused",
            "ConnectionError: refused",
        ),
        (
            "",
            "ERROR:pip_audit._cli:no feed\nERROR:pip_audit._cli:Tip: your network may be blocking this service",
            "no feed",
        ),
        ("", "", "it said nothing"),
    ],
)
def test_an_audit_that_is_skipped_says_why(stdout: str, stderr: str, reason: str) -> None:
    with pytest.raises(NotAskedError, match=reason):
        answer_of(stdout, stderr)


def test_a_lock_that_the_audit_does_not_take_is_no_matter_of_the_network() -> None:
    with pytest.raises(RuntimeError, match="does not contain a hash"):
        answer_of("", "ERROR:pip_audit._cli:requirement nonsense==1.0 does not contain a hash\n")


def test_what_bandit_finds_and_what_it_could_not_read_are_weaknesses() -> None:
    found = {"filename": "a.py", "line_number": 3, "test_id": "B602", "issue_text": "subprocess with shell"}
    document = {"errors": [{"filename": "b.py", "reason": "syntax error"}], "results": [found]}
    assert list(weaknesses(json.dumps(document))) == ["b.py: syntax error", "a.py:3: B602 subprocess with shell"]


def test_every_line_that_bandit_is_to_leave_says_why_and_which_test() -> None:
    lines = [
        line
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#\s*nosec", line)
    ]
    assert lines
    assert [line for line in lines if not re.search(r"  # \S.{10,} # nosec B\d{3}$", line)] == []


def test_every_test_of_bandit_that_is_skipped_has_a_reason() -> None:
    lines = (ROOT / ".bandit.yaml").read_text(encoding="utf-8").partition("skips:\n")[2].splitlines()
    assert lines
    assert all(re.fullmatch(r"  - B\d{3} # .{20,}", line) for line in lines), lines


def test_what_an_audit_finds() -> None:
    vulnerable = {"id": "CVE-2026-1", "fix_versions": ["1.2.1"]}
    document = {
        "dependencies": [
            {"name": "good", "version": "1.0", "vulns": []},
            {"name": "bad", "version": "1.2", "vulns": [vulnerable]},
            {"name": "unknown", "skip_reason": "not found"},
        ]
    }
    assert could_ask(json.dumps(document))
    assert list(findings(json.dumps(document))) == ["bad 1.2: CVE-2026-1, fixed in 1.2.1"]


def test_every_check_of_the_template_that_is_skipped_has_a_reason() -> None:
    lines = (ROOT / ".checkov.yaml").read_text(encoding="utf-8").partition("skip-check:\n")[2].splitlines()
    assert lines
    assert all(re.fullmatch(r"  - CKV\w*_\d+ # .{20,}", line) for line in lines), lines
