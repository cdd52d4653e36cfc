"""Arguments and error messages of the operators' commands."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import jwt
import pytest

from local import invoke
from local.state_file import write_state
from operate.cli import COMMANDS, run
from operate.errors import STATUSES
from operate.options import MOMENT, USER, counted, in_dollars
from playground.adapters.tokens import TokenVerifier, shared_secrets
from playground.domain.calendar import iso
from playground.domain.errors import UnauthorizedError
from playground.domain.users import MAX_USER_ID_CHARACTERS

ROOT = Path(__file__).parents[2]
SECRET = "s" * 32
NOBODY = ["", " ", "\t", "a\nb", "a\u200bb", "x" * (MAX_USER_ID_CHARACTERS + 1)]
SOMEBODY = ["alice", " alice", "-x", "O'Neil $1", "ü", "x" * MAX_USER_ID_CHARACTERS]
DECISIONS = ("list", "show", "hide", "restore", "remove")


@pytest.mark.parametrize("name", [*NOBODY, *SOMEBODY])
def test_a_user_argument_follows_the_rules_of_token_subjects(name: str) -> None:
    verify = TokenVerifier(algorithm="HS256", issuer="i", audience="a", keys=shared_secrets([SECRET], "HS256"))
    claims = {"sub": name, "iss": "i", "aud": "a", "exp": datetime.now(UTC) + timedelta(minutes=1)}
    try:
        is_somebody = verify(f"Bearer {jwt.encode(claims, SECRET)}") == name
    except UnauthorizedError:
        is_somebody = False
    assert is_somebody == (name in SOMEBODY)
    if is_somebody:
        assert USER.convert(name, None, None) == name
    else:
        with pytest.raises(click.BadParameter) as refused:
            USER.convert(name, None, None)
        assert repr(name) in refused.value.message


@pytest.mark.parametrize("name", NOBODY)
def test_every_command_refuses_a_blank_user(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["grant", "--", name, "5"],
        ["plan", "--", name, "plus"],
        ["export", "--", name],
        ["erase", "--yes", "--", name],
        ["audit", "--", name],
        ["user", "--", name],
        ["token", "--", name],
    ):
        assert run(arguments) == 2
        assert repr(name) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grant", "a", "5", "--ref", ""], "'--ref': must not be empty; got ''"),
        (["grant", "a", "5", "--ref", "  "], "'--ref': must not be empty; got '  '"),
        (["plan", "a", "plus", "--ref", ""], "'--ref': must not be empty"),
        (["grant", "a", "5", "--stack", ""], "'--stack': must not be empty"),
        (["grant", "a", ""], "'' is not a valid integer"),
        (["grant", "a", "many"], "Invalid value for '[CREDITS]': 'many' is not a valid integer"),
        (["grant", "a", "-15"], "Amounts are above 0"),
        (["take", "a", "-1"], "Amounts are above 0"),
        (["grant", "a"], "give USER and CREDITS, or --from FILE"),
        (["grant", "a", "5", "--from", "x.csv"], "--from takes users and references from the file"),
        (["plan", "a", "gold"], "'gold' is not one of 'free', 'plus'"),
        (["plan", "a", "plus", "--until", "soon"], "must be a day such as 2027-12-31"),
        (["plan", "a", "free", "--until", "2099-12-31"], "--until is for the plan plus; free ends the plan at once"),
        (["audit", "a", "--all"], "give either USER or --all"),
        (["audit"], "give either USER or --all"),
        (["moderate", "list", "abc"], "unexpected extra argument (abc)"),
        (["moderate", "hide"], "Missing argument 'SHARE'"),
        (["moderate", "hide", ""], "must not be empty"),
        (["reconcile", "--close", ""], "must not be empty"),
        (["reconcile", "--close", "typo"], "ID must be evt_... or an id of Stripe such as pi_...; got 'typo'"),
        (["reconcile", "--days", "0"], "0 is not in the range x>=1"),
        (["token", "a", "--days", "0"], "0 is not in the range"),
        (["invoke", "run", "x.json", "--at", "soon"], "must be a day such as"),
        (
            ["books", "--month", "2999-12"],
            "2999-12 has not begun: there are books of it from 2999-12-01T00:00:00.000Z on",
        ),
        (["granny"], "No such command 'granny'"),
    ],
)
def test_errors_say_what_is_wrong(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert words in capsys.readouterr().err


def test_an_unknown_function_is_answered_with_the_known_ones() -> None:
    functions = {"RunFunction": {"short_name": "run"}, "ResetFunction": {"short_name": "reset"}}
    for name in ("run", "RunFunction"):
        invoke.check_function(name, functions)
    with pytest.raises(invoke.UnknownFunctionError, match=r"no function runs: FUNCTION must be one of reset, run"):
        invoke.check_function("runs", functions)


@pytest.mark.parametrize("arguments", [["pay", "pur_1"], ["user", "alice"], ["invoke", "run", "x.json"]])
def test_without_a_stack_the_folder_is_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert run(arguments) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_counts_are_singular_or_plural() -> None:
    assert (
        counted({"entries": 1, "runs": 1, "purchases": 0, "sessions": 2}) == "1 entry, 1 run, 0 purchases, 2 sessions"
    )


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (5, "$0.000000005"),
        (10_000_000, "$0.01"),
        (4_500_000, "$0.0045"),
        (1_234_567_000_000_000, "$1,234,567.00"),
        (-1_500_000_000, "-$1.50"),
    ],
)
def test_money_is_printed_exactly(nano: int, text: str) -> None:
    assert in_dollars(nano) == text


def test_times() -> None:
    assert MOMENT.convert("2027-12-31", None, None) == datetime(2027, 12, 31, tzinfo=UTC)
    assert MOMENT.convert("2027-12-31T12:00:00+02:00", None, None) == datetime(2027, 12, 31, 10, tzinfo=UTC)


@pytest.mark.parametrize("words", [[name] for name in COMMANDS] + [["moderate", name] for name in DECISIONS])
def test_every_command_explains_itself_in_80_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: ./playground {words[0]}")
    assert all(part in text for part in ("Exit status:", "Examples:", "--json" if words != ["moderate"] else ""))
    assert [line for line in text.splitlines() if len(line) > 80] == []
    examples = text.partition("  Examples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"    ./playground {words[0]}") for line in examples)


def test_help_and_documents_have_the_same_table_of_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capsys.readouterr().out.endswith(
        "Exit status:\n" + "".join(f"    {status}  {text}\n" for status, text in STATUSES.items())
    )
    documented = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+) \|$", documented, re.MULTILINE)
    assert {int(status): text for status, text in rows} == STATUSES
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        text = capsys.readouterr().out.partition("Exit status:\n")[2].partition("\n\n")[0]
        assert {int(status) for status in re.findall(r"^ +(\d)  ", text, re.MULTILINE)} <= STATUSES.keys()


@pytest.mark.parametrize("words", [[], ["moderate"]])
def test_lists_of_commands_are_whole_in_80_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    commands, _, rest = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")
    assert [line for line in commands.splitlines() if line.endswith("...")] == []
    assert [line for line in (commands + rest).splitlines() if len(line) > 80] == []


def test_a_token_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert run(["token", "alice", "--days", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    claims = jwt.decode(printed["token"], options={"verify_signature": False})
    assert printed["user"] == claims["sub"] == "alice"
    assert printed["expires_at"] == iso(datetime.fromtimestamp(claims["exp"], UTC))


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (None, [], "cannot be read: No such file or directory"),
        (b"no json", [], "is not JSON"),
        (b"\xff", [], "is not UTF-8"),
        (b"{}", ["--at", "2027-01-31"], "has no time `at` that --at could replace"),
    ],
)
def test_an_unusable_event_is_not_a_failure_of_the_function(
    content: bytes | None,
    more: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 1 says that the function failed; here it was not called."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    write_state(tmp_path, {"pid": os.getpid(), "functions": {"RunFunction": {"short_name": "run"}}})
    event = tmp_path / "event.json"
    if content is not None:
        event.write_bytes(content)
    assert run(["invoke", "run", str(event), *more]) == 2
    assert f"{event} {said}" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("token", "pay", "invoke", "watch")])
def test_every_command_for_a_deployed_stack_names_its_rights(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [name, "list"] if name == "moderate" else [name]
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(part in text for part in ("--stack NAME", "--json", "Rights on a deployed stack:", "DescribeStacks"))
