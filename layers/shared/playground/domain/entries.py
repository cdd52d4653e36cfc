"""Entries: immutable lines of an account's ledger, numbered without a gap and chained by hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from playground.domain.calendar import iso
from playground.domain.credits import Deltas

GENESIS = "0" * 64


class EntryType(StrEnum):
    SIGNUP = "signup"
    MONTHLY = "monthly"
    PURCHASE = "purchase"
    SPEND = "spend"
    ROLLOVER = "rollover"
    EXPIRE = "expire"
    REFUND = "refund"
    DISPUTE = "dispute"
    BONUS = "bonus"
    ADMIN = "admin"
    DEBT = "debt"


class DebtOrigin(StrEnum):
    """What takes credits back, and leaves debt if there are too few. The beginning of a business key."""

    REFUND = "refund"
    DISPUTE = "dispute"
    TAKE = "take"
    UNDO = "undo"

    @property
    def reason(self) -> str:
        """Of the entry that adds the debt."""
        return f"Debt: fewer credits were available than {_TAKING[self]} takes back"


_TAKING: Mapping[DebtOrigin, str] = {
    DebtOrigin.REFUND: "a refund",
    DebtOrigin.DISPUTE: "a dispute",
    DebtOrigin.TAKE: "a correction by an operator",
    DebtOrigin.UNDO: "the undo of a grant",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of credits. `business_key` names the event that caused it and has one entry, for ever."""

    user_id: str
    seq: int
    type: EntryType
    deltas: Deltas
    balance_after: int
    business_key: str
    reason: str
    created_at: datetime
    previous_hash: str
    run_id: str | None = None
    session_id: str | None = None
    purchase_id: str | None = None
    operator: str | None = None
    """Who gave the order for it; not part of the hash, and not shown to the user."""

    @property
    def amount(self) -> int:
        """Signed credits; 0 if they only move between buckets."""
        return self.deltas.total

    @property
    def debt_origin(self) -> DebtOrigin | None:
        """What the debt that this entry adds comes from; None for all other entries."""
        if self.type is not EntryType.DEBT or self.amount < 1:
            return None
        kind, _, cause = self.business_key.partition(":")
        origin = cause.partition(":")[0]
        return DebtOrigin(origin) if kind == "debt" and origin in set(DebtOrigin) else None

    @property
    def balance_before(self) -> int:
        return self.balance_after - self.amount

    @property
    def entry_id(self) -> str:
        """Sorts by number within an account, and identifies the content."""
        return f"ent_{self.seq:010d}{self.hash[:12]}"

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of all fields but `operator`, the hash of the
        previous entry included.

        Changing a stored line breaks its own hash and the chain behind it.
        """
        content = {
            "user_id": self.user_id,
            "seq": self.seq,
            "type": self.type.value,
            "amount": self.amount,
            "balance_after": self.balance_after,
            "deltas": [self.deltas.monthly, self.deltas.rollover, self.deltas.purchased],
            "business_key": self.business_key,
            "reason": self.reason,
            "created_at": iso(self.created_at),
            "previous_hash": self.previous_hash,
            "run_id": self.run_id,
            "session_id": self.session_id,
            "purchase_id": self.purchase_id,
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
