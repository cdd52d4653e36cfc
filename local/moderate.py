"""Decides about shared conversations that were reported: `make moderate`, or `python -m local.moderate --help`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError

from local.engine import CREDENTIALS
from local.settings import state_dir
from local.state_file import read_state
from playground.adapters.dynamo_moderation import DynamoModeration
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.domain.calendar import iso
from playground.domain.errors import PlaygroundError
from playground.domain.sharing import Share, share_id_of
from playground.usecases.moderate import ModerateShares

SHOWN = 20  # turns
LONGEST_SHOWN = 1000  # characters of a text
TOKEN_LENGTH = 43

DESCRIPTION = """\
Decide about shared conversations. One that was reported often enough (REPORTS_TO_HIDE) is hidden by itself, until it is
restored or removed here.
"""
EPILOG = """\
commands:
  list            shares that were reported or are hidden, with their ids
  show SHARE      the reports, and how the conversation begins
  hide SHARE      nobody can see it any more, until it is restored
  restore SHARE   everybody who has the link can see it again; it takes as many new reports to hide it
  remove SHARE    the link is dead, and its session can never be shared again; its owner keeps the conversation
  SHARE is an id as `list` prints it, a link, or the end of a link.

where:
  By default the stack that `make run` has started, which it finds in STATE_DIR/stack.json (STATE_DIR: .local).
  With --sessions-table a deployed one. Its name is the output SessionsTableName of the stack; credentials and region
  are found as by the AWS CLI (AWS_PROFILE, AWS_REGION, ...). Needed are dynamodb:GetItem, Query, UpdateItem and
  DeleteItem, and for `list` Scan: it reads the whole table, which nothing does that is done for each request.

exit status:
  0  done
  1  there is no such share
  2  it could not be done: no stack, no answer from the store, wrong command line

examples:
  make moderate
  make moderate DO=show SHARE=5f0c...
  python -m local.moderate remove 5f0c... --sessions-table playground-SessionsTable-3C4D
"""


class CannotModerateError(Exception):
    """There is nothing to work on."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.moderate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("list", "show", "hide", "restore", "remove"))
    parser.add_argument("share", metavar="SHARE", nargs="?", help="which one; not for list")
    parser.add_argument("--sessions-table", help="name of the sessions' table in a deployed stack")
    options = parser.parse_args(arguments)
    if (options.command == "list") != (options.share is None):
        parser.error("list takes no SHARE, every other command takes one")
    try:
        with table(options.sessions_table) as (moderation, sessions):
            if options.command == "list":
                return list_shares(moderation)
            share_id = id_of(options.share)
            if options.command == "show":
                return show(moderation, sessions, share_id)
            share = getattr(ModerateShares(moderation), options.command)(share_id)
            print(f"{options.command}: {_line(share)}")
    except CannotModerateError as error:
        print(error, file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{f' ({error.__cause__})' if error.__cause__ else ''}", file=sys.stderr)
        return 1 if error.code == "share_not_found" else 2
    return 0


def id_of(text: str) -> str:
    """The id of a share, from the id itself, a link or a token."""
    end = text.rstrip("/").rpartition("/")[2]
    return share_id_of(end) if len(end) == TOKEN_LENGTH else end


def list_shares(moderation: DynamoModeration) -> int:
    after: str | None = None
    while True:
        page, after = moderation.reported(after=after)
        for share in page:
            print(_line(share))
        if after is None:
            return 0


def show(moderation: DynamoModeration, sessions: DynamoSessions, share_id: str) -> int:
    share = moderation.find(share_id)
    if share is None:
        print("There is no such share.", file=sys.stderr)
        return 1
    print(_line(share))
    for report in moderation.reports(share):
        print(f"  reported by {report.reporter} at {iso(report.given_at)}: {_shown(report.reason)}")
    for turn in sessions.walk(share.session_id, first=1, last=min(share.turns, SHOWN)):
        print(f"  {turn.number} user: {_shown(turn.input)}")
        print(f"  {turn.number} assistant: {_shown(turn.answer)}")
    if share.turns > SHOWN:
        print(f"  and {share.turns - SHOWN} more turns")
    return 0


def _line(share: Share) -> str:
    state = "hidden" if share.hidden else "shown"
    return (
        f"{share.share_id} {state}, {share.reports} reports, {share.views} views, {share.turns} turns, "
        f"{share.package}, owner {share.user_id}, shared {iso(share.shared_at)}"
    )


def _shown(text: str) -> str:
    """A text on one line, without anything that a terminal would obey."""
    plain = "".join(character if character.isprintable() else " " for character in text[:LONGEST_SHOWN])
    return plain if len(text) <= LONGEST_SHOWN else f"{plain} ..."


@contextmanager
def table(name: str | None) -> Iterator[tuple[DynamoModeration, DynamoSessions]]:
    """What is stored on this machine, or, with the name of a table, in a deployed stack. Raises CannotModerateError."""
    if name is not None:
        connection = connect()
    else:
        folder = state_dir()
        state = read_state(folder)
        if state is None:
            raise CannotModerateError(
                f"no stack is running with its state in {folder}: start one with `make run`, or name the table of a "
                "deployed one with --sessions-table"
            )
        name = str(state["tables"]["SessionsTable"])
        connection = connect(CREDENTIALS["AWS_REGION"], state["engine_url"])
        # Of the store on this machine, never the developer's own.
        connection.session.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    store = DynamoStore(connection, [name])
    try:
        client = connection.client  # made here: PynamoDB makes one for the thread that asks first
    except BotoCoreError as error:
        raise CannotModerateError(str(error)) from None
    try:
        yield DynamoModeration(store, name), DynamoSessions(store, name)
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(main())
