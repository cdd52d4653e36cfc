"""What operators' commands take, and what they say to the rest."""

import argparse
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from local import audit, erase, export, grant, invoke, make_token, moderate, pay, plan, reconcile
from local.command import full_time, moment, user_id
from playground.adapters.tokens import TokenVerifier, shared_secrets
from playground.domain.errors import UnauthorizedError
from playground.domain.users import MAX_USER_ID

SECRET = "s" * 32
NOBODY = ["", " ", "\t", "a\nb", "a\u200bb", "x" * (MAX_USER_ID + 1)]
SOMEBODY = ["alice", " alice", "-x", "O'Neil $1", "ü", "x" * MAX_USER_ID]


@pytest.mark.parametrize("name", [*NOBODY, *SOMEBODY])
def test_a_user_is_whom_a_token_may_speak_for(name: str) -> None:
    verify = TokenVerifier(algorithm="HS256", issuer="i", audience="a", keys=shared_secrets([SECRET], "HS256"))
    claims = {"sub": name, "iss": "i", "aud": "a", "exp": datetime.now(UTC) + timedelta(minutes=1)}
    try:
        is_somebody = verify(f"Bearer {jwt.encode(claims, SECRET)}") == name
    except UnauthorizedError:
        is_somebody = False
    assert is_somebody == (name in SOMEBODY)
    if is_somebody:
        assert user_id(name) == name
    else:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            user_id(name)
        assert repr(name) in str(refused.value)


def said(capsys: pytest.CaptureFixture[str], main: object, *arguments: str) -> str:
    """What a command says to a command line that it refuses."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))  # type: ignore[operator]
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", NOBODY)
def test_every_command_refuses_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, *more in (
        (grant.main, "--credits", "5"),
        (plan.main, "--plan", "plus"),
        (export.main,),
        (erase.main, "--yes"),
        (audit.main,),
    ):
        assert repr(name) in said(capsys, main, *more, "--", name)
    monkeypatch.setattr("sys.argv", ["token", name])
    assert repr(name) in said(capsys, lambda _: make_token.main())


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (grant.main, ["a", "--credits", "5", "--ref", ""], "--ref"),
        (grant.main, ["a", "--credits", "5", "--ref", "  "], "--ref"),
        (plan.main, ["a", "--plan", "plus", "--ref", ""], "--ref"),
        (grant.main, ["a", "--credits", ""], "'' is no whole number"),
        (grant.main, ["a", "--credits", "many"], "'many' is no whole number"),
        (plan.main, ["a", "--plan", "plus", "--until", "soon"], "'soon' is no time: a day such as 2027-12-31"),
        (audit.main, ["a", "--all"], "Either one"),
        (audit.main, [], "Either one"),
        (audit.main, ["--all", "--ledger-table", "", "--sessions-table", "x"], "--ledger-table: the name is empty"),
        (moderate.main, ["list", "abc"], "what is to be done with abc? DO=show"),
        (moderate.main, ["hide"], "DO=hide takes SHARE="),
        (moderate.main, ["hide", ""], "given and empty"),
        (reconcile.main, ["--close", ""], "given and empty"),
        (reconcile.main, ["--days", "0"], "not 0"),
        (reconcile.main, ["--stripe-secret", "x"], "--ledger-table must be given"),
    ],
)
def test_what_is_wrong_is_said(
    main: object, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in said(capsys, main, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["", ""], "make invoke FN=run EVENT="),
        (["run", ""], "make invoke FN=run EVENT="),
        (["reset", "events/reset/daily.json", "--at", "2027-01-31"], "'2027-01-31' is no full time"),
        (["reset", "events/reset/daily.json", "--at", ""], "'' is no full time"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["invoke", *arguments])
    assert words in said(capsys, lambda _: invoke.main())


def test_a_function_that_is_not_there_is_told_from_those_that_are() -> None:
    functions = {"RunFunction": {"short_name": "run"}, "ResetFunction": {"short_name": "reset"}}
    for name in ("run", "RunFunction"):
        invoke.check_function(name, functions)
    with pytest.raises(invoke.UnknownFunctionError, match=r"no function runs: FN is one of reset, run"):
        invoke.check_function("runs", functions)


def test_without_a_stack_the_folder_is_named(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["pay", "pur_1"])
    assert pay.main() == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_times() -> None:
    assert moment("2027-12-31") == datetime(2027, 12, 31, tzinfo=UTC)
    assert moment("2027-12-31T12:00:00+02:00") == datetime(2027, 12, 31, 10, tzinfo=UTC)
    assert full_time("2027-01-31T00:00:00Z") == "2027-01-31T00:00:00Z"
