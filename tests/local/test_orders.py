"""What `make grant` and `make plan` say of what they did, or did not do."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from local.engine import Engine
from local.resources import create_resources
from local.settings import TEMPLATE
from local.state_file import write_state
from local.template import read_template
from operate import grant, plan
from tests.support import LEDGER_TABLE, SESSIONS_TABLE

Main = Callable[[Sequence[str]], int]


@pytest.fixture(autouse=True)
def stack(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_resources(read_template(TEMPLATE), engine.endpoint_url)
    tables = {"LedgerTable": LEDGER_TABLE, "SessionsTable": SESSIONS_TABLE}
    write_state(tmp_path, {"pid": os.getpid(), "engine_url": engine.endpoint_url, "tables": tables})
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("main", "arguments", "said"),
    [
        (grant.main, ["--credits", "0"], "CREDITS: 1 to 100000 (given: 0)"),
        (grant.main, ["--credits", "5", "--ref", "a b"], "such as ticket-123 (given: 'a b')"),
        (grant.main, ["--credits", "5", "--reason", ""], "REASON: 1 to 200 characters on one line (given: '')"),
        (grant.main, ["--credits", "5", "--by", ""], "BY: 1 to 200 characters on one line (given: '')"),
        (plan.main, ["--plan", "plus", "--until", "2020-01-01"], "(given: 2020-01-01T00:00:00.000Z)"),
    ],
)
def test_what_was_refused_opened_no_account(
    main: Main, arguments: list[str], said: str, user_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([user_id, *arguments]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.endswith(f"{said}\n")
    assert "account" not in error


def test_an_account_is_said_to_be_opened_when_it_was(user_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert grant.main([user_id, "--credits", "5", "--ref", "t"]) == 0
    assert capsys.readouterr().err == f"{user_id} had no account; one was opened\n"
    assert grant.main([user_id, "--credits", "5", "--ref", "t"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("main", [grant.main, plan.main])
def test_help_knows_that_an_account_is_opened(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "no such account" not in said
    assert "an account that was not there yet is opened" in said
