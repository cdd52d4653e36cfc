"""The description of the API is clean for two linters, and two generators make clients of it that type-check."""

import shutil
from pathlib import Path

from tests.kit.extent import whole_only
from tests.kit.openapi_tools import SETTINGS, node_programs, python_programs, run
from tools.openapi import TARGET

pytestmark = whole_only


def test_spectral_has_nothing_to_say() -> None:
    run(
        node_programs() / "spectral",
        *("lint", "--ruleset", SETTINGS / "spectral.yaml", "--fail-severity", "hint", TARGET),
        folder=SETTINGS,
    )


def test_redocly_has_nothing_to_say() -> None:
    said = run(
        node_programs() / "redocly",
        *("lint", "--config", SETTINGS / "redocly.yaml", "--format", "json", TARGET),
        folder=SETTINGS,
    )
    assert '"errors": 0' in said
    assert '"warnings": 0' in said


def test_types_for_typescript_are_made_and_fit(tmp_path: Path) -> None:
    programs = node_programs()
    shutil.copy(SETTINGS / "uses.ts", tmp_path)
    # Without the option, a field that has a default would have to be sent.
    run(
        programs / "openapi-typescript",
        *(TARGET, "--output", tmp_path / "api.ts", "--default-non-nullable", "false"),
        folder=tmp_path,
    )
    options = ("--noEmit", "--strict", "--target", "es2022", "--moduleResolution", "bundler", "--module", "es2022")
    run(programs / "tsc", *options, "uses.ts", folder=tmp_path)


def test_a_client_for_python_is_made_and_fits(tmp_path: Path) -> None:
    programs = python_programs()
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n", encoding="utf-8")  # nothing else is formatted
    said = run(
        programs / "openapi-python-client",
        *("generate", "--path", TARGET, "--config", "settings.yaml", "--meta", "none", "--output-path", "client"),
        *("--fail-on-warning",),
        folder=tmp_path,
    )
    assert "Warning" not in said, said
    shutil.copy(SETTINGS / "uses.py.txt", tmp_path / "uses.py")
    run(programs / "mypy", "--strict", "client", "uses.py", folder=tmp_path, variables={"MYPYPATH": str(tmp_path)})
