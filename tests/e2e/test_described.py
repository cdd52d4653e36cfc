"""Schemathesis sends the running stack what the description of the API allows and forbids, and compares the answers.

What the description allows may be refused for the reasons in tools/refusals.py only."""

import json
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from local.settings import TEMPLATE
from local.tokens import issuer
from tests.conftest import ROOT
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.kit.described import described
from tests.kit.extent import whole_only
from tests.kit.openapi_tools import SETTINGS, python_programs, run
from tests.kit.ports import free_ports
from tools.openapi import TARGET

pytestmark = whole_only

FUZZING_SECONDS = 40


@pytest.fixture
def unhurried() -> Iterator[Stack]:
    """A stack on which a user may begin many runs a minute."""
    with tempfile.TemporaryDirectory(prefix="playground-described-") as folder:
        stack = start_stack(Path(folder), free_ports(5), {"RATE_LIMIT_FACTOR": "600"})
        try:
            yield stack
        finally:
            stop_stack(stack)


def test_the_running_api_does_what_its_description_says(unhurried: Stack, tmp_path: Path) -> None:
    token = issuer(TEMPLATE, unhurried.folder, {}).token("described", timedelta(hours=1))
    report = tmp_path / "report.json"
    run(
        python_programs() / "schemathesis",
        *("--config-file", SETTINGS / "schemathesis.toml", "--no-color", "run", TARGET),
        *("--url", f"{unhurried.url}/api/v1", "--header", f"Authorization: Bearer {token}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "1", "--seed", "1", "--no-shrink"),
        *("--max-time", str(FUZZING_SECONDS), "--workers", "2", "--continue-on-failure"),
        *("--report-json-path", report),
        folder=tmp_path,
        variables={"SCHEMATHESIS_HOOKS": str(SETTINGS / "refusals_check.py"), "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(report.read_text(encoding="utf-8"))
    operations = sum(len(methods) for methods in described()["paths"].values())
    assert (found["operations"]["tested"], found["failures"], found["errors"]) == (operations, [], [])
    assert {found["phases"][phase]["status"] for phase in ("examples", "coverage")} == {"success"}
    assert "unhandled error" not in unhurried.log
