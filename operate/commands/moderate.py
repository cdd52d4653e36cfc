"""`./playground moderate list`: decide about shared conversations that were reported."""

import re
from typing import Any

import click

from operate.dynamo_moderation import DynamoModeration
from operate.errors import NotThereError
from operate.helptext import more_help
from operate.moderate_share import ModerateShares
from operate.options import TEXT, counted, dry_run, note, on_a_stack, report_unreadable, show, working_on
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.domain.calendar import iso
from playground.domain.custom_prompts import NAME
from playground.domain.errors import ShareNotFoundError
from playground.domain.sharing import Share, share_id_of

SHOWN = 20  # turns
MAX_SHOWN_CHARACTERS = 1000  # of a text
TOKEN_LENGTH = 43
HYPHENATED_TOKEN = re.compile(rf"-[A-Za-z0-9_-]{{{TOKEN_LENGTH - 1}}}")

HELP = more_help(
    {"SHARE": "An id as `./playground moderate list` prints it, a link, or the end of a link."},
    rights=[
        (
            "dynamodb:GetItem, Query, UpdateItem and DeleteItem on the table of sessions, and for `list` Scan: "
            "it reads the "
            "whole table"
        ),
    ],
    statuses={1: None},
    examples=[
        "./playground moderate list",
        "./playground moderate show 5f0c...",
        "./playground moderate remove 5f0c... --stack playground-prod",
    ],
)


class ShareCommand(click.Command):
    """A command about a share, whose token may begin with a hyphen: one of 64 does, and it is no option then."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        tokens = [arg for arg in args if HYPHENATED_TOKEN.fullmatch(arg)]
        if tokens and "--" not in args:
            args = [*(arg for arg in args if arg not in tokens), "--", *tokens]
        return super().parse_args(ctx, args)


@click.group("moderate", epilog=HELP)
def command() -> None:
    """Decide about shared conversations. One that was reported often enough (REPORTS_TO_HIDE) is hidden by itself,
    until it is restored or removed here."""


@command.command("list", epilog=HELP)
@on_a_stack
def list_(stack_name: str | None, as_json: bool) -> None:
    """Shares that were reported or are hidden, with their ids."""
    with working_on(stack_name) as stack:
        moderation = DynamoModeration(stack.store, stack.sessions_table, report=report_unreadable)
        found: list[Share] = []
        after: str | None = None
        while True:
            page, after = moderation.reported(after=after)
            found += page
            if not as_json:
                for share in page:
                    click.echo(_line(share))
            if after is None:
                break
    if as_json:
        show({"shares": [_document(share) for share in found]}, "", as_json=True)
    elif not found:
        note("no share was reported, and none is hidden")


@command.command("show", cls=ShareCommand, epilog=HELP)
@click.argument("share", type=TEXT)
@on_a_stack
def show_(share: str, stack_name: str | None, as_json: bool) -> None:
    """The reports of SHARE, and how the conversation begins."""
    with working_on(stack_name) as stack:
        moderation = DynamoModeration(stack.store, stack.sessions_table, report=report_unreadable)
        sessions = DynamoSessions(stack.store, stack.sessions_table, report=report_unreadable)
        found = moderation.find(id_of(share))
        if found is None:
            raise NotThereError(f"there is no share {share}")
        reports = moderation.reports(found)
        walked = sessions.walk(found.session_id, first=1, last=min(found.turns, SHOWN))
        turns = [turn for turn in walked if not turn.unreadable]
    lines = [_line(found)]
    lines += [
        f"  reported by {report.reporter} at {iso(report.given_at)}: {_shown(report.reason)}" for report in reports
    ]
    for turn in turns:
        lines += [f"  {turn.number} user: {_shown(turn.input)}", f"  {turn.number} assistant: {_shown(turn.answer)}"]
    if found.turns > SHOWN:
        lines.append(f"  and {found.turns - SHOWN} more turns")
    document = {
        **_document(found),
        "reported_by": reports,
        "conversation": [{"turn": turn.number, "user": turn.input, "assistant": turn.answer} for turn in turns],
    }
    show(document, "\n".join(lines), as_json=as_json)


def _decision(name: str, summary: str) -> None:
    @command.command(
        name, cls=ShareCommand, help=summary, short_help=summary.partition(";")[0].rstrip(".") + ".", epilog=HELP
    )
    @click.argument("share", type=TEXT)
    @dry_run
    @on_a_stack
    def decide(share: str, dry_run: bool, stack_name: str | None, as_json: bool) -> None:
        with working_on(stack_name) as stack:
            moderation = DynamoModeration(stack.store, stack.sessions_table, report=report_unreadable)
            share_id = id_of(share)
            if dry_run:
                was = moderation.find(share_id)
                if was is None:
                    raise NotThereError(f"there is no share {share}")
                show(_document(was), f"would {name}: {_line(was)}", as_json=as_json)
                return
            try:
                was = getattr(ModerateShares(moderation), name)(share_id)
            except ShareNotFoundError:
                raise NotThereError(f"there is no share {share}") from None
            now = moderation.find(share_id)
        assert was is not None
        state = "removed" if now is None else None
        show(_document(now or was, state), f"{name}: {_line(now or was, state)}", as_json=as_json)


_decision("hide", "Nobody can see SHARE any more, until it is restored.")
_decision("restore", "Everybody with the link can see SHARE again; it takes as many new reports to hide it.")
_decision("remove", "End the link for ever; its session can never be shared again, its owner keeps the conversation.")


def id_of(text: str) -> str:
    """The id of a share, from the id itself, a link or a token."""
    end = text.rstrip("/").rpartition("/")[2]
    return share_id_of(end) if len(end) == TOKEN_LENGTH else end


def _document(share: Share, state: str | None = None) -> dict[str, Any]:
    return {
        "share": share.share_id,
        "state": state or ("hidden" if share.hidden else "shown"),
        "reports": share.reports,
        "views": share.views,
        "turns": share.turns,
        "package": share.package,
        "owner": share.user_id,
        "shared_at": share.shared_at,
    }


def _line(share: Share, state: str | None = None) -> str:
    state = state or ("hidden" if share.hidden else "shown")
    counts = counted({"reports": share.reports, "views": share.views, "turns": share.turns})
    package, shared_at = share.package or NAME, iso(share.shared_at)
    return f"{share.share_id} {state}, {counts}, {package}, owner {share.user_id}, shared {shared_at}"


def _shown(text: str) -> str:
    """A text on one line, without anything that a terminal would obey."""
    plain = "".join(character if character.isprintable() else " " for character in text[:MAX_SHOWN_CHARACTERS])
    return plain if len(text) <= MAX_SHOWN_CHARACTERS else f"{plain} ..."
