"""The accounts that an order is for: whether they are there, and the ledger that changes them or only says how."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import click

from operate.dry_run import DryRunLedger
from operate.errors import CannotDoError, NotThereError
from operate.options import note
from operate.stack import Stack
from playground.adapters.dynamo_keys import account_key
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.domain.calendar import iso
from playground.domain.errors import InvalidRequestError


class Orders:
    def __init__(self, stack: Stack, *, new: bool, dry_run: bool) -> None:
        self._stack = stack
        self.new = new
        self.dry_run = dry_run
        kind = DryRunLedger if dry_run else DynamoLedger
        self.ledger = kind(stack.store, ledger_table=stack.ledger_table, sessions_table=stack.sessions_table)

    def has_account(self, user_id: str) -> bool:
        return self._stack.store.get(account_key(self._stack.ledger_table, user_id)) is not None

    def check_account(self, user_id: str) -> bool:
        """Whether the account is there. An order for an unknown user is probably a typing error: raises
        NotThereError unless `--new` was given, or the operator confirms it at the terminal."""
        if self.has_account(user_id):
            return True
        question = f"{user_id!r} has no account in {self._stack.described}"
        if not self.new:
            if not sys.stdin.isatty():
                raise NotThereError(f"{question}. Give --new to open one; nothing was done")
            click.confirm(f"{question}. Open one?", abort=True, err=True)
        return False

    @contextmanager
    def existing(self, user_id: str, values: Mapping[str, object]) -> Iterator[None]:
        """Around an order for an account that must be there already. Raises NotThereError if it is not."""
        if not self.has_account(user_id):
            raise NotThereError(f"{user_id!r} has no account in {self._stack.described}; nothing was done")
        try:
            yield
        except InvalidRequestError as error:
            raise wrong_value(error, values) from None

    @contextmanager
    def order(self, user_id: str, values: Mapping[str, object]) -> Iterator[None]:
        """Around an order for one user: an account that is opened by it is named, and a value that is refused is shown
        under the name that it has on the command line."""
        is_there = self.check_account(user_id)
        try:
            yield
        except InvalidRequestError as error:
            raise wrong_value(error, values) from None
        if not is_there:
            note(f"{user_id} had no account; one {'would be' if self.dry_run else 'was'} opened")


def wrong_value(error: InvalidRequestError, values: Mapping[str, object]) -> CannotDoError:
    """What would be right, and what was given. `values` has the fields by their names in the domain."""
    field, expected = str(error.facts["field"]), error.facts["expected"]
    name = {"reference": "--ref", "reason": "--reason", "operator": "--by", "until": "--until"}.get(
        field, field.upper()
    )
    value = values.get(field)
    return CannotDoError(f"{name}: {expected}; got {iso(value) if isinstance(value, datetime) else repr(value)}")
