"""Audit: does what is stored of one account add up?

Everything is worked out again from what is stored, beginning with entry 1 and zero credits. Nothing is trusted and
nothing stops it: whatever is damaged is reported and the rest is looked at all the same. The items come as they are,
with their attributes as plain values, for an item that can no longer be read is exactly what is looked for.

An audit sees the shape of an account, not the world outside: docs/operations.md lists what it cannot notice.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from playground.domain.account import Plan
from playground.domain.calendar import boundary, from_iso, iso
from playground.domain.entries import GENESIS, EntryType
from playground.domain.packages import package_uuid
from playground.domain.pricing import PriceTable, Usage
from playground.domain.runs import RunStatus

Fields = Mapping[str, object]
"""The attributes of an item as plain values: str, int, bool, bytes, None, list, dict; or Unreadable."""

Fact = int | str | None

MOST_FINDINGS = 1_000  # of one account that are kept; the rest is only counted
BUCKETS = ("monthly", "rollover", "purchased")
MARK_LENGTH = 8  # characters by which an account remembers a run that has ended


class Code(StrEnum):
    """What is wrong. One word for each rule that can be broken."""

    ACCOUNT = "account"  # there are entries or receipts, and no account
    AMOUNT = "amount"  # an entry's amount is not the sum of its deltas
    ATTRIBUTE = "attribute"  # missing, of another type, or cannot be read
    AVAILABLE = "available"  # is not balance − held
    BALANCE_AFTER = "balance_after"  # does not follow from the entry before
    BUCKET = "bucket"  # is not what the entries come to
    BUSINESS_KEY = "business_key"  # is there twice, or is not that of its run
    CEILING = "ceiling"  # a charge above it, or not what tokens and prices give
    CHAIN = "chain"  # an entry does not name the hash of the one before
    CHARGE = "charge"  # a charge is not what the measured price gives
    DEBT = "debt"  # is not what the entries about it come to
    DUE = "due"  # the next boundary is not the one that anchor and period give
    HASH = "hash"  # an entry is not what its hash says
    HELD = "held"  # is not the sum of the holds
    HELD_AND_ENDED = "held_and_ended"  # a hold of the very attempt that has ended
    LAST_HASH = "last_hash"  # of the account is not that of the last entry
    LAPSED = "lapsed"  # more than what is held, or less than the rollover beyond one allowance
    LEASE = "lease"  # the index of leases would not lead to the earliest one in time
    NEGATIVE = "negative"  # a number that never is
    NUMBERING = "numbering"  # entries are not 1..n
    OWED = "owed"  # purchased credits are available although there is debt
    PLAN = "plan"  # plan and allowance do not go together
    PRICE = "price"  # is not what usage and price table give
    RECEIPT = "receipt"  # does not say the same as its entry, its turn or its session
    SESSION = "session"  # its sums are not those of its runs
    SIGNUP = "signup"  # the first entry is not the one that opened the account
    SPEND = "spend"  # a settled run and its one spend entry do not go together
    TURN = "turn"  # a settled run without its turn, or a turn of a run that is not settled
    VERSION = "version"  # of the account is not the number of its last entry


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that the store holds and that means nothing here. `what` says of which kind it is, never more."""

    what: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up. `message` says where; nothing in it was written by a person."""

    code: Code
    message: str
    expected: Fact
    found: Fact

    def __str__(self) -> str:
        return f"{self.message} is {_shown(self.found)}, should be {_shown(self.expected)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry, the number in its key, and the receipt of the run that it names, if there is one."""

    number: int | None
    fields: Fields
    receipt: Fields | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A receipt and what it names: its entry, its turn and its session. `stray_turn` is the number of a turn of its
    session that names this run; it is looked for only if the run is not settled."""

    run_id: str
    fields: Fields
    entry: Fields | None = None
    turn: Fields | None = None
    session: Fields | None = None
    stray_turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """The item that makes the business key of a change unique."""

    name: str
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is stored of one account. `held` has, for every hold, a receipt and a turn of the same run, if there are
    any. `shard` is where the account has its place in the sparse indexes. Iterables are gone through once, in this
    order: entries (by number), runs, keys."""

    user_id: str
    shard: str
    account: Fields | None
    entries: Iterable[StoredEntry] = ()
    runs: Iterable[StoredRun] = ()
    keys: Iterable[StoredKey] = ()
    held: Mapping[str, StoredRun] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an audit came to. `entries`, `balance` and `held` as stored, for a line about an account that is fine.
    `omitted` findings are counted only."""

    user_id: str
    exists: bool
    entries: int
    balance: int
    held: int
    findings: tuple[Finding, ...] = ()
    omitted: int = 0

    @property
    def fine(self) -> bool:
        return not self.findings


def audit(stored: Stored, prices: PriceTable) -> Audited:
    """Everything that does not add up in `stored`. Takes memory for sessions, not for entries and receipts."""
    return _Audit(stored, prices).run()


class _Findings:
    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.omitted = 0

    def add(self, code: Code, message: str, expected: Fact, found: Fact) -> None:
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append(Finding(code, message, expected, found))
        else:
            self.omitted += 1

    def compare(self, code: Code, message: str, expected: Fact, found: Fact) -> None:
        """A finding, unless both are the same. What could not be read has been reported already."""
        if expected is not None and found is not None and expected != found:
            self.add(code, message, expected, found)


class _Reader:
    """Reads attributes of one item. What is missing or of another type is reported once and read as None."""

    def __init__(self, place: str, fields: Fields, findings: _Findings) -> None:
        self.place = place
        self.fields = fields
        self._findings = findings
        self._reported: set[str] = set()

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def whole(self, name: str, *, least: int | None = None, optional: bool = False) -> int | None:
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self._damaged(name, "a whole number", value, optional)
            return None
        if least is not None and value < least:
            self._findings.add(Code.NEGATIVE, f"{self.place}: {name}", f"at least {least}", value)
        return value

    def text(self, name: str, *, optional: bool = False) -> str | None:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            self._damaged(name, "text", value, optional)
            return None
        return value

    def boolean(self, name: str) -> None:
        value = self.fields.get(name)
        if not isinstance(value, bool):
            self._damaged(name, "a boolean", value, False)

    def time(self, name: str, *, optional: bool = False) -> datetime | None:
        value = self.fields.get(name)
        try:
            moment = from_iso(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or iso(moment) != value:
            self._damaged(name, "a time", value, optional)
            return None
        return moment

    def one_of(self, name: str, kind: type[StrEnum]) -> str | None:
        value = self.fields.get(name)
        if not isinstance(value, str) or value not in list(kind):
            self._damaged(name, f"one of {', '.join(kind)}", value, False)
            return None
        return value

    def numbers(self, name: str, count: int, *, optional: bool = False) -> tuple[int, ...] | None:
        value = self.fields.get(name)
        if not isinstance(value, list) or len(value) != count or not all(type(number) is int for number in value):
            self._damaged(name, f"{count} whole numbers", value, optional)
            return None
        return tuple(value)

    def mapping(self, name: str) -> Mapping[str, object]:
        value = self.fields.get(name)
        if not isinstance(value, dict):
            self._damaged(name, "a map", value, False)
            return {}
        return value

    def absent(self, *names: str, why: str) -> None:
        for name in names:
            if self.has(name):
                self._findings.add(
                    Code.ATTRIBUTE, f"{self.place}: {name}", f"absent, for {why}", _kind(self.fields[name])
                )

    def _damaged(self, name: str, wanted: str, value: object, optional: bool) -> None:
        if (value is None and optional) or name in self._reported:
            return
        self._reported.add(name)
        self._findings.add(Code.ATTRIBUTE, f"{self.place}: {name}", wanted, _kind(value))


@dataclass(slots=True)
class _Sums:
    """What the settled runs of one session come to, and its summary."""

    session: Fields
    began: str | None = None
    model: str | None = None
    ended: str | None = None
    turns: int = 0
    credits: int = 0
    tokens: int = 0
    duration_ms: int = 0


class _Audit:
    def __init__(self, stored: Stored, prices: PriceTable) -> None:
        self._stored = stored
        self._prices = prices
        self._findings = _Findings()
        self._compare = self._findings.compare
        self._number = 0  # of the entry before
        self._entries = 0
        self._balance = 0
        self._buckets = [0, 0, 0]
        self._hash: str | None = GENESIS  # of the entry before, as stored
        self._keys: dict[str, int] = {}  # of everything but spends; those are unique by their receipts
        self._opened: str | None = None  # created_at of entry 1
        self._granted: int | None = None  # the latest monthly allowance
        self._most_granted = 0  # for any month
        self._debt = 0
        self._runs = 0
        self._sessions: dict[str, _Sums] = {}

    def run(self) -> Audited:
        for entry in self._stored.entries:
            self._entry(entry)
        for run in self._stored.runs:
            self._run(run)
        for session_id, sums in self._sessions.items():
            self._session(session_id, sums)
        account = self._stored.account
        if account is not None:
            self._account(account)
        elif self._entries or self._runs:
            self._findings.add(Code.ACCOUNT, "the account", "there", "nothing")
        for key in self._stored.keys:
            self._key(key)
        held = (account or {}).get("held")
        return Audited(
            user_id=self._stored.user_id,
            exists=account is not None or bool(self._entries or self._runs),
            entries=self._entries,
            balance=self._balance,
            held=held if isinstance(held, int) else 0,
            findings=tuple(self._findings.kept),
            omitted=self._findings.omitted,
        )

    # --- entries ------------------------------------------------------------------------------------------------------

    def _entry(self, stored: StoredEntry) -> None:
        self._entries += 1
        number = stored.number if stored.number is not None else self._number + 1
        place = f"entry {number}"
        item = _Reader(place, stored.fields, self._findings)
        if stored.number is None:
            self._findings.add(Code.NUMBERING, f"the key of entry {number}", "a number", "text")
        self._compare(Code.NUMBERING, f"the entry after {self._number or 'none'}", self._number + 1, number)
        self._compare(Code.NUMBERING, f"{place}: seq", number, item.whole("seq"))
        self._number = number

        self._replay(place, item)
        self._links(place, item, stored.fields)
        kind = item.one_of("type", EntryType)
        key = item.text("business_key")
        item.text("reason")
        created = item.time("created_at")
        if kind == EntryType.SPEND:
            self._spend(place, number, item, stored.receipt)
        elif key is not None:
            if key in self._keys:
                self._findings.add(
                    Code.BUSINESS_KEY, f"{place}: business_key", "unique", f"that of entry {self._keys[key]}"
                )
            self._keys.setdefault(key, number)
        if number == 1:
            self._compare(Code.SIGNUP, "entry 1: type", EntryType.SIGNUP.value, kind)
            self._compare(Code.SIGNUP, "entry 1: business_key", "signup", key)
            self._opened = iso(created) if created is not None else None

    def _replay(self, place: str, item: _Reader) -> None:
        """Add the entry up, from what the one before left. A wrong line is one finding, not one for all that follow."""
        deltas = item.numbers("deltas", len(BUCKETS))
        amount = item.whole("amount")
        after = item.whole("balance_after", least=0)
        change = sum(deltas) if deltas is not None else amount
        if deltas is not None:
            self._compare(Code.AMOUNT, f"{place}: amount", change, amount)
            before = self._buckets
            self._buckets = [credits_ + delta for credits_, delta in zip(before, deltas, strict=True)]
            for name, old, new in zip(BUCKETS, before, self._buckets, strict=True):
                if new < 0 <= old:
                    self._findings.add(Code.NEGATIVE, f"{place}: {name} after it", "at least 0", new)
        if change is not None:
            self._compare(Code.BALANCE_AFTER, f"{place}: balance_after", self._balance + change, after)
        self._balance = after if after is not None else self._balance + (change or 0)
        if item.fields.get("type") == EntryType.MONTHLY and deltas is not None and deltas[0] > 0:
            self._granted = deltas[0]
        if item.fields.get("type") == EntryType.MONTHLY and change is not None:
            self._most_granted = max(self._most_granted, change)
        if item.fields.get("type") == EntryType.DEBT:
            self._debt += change or 0

    def _links(self, place: str, item: _Reader, fields: Fields) -> None:
        previous, hash_ = item.text("previous_hash"), item.text("hash")
        self._compare(Code.CHAIN, f"{place}: previous_hash", self._hash, previous)
        self._compare(Code.HASH, f"{place}: hash", _hash(self._stored.user_id, fields), hash_)
        self._hash = hash_
        for name in ("run_id", "session_id", "purchase_id"):
            item.text(name, optional=True)

    def _spend(self, place: str, number: int, item: _Reader, receipt: Fields | None) -> None:
        run_id = item.text("run_id")
        if run_id is not None:
            self._compare(Code.BUSINESS_KEY, f"{place}: business_key", f"run:{run_id}", item.text("business_key"))
        deltas = item.numbers("deltas", len(BUCKETS)) or (-1, 0, 0)
        if max(deltas) > 0 or sum(deltas) >= 0:
            self._findings.add(Code.SPEND, f"{place}: deltas", "a spend takes credits", str(list(deltas)))
        if receipt is None:
            self._findings.add(Code.SPEND, f"{place}: the receipt of {run_id}", "there", "nothing")
            return
        self._compare(Code.SPEND, f"{place}: status of {run_id}", RunStatus.SETTLED.value, _fact(receipt.get("status")))
        self._compare(Code.SPEND, f"{place}: the entry that {run_id} names", number, _fact(receipt.get("entry_seq")))
        ceiling = receipt.get("ceiling")
        if isinstance(ceiling, int) and -sum(deltas) > ceiling:
            self._findings.add(Code.CEILING, f"{place}: credits spent", f"at most {ceiling}", -sum(deltas))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _run(self, stored: StoredRun) -> None:
        self._runs += 1
        place = stored.run_id
        item = _Reader(place, stored.fields, self._findings)
        status = item.one_of("status", RunStatus)
        self._compare(Code.RECEIPT, f"{place}: run_id", stored.run_id, item.text("run_id"))
        for name in ("nonce", "request_hash", "session_id", "model"):
            item.text(name)
        item.time("started_at")
        item.time("ended_at")
        item.whole("ceiling", least=1)
        item.whole("overrun", least=0)
        self._ceiling(place, item, status)
        if status == RunStatus.SETTLED:
            self._settled(place, item, stored)
        elif status is not None:
            self._not_settled(place, item, stored, status)

    def _ceiling(self, place: str, item: _Reader, status: str | None) -> None:
        """What was held, worked out again."""
        if status == RunStatus.EXPIRED:
            item.absent("package", "package_version", "model_id", "price_version", why="it knows only its hold")
            item.absent("prompt_tokens", "max_tokens", "wanted_max_tokens", why="it knows only its hold")
            return
        item.text("package")
        item.text("package_version")
        model_id = item.text("model_id")
        prompt = item.whole("prompt_tokens", least=0)
        most = item.whole("max_tokens", least=1)
        wanted = item.whole("wanted_max_tokens", least=1)
        if most is not None and wanted is not None and most > wanted:
            self._findings.add(Code.CEILING, f"{place}: max_tokens", f"at most {wanted}", most)
        version = item.text("price_version")
        model = self._prices.models.get(str(item.fields.get("model")))
        if version != self._prices.version or prompt is None or most is None or prompt < 0 or most < 1:
            return
        if model is None:
            self._findings.add(Code.PRICE, f"{place}: model", "one of the price table", "another")
            return
        if status == RunStatus.RELEASED:  # of a settled one, it is what the provider called itself
            self._compare(Code.PRICE, f"{place}: model_id", model.model_id, model_id)
        ceiling = item.fields.get("ceiling")
        self._compare(Code.CEILING, f"{place}: ceiling", self._prices.ceiling(model, prompt, most), _fact(ceiling))

    def _settled(self, place: str, item: _Reader, stored: StoredRun) -> None:
        item.absent("failure", why="it is settled")
        charged = item.whole("charged", least=1)
        item.text("stop_reason")
        usage = item.numbers("usage", 4)
        self._charge(place, item, charged, usage)
        started, ended = item.time("started_at"), item.time("ended_at")
        duration = item.whole("duration_ms")
        if started is not None and ended is not None:
            self._compare(
                Code.RECEIPT, f"{place}: duration_ms", round((ended - started).total_seconds() * 1000), duration
            )
        self._against_entry(place, item, stored.entry)
        turn = item.whole("turn", least=1)
        if stored.session is None:
            return  # deleted: the answer is gone, the charge stays
        session_id = str(item.fields.get("session_id"))
        sums = self._sessions.setdefault(session_id, _Sums(stored.session))
        sums.turns += 1
        sums.credits += charged or 0
        sums.tokens += sum(usage or ())
        sums.duration_ms += duration or 0
        if turn == 1 and ended is not None:
            sums.began = iso(ended)  # a session is made when its first turn is paid
            sums.model = item.text("model")
        if ended is not None:
            sums.ended = max(sums.ended or "", iso(ended))  # clocks differ; activity never goes back
        for name in ("package", "package_version"):
            self._compare(
                Code.RECEIPT, f"{place}: {name}", _fact(stored.session.get(name)), _fact(item.fields.get(name))
            )
        self._turn(f"turn {turn} of {session_id}", place, item, usage, stored.turn)

    def _charge(self, place: str, item: _Reader, charged: int | None, usage: tuple[int, ...] | None) -> None:
        price = item.numbers("price", 5)
        if price is None:
            return
        credits_, tier, factor, floor, _ = price
        self._compare(Code.PRICE, f"{place}: credits of its price", max(tier * factor, floor), credits_)
        ceiling = item.fields.get("ceiling")
        if isinstance(ceiling, int):
            self._compare(Code.CHARGE, f"{place}: charged", min(credits_, ceiling), charged)
        if charged is not None:
            self._compare(
                Code.CHARGE, f"{place}: overrun", max(credits_ - charged, 0), _fact(item.fields.get("overrun"))
            )
        model = self._prices.models.get(str(item.fields.get("model")))
        if usage is None or model is None or item.fields.get("price_version") != self._prices.version:
            return
        if min(usage) < 0:
            self._findings.add(Code.NEGATIVE, f"{place}: usage", "at least 0", min(usage))
            return
        read, written, cache_write, cache_read = usage
        right = self._prices.price(
            model,
            Usage(
                input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read
            ),
        )
        expected = (right.credits, right.tier, right.factor, right.floor, right.cost_nano)
        for name, should, is_ in zip(("credits", "tier", "factor", "floor", "cost"), expected, price, strict=True):
            self._compare(Code.PRICE, f"{place}: {name} by the price table", should, is_)

    def _against_entry(self, place: str, item: _Reader, entry: Fields | None) -> None:
        """The receipt says what its entry says."""
        seq = item.whole("entry_seq", least=1)
        charged = item.fields.get("charged")
        found = {
            "type": EntryType.SPEND.value,
            "run_id": item.fields.get("run_id"),
            "hash": item.text("entry_hash"),
            "balance_after": item.whole("balance_after", least=0),
            "amount": -charged if isinstance(charged, int) else None,
            "created_at": item.fields.get("ended_at"),
            "session_id": item.fields.get("session_id"),
        }
        deltas = item.numbers("deltas", len(BUCKETS))
        if entry is None:
            self._findings.add(Code.SPEND, f"{place}: entry {seq}", "there", "nothing")
            return
        for name, value in found.items():
            self._compare(Code.RECEIPT, f"{place}: {name} of entry {seq}", _fact(entry.get(name)), _fact(value))
        of_entry = entry.get("deltas")
        if deltas is not None and isinstance(of_entry, list):
            self._compare(Code.RECEIPT, f"{place}: deltas", str(of_entry), str(list(deltas)))

    def _turn(
        self, place: str, run_id: str, item: _Reader, usage: tuple[int, ...] | None, fields: Fields | None
    ) -> None:
        """The turn is there, is this run's, and can be read."""
        if fields is None:
            self._findings.add(Code.TURN, f"{run_id}: {place}", "there", "nothing")
            return
        turn = _Reader(place, fields, self._findings)
        self._compare(Code.TURN, f"{place}: run_id", run_id, turn.text("run_id"))
        self._compare(Code.TURN, f"{place}: number", _fact(item.fields.get("turn")), turn.whole("number"))
        tokens = turn.whole("input_tokens", least=0), turn.whole("output_tokens", least=0)
        if usage is not None:
            self._compare(Code.TURN, f"{place}: input_tokens", sum(usage) - usage[1], tokens[0])
            self._compare(Code.TURN, f"{place}: output_tokens", usage[1], tokens[1])
        for name, other in (("asked_at", "started_at"), ("answered_at", "ended_at")):
            turn.time(name)
            self._compare(Code.TURN, f"{place}: {name}", _fact(item.fields.get(other)), _fact(fields.get(name)))
        for name in ("input", "answer"):
            turn.text(name)

    def _not_settled(self, place: str, item: _Reader, stored: StoredRun, status: str) -> None:
        why = f"it is {status}"
        self._compare(Code.CHARGE, f"{place}: charged", 0, item.whole("charged"))
        self._compare(Code.CHARGE, f"{place}: overrun", 0, _fact(item.fields.get("overrun")))
        self._compare(Code.CHARGE, f"{place}: deltas", "[0, 0, 0]", _fact(item.fields.get("deltas")))
        item.numbers("deltas", len(BUCKETS))
        item.absent("entry_seq", "entry_hash", "balance_after", "turn", "usage", "price", "duration_ms", why=why)
        item.absent("stop_reason", why=why)
        failure = _Reader(f"{place}: failure", item.mapping("failure"), self._findings)
        failure.text("code")
        if failure.fields.get("reason") != "":  # a failure may have no reason beyond its code
            failure.text("reason")
        failure.whole("retry_after", optional=True)
        if stored.stray_turn is not None:
            self._findings.add(Code.TURN, f"{place}: its turn", f"absent, for {why}", f"turn {stored.stray_turn}")

    # --- sessions and keys --------------------------------------------------------------------------------------------

    def _session(self, session_id: str, sums: _Sums) -> None:
        item = _Reader(session_id, sums.session, self._findings)
        self._compare(Code.SESSION, f"{session_id}: user_id", self._stored.user_id, item.text("user_id"))
        self._compare(Code.SESSION, f"{session_id}: session_id", session_id, item.text("session_id"))
        copied = item.whole("copied", least=1, optional=True) or 0  # turns of a fork, which were somebody else's runs
        sums.turns += copied
        for name in ("turns", "credits", "tokens", "duration_ms"):
            self._compare(Code.SESSION, f"{session_id}: {name}", getattr(sums, name), item.whole(name))
        for name, moment in (("created_at", sums.began), ("updated_at", sums.ended)):
            item.time(name)
            if name == "updated_at" or not copied:
                self._compare(Code.SESSION, f"{session_id}: {name}", moment, _fact(sums.session.get(name)))
        self._compare(Code.SESSION, f"{session_id}: listed_at", f"{sums.ended}#{session_id}", item.text("listed_at"))
        model = item.text("model")
        if not copied:
            self._compare(Code.SESSION, f"{session_id}: model", sums.model, model)
        item.text("package_version")
        item.text("title")
        package = package_uuid(item.text("package") or "")
        self._compare(Code.SESSION, f"{session_id}: package_id", package, item.text("package_id"))
        item.boolean("use_no_prompt")

    def _key(self, stored: StoredKey) -> None:
        item = _Reader(f"key {stored.name}", stored.fields, self._findings)
        item.time("created_at")
        version = item.whole("version", least=0)
        if version is not None and version > self._number:
            self._findings.add(Code.VERSION, f"{item.place}: version", f"at most {self._number}", version)

    # --- account ------------------------------------------------------------------------------------------------------

    def _account(self, fields: Fields) -> None:
        item = _Reader("account", fields, self._findings)
        buckets = [item.whole(name, least=0) for name in BUCKETS]
        for name, replayed, bucket in zip(BUCKETS, self._buckets, buckets, strict=True):
            self._compare(Code.BUCKET, f"account: {name}", replayed, bucket)
        held, available = item.whole("held", least=0), item.whole("available", least=0)
        known = [bucket for bucket in buckets if bucket is not None]
        if len(known) == len(BUCKETS) and held is not None:
            self._compare(Code.AVAILABLE, "account: available", sum(known) - held, available)
        debt = item.whole("debt", least=0)
        self._compare(Code.DEBT, "account: debt", self._debt, debt)
        if debt and debt == self._debt and buckets[2] is not None and available is not None:
            payable = buckets[2] + self._reclaimed(item, buckets)
            self._compare(Code.OWED, "account: credits that should repay debt", 0, max(min(payable, available), 0))
        self._lapsed(item.whole("lapsed", least=0, optional=True) or 0, held, buckets[1])
        item.whole("revision", least=0)
        self._compare(Code.VERSION, "account: version", self._number, item.whole("version"))
        self._compare(Code.LAST_HASH, "account: last_hash", self._hash, item.text("last_hash"))
        created = item.time("created_at")
        if created is not None:
            self._compare(Code.SIGNUP, "account: created_at", self._opened, iso(created))
        for slot, mark in item.mapping("recent").items():
            if not isinstance(mark, str) or len(mark) != MARK_LENGTH:
                self._findings.add(Code.ATTRIBUTE, f"account: recent {slot}", f"{MARK_LENGTH} characters", _kind(mark))
        self._holds(item, held)
        self._plan(item, buckets[1])

    def _reclaimed(self, item: _Reader, buckets: list[int | None]) -> int:
        """What is left of months that were paid back while they were held, and repays debt when it is available."""
        total = 0
        for name, most in (("reclaimed_monthly", buckets[0]), ("reclaimed_rollover", buckets[1])):
            reclaimed = item.whole(name, least=0, optional=True) or 0
            if most is not None and reclaimed > most:
                self._findings.add(Code.OWED, f"account: {name}", f"at most {most}", reclaimed)
            total += reclaimed
        return total

    def _lapsed(self, lapsed: int, held: int | None, rollover: int | None) -> None:
        """What should have expired is held, and explains all rollover beyond one allowance."""
        if held is None or rollover is None:
            return
        most = max(min(held, rollover), 0)
        if lapsed > most:
            self._findings.add(Code.LAPSED, "account: lapsed", f"at most {most}", lapsed)
        elif rollover == self._buckets[1] and rollover - lapsed > self._most_granted:
            self._findings.add(Code.LAPSED, "account: lapsed", f"at least {rollover - self._most_granted}", lapsed)

    def _holds(self, item: _Reader, held: int | None) -> None:
        total: int | None = 0
        leases: list[str] = []
        holds = item.mapping("holds")
        for run_id, values in holds.items():
            hold = _Reader(f"hold of {run_id}", values if isinstance(values, dict) else {}, self._findings)
            ceiling = hold.whole("c", least=1)
            total = total + ceiling if total is not None and ceiling is not None else None
            placed, lease = hold.time("p"), hold.time("l")
            if lease is not None:
                leases.append(iso(lease))
                if placed is not None and lease <= placed:
                    self._findings.add(Code.LEASE, f"{hold.place}: lease", f"after {iso(placed)}", iso(lease))
            nonce = hold.text("n")
            for name in ("r", "s", "m"):
                hold.text(name)
            other = self._stored.held.get(run_id)
            # Another attempt's hold on a run that has ended is given back by itself; this attempt's is never there.
            if other is not None and other.fields and nonce is not None and other.fields.get("nonce") == nonce:
                self._findings.add(Code.HELD_AND_ENDED, f"{run_id}: status", "held", _fact(other.fields.get("status")))
            elif other is not None and other.stray_turn is not None and not other.fields:
                self._findings.add(Code.TURN, f"{run_id}: its turn", "absent, for it is held", other.stray_turn)
        self._compare(Code.HELD, "account: held", total, held)
        self._indexed(item, "lease", required=bool(holds))
        lease_at = item.fields.get("lease_at")
        if isinstance(lease_at, str) and leases and lease_at > min(leases):
            self._findings.add(Code.LEASE, "account: lease_at", f"at most {min(leases)}", lease_at)

    def _plan(self, item: _Reader, rollover: int | None) -> None:
        plan = item.one_of("plan", Plan)
        allowance, period = item.whole("allowance", least=0), item.whole("period", least=0)
        anchor, due = item.time("anchor", optional=True), item.time("due_at", optional=True)
        item.time("entitled_until", optional=True)
        self._indexed(item, "due", required=plan == Plan.PLUS or bool(rollover))
        if due is not None and period is not None and period >= 0:
            regular, until = _due(anchor, period), item.fields.get("entitled_until")
            # A plan that an operator set may end in between.
            if plan == Plan.PLUS and not item.has("subscription_id") and isinstance(until, str) and iso(due) == until:
                regular = min(regular, until)
            # Rollover of an earlier plan may expire in between, at a time that is no boundary of this one.
            if not rollover or not _due(anchor, period - 1) < iso(due) < regular:
                self._compare(Code.DUE, "account: due_at", regular, iso(due))
        if plan == Plan.FREE:
            self._compare(Code.PLAN, "account: allowance", 0, allowance)
        elif plan == Plan.PLUS:
            paid = item.fields.get("paid_periods")
            granted = not item.has("subscription_id") or (isinstance(paid, list) and period in paid)
            if granted:
                self._compare(Code.PLAN, "account: allowance", self._granted or 0, allowance)
            elif allowance == 0:  # a month that waits for its payment will give what the price table says by then
                self._findings.add(Code.PLAN, "account: allowance", "at least 1", 0)
        if anchor is None and not item.has("anchor"):
            self._compare(Code.PLAN, "account: period", 0, period)

    def _indexed(self, item: _Reader, name: str, *, required: bool) -> None:
        """Time and shard are both there or both not: an index with one of them does not lead to the account."""
        code = Code.LEASE if name == "lease" else Code.DUE
        at, shard = f"{name}_at", f"{name}_shard"
        if not required and not item.has(at) and not item.has(shard):
            return
        item.time(at)
        self._compare(code, f"account: {shard}", self._stored.shard, item.text(shard))


def _due(anchor: datetime | None, period: int) -> str:
    if anchor is None:
        return "absent, for there is no anchor"
    try:
        return iso(boundary(anchor, max(period, -1) + 1))
    except (ValueError, OverflowError):
        return f"absent, for there is no period {period}"


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


def _fact(value: object) -> Fact:
    """`value` as something that can be compared and shown; None for what is reported elsewhere."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    return str(value) if isinstance(value, list) else None


def _kind(value: object) -> str:
    """What kind of thing was found, without showing it."""
    match value:
        case None:
            return "nothing"
        case Unreadable(what):
            return what
        case bool():
            return "a boolean"
        case int():
            return f"the number {value}"
        case str():
            return "text" if value else "empty text"
        case bytes():
            return "binary"
        case list():
            return f"a list of {len(value)}"
    return "a map"


def _shown(fact: Fact) -> str:
    return "nothing" if fact is None else f"{fact:,}" if isinstance(fact, int) else fact
