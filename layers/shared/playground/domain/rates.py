"""Rate limits: how many runs and purchases an account may begin per minute.

A limit is kept as one time in the account, the theoretical arrival time of the generic cell rate algorithm (GCRA).
Each admitted request moves it forward by a minute ÷ the limit, from now or from its present value, whichever is later.
How far it lies ahead of now is how much of the limit is used; waiting gives that back.

So a limit of 5 admits 5 at once, and then one every 12 seconds. A refused request moves nothing. Changing the limit
needs no reset: the part in use is a duration, and at most a minute is waited for.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from playground.domain.calendar import instant

MINUTE = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)
MAX_PER_MINUTE = MINUTE // MILLISECOND  # stamps are whole milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStanding:
    """Where an account stands: `remaining` requests are admitted at once, and in `seconds` one more is. 0 seconds:
    nothing is used."""

    name: str
    per_minute: int
    remaining: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `per_minute` at once, and as many per minute. `stamp` is the account's time; None: nothing is used."""

    name: str
    per_minute: int

    @property
    def interval(self) -> timedelta:
        """What one request uses: a minute ÷ the limit, rounded up to a millisecond."""
        return -(-MAX_PER_MINUTE // self.per_minute) * MILLISECOND

    def latest(self, now: datetime, *, added: int = 1) -> datetime:
        """The latest stamp with which `added` more requests are admitted together. More of them than the limit are if
        nothing is used."""
        return now + max(self.per_minute - added, 0) * self.interval

    def admits(self, stamp: datetime | None, now: datetime, *, added: int = 1) -> bool:
        return stamp is None or stamp <= self.latest(now, added=added)

    def after(self, stamp: datetime | None, now: datetime, *, added: int = 1) -> datetime:
        """The stamp after `added` more requests."""
        return instant(max(stamp or now, now)) + added * self.interval

    def wait(self, stamp: datetime | None, now: datetime, *, added: int = 1) -> timedelta:
        """How long until `added` more requests are admitted together; zero if they are now."""
        return max((stamp or now) - self.latest(now, added=added), timedelta())

    def standing(self, stamp: datetime | None, now: datetime) -> RateStanding:
        used = max((stamp or now) - now, timedelta())
        requests = min(-(-used // self.interval), self.per_minute)
        until_one_more = used - max(requests - 1, 0) * self.interval
        return RateStanding(
            name=self.name,
            per_minute=self.per_minute,
            remaining=self.per_minute - requests,
            seconds=-(-until_one_more // timedelta(seconds=1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Per minute: runs by what an account is (`PriceTable.run_limit`), and purchases, which are the same for all."""

    runs_free: int
    runs_paying: int
    runs_organisation: int
    purchases: int

    def times(self, factor: int) -> "RateLimits":
        """The same, `factor` times as high, but not above what stamps can tell apart."""
        return RateLimits(
            runs_free=min(self.runs_free * factor, MAX_PER_MINUTE),
            runs_paying=min(self.runs_paying * factor, MAX_PER_MINUTE),
            runs_organisation=min(self.runs_organisation * factor, MAX_PER_MINUTE),
            purchases=min(self.purchases * factor, MAX_PER_MINUTE),
        )
