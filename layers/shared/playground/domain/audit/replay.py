"""The replay: entries are added up from the first one on, and each is held against the one before and its receipt."""

import hashlib
import json
from collections.abc import Callable

from playground.domain.audit.findings import Code, Findings, Reader, fact
from playground.domain.audit.stored import BUCKETS, Fields, StoredEntry
from playground.domain.calendar import iso
from playground.domain.entries import GENESIS, EntryType
from playground.domain.runs import RunStatus


class Replay:
    """`entry` takes the entries in order. What they come to is in the attributes; the account must say the same."""

    def __init__(self, user_id: str, findings: Findings) -> None:
        self.number = 0  # of the entry before
        self.entries = 0
        self.balance = 0
        self.buckets = [0, 0, 0]
        self.last_hash: str | None = GENESIS  # of the entry before, as stored
        self.opened: str | None = None  # created_at of entry 1
        self.granted: int | None = None  # the latest monthly allowance
        self.most_granted = 0  # for any month
        self.debt = 0
        self._user_id = user_id
        self._findings = findings
        self._compare = findings.compare
        self._bonuses: dict[str, int] = {}  # by what comes behind "bonus:" in their keys
        self._keys: dict[str, int] = {}  # of everything but spends; those are unique by their receipts

    def entry(self, stored: StoredEntry) -> None:
        self.entries += 1
        number = stored.number if stored.number is not None else self.number + 1
        place = f"entry {number}"
        item = Reader(place, stored.fields, self._findings)
        if stored.number is None:
            self._findings.add(Code.NUMBERING, f"the key of entry {number}", "a number", "text")
        self._compare(Code.NUMBERING, f"the entry after {self.number or 'none'}", self.number + 1, number)
        self._compare(Code.NUMBERING, f"{place}: seq", number, item.whole("seq"))
        self.number = number

        self._add_up(place, item)
        self._links(place, item, stored.fields)
        type_ = item.one_of("type", EntryType)
        key = item.text("business_key")
        item.text("reason")
        created = item.time("created_at")
        if type_ == EntryType.SPEND:
            self._spend(place, number, item, stored.receipt)
        elif key is not None:
            if key in self._keys:
                self._findings.add(
                    Code.BUSINESS_KEY, f"{place}: business_key", "unique", f"that of entry {self._keys[key]}"
                )
            self._keys.setdefault(key, number)
            if type_ in (EntryType.BONUS, EntryType.ADMIN):
                self._order(place, key, item)
        if number == 1:
            self._compare(Code.SIGNUP, "entry 1: type", EntryType.SIGNUP.value, type_)
            self._compare(Code.SIGNUP, "entry 1: business_key", "signup", key)
            self.opened = iso(created) if created is not None else None

    def _add_up(self, place: str, item: Reader) -> None:
        """Add the entry up, from what the one before left. A wrong line is one finding, not one for all that follow."""
        deltas = item.numbers("deltas", len(BUCKETS))
        amount = item.whole("amount")
        after = item.whole("balance_after", least=0)
        change = sum(deltas) if deltas is not None else amount
        if deltas is not None:
            self._compare(Code.AMOUNT, f"{place}: amount", change, amount)
            before = self.buckets
            self.buckets = [credits_ + delta for credits_, delta in zip(before, deltas, strict=True)]
            for name, old, new in zip(BUCKETS, before, self.buckets, strict=True):
                if new < 0 <= old:
                    self._findings.add(Code.NEGATIVE, f"{place}: {name} after it", "at least 0", new)
        if change is not None:
            self._compare(Code.BALANCE_AFTER, f"{place}: balance_after", self.balance + change, after)
        self.balance = after if after is not None else self.balance + (change or 0)
        if item.fields.get("type") == EntryType.MONTHLY and deltas is not None and deltas[0] > 0:
            self.granted = deltas[0]
        if item.fields.get("type") == EntryType.MONTHLY and change is not None:
            self.most_granted = max(self.most_granted, change)
        if item.fields.get("type") == EntryType.DEBT:
            self.debt += change or 0

    def _links(self, place: str, item: Reader, fields: Fields) -> None:
        previous, hash_ = item.text("previous_hash"), item.text("hash")
        self._compare(Code.CHAIN, f"{place}: previous_hash", self.last_hash, previous)
        self._compare(Code.HASH, f"{place}: hash", _hash(self._user_id, fields), hash_)
        self.last_hash = hash_
        for name in ("run_id", "session_id", "purchase_id"):
            item.text(name, optional=True)

    def _order(self, place: str, key: str, item: Reader) -> None:
        """An undo takes exactly what its grant gave."""
        order, _, reference = key.partition(":")
        amount = item.whole("amount")
        if order == "bonus" and amount is not None:
            self._bonuses[reference] = amount
        elif order == "undo":
            given = self._bonuses.get(reference)
            self._compare(Code.ORDER, f"{place}: amount", "a grant to undo" if given is None else -given, amount)

    def _spend(self, place: str, number: int, item: Reader, receipt: Fields | None) -> None:
        run_id = item.text("run_id")
        if run_id is not None:
            self._compare(Code.BUSINESS_KEY, f"{place}: business_key", f"run:{run_id}", item.text("business_key"))
        deltas = item.numbers("deltas", len(BUCKETS)) or (-1, 0, 0)
        if max(deltas) > 0 or sum(deltas) >= 0:
            self._findings.add(Code.SPEND, f"{place}: deltas", "a spend takes credits", str(list(deltas)))
        if receipt is None:
            self._findings.add(Code.SPEND, f"{place}: the receipt of {run_id}", "there", "nothing")
            return
        self._compare(Code.SPEND, f"{place}: status of {run_id}", RunStatus.SETTLED.value, fact(receipt.get("status")))
        self._compare(Code.SPEND, f"{place}: the entry that {run_id} names", number, fact(receipt.get("entry_seq")))
        ceiling = receipt.get("ceiling")
        if isinstance(ceiling, int) and -sum(deltas) > ceiling:
            self._findings.add(Code.CEILING, f"{place}: credits spent", f"at most {ceiling}", -sum(deltas))


def _hash(user_id: str, fields: Fields) -> str:
    """The hash that an entry with these attributes must have: see `Entry.hash`. Of what is stored, word for word."""
    names = (
        "seq",
        "type",
        "amount",
        "balance_after",
        "deltas",
        "business_key",
        "reason",
        "created_at",
        "previous_hash",
        "run_id",
        "session_id",
        "purchase_id",
    )
    content = {"user_id": user_id, **{name: fields.get(name) for name in names}}
    encode: Callable[[object], str] = repr
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=encode)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()
