"""What the credits of an account are worth: the money that was paid for those that are left, entry by entry.

Credits are in lots, first in first out in each bucket. A pack's lot is worth what the pack cost, a month of PRPM+ the
total of its invoice, or the part of it that was left to grant. Everything else (welcome credits, bonuses, an operator's
plan, debt) was not paid for and is worth nothing. Values are whole nano-dollars: of a lot of `n` credits worth `value`,
the first `k` are worth `value × k ÷ n`, rounded down. So what leaves a lot comes to its value exactly, in whatever
portions it leaves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from playground.domain.entries import Entry, EntryType

BUCKETS = ("monthly", "rollover", "purchased")
_TAKES_BACK = (EntryType.REFUND, EntryType.DISPUTE)


@dataclass(slots=True)
class Lot:
    """The credits number `first` to `first + credits` of `size`, which are worth `value` in total. `source` names the
    purchase or invoice that they are of; of what was not paid for, the business key of its entry."""

    credits: int
    size: int
    value: int
    source: str
    first: int = 0

    @property
    def nano(self) -> int:
        return self.value * (self.first + self.credits) // self.size - self.value * self.first // self.size

    def split(self, credits_: int) -> "Lot":
        """Take the first `credits_` out of the lot."""
        part = replace(self, credits=credits_)
        self.first += credits_
        self.credits -= credits_
        return part


@dataclass(frozen=True, slots=True)
class Valued:
    """What an entry changes: credits and their value in nano-dollars, both signed and by bucket (`BUCKETS`)."""

    entry: Entry
    credits: tuple[int, int, int]
    nano: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid for `credits`, and the name of the purchase or invoice."""

    source: str
    credits: int
    nano: int


PaidFor = Callable[[Entry], Paid | None]


@dataclass(slots=True)
class Valuation:
    """Takes the entries of one account in the order of their numbers."""

    paid_for: PaidFor
    _lots: Mapping[str, list[Lot]] = field(default_factory=lambda: {name: [] for name in BUCKETS})
    _returned: dict[str, list[Lot]] = field(default_factory=dict)
    """What refunds and disputes have taken, by purchase or invoice: given back at this value."""

    def entry(self, entry: Entry) -> Valued:
        """Raises ValueError if the entry takes more than there is."""
        deltas = {name: getattr(entry.deltas, name) for name in BUCKETS}
        nano = dict.fromkeys(BUCKETS, 0)
        source = _source_of(entry)
        left: list[Lot] = []
        for name in BUCKETS:
            if deltas[name] < 0:
                taken = list(self._take(name, -deltas[name], entry, source))
                nano[name] = -sum(lot.nano for lot in taken)
                left += taken
        if entry.type in _TAKES_BACK and source is not None:
            self._returned.setdefault(source, []).extend(left)
        paid = self.paid_for(entry)
        for name in BUCKETS:
            if deltas[name] > 0:
                made = list(self._made(deltas[name], entry, source, paid, left))
                nano[name] = sum(lot.nano for lot in made)
                self._lots[name].extend(made)
        return Valued(entry, *(tuple(each[name] for name in BUCKETS) for each in (deltas, nano)))  # type: ignore[arg-type]

    def _take(self, name: str, wanted: int, entry: Entry, source: str | None) -> Iterator[Lot]:
        lots = self._lots[name]
        # The debt that was added for this very entry, then what it is about, then the oldest.
        first = (f"debt:{entry.business_key}", source)
        order = sorted(lots, key=lambda lot: first.index(lot.source) if lot.source in first else len(first))
        if wanted > sum(lot.credits for lot in lots):
            raise ValueError(f"entry {entry.seq} takes more {name} credits than there are")
        yield from _taken(order, wanted)
        lots[:] = [lot for lot in lots if lot.credits]

    def _made(
        self, credits_: int, entry: Entry, source: str | None, paid: Paid | None, left: list[Lot]
    ) -> Iterator[Lot]:
        if entry.type is EntryType.ROLLOVER:
            yield from left  # the same credits, in another bucket
        elif entry.type in _TAKES_BACK:
            back = list(_taken(self._returned.get(source or "", []), credits_))
            yield from back
            if rest := credits_ - sum(lot.credits for lot in back):
                yield Lot(rest, rest, 0, source or entry.business_key)
        elif paid is not None:
            yield Lot(credits_, credits_, paid.nano * credits_ // paid.credits, paid.source)
        else:
            yield Lot(credits_, credits_, 0, entry.business_key)


def _taken(lots: Iterable[Lot], wanted: int) -> Iterator[Lot]:
    """At most `wanted` credits out of `lots`, in order."""
    for lot in lots:
        part = min(lot.credits, wanted)
        if part:
            yield lot.split(part)
            wanted -= part


def _source_of(entry: Entry) -> str | None:
    """What an entry takes back or gives back: the purchase or invoice of `refund:<id>:<number>`, or the bonus that
    `undo:<reference>` is about."""
    kind, _, subject = entry.business_key.partition(":")
    if entry.type in _TAKES_BACK:
        return subject.partition(":")[0]
    return f"bonus:{subject}" if entry.type is EntryType.ADMIN and kind == "undo" else None
