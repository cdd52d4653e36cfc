"""What the commands of an operator have in common: for whom, who wants it and why, and under which reference."""

import argparse
import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass

from local.where import NowhereError, add_tables, cause, tables
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.errors import PlaygroundError, StoreUnavailableError
from playground.usecases.operate import Order


@dataclass(frozen=True, slots=True)
class Ordering:
    ledger: DynamoLedger
    order: Order


def add_order(parser: argparse.ArgumentParser, *, reason: str | None = None) -> None:
    parser.add_argument("user", metavar="USER", help="whose account")
    parser.add_argument("--ref", required=True, help="the reference under which it is done once: ticket-123")
    parser.add_argument("--reason", required=reason is None, default=reason, help="why; the user can read it")
    parser.add_argument("--by", default=_login(), help="who; the user can read it (default: the login name)")
    parser.add_argument("--new", action="store_true", help="also if there is no account of this name yet")
    add_tables(parser)


def carry_out(parser: argparse.ArgumentParser, options: argparse.Namespace, do: Callable[[Ordering], str]) -> int:
    """Do it, print what came of it, and return the exit status."""
    try:
        order = Order(reference=options.ref, reason=options.reason, operator=options.by)
        with tables(parser, options) as found:
            if not options.new and found.store.get(items.account_key(found.ledger_table, options.user)) is None:
                print(f"there is no account {options.user}; --new (NEW=1) opens one", file=sys.stderr)
                return 2
            print(do(Ordering(found.ledger, order)))
    except (NowhereError, StoreUnavailableError) as error:
        print(f"{error}{cause(error)}", file=sys.stderr)
        return 2
    except PlaygroundError as error:
        print(f"{error.message}{cause(error)}", file=sys.stderr)
        return 1
    return 0


def _login() -> str:
    """Who runs this. Not from the environment: there, USER is whose account it is about."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have a user without a name
        return "operator"
