"""`make security`: what is found in files is compared with what was reviewed; what cannot be asked is no failure."""

import json
import re
from pathlib import Path

import pytest
from detect_secrets.core.secrets_collection import SecretsCollection

from tools.security import BASELINE, REVIEWED, ROOT, could_ask, findings, reason_of, reviewed, scanned, unreviewed

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
