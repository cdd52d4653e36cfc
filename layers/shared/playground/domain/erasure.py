"""Erasing a person: their ledger is kept under a pseudonym that cannot be traced back.

Money must still add up afterwards, and refunds may come for months. So the books are copied under a pseudonym: numbers,
times, types and business keys stay; free text, and whatever could identify the person, is removed. The entries are
chained anew, because every hash of the old chain includes the user's id.
"""

import re
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from playground.domain.account import Account, Change, write_entry
from playground.domain.calendar import instant
from playground.domain.credits import Deltas
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import PlaygroundError
from playground.domain.runs import Run, base32
from playground.domain.subscriptions import Subscription

ERASED = "erased"  # replaces free text
_PSEUDONYM = re.compile(r"erased_[0-9a-hj-km-np-tv-z]{26}")


class BeingErasedError(PlaygroundError):
    """The account is being erased: it is neither the old one nor the new one."""

    code: ClassVar[str] = "being_erased"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"The account {user_id} is being erased. If no erasure is running, repeat it: it continues.")


class OvertakenError(PlaygroundError):
    """Another process has finished this erasure. What is stored under the user's id now must not be touched."""

    code: ClassVar[str] = "erasure_overtaken"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"Another process has finished the erasure of {user_id}; this one has stopped.")


def pseudonym_of(random_bits: int) -> str:
    """A name of 130 random bits and nothing else: no time and no hash, so it cannot be derived from the user's id."""
    return "erased_" + base32(random_bits, 26)


def is_pseudonym(user_id: str) -> bool:
    return _PSEUDONYM.fullmatch(user_id) is not None


def erased_entry(entry: Entry, pseudonym: str, *, previous_hash: str) -> Entry:
    """The same entry in the ledger of the pseudonym."""
    return replace(entry, user_id=pseudonym, reason=ERASED, previous_hash=previous_hash)


def erased_run(run: Run, pseudonym: str, *, entry_hash: str | None) -> Run:
    """The same receipt without `request_hash`, which would confirm a guessed text."""
    return replace(run, user_id=pseudonym, request_hash=ERASED, entry_hash=entry_hash)


def erased_account(account: Account, pseudonym: str, *, last_hash: str) -> Account:
    """The same balance. Raises ValueError for an account with a plan or open runs: they must be ended before.

    The ended subscription stays on record, with its periods: repeated events of it grant nothing.
    """
    if account.holds or account.allowance:
        raise ValueError(f"{account.user_id} still has a plan or open runs")
    return replace(account, user_id=pseudonym, last_hash=last_hash)


def merged(moved: Subscription, there: Subscription) -> Subscription:
    """The record of a subscription, merged from the one that is `moved` and the one already `there`."""
    both = replace(
        there,
        ended={**moved.ended, **there.ended},
        prices={**moved.prices, **there.prices},
        offers=tuple(dict.fromkeys((*moved.offers, *there.offers))),
    )
    return both.updated_by(moved.described) if moved.described is not None else both


def opened_again(user_id: str, *, revision: int, now: datetime, paused_at: datetime | None = None) -> Change:
    """What stays under the user's own id: an empty account, so that there are no signup credits a second time.

    `revision` is higher than any of the former account, so that no write that was prepared for that one applies. A
    paused account stays paused.
    """
    account = Account(user_id=user_id, created_at=instant(now), revision=revision, paused_at=paused_at)
    account, entry = write_entry(
        account,
        EntryType.SIGNUP,
        Deltas(),
        business_key="signup",
        reason="Opened again after erasure, without signup credits",
        now=now,
    )
    return account, (entry,)
