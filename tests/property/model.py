"""What the ledger is compared with: one account in plain numbers, by the rules in README.md and docs/ledger.md.

`playground` is not used here, so that a mistake there is not repeated here. Times are milliseconds since 1970 in
UTC. An operation is data; `Model.apply` says what its answer must be.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SIGNUP = 5
ALLOWANCE = 200

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def moment(at: int) -> datetime:
    return EPOCH + timedelta(milliseconds=at)


def millis(at: datetime) -> int:
    """Cut, not rounded."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def month_after(anchor: int, months: int) -> int:
    """The same day and time `months` later; the last day of the month where that day does not exist."""
    start = moment(anchor)
    year, month = start.year, start.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return millis(start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1])))


# --- operations -------------------------------------------------------------------------------------------------------
# `now` is the clock of the worker that does it.


@dataclass(frozen=True, slots=True)
class Read:
    """The account."""

    now: int


@dataclass(frozen=True, slots=True)
class ReadRun:
    """The receipt of a run."""

    run: str
    now: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may fail: runs an hour, cost a day, and the most that a held credit can cost."""

    runs: int
    cost: int
    per_credit: int

    @property
    def interval(self) -> int:
        return HOUR // self.runs


@dataclass(frozen=True, slots=True)
class Place:
    """A hold of `ceiling` for the attempt `nonce` of `run`, which is to become turn `turn` of `session`."""

    run: str
    nonce: str
    ceiling: int
    lease: int
    session: str
    turn: int
    limit: int
    now: int
    limits: Limits | None = None
    rate: int | None = None
    """Runs per minute."""
    needs_plan: bool = False
    """Whether only an account with the plan may have it."""

    @property
    def pace(self) -> int:
        """What the run uses of its rate."""
        return -(-MINUTE // self.rate) if self.rate is not None else 0


@dataclass(frozen=True, slots=True)
class PlaceAll:
    """Holds of runs that begin together: all in one step, or none. All have one clock, one limit and one rate."""

    holds: tuple[Place, ...]

    @property
    def now(self) -> int:
        return self.holds[0].now


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of the attempt that `hold` placed: paid with `cost`."""

    hold: Place
    cost: int
    now: int


@dataclass(frozen=True, slots=True)
class Release:
    """The end without a charge, as `released` or `expired`. `cost`: what it cost us, if it counts as a failure."""

    hold: Place
    status: str
    now: int
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The hold never was."""

    hold: Place
    now: int


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Holds that were placed together never were; nothing, if one is not there."""

    holds: tuple[Place, ...]
    now: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every hold whose lease is over expires; the answer is how many."""

    now: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A bonus, once per key."""

    credits: int
    key: str
    now: int


@dataclass(frozen=True, slots=True)
class Take:
    """An operator takes credits back, once per key."""

    credits: int
    key: str
    now: int


@dataclass(frozen=True, slots=True)
class Undo:
    """An operator takes back what `grant`, the key of a bonus, gave; once."""

    grant: str
    now: int


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator pauses the account, or ends its pause, once per key."""

    on: bool
    key: str
    now: int


@dataclass(frozen=True, slots=True)
class Start:
    """An operator starts the plan, unless it is running. `until` None: entitled until ended."""

    until: int | None
    key: str
    now: int


@dataclass(frozen=True, slots=True)
class Entitle:
    """While the plan runs, its entitlement ends at `until`, or has no end."""

    until: int | None
    key: str
    now: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything there is: the account, its entries, what can be read of these sessions and runs."""

    sessions: tuple[str, ...]
    runs: tuple[str, ...]
    now: int


@dataclass(frozen=True, slots=True)
class Paid:
    """An event that a purchase is paid: `credits` for `price` cents."""

    purchase: str
    credits: int
    price: int
    now: int


@dataclass(frozen=True, slots=True)
class Refunded:
    """An event that `cents` of it are refunded altogether."""

    purchase: str
    credits: int
    price: int
    cents: int
    now: int


@dataclass(frozen=True, slots=True)
class Disputed:
    """An event of a dispute about `cents` of it: `open`, `lost` or `won`."""

    purchase: str
    credits: int
    price: int
    dispute: str
    cents: int
    stage: str
    now: int


Payment = Paid | Refunded | Disputed
Correction = Take | Undo | Pause
Operation = (
    Read
    | ReadRun
    | Audit
    | Place
    | PlaceAll
    | Settle
    | Release
    | Cancel
    | CancelAll
    | Sweep
    | Grant
    | Correction
    | Start
    | Entitle
    | Payment
)


# --- answers ----------------------------------------------------------------------------------------------------------


class View(NamedTuple):
    """An account as its owner sees it. `holds`: run, attempt, credits and lease of each."""

    monthly: int
    rollover: int
    purchased: int
    held: int
    available: int
    version: int
    plan: str
    allowance: int
    anchor: int | None
    period: int
    due: int | None
    until: int | None
    holds: frozenset[tuple[str, str, int, int]]
    debt: int = 0
    lapsed: int = 0
    paid: bool = False
    failures: int | None = None
    unpaid: int | None = None
    paused: int | None = None
    runs: int | None = None


class Bought(NamedTuple):
    """What is known of a purchase, and what was taken back for it. `disputes`: name, cents, stage."""

    paid: bool = False
    cents: int = 0
    disputes: tuple[tuple[str, int, str], ...] = ()
    taken_refund: int = 0
    taken_dispute: int = 0


STAGES = ("open", "lost", "won")  # a later one is never left again


class Receipt(NamedTuple):
    """How a run ended. `seq`: the number of its entry."""

    status: str
    nonce: str
    ceiling: int
    ended: int
    charged: int = 0
    split: tuple[int, int, int] = (0, 0, 0)
    balance: int | None = None
    seq: int | None = None
    turn: int | None = None


class Line(NamedTuple):
    """An entry: its type, its time, what it does to each bucket, and its run."""

    type: str
    at: int
    monthly: int = 0
    rollover: int = 0
    purchased: int = 0
    run: str | None = None


class Placed(NamedTuple):
    """`ended_before` None: it may be remembered or forgotten that a run of this id has ended."""

    view: View
    ended_before: bool | None = False


class Dear(NamedTuple):
    """Not enough credits."""

    view: View


class Full(NamedTuple):
    """Too many holds."""

    view: View


class Paused(NamedTuple):
    """The account is paused."""

    view: View


class NoPlan(NamedTuple):
    """The account does not have the plan."""

    view: View


class UsedUp(NamedTuple):
    """Too much has failed, or could."""

    view: View


class Hasty(NamedTuple):
    """Too many runs per minute. `ended_before` as in `Placed`."""

    view: View
    ended_before: bool | None = False


class Taken(NamedTuple):
    """Another attempt, `nonce`, holds."""

    view: View
    nonce: str


class Ended(NamedTuple):
    """`by_us` None: the same attempt has ended it in the same way, at another time, and may or may not say so."""

    receipt: Receipt
    by_us: bool | None


class Moved(NamedTuple):
    """The session has another turn meanwhile."""


class Lost(NamedTuple):
    """There is neither hold nor receipt."""


class Count(NamedTuple):
    """Of expired holds."""

    expired: int


class Nothing(NamedTuple):
    """No answer is due, or there is no receipt."""


class Books(NamedTuple):
    """What an audit finds. The time of the first entry is left out: it is that of the first operation."""

    view: View
    lines: tuple[Line, ...]
    turns: tuple[tuple[str, ...], ...]
    receipts: tuple[Receipt | None, ...]


Refusal = Dear | Full | Paused | NoPlan | UsedUp | Hasty | Taken
Answer = View | Books | Placed | Refusal | Ended | Moved | Lost | Receipt | Count | Nothing


def agree(expected: Answer, actual: object) -> bool:
    """Whether `actual` is what must come, where something must."""
    if isinstance(expected, Placed | Hasty) and expected.ended_before is None:
        return isinstance(actual, type(expected)) and expected.view == actual.view
    if isinstance(expected, Ended) and isinstance(actual, Ended) and expected.by_us is None:
        return expected.receipt == actual.receipt
    return type(expected) is type(actual) and expected == actual


# --- the model --------------------------------------------------------------------------------------------------------


class Model:
    """One account. Every operation opens it, brings it up to its own clock, and then does one thing."""

    def __init__(self) -> None:
        self.opened = False
        self.monthly = self.rollover = self.purchased = 0
        self.plan = "free"
        self.allowance = 0
        self.anchor: int | None = None
        self.period = 0
        self.due: int | None = None
        self.until: int | None = None
        self.debt = 0
        self.lapsed = 0  # credits of rollover that should have expired, and were held
        self.paid = False
        self.failures: int | None = None
        self.unpaid: int | None = None
        self.paused: int | None = None
        self.runs: int | None = None  # when all runs that were begun would have been due, one at a time
        self.granted: dict[str, int] = {}  # by the keys of bonuses
        self.bought: dict[str, Bought] = {}
        self.holds: dict[str, Place] = {}
        self.receipts: dict[str, Receipt] = {}
        self.keys: frozenset[str] = frozenset()
        self.turns: dict[str, tuple[str, ...]] = {}  # session → the runs that made its turns
        self.given_back: dict[str, None] = {}  # runs that had a hold and lost it, the last one last
        self.gone: frozenset[str] = frozenset()  # attempts whose hold is over
        self.lines: tuple[Line, ...] = ()
        self.changes = 0  # counts whatever makes it another one

    def copy(self) -> "Model":
        other = Model.__new__(Model)
        other.__dict__.update(self.__dict__)
        for name in ("holds", "receipts", "turns", "given_back", "bought", "granted"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def key(self) -> object:
        """Equal for two models that will answer alike for ever."""
        return (
            self.view() if self.opened else None,
            frozenset(self.receipts.items()),
            frozenset(self.bought.items()),
            frozenset(self.granted.items()),
            self.keys,
            frozenset(self.turns.items()),
            frozenset(self.given_back),
            next(reversed(self.given_back), None),
            hash(self.lines),
        )

    @property
    def version(self) -> int:
        return len(self.lines)

    @property
    def balance(self) -> int:
        return self.monthly + self.rollover + self.purchased

    @property
    def held(self) -> int:
        return sum(hold.ceiling for hold in self.holds.values())

    @property
    def free(self) -> int:
        return self.balance - self.held

    def view(self) -> View:
        return View(
            monthly=self.monthly,
            rollover=self.rollover,
            purchased=self.purchased,
            held=self.held,
            available=self.free,
            version=self.version,
            plan=self.plan,
            allowance=self.allowance,
            anchor=self.anchor,
            period=self.period,
            due=self.due,
            until=self.until,
            holds=frozenset((hold.run, hold.nonce, hold.ceiling, hold.lease) for hold in self.holds.values()),
            debt=self.debt,
            lapsed=self.lapsed,
            paid=self.paid,
            failures=self.failures,
            unpaid=self.unpaid,
            paused=self.paused,
            runs=self.runs,
        )

    def dead(self, now: int) -> list[Place]:
        return [hold for hold in self.holds.values() if hold.lease <= now]

    def boundaries(self, now: int) -> Iterator[int]:
        """The boundaries that an account seen at `now` has passed and this one has not seen."""
        other = self.copy()
        while other.due is not None and other.due <= now:
            yield other.due
            other.cross()

    def apply(self, operation: Operation, *, arriving: bool = True) -> Answer:
        """Do it, and say what the answer is. `arriving` False: without looking at the clock."""
        answer = self._apply(operation, arriving=arriving)
        self.check()
        return answer

    def check(self) -> None:
        """What the README promises of an account at any time, whatever has been done: a rule that is wrong here and in
        the ledger alike would explain every history."""
        assert min(self.monthly, self.rollover, self.purchased, self.free, self.debt, self.lapsed) >= 0
        assert not self.debt or not min(self.purchased, self.free), "purchased credits beside debt"
        assert self.rollover - self.lapsed <= ALLOWANCE, "more rollover than one allowance"
        assert self.lapsed <= self.held, "what is not held has not lapsed"

    def _apply(self, operation: Operation, *, arriving: bool) -> Answer:
        if isinstance(operation, ReadRun):
            return self.receipts.get(operation.run, Nothing())
        if isinstance(operation, Cancel):
            if self.drop(operation.hold, operation.now) and self.runs is not None:
                self.runs -= operation.hold.pace
            return Nothing()
        if isinstance(operation, Undo) and operation.grant not in self.granted:
            return Nothing()  # there is nothing to undo, and the account is not looked at
        if isinstance(operation, CancelAll):
            nonces = {hold.nonce for hold in self.holds.values()}
            if all(hold.nonce in nonces for hold in operation.holds):
                for hold in operation.holds:
                    self._apply(Cancel(hold, operation.now), arriving=False)
            return Nothing()
        if arriving:
            self.arrive(operation.now)
        match operation:
            case Read():
                return self.view()
            case Audit(sessions, runs, _):
                return Books(
                    self.view(),
                    (self.lines[0]._replace(at=0), *self.lines[1:]),
                    tuple(self.turns.get(session, ()) for session in sessions),
                    tuple(self.receipts.get(run) for run in runs),
                )
            case Place():
                return self._place((operation,))
            case PlaceAll(holds):
                return self._place(holds)
            case Settle(hold, cost, now):
                return self._settle(hold, cost, now)
            case Release(hold, status, now, cost):
                return self._release(hold, status, now, cost)
            case Sweep(now):
                ends = [
                    self._release(hold, "expired", now, 0 if hold.limits is not None else None)
                    for hold in self.dead(now)
                ]
                return Count(sum(isinstance(end, Ended) and end.by_us is True for end in ends))
            case Grant(credits, key, now):
                if key not in self.keys:
                    self.keys |= {key}
                    self.granted[key] = credits
                    self._write(Line("bonus", now, purchased=credits))
                    self._repay(now)
                return self.view()
            case Take(credits, key, now):
                if key not in self.keys:
                    self.keys |= {key}
                    self._take("admin", credits, now)
                return self.view()
            case Undo(grant, now):
                if (key := f"undo of {grant}") not in self.keys:
                    self.keys |= {key}
                    self._take("admin", self.granted[grant], now)
                return self.view()
            case Pause(on, key, now):
                if key not in self.keys:
                    self.keys |= {key}
                    self.changes += 1
                    self.paused = now if on else None
                    self.lines += (Line("admin", now),)
                return self.view()
            case Start(until, key, now):
                if key not in self.keys and self.plan == "free":
                    self.keys |= {key}
                    self._start(until, now)
                return self.view()
            case Entitle(until, key, now):
                if key not in self.keys and self.plan == "plus":
                    self.changes += 1
                    self.keys |= {key}
                    self._end_at(until)
                return self.view()
            case Paid() | Refunded() | Disputed():
                self._payment(operation)
                return self.view()
        raise TypeError(operation)

    def arrive(self, now: int) -> None:
        """Open the account if it is not there, and cross what has passed."""
        if not self.opened:
            self.opened = True
            self._write(Line("signup", now, purchased=SIGNUP))
        while self.due is not None and self.due <= now:
            self.cross()

    def cross(self) -> None:
        """The next boundary: old rollover goes, what is left of the month rolls over, and a new month begins. What is
        held stays and has lapsed: it goes when it comes back, or at the boundary after."""
        assert self.due is not None
        assert self.anchor is not None
        at, regular = self.due, month_after(self.anchor, self.period + 1)
        self.changes += 1
        if self.plan == "plus" and self.until is not None and self.until <= at < regular:
            self.plan, self.allowance = "free", 0
            self._write(Line("expire", at, monthly=-min(self.monthly, self.free)))
            self.due = regular if self.monthly or self.rollover else None
            return
        self._write(Line("expire", at, rollover=-min(self.rollover, self.free)))
        lapsed = self.rollover
        if at < regular:  # only rollover of an earlier plan expires here
            self.due, self.lapsed = self._next_due(), lapsed
            return
        self.period += 1
        self._write(Line("expire", at, monthly=-min(max(self.monthly - self.allowance, 0), self.free)))
        lapsed += max(self.monthly - self.allowance, 0)
        self._write(Line("rollover", at, monthly=-self.monthly, rollover=self.monthly))
        entitled = self.plan == "plus" and (self.until is None or self.until > at)
        if entitled:
            self._write(Line("monthly", at, monthly=self.allowance))
        else:
            self.plan, self.allowance = "free", 0
        self.due = self._next_due() if entitled or self.rollover else None
        self.lapsed = lapsed
        self._repay(at)

    def _next_due(self) -> int:
        """The next boundary, or the end of the plan, if that comes first."""
        assert self.anchor is not None
        begun = month_after(self.anchor, self.period) if self.period else self.anchor
        regular = month_after(self.anchor, self.period + 1)
        ends = self.plan == "plus" and self.until is not None and begun < self.until < regular
        return self.until if ends and self.until is not None else regular

    def _end_at(self, until: int | None) -> None:
        assert self.anchor is not None
        regular = month_after(self.anchor, self.period + 1)
        waits = self.rollover and self.due not in (None, regular, self.until)  # rollover of an earlier plan
        due = [
            regular,
            *([until] if until is not None else []),
            *([self.due] if waits and self.due is not None else []),
        ]
        self.due, self.until = min(due), until

    def drop(self, hold: Place, now: int, cost: int = 0) -> bool:
        """Give the hold back, if this attempt has one, but for `cost`. What has lapsed of it expires, then debt is
        repaid."""
        there = self.holds.get(hold.run)
        if there is None or there.nonce != hold.nonce:
            return False
        self.changes += 1
        del self.holds[hold.run]
        for_it = min(max(cost - self.monthly, 0), self.rollover)
        expired = min(self.lapsed, there.ceiling - cost, self.rollover - for_it)
        self.lapsed = min(self.lapsed - expired, self.held)
        self._write(Line("expire", now, rollover=-expired, run=hold.run))
        self._repay(now, cost, hold.run)
        self.gone |= {hold.nonce}
        self.given_back.pop(hold.run, None)
        self.given_back[hold.run] = None
        return True

    def _place(self, holds: tuple[Place, ...]) -> Answer:
        """All of them, or none."""
        there = [self.holds[hold.run] for hold in holds if hold.run in self.holds]
        ours = {hold.nonce for hold in holds}
        for each in there:
            if each.nonce not in ours:
                return Taken(self.view(), each.nonce)
        if there:
            gone = len(there) < len(holds)
            return Placed(self.view(), True if gone else self._remember(holds))
        first, number, ceiling = holds[0], len(holds), sum(hold.ceiling for hold in holds)
        if self.paused is not None:
            return Paused(self.view())
        if any(hold.needs_plan for hold in holds) and self.plan != "plus":
            return NoPlan(self.view())
        if len(self.holds) + number > first.limit:
            return Full(self.view())
        if self.free < ceiling:
            return Dear(self.view())
        if first.limits is not None and not self._admitted(number, ceiling, first.limits, first.now):
            return UsedUp(self.view())
        if first.rate is not None:
            used = max((self.runs or 0) - first.now, 0)
            if used and used + number * first.pace > first.rate * first.pace:
                return Hasty(self.view(), self._remember(holds))
            self.runs = first.now + used + number * first.pace
        self.changes += 1
        for hold in holds:
            self.holds[hold.run] = hold
        return Placed(self.view(), self._remember(holds))

    def _admitted(self, number: int, ceiling: int, limits: Limits, now: int) -> bool:
        """What has failed and what is open, as if it failed, too, stays within the limits. Cost is looked at in
        twentieths. What alone is beyond a limit goes if nothing of it was used and nothing is held."""
        failed = max((self.failures or 0) - now, 0)
        if (failed or self.holds) and failed + (len(self.holds) + number) * limits.interval > (
            limits.runs * limits.interval
        ):
            return False
        used = max((self.unpaid or 0) - now, 0)
        if ceiling > limits.cost // limits.per_credit:
            return used == self.held == 0
        twentieths = -(-used * 20 // DAY)
        return self.held + ceiling <= limits.cost * (20 - twentieths) // 20 // limits.per_credit

    def _remember(self, holds: tuple[Place, ...]) -> bool | None:
        """Whether one of the runs is remembered; None: perhaps."""
        each = [self._remembers(hold.run) for hold in holds]
        return True if True in each else None if None in each else False

    def _fail(self, hold: Place, cost: int | None, now: int) -> None:
        if cost is None or hold.limits is None:
            return
        self.failures = max(self.failures or 0, now) + hold.limits.interval
        if cost:
            self.unpaid = max(self.unpaid or 0, now) + -(-cost * DAY // hold.limits.cost)

    def _remembers(self, run: str) -> bool | None:
        """Never of a run that has not ended, surely of the last one that did, perhaps of the others."""
        if run not in self.given_back:
            return False
        return True if run == next(reversed(self.given_back)) else None

    def _settle(self, hold: Place, cost: int, now: int) -> Answer:
        if self._over(hold):
            return self._how_it_ended(hold, "settled", now)
        turns = self.turns.get(hold.session, ())
        if len(turns) != hold.turn - 1:
            return Moved()
        self.drop(hold, now, cost)
        monthly = min(cost, self.monthly)
        rollover = min(cost - monthly, self.rollover)
        split = (-monthly, -rollover, -(cost - monthly - rollover))
        self._write(Line("spend", now, *split, run=hold.run))
        self.turns[hold.session] = (*turns, hold.run)
        receipt = Receipt(
            "settled", hold.nonce, hold.ceiling, now, cost, split, self.balance, self.version, turn=hold.turn
        )
        self.receipts[hold.run] = receipt
        return Ended(receipt, by_us=True)

    def _release(self, hold: Place, status: str, now: int, cost: int | None) -> Answer:
        if self._over(hold):
            return self._how_it_ended(hold, status, now)
        self.drop(hold, now)
        self._fail(hold, cost, now)
        self.receipts[hold.run] = Receipt(status, hold.nonce, hold.ceiling, now)
        return Ended(self.receipts[hold.run], by_us=True)

    def _over(self, hold: Place) -> bool:
        there = self.holds.get(hold.run)
        return hold.run in self.receipts or there is None or there.nonce != hold.nonce

    def _how_it_ended(self, hold: Place, status: str, now: int) -> Answer:
        receipt = self.receipts.get(hold.run)
        if receipt is None:
            return Lost()
        self.drop(hold, now)
        ours = (receipt.status, receipt.nonce) == (status, hold.nonce)
        open_ = ours and status == "settled" and receipt.ended != now
        return Ended(receipt, None if open_ else ours and receipt.ended == now)

    def _start(self, until: int | None, now: int) -> None:
        first = month_after(now, 1)
        self.due = min(self.due, first) if self.due is not None and self.rollover else first
        self.plan, self.allowance, self.anchor, self.period = "plus", ALLOWANCE, now, 0
        self.until = None
        self._end_at(until)
        self._write(Line("monthly", now, monthly=ALLOWANCE))
        self._repay(now)

    # REVOKE AND RESTORE

    def _payment(self, event: Payment) -> None:
        """Facts are only ever added, so the order of events does not matter in the end. The credits follow from the
        facts."""
        before = self.bought.get(event.purchase, Bought())
        match event:
            case Paid():
                after = before._replace(paid=True)
            case Refunded(cents=cents):
                after = before._replace(cents=max(before.cents, cents))
            case Disputed(dispute=dispute, cents=cents, stage=stage):
                known = {name: (money, state) for name, money, state in before.disputes}
                money, state = known.get(dispute, (0, "open"))
                known[dispute] = (max(money, cents), STAGES[max(STAGES.index(state), STAGES.index(stage))])
                after = before._replace(disputes=tuple(sorted((name, *each) for name, each in known.items())))
        if after.paid:
            if not before.paid:
                if not self.paid:
                    self.paid, self.failures, self.unpaid = True, None, None
                self._write(Line("purchase", event.now, purchased=event.credits))
                self._repay(event.now)
            after = self._follow(after, event)
        if after != before:
            self.changes += 1
            self.bought[event.purchase] = after

    def _follow(self, known: Bought, event: Payment) -> Bought:
        """Take back what is due and was not taken, or give back what was taken too much. What comes back is first."""

        def due(cents: int) -> int:
            return (event.credits * min(cents, event.price) + event.price - 1) // event.price

        disputed = sum(cents for _, cents, stage in known.disputes if stage != "won")
        refund = due(known.cents)
        dispute = due(known.cents + disputed) - refund
        moves = [("refund", refund - known.taken_refund), ("dispute", dispute - known.taken_dispute)]
        for kind, credits_ in sorted(moves, key=lambda move: (move[1], move[0])):
            if credits_ > 0:
                self._take(kind, credits_, event.now)
            else:
                self._write(Line(kind, event.now, purchased=-credits_))
                self._repay(event.now)
        return known._replace(taken_refund=refund, taken_dispute=dispute)

    def _take(self, kind: str, credits_: int, now: int) -> None:
        """From what is purchased and not held; the rest is owed."""
        missing = max(credits_ - min(self.purchased, self.free), 0)
        self.debt += missing
        self._write(Line("debt", now, purchased=missing))
        self._write(Line(kind, now, purchased=-credits_))

    def _repay(self, now: int, reserved: int = 0, run: str | None = None) -> None:
        """Whatever comes in or comes back repays debt first."""
        repaid = min(self.debt, self.purchased, self.free - reserved)
        self.debt -= repaid
        self._write(Line("debt", now, purchased=-repaid, run=run))

    def _write(self, line: Line) -> None:
        if any((line.monthly, line.rollover, line.purchased)):
            self.changes += 1
            self.monthly += line.monthly
            self.rollover += line.rollover
            self.purchased += line.purchased
            self.lapsed = min(self.lapsed, self.rollover)
            self.lines += (line,)
