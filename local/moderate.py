"""Decides about shared conversations that were reported: `make moderate`, or `make moderate ARGS=--help`."""

import sys
from collections.abc import Sequence

from local.command import command, given
from local.where import SESSIONS, NowhereError, add_places, cause, find, where
from playground.adapters.dynamo_moderation import DynamoModeration
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.domain.calendar import iso
from playground.domain.errors import CorruptLedgerError, PlaygroundError
from playground.domain.sharing import Share, share_id_of
from playground.usecases.moderate import ModerateShares

SHOWN = 20  # turns
LONGEST_SHOWN = 1000  # characters of a text
TOKEN_LENGTH = 43

DESCRIPTION = """\
Decide about shared conversations. One that was reported often enough (REPORTS_TO_HIDE) is hidden by itself, until it is
restored or removed here.
"""
EPILOG = f"""\
commands:
  list            shares that were reported or are hidden, with their ids
  show SHARE      the reports, and how the conversation begins
  hide SHARE      nobody can see it any more, until it is restored
  restore SHARE   everybody who has the link can see it again; it takes as many new reports to hide it
  remove SHARE    the link is dead, and its session can never be shared again; its owner keeps the conversation
  SHARE is an id as `list` prints it, a link, or the end of a link.

{where(SESSIONS)}\
  Needed are dynamodb:GetItem, Query, UpdateItem and DeleteItem, and for `list` Scan: it reads the whole table, which
  nothing does that is done for each request.

exit status:
  0  done
  1  there is no such share
  2  it could not be done: no stack, no answer from the store, wrong command line

examples:
  make moderate
  make moderate DO=show SHARE=5f0c...
  make moderate DO=remove SHARE=5f0c... ARGS="--sessions-table playground-SessionsTable-3C4D"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command("moderate", "[DO=list|show|hide|restore|remove] [SHARE=...]", DESCRIPTION, EPILOG)
    parser.add_argument("command", choices=("list", "show", "hide", "restore", "remove"))
    parser.add_argument("share", metavar="SHARE", type=given, nargs="?", help="which one; not for list")
    add_places(parser, SESSIONS)
    options = parser.parse_args(arguments)
    if options.command == "list" and options.share is not None:
        parser.error(f"what is to be done with {options.share}? DO=show, hide, restore or remove; list takes no SHARE")
    if options.command != "list" and options.share is None:
        parser.error(f"which share is it? DO={options.command} takes SHARE=...; `make moderate` lists them")
    try:
        with find(parser, options) as found:
            store = found.store()
            moderation = DynamoModeration(store, found.sessions_table, report=_cannot_read)
            sessions = DynamoSessions(store, found.sessions_table, report=_cannot_read)
            if options.command == "list":
                return list_shares(moderation)
            share_id = id_of(options.share)
            if options.command == "show":
                return show(moderation, sessions, share_id)
            was = getattr(ModerateShares(moderation), options.command)(share_id)
            now = moderation.find(share_id)
            print(f"{options.command}: {_line(was, 'removed') if now is None else _line(now)}")
    except NowhereError as error:
        print(error, file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
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
        if turn.unreadable:
            continue
        print(f"  {turn.number} user: {_shown(turn.input)}")
        print(f"  {turn.number} assistant: {_shown(turn.answer)}")
    if share.turns > SHOWN:
        print(f"  and {share.turns - SHOWN} more turns")
    return 0


def _cannot_read(error: CorruptLedgerError) -> None:
    print(f"cannot be read: {error.what}", file=sys.stderr)


def _line(share: Share, state: str | None = None) -> str:
    state = state or ("hidden" if share.hidden else "shown")
    return (
        f"{share.share_id} {state}, {share.reports} reports, {share.views} views, {share.turns} turns, "
        f"{share.package}, owner {share.user_id}, shared {iso(share.shared_at)}"
    )


def _shown(text: str) -> str:
    """A text on one line, without anything that a terminal would obey."""
    plain = "".join(character if character.isprintable() else " " for character in text[:LONGEST_SHOWN])
    return plain if len(text) <= LONGEST_SHOWN else f"{plain} ..."


if __name__ == "__main__":
    sys.exit(main())
