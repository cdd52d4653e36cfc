"""A story: operations on one account, one after another, chosen by numbers, and every answer compared with the model.

The driver (hypothesis, or a seeded generator) only draws whole numbers out of `STEPS`. Every step is taken on all
accounts of the story, and on one of them the scheduled work is done besides, at every boundary: it must not show (I8).
"""

import random
from collections.abc import Mapping, Sequence

from playground.domain.entries import GENESIS
from tests.kit.operations import Subject, line_of, view_of
from tests.property.model import (
    DAY,
    HOUR,
    MINUTE,
    Answer,
    Audit,
    Cancel,
    Disputed,
    Entitle,
    Grant,
    Limits,
    Model,
    Operation,
    Paid,
    Pause,
    Place,
    Placed,
    Read,
    ReadRun,
    Refunded,
    Release,
    Settle,
    Start,
    Sweep,
    Take,
    Undo,
    agree,
    millis,
    moment,
    month_after,
)
from tests.property.model import STAGES as DISPUTE_STAGES

SKEW = 10 * MINUTE
FAILURES = (None, Limits(runs=3, cost=500_000_000, per_credit=25_000_000), Limits(20, 5_000_000_000, 25_000_000))
LIMITS = (20, 20, 3, 1)
RATES = (None, None, 2, 30)
LEASES = (45 * MINUTE, 21 * MINUTE, 5 * MINUTE, 40 * DAY)
FIRST_DAYS = tuple(
    millis(moment(0).replace(year=year, month=month, day=day, hour=hour, minute=7, second=3, microsecond=41_000))
    for year, month, day, hour in ((2027, 1, 31, 23), (2028, 1, 30, 0), (2027, 8, 31, 12), (2027, 6, 15, 12))
)

_SKEW = (-SKEW, SKEW)
_ANY = (0, 10_000)

STEPS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "read": {"skew": _SKEW},
    "read_run": {"run": _ANY},
    "place": {
        "run": (0, 12),
        "amount": _ANY,
        "lease": (0, 3),
        "session": (0, 5),
        "limit": (0, 3),
        "failures": (0, 2),
        "rate": (0, 3),
        "skew": _SKEW,
    },
    "settle": {"hold": _ANY, "amount": _ANY, "skew": _SKEW},
    "release": {"hold": _ANY, "cost": (0, 2), "skew": _SKEW},
    "cancel": {"hold": _ANY, "skew": _SKEW},
    "sweep": {"skew": _SKEW, "times": (1, 2)},
    "grant": {"amount": (1, 400), "key": (0, 3), "skew": _SKEW},
    "take": {"amount": (1, 60), "skew": _SKEW},
    "undo": {"key": (0, 4), "skew": _SKEW},
    "pause": {"resumes": (0, 5), "skew": _SKEW},
    "start": {"months": (0, 4), "offset": (-1, 1), "skew": _SKEW},
    "entitle": {"months": (0, 3), "offset": (-1, 1), "skew": _SKEW},
    "pay": {"purchase": (0, 4), "skew": _SKEW},
    "refund": {"purchase": (0, 4), "part": _ANY, "skew": _SKEW},
    "dispute": {"purchase": (0, 4), "which": (0, 1), "part": _ANY, "stage": (0, 2), "skew": _SKEW},
    "repeat": {"which": _ANY, "same_clock": (0, 1), "skew": _SKEW},
    "wait": {"unit": (0, 3), "amount": (0, 30)},
    "wait_for_boundary": {"offset": (-2, 2)},
    "wait_for_lease": {"hold": _ANY, "offset": (-1, 1)},
}
"""What can be drawn for each argument of each step: the least and the greatest number."""

WEIGHTS: Mapping[str, int] = {"place": 6, "settle": 4, "release": 2, "repeat": 2, "wait_for_boundary": 2, "pay": 2}
"""For a random story; 1 where nothing is said."""

PACKS = ((100, 500), (250, 1000), (600, 2000), (7, 300), (1, 999))
"""Credits and cents of the purchases of a story."""


class Story:
    """`subjects`: the first lives as it comes; for the second the scheduled work is done, too."""

    def __init__(self, subjects: Sequence[Subject], first_day: int = FIRST_DAYS[0]) -> None:
        self.model = Model()
        self.now = first_day
        self.steps = 0
        self._subjects = subjects
        self._done: list[Operation] = []
        self._placed: list[Place] = []
        self._last_hash = [GENESIS for _ in subjects]
        self._lines = [0 for _ in subjects]
        self._names = 0

    # --- steps --------------------------------------------------------------------------------------------------------

    def read(self, skew: int) -> None:
        self.perform(Read(self.now + skew))

    def read_run(self, run: int) -> None:
        runs = sorted({place.run for place in self._placed})
        self.perform(ReadRun(runs[run % len(runs)] if runs else "run_0", self.now))

    def place(
        self, run: int, amount: int, lease: int, session: int, limit: int, failures: int, rate: int, skew: int
    ) -> None:
        """A new run, or one of before; up to a little more than there is; in a session of its own, or in one of a few
        that go on."""
        name = self._name("run") if run < 9 or not self._placed else self._placed[-1 - run % len(self._placed)].run
        there = self._name("ses") if session < 3 else f"ses_s{session}"
        now = self.now + skew
        turns = self.model.turns.get(there, ())
        place = Place(
            run=name,
            nonce=self._name("try"),
            ceiling=1 + amount % max(min(self.model.free + 2, 250), 5),
            lease=now + LEASES[lease],
            session=there,
            turn=len(turns) + 1,
            limit=LIMITS[limit],
            now=now,
            limits=FAILURES[failures],
            rate=RATES[rate],
        )
        if isinstance(self.perform(place), Placed):
            self._placed.append(place)

    def settle(self, hold: int, amount: int, skew: int) -> None:
        if place := self._a_placed(hold):
            self.perform(Settle(place, 1 + amount % place.ceiling, self.now + skew))

    def release(self, hold: int, cost: int, skew: int) -> None:
        if place := self._a_placed(hold):
            spent = (None, 0, place.ceiling * 25_000_000)[cost]
            self.perform(Release(place, "released", self.now + skew, spent))

    def cancel(self, hold: int, skew: int) -> None:
        if place := self._a_placed(hold):
            self.perform(Cancel(place, self.now + skew))

    def sweep(self, skew: int, times: int) -> None:
        for _ in range(times):
            self.perform(Sweep(self.now + skew))

    def grant(self, amount: int, key: int, skew: int) -> None:
        """Key 0 is used again and again, for whatever amount."""
        self.perform(Grant(amount, f"bonus:{self._name('key') if key else 0}", self.now + skew))

    def take(self, amount: int, skew: int) -> None:
        self.perform(Take(amount, self._name("taken"), self.now + skew))

    def undo(self, key: int, skew: int) -> None:
        """One of the bonuses, or one that was never given."""
        granted = [*self.model.granted, "bonus:unknown"]
        self.perform(Undo(granted[-1 - key % len(granted)], self.now + skew))

    def pause(self, resumes: int, skew: int) -> None:
        """Mostly ended at once."""
        now = self.now + skew
        self.perform(Pause(True, self._name("pause"), now))
        if resumes:
            self.perform(Pause(False, self._name("resume"), now))

    def start(self, months: int, offset: int, skew: int) -> None:
        now = self.now + skew
        self.perform(Start(month_after(now, months) + offset if months else None, self._name("plan"), now))

    def entitle(self, months: int, offset: int, skew: int) -> None:
        """Until around one of the boundaries to come, or without an end."""
        anchor, ahead = self.model.anchor, self.model.period + months
        until = month_after(anchor, ahead) + offset if anchor is not None and months else None
        self.perform(Entitle(until, self._name("until"), self.now + skew))

    def pay(self, purchase: int, skew: int) -> None:
        credits_, price = PACKS[purchase]
        self.perform(Paid(f"p{purchase}", credits_, price, self.now + skew))

    def refund(self, purchase: int, part: int, skew: int) -> None:
        """Up to some sum, which may be less than one of before; also before it is paid."""
        credits_, price = PACKS[purchase]
        self.perform(Refunded(f"p{purchase}", credits_, price, part * price // 10_000, self.now + skew))

    def dispute(self, purchase: int, which: int, part: int, stage: int, skew: int) -> None:
        credits_, price = PACKS[purchase]
        cents = 1 + part * (price - 1) // 10_000
        now = self.now + skew
        self.perform(Disputed(f"p{purchase}", credits_, price, f"d{which}", cents, DISPUTE_STAGES[stage], now))

    def repeat(self, which: int, same_clock: int, skew: int) -> None:
        """An operation of before once more: by the SDK, with the clock of then, or by a client who asks again."""
        if not self._done:
            return
        operation = self._done[-1 - which % len(self._done)]
        if isinstance(operation, Place) or same_clock:
            self.perform(operation)  # a hold that is placed again is placed with the lease of the first attempt
        else:
            fields = {name: getattr(operation, name) for name in type(operation).__match_args__}
            self.perform(type(operation)(**{**fields, "now": self.now + skew}))

    def wait(self, unit: int, amount: int) -> None:
        """Up to 30 ms, 30 minutes or 30 days; or 15 months at most."""
        if unit < 3:
            self.now += amount * (1, MINUTE, DAY)[unit]
        else:
            self.now = month_after(self.now, amount // 2)

    def wait_for_boundary(self, offset: int) -> None:
        if self.model.due is not None:
            self.now = max(self.now, self.model.due + offset)

    def wait_for_lease(self, hold: int, offset: int) -> None:
        if self.model.holds:
            leases = sorted(place.lease for place in self.model.holds.values())
            self.now = max(self.now, leases[hold % len(leases)] + offset)

    def _a_placed(self, number: int) -> Place | None:
        """One that is held, mostly; else any, also one that ended long ago."""
        held = [place for place in self._placed if place.run in self.model.holds]
        among = self._placed if number % 3 == 2 or not held else held
        return among[-1 - number // 3 % len(among)] if among else None

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}_{self._names}"

    # --- performing ---------------------------------------------------------------------------------------------------

    def perform(self, operation: Operation) -> Answer:
        """Do it everywhere. Raises AssertionError if an answer or an account differs from the model's."""
        if isinstance(operation, Cancel):
            self.perform(Read(operation.now))  # for it has no clock itself, and would come before or after a boundary
        self.steps += 1
        self._done.append(operation)
        boundaries = list(self.model.boundaries(operation.now))
        expected = self.model.apply(operation)
        self.model.arrive(operation.now)
        for number, subject in enumerate(self._subjects):
            if number:
                self._do_scheduled_work(subject, boundaries, operation.now)
            actual = subject.apply(operation)
            assert agree(expected, actual), f"{operation}\nanswered {actual}\ninstead  {expected}"
            self._compare(number, subject, operation)
        return expected

    def _do_scheduled_work(self, subject: Subject, boundaries: Sequence[int], now: int) -> None:
        """At every boundary; at the first one also early, a second time, and late."""
        for number, due in enumerate(boundaries):
            for late in (0,) if number else (-1, 0, 0, HOUR):
                subject.account(min(due + late, now))

    def _compare(self, number: int, subject: Subject, operation: Operation) -> None:
        model = self.model
        account = subject.account(operation.now)
        view = view_of(account)
        assert view == model.view(), f"after {operation}\nthere is {view}\ninstead  {model.view()}"
        if new := model.version - self._lines[number]:
            entries, *_ = subject.ledger.entries(subject.user_id, before=None, limit=new, type_=None)
            assert tuple(map(line_of, reversed(entries))) == model.lines[-new:]
            for entry in reversed(entries):
                assert entry.previous_hash == self._last_hash[number]
                self._last_hash[number] = entry.hash
        assert account.last_hash == self._last_hash[number]
        self._lines[number] = model.version
        if isinstance(operation, Settle | Release):
            session = operation.hold.session
            assert subject.turns(session) == model.turns.get(session, ())  # I5

    def end(self) -> None:
        """When every lease is over nothing is held; then everything that is there is read in one piece."""
        self.now = max([self.now, *(place.lease for place in self.model.holds.values())])
        self.perform(Sweep(self.now + SKEW))
        assert self.model.held == 0
        sessions = sorted({place.session for place in self._placed})
        runs = sorted({place.run for place in self._placed})
        self.perform(Audit(tuple(sessions), tuple(runs), self.now + SKEW))
        settled = {run for run, receipt in self.model.receipts.items() if receipt.status == "settled"}
        assert settled == {run for turns in self.model.turns.values() for run in turns}

    def draw_step(self, chance: random.Random) -> None:
        """One step of a random story."""
        name = chance.choices(list(STEPS), [WEIGHTS.get(name, 1) for name in STEPS])[0]
        getattr(self, name)(**{argument: chance.randint(*bounds) for argument, bounds in STEPS[name].items()})
