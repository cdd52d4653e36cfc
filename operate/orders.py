"""What the commands of an operator have in common: for whom, who wants it and why, and under which reference."""

import argparse
import os
import pwd
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from operate.change_account import Order
from operate.command import given, user_id
from operate.where import LEDGER, SESSIONS, NowhereError, add_places, cause, find
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.calendar import iso
from playground.domain.errors import InvalidRequestError, PlaygroundError, StoreUnavailableError

PLACES = (LEDGER, SESSIONS)


@dataclass(frozen=True, slots=True)
class Ordering:
    ledger: DynamoLedger
    order: Order


def add_order(parser: argparse.ArgumentParser, *, reason: str) -> None:
    parser.add_argument("user", metavar="USER", type=user_id, help="whose account")
    parser.add_argument(
        "--ref", type=given, help="the reference under which it is done once: ticket-123 (default: a new one)"
    )
    parser.add_argument("--reason", default=reason, help=f"why; the user can read it (default: {reason})")
    parser.add_argument("--by", default=_login(), help="who; the user can read it (default: the login name)")
    add_places(parser, *PLACES)


def carry_out(parser: argparse.ArgumentParser, options: argparse.Namespace, do: Callable[[Ordering], str]) -> int:
    """Do it, print what came of it, and return the exit status."""
    try:
        reference = options.ref or f"once-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        order = Order(reference=reference, reason=options.reason, operator=options.by)
        with find(parser, options) as found:
            store = found.store()
            opens = store.get(items.account_key(found.ledger_table, options.user)) is None
            print(do(Ordering(found.ledger(store), order)))
            if opens:
                print(f"{options.user} had no account; one was opened", file=sys.stderr)
            if not options.ref:
                print(f"reference {reference}: repeat it with --ref (REF), and nothing is done twice", file=sys.stderr)
    except (NowhereError, StoreUnavailableError) as error:
        print(f"{error}{cause(error)}", file=sys.stderr)
        return 2
    except InvalidRequestError as error:
        print(_what_was_wrong(error, options), file=sys.stderr)
        return 1
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
        return 1
    return 0


def _what_was_wrong(error: InvalidRequestError, options: argparse.Namespace) -> str:
    """The field under the name that it has on the command line, what would be right, and what was given."""
    field = str(error.facts["field"])
    name = {"reference": "ref", "operator": "by"}.get(field, field)
    value = getattr(options, name)
    shown = iso(value) if isinstance(value, datetime) else repr(value)
    return f"{name.upper()}: {error.facts['expected']} (given: {shown})"


def _login() -> str:
    """Who runs this. Not from the environment: there, USER is whose account it is about."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have a user without a name
        return "operator"
