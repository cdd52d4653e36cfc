"""What an operator's changes of an account have in common: once per reference, with an entry that says who and why."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from playground.domain.account import Account, Change
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import InvalidRequestError, PlaygroundError
from playground.domain.text import is_blank
from playground.ports import Ledger

MAX_CREDITS = 100_000  # of one request: more is probably a typing error
MAX_TEXT_CHARACTERS = 200
MAX_PAGES = 1_000  # of the history, in the search for an entry
REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:#/-]{0,99}")


def check_amount(credits_: int) -> None:
    """Raises InvalidRequestError for an amount out of bounds."""
    if not 1 <= credits_ <= MAX_CREDITS:
        raise InvalidRequestError("credits", f"1 to {MAX_CREDITS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRequest:
    """Who asked for a change and why. A reference takes effect once per account, permanently."""

    reference: str
    reason: str
    operator: str

    def __post_init__(self) -> None:
        if not REFERENCE.fullmatch(self.reference):
            raise InvalidRequestError("reference", "1 to 100 letters, digits and . _ : # / -, such as ticket-123")
        for name in ("reason", "operator"):
            text = getattr(self, name)
            if is_blank(text) or len(text) > MAX_TEXT_CHARACTERS or not text.isprintable():
                raise InvalidRequestError(name, f"1 to {MAX_TEXT_CHARACTERS} characters on one line")

    @property
    def text(self) -> str:
        """The reason as it is in the entry, which the user can read. The operator is not shown to the user."""
        return self.reason.strip()


class ReferenceUsedError(PlaygroundError):
    """This reference was used for something else."""

    code: ClassVar[str] = "reference_used"

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            f"This reference was used for entry {entry.seq} ({entry.type}, {entry.amount:+d}: {entry.reason}). "
            "Nothing was done; use a new reference.",
            seq=entry.seq,
        )


class ReferenceForgottenError(PlaygroundError):
    """This reference was used, and its entry is gone: the account was erased since."""

    code: ClassVar[str] = "reference_used"

    def __init__(self) -> None:
        super().__init__(
            "This reference was used before the account was erased. Nothing was done; use a new reference."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The entry that says who and why, and the account afterwards. `is_new` is false if an earlier call did it."""

    account: Account
    entry: Entry
    is_new: bool


def change_once(
    ledger: Ledger,
    user_id: str,
    amend: Callable[[Account], Change],
    *,
    business_key: str,
    type_: EntryType,
    now: datetime,
) -> Outcome:
    """Make the change and its entry of this type and business key; a repeat finds that entry and changes nothing.

    Raises what `amend` raises, and ReferenceForgottenError.
    """
    written: list[Entry] = []

    def recorded(account: Account) -> Change:
        after, entries = amend(account)
        written[:] = entries
        return after, entries

    account = ledger.change(user_id, recorded, business_key=business_key, now=now)
    entry = find_entry(ledger, user_id, business_key, type_)
    if entry is None:
        raise ReferenceForgottenError
    return Outcome(account=account, entry=entry, is_new=entry in written)


def find_entry(ledger: Ledger, user_id: str, key: str, type_: EntryType) -> Entry | None:
    """The entry with this business key; None if there is none."""
    before: int | None = None
    for _ in range(MAX_PAGES):
        page, before, _ = ledger.entries(user_id, before=before, limit=100, type_=type_)
        for entry in page:
            if entry.business_key == key:
                return entry
        if before is None:
            break
    return None
