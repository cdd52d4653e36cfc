"""`playground erase alice`: erase a user."""

import secrets
from dataclasses import asdict
from datetime import UTC, datetime

import click

from operate.erase_account import EraseAccount
from operate.errors import RefusedError, no_account
from operate.helptext import more_help
from operate.options import USER, counted, dry_run, on_a_stack, show, working_on
from operate.person import person_of
from playground.domain.erasure import pseudonym_of


@click.command(
    "erase",
    epilog=more_help(
        {
            "What stays under the user's own id": "An account without credits, so that there are no welcome credits a "
            "second time, and the references of what was done once (KEY), so that it is not done again. "
            "docs/decisions.md says why.",
            "What it does not reach": "The payment provider (delete the customer there), logs (they end by "
            "themselves), "
            "and backups of the tables, which keep everything for 35 days.",
        },
        rights=[
            (
                "dynamodb:GetItem, Query, Scan, PutItem, UpdateItem, DeleteItem, ConditionCheckItem on the tables of "
                "ledger, sessions and what runs cost, dynamodb:Query on index/by_owner of the table of sessions"
            ),
            (
                "s3:ListBucketVersions on the bucket, for the prefix sessions/; s3:DeleteObject, "
                "s3:DeleteObjectVersion on "
                "its sessions/*"
            ),
        ],
        statuses={
            0: "erased",
            1: "refused: a subscription is on (end it at the payment provider first) or a page on which one can "
            "be begun "
            "is open, credits are owed, the account is in use, somebody else has finished the same erasure, not "
            "confirmed",
            2: "it could not be done: no stack, no answer",
        },
        examples=["./playground erase alice", "./playground erase alice --yes --stack playground-prod"],
    ),
)
@click.argument("user", type=USER)
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run
@on_a_stack
def command(user: str, yes: bool, dry_run: bool, stack_name: str | None, as_json: bool) -> None:
    """Erase USER. Conversations, shares and everything that leads to the person are deleted. The books are kept under a
    pseudonym that cannot be traced back, so that money still adds up and a late refund finds its purchase. Open runs
    are ended without a charge; a plan that an operator set is ended.

    It cannot be undone. If it stops before it is done, repeat it: it continues. A repeat afterwards changes nothing.
    """
    with working_on(stack_name) as stack:
        eraser = person_of(stack)
        if not eraser.exists(user):
            raise no_account(user, stack.described)
        if dry_run:
            counts = {"entries": 0, "runs": 0, "purchases": 0}
            for raw in [] if eraser.is_erased(user) else eraser.books(user):
                kind = {"ENTRY": "entries", "RUN": "runs", "PURCHASE": "purchases"}.get(
                    raw["sk"]["S"].partition("#")[0]
                )
                if kind is not None:
                    counts[kind] += 1
            counts["sessions"] = len(list(eraser.sessions(user)))
            text = counted(counts)
            show({"user": user, "would_erase": counts}, f"{user} would be erased: {text}", as_json=as_json)
            return
        if not yes:
            typed = click.prompt(
                f"This cannot be undone. Type {user} to erase everything of {user}",
                default="",
                err=True,
                show_default=False,
            )
            if typed.strip() != user:
                raise RefusedError("nothing was erased")
        erase = EraseAccount(
            ledger=stack.ledger, eraser=eraser, new_pseudonym=lambda: pseudonym_of(secrets.randbits(130))
        )
        erased = erase(user, now=datetime.now(UTC))
    counts = asdict(erased)
    text = counted(counts)
    show({"user": user, "erased": counts}, f"{user} is erased: {text}", as_json=as_json)
