"""What the commands have in common: options, types of arguments, and how they print."""

import json
import os
import pwd
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

import click

from operate.stack import Stack, open_stack
from playground.domain.calendar import iso
from playground.domain.entries import Entry
from playground.domain.errors import CorruptLedgerError
from playground.domain.guard import NANO_PER_DOLLAR
from playground.domain.users import MAX_USER_ID_CHARACTERS, is_user_id

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = 80  # of a page for a terminal
PROGRESS_EVERY = 500  # items of unknown number, where stderr is no terminal


class User(click.ParamType[str]):
    """The subject of a token, by the rules of the API: no token could name another id."""

    name = "user"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not is_user_id(text):
            self.fail(f"USER must be 1 to {MAX_USER_ID_CHARACTERS} printable characters; got {text!r}", param, ctx)
        return text


class Text(click.ParamType[str]):
    """A text that must not be blank if it is given at all: a script with an unset variable must not go on without."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip():
            self.fail(f"must not be empty; got {value!r}. Give a value or leave the option out", param, ctx)
        return str(value)


class Moment(click.ParamType[datetime]):
    """A time, or a day for its first moment, in UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"must be a day such as 2027-12-31, or a time such as 2027-12-31T12:00:00Z; got {value!r}")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


USER, TEXT, MOMENT = User(), Text(), Moment()


in_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def on_a_stack(command: F) -> F:
    """`--stack` and `--json`. The command gets them as `stack_name` and `as_json`."""
    command = in_json(command)
    stack = click.option(
        "--stack",
        "stack_name",
        type=TEXT,
        metavar="NAME",
        help="Work on the deployed CloudFormation stack NAME. Region and credentials are found as by the AWS CLI. "
        "Default: the stack on this machine.",
    )
    return stack(command)


def by_an_operator(reason: str, readers: str = "The user can read it.") -> Callable[[F], F]:
    """`--ref`, `--reason`, `--by`: under which reference it is done once, why, and who does it. `readers` says who
    gets to read the reason."""

    def add(command: F) -> F:
        return click.option(
            "--ref", "reference", type=TEXT, help="The reference under which it is done once: ticket-123."
        )(reason_option(reason, readers)(operator_option(command)))

    return add


def reason_option(default: str, readers: str = "The user can read it.") -> Callable[[F], F]:
    return click.option("--reason", type=TEXT, default=default, show_default=True, help=f"Why. {readers}")


def operator_option(command: F) -> F:
    option = click.option(
        "--by",
        "operator",
        type=TEXT,
        default=login,
        metavar="NAME",
        help="Who does it; kept, and not shown to the user. Default: the login name.",
    )
    return option(command)


dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")


def login() -> str:
    """Who runs this, from the system and not from the environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have a user without a name
        return "operator"


@contextmanager
def working_on(stack_name: str | None) -> Iterator[Stack]:
    with open_stack(stack_name) as stack:
        yield stack


# --- printing ---------------------------------------------------------------------------------------------------------


def show(document: object, text: str, *, as_json: bool) -> None:
    """Print `text`, or `document` as JSON. What is empty is not printed."""
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=plain))
    elif text:
        click.echo(text)


def plain(value: object) -> object:
    """What JSON has no form of its own for."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def wrapped(line: str, *, indent: int) -> str:
    """A line for a terminal of 80 columns, continued below `indent` spaces. Nothing is cut off; words stay whole."""
    return "\n".join(
        textwrap.wrap(line, COLUMNS, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    )


def reason_of(entry: Entry) -> str:
    """Why there is an entry; of an operator's also who did it, and under which reference."""
    if entry.operator is None:
        return entry.reason
    return f"{entry.reason} (by {entry.operator}, {entry.business_key.partition(':')[2]})"


def in_dollars(nano: int) -> str:
    """The amount exactly, with as many decimals as it needs, and two at least: printed lines add up to printed sums."""
    whole, rest = divmod(abs(nano), NANO_PER_DOLLAR)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole:,}.{decimals}"


def counted(counts: Mapping[str, int]) -> str:
    """2 entries, 1 run."""
    one = {"entries": "entry"}
    return ", ".join(
        f"{count:,} {one.get(name, name.removesuffix('s')) if abs(count) == 1 else name}"
        for name, count in counts.items()
    )


def note(text: str) -> None:
    """Something beside the result: on stderr, so that stdout can be piped."""
    click.echo(text, err=True)


def report_unreadable(error: CorruptLedgerError) -> None:
    """A stored record that is left out because it is damaged."""
    note(f"cannot be read: {error.what}")


T = TypeVar("T")


def with_progress(items: Iterable[T], label: str, *, length: int | None = None) -> Iterator[T]:
    """Go through `items` and show on stderr how far it is: a bar where the number is known, a count where not."""
    if length is not None and sys.stderr.isatty():
        with click.progressbar(items, length=length, label=label, file=sys.stderr) as bar:
            yield from bar
        return
    for count, item in enumerate(items, 1):
        yield item
        if count % PROGRESS_EVERY == 0:
            note(f"{label}: {count}" + (f" of {length}" if length is not None else " so far"))
