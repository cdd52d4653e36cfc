"""`playground export alice`: print everything that is stored about a user."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from operate.dynamo_erasure import DynamoPerson
from operate.errors import no_account
from operate.helptext import more_help
from operate.options import USER, on_a_stack, working_on
from operate.person import person_of
from playground.adapters.dynamo_audit import fields_of, with_texts

# Kinds of items in a user's own partition, by the beginning of their sort key, and where they are in the export.
BOOKS = {
    "ENTRY": "entries",
    "RUN": "runs",
    "KEY": "keys",
    "NOTICE": "notices",
    "PURCHASE": "purchases",
    "INVOICE": "paid_months",
    "CUSTOMER": "customers",
    "SUBSCRIPTION": "subscriptions",
}
# The same of a conversation and its share.
CONVERSATION = {
    "SESSION": "session",
    "TURN": "turns",
    "PROMPT": "prompt",
    "FEEDBACK": "feedback",
    "SHARE": "share",
}
OF_OTHERS = {"REPORT": "reports", "VIEW": "views", "VOTE": "votes"}  # what other people did: only how many


@click.command(
    "export",
    epilog=more_help(
        rights=[
            (
                "dynamodb:GetItem, Query and Scan on the tables of ledger and sessions, dynamodb:Query on "
                "index/by_owner of the table of sessions and on the table of what runs cost"
            ),
            "s3:ListBucket on the bucket, s3:GetObject on its sessions/*",
            (
                "What does not lie under the user's own key is found by scans, which on AWS cost as much as "
                "reading both "
                "tables."
            ),
        ],
        statuses={0: "all of it was printed", 1: None, 2: "it could not be done: no stack, no answer"},
        examples=[
            "./playground export alice > alice.json",
            "./playground export alice --stack playground-prod > alice.json",
        ],
    ),
)
@click.argument("user", type=USER)
@on_a_stack
def command(user: str, stack_name: str | None, as_json: bool) -> None:
    """Print everything that is stored about USER to stdout, as one JSON document: account, entries, runs, keys,
    notices, purchases, paid months, customers, subscriptions, counters of runs by day, what payments and their events
    say of the user, conversations with all their turns and custom prompts, shares, and views, votes and reports that
    the user left at those of others.

    Who looked at, voted on or reported a conversation of the user's, and what they wrote, is theirs: there are only
    the numbers. Reads only. What changes meanwhile may be in it as it was or as it is.
    """
    with working_on(stack_name) as stack:
        document = everything(person_of(stack), user)
        if document is None:
            raise no_account(user, stack.described)
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def everything(person: DynamoPerson, user_id: str) -> dict[str, Any] | None:
    """What is kept of a user; None if there is no account."""
    document: dict[str, Any] = {"user_id": user_id, "account": None}
    document |= {name: [] for name in BOOKS.values()}
    for raw in person.books(user_id):
        kind = raw["sk"]["S"].partition("#")[0]
        if kind == "ACCOUNT":
            document["account"] = fields_of(raw)
        else:
            document.setdefault(BOOKS.get(kind, kind.lower()), []).append(fields_of(raw))
    if document["account"] is None:
        return None
    document["spend"] = [fields_of(raw) for raw in person.spend(user_id)]
    document["payments"] = [fields_of(raw) for raw in person.elsewhere(user_id)]
    document["left_behind"] = [fields_of(raw) for raw in person.left_behind(user_id)]
    document["sessions"] = [conversation(person, session_id) for session_id in person.sessions(user_id)]
    return document


def conversation(person: DynamoPerson, session_id: str) -> Mapping[str, Any]:
    found: dict[str, Any] = {"session": None, "turns": [], **dict.fromkeys(OF_OTHERS.values(), 0)}
    counted = 0
    for kind, fields in _parts(person, session_id):
        if kind in OF_OTHERS:
            found[OF_OTHERS[kind]] += 1
        elif kind in ("session", "share", "prompt"):
            found[kind] = fields
        elif kind == "count":  # a part of the share's views, in an item of its own
            counted += int(str(fields["views"]))
        else:
            found.setdefault(kind, []).append(fields)
    if found.get("share"):
        found["share"] = {**found["share"], "views": found["share"]["views"] + counted}
    return found


def _parts(person: DynamoPerson, session_id: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    for raw in person.conversation(session_id):
        kind = raw["sk"]["S"].partition("#")[0]
        fields = fields_of(raw)
        if kind == "TURN":
            fields = {**with_texts(fields), **person.texts_of(raw)}
        yield kind if kind in OF_OTHERS else CONVERSATION.get(kind, kind.lower()), fields


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
