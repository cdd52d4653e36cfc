"""What an audit finds, and how it reads an item without trusting it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from playground.domain.audit.stored import Fields, Unreadable
from playground.domain.calendar import from_iso, iso

Fact = int | str | None

MAX_FINDINGS = 1_000  # of one account that are kept; the rest is only counted


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
    ORDER = "order"  # an undo does not take what its grant gave, or comes without one
    OWED = "owed"  # purchased credits are available although there is debt
    PLAN = "plan"  # plan and allowance do not go together
    PRICE = "price"  # is not what usage and price table give
    RECEIPT = "receipt"  # does not say the same as its entry, its turn or its session
    SESSION = "session"  # its sums are not those of its runs, or its custom prompt is gone
    SIGNUP = "signup"  # the first entry is not the one that opened the account
    SPEND = "spend"  # a settled run and its one spend entry do not go together
    TURN = "turn"  # a settled run without its turn, or a turn of a run that is not settled
    VERSION = "version"  # of the account is not the number of its last entry


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up. `message` says where; nothing in it was written by a person."""

    code: Code
    message: str
    expected: Fact
    found: Fact

    def __str__(self) -> str:
        return f"{self.message} is {_shown(self.found)}, should be {_shown(self.expected)}"


class Findings:
    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.omitted = 0

    def add(self, code: Code, message: str, expected: Fact, found: Fact) -> None:
        if len(self.kept) < MAX_FINDINGS:
            self.kept.append(Finding(code, message, expected, found))
        else:
            self.omitted += 1

    def compare(self, code: Code, message: str, expected: Fact, found: Fact) -> None:
        """A finding, unless both are the same. What could not be read has been reported already."""
        if expected is not None and found is not None and expected != found:
            self.add(code, message, expected, found)


class Reader:
    """Reads attributes of one item. What is missing or of another type is reported once and read as None."""

    def __init__(self, place: str, fields: Fields, findings: Findings) -> None:
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

    def one_of(self, name: str, words: type[StrEnum]) -> str | None:
        value = self.fields.get(name)
        if not isinstance(value, str) or value not in list(words):
            self._damaged(name, f"one of {', '.join(words)}", value, False)
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
                    Code.ATTRIBUTE, f"{self.place}: {name}", f"absent, for {why}", kind_of(self.fields[name])
                )

    def _damaged(self, name: str, wanted: str, value: object, optional: bool) -> None:
        if (value is None and optional) or name in self._reported:
            return
        self._reported.add(name)
        self._findings.add(Code.ATTRIBUTE, f"{self.place}: {name}", wanted, kind_of(value))


def fact(value: object) -> Fact:
    """`value` as something that can be compared and shown; None for what is reported elsewhere."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        return value
    return str(value) if isinstance(value, list) else None


def kind_of(value: object) -> str:
    """The type of a value, without showing it."""
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
