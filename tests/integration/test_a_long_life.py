"""Fourteen months of one user in seconds, through the handlers: packs, refunds, a dispute, a subscription that is paid,
late, unpaid, cancelled and begun again, and runs in between.

All functions are the real ones, the engine is real, Claude and Stripe are servers on loopback; the clock of this
process is moved, and Stripe's with it. What comes of it was worked out by hand, as the comments say, and must not
depend on who looks when, or on whether the schedule ran.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import Engine
from local.event_sources import sqs_record
from local.resources import client
from local.template import Description
from playground.domain.calendar import iso
from playground.http import utc_now
from tests.handlers import EVENTS, Handlers, loaded
from tests.kit.extent import WHOLE
from tests.kit.shop import VISA, Shop
from tests.kit.template import template_description
from tests.support import new_ledger, new_store

START = datetime(2027, 1, 31, 10, 0, tzinfo=UTC)  # on a 31st: boundaries on 28 February, 31 March, 30 April, …
DECLINED_LATER = "pm_card_chargeCustomerFail"  # can be saved, and is declined when it is charged
MAX_RECEIVES = 100  # from the queue, after one start of the schedule; fewer are needed

# One run: Opus, 30,000 tokens of answer and a few of input: 3 credits up to 10,000 tokens and 6 begun 4,000 beyond, by
# Opus' factor 3. The floor is lower: 30,000 tokens at $20 a million are $0.60, which are 23 credits.
RUN = {
    "package_id": "@playground/code-reviewer",
    "input": "Go on. [[claude: output_tokens=30000]]",
    "model": "opus",
    "max_tokens": 32_000,
}
PRICE_OF_A_RUN = 27

# Every change of credits: when, what, how many, balance afterwards.
HISTORY = """
2027-01-31T10:00  signup       5     5
2027-01-31T10:00  purchase   100   105   small pack
2027-01-31T10:00  monthly    200   305   PRPM+ begins: this moment is the anchor
2027-01-31T10:00  spend      -27   278   of 200 monthly
2027-02-28T10:00  rollover     0   278   173 are kept
2027-02-28T12:00  monthly    200   478   two hours later, when Stripe says that it is paid
2027-02-28T12:00  spend      -27   451
2027-02-28T12:00  spend      -27   424   146 are left of the month
2027-03-31T10:00  expire    -173   251   February's rollover, untouched: monthly goes first
2027-03-31T10:00  rollover     0   251   146 are kept
2027-03-31T12:00  monthly    200   451
2027-04-10T10:00  spend      -27   424   eight runs: 200 of the month, 16 of rollover
2027-04-10T10:00  spend      -27   397
2027-04-10T10:00  spend      -27   370
2027-04-10T10:00  spend      -27   343
2027-04-10T10:00  spend      -27   316
2027-04-10T10:00  spend      -27   289
2027-04-10T10:00  spend      -27   262
2027-04-10T10:00  spend      -27   235   130 of rollover are left
2027-04-11T10:00  refund     -50   185   half of the small pack
2027-04-30T10:00  expire    -130    55
2027-04-30T12:00  spend      -27    28   nothing of the month is paid yet: out of purchased
2027-05-03T10:00  monthly    200   228   its invoice is heard of three days late
2027-05-31T10:00  rollover     0   228   200 are kept
2027-05-31T12:00  monthly    200   428
2027-06-01T10:00  purchase   250   678   medium pack
2027-06-30T10:00  expire    -200   478   three months in which nothing is heard
2027-06-30T10:00  rollover     0   478
2027-07-31T10:00  expire    -200   278
2027-09-05T10:00  monthly    200   478   August's, newest first
2027-09-05T10:00  monthly    200   678   July's, which would be rollover by now; June's would be over
2027-09-05T10:00  spend      -27   651
2027-09-05T10:00  spend      -27   624
2027-09-05T10:00  spend      -27   597   119 are left of the month
2027-09-30T10:00  expire    -200   397
2027-09-30T10:00  rollover     0   397   119 are kept
2027-09-30T12:00  spend      -27   370   the card was declined: out of rollover
2027-10-04T10:00  monthly    200   570   the second try was paid
2027-10-31T10:00  expire     -92   478
2027-10-31T10:00  rollover     0   478   200 are kept
2027-10-31T12:00  monthly    200   678
2027-11-05T10:00  dispute   -250   428   over the medium pack
2027-11-30T10:00  expire    -200   228
2027-11-30T10:00  rollover     0   228
2027-11-30T12:00  monthly    200   428
2027-12-01T10:00  dispute    250   678   won
2027-12-31T10:00  expire    -200   478   the plan ends with the period that was paid for
2027-12-31T10:00  rollover     0   478   200 are kept
2028-01-15T10:00  spend      -27   451
2028-01-31T10:00  expire    -173   278   rollover outlived the plan by a month
2028-02-10T10:00  monthly    200   478   PRPM+ again, with an anchor of its own
2028-02-10T10:00  spend      -27   451
2028-03-10T10:00  rollover     0   451   173 are kept
2028-03-10T12:00  monthly    200   651
2028-03-31T10:00  spend      -27   624   fourteen months after it began
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """Who is there while time passes. `nights`: the schedule starts that many days apart (0: never), and then `starts`
    times over, with a time in its event that is `late`. `looks`: somebody reads the balance at every step."""

    nights: int = 0
    starts: int = 1
    late: timedelta = timedelta()
    looks: bool = False


class Queue:
    """The queues of work, whose messages are handed to the function as Lambda does."""

    def __init__(self, handlers: Handlers, description: Description, engine: Engine) -> None:
        self.handlers = handlers
        self.urls = {name: description.queues[name].url for name in ("ShardWork", "AccountWork")}
        self.sqs = client("sqs", engine.endpoint_url)
        self.event = json.loads((EVENTS / "reset/daily.json").read_text(encoding="utf-8"))

    def start(self, at: datetime) -> None:
        """What the schedule starts, and all that follows from it."""
        self.handlers.invoke("reset", {**self.event, "at": iso(at)})
        for name, url in self.urls.items():
            self._empty(name, url)

    def _empty(self, name: str, url: str) -> None:
        for _ in range(MAX_RECEIVES):
            messages = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            if not messages:
                return
            records = [sqs_record(name, message) for message in messages]
            assert self.handlers.invoke("reset", {"Records": records}) == {"batchItemFailures": []}
            for message in messages:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        raise AssertionError("the queue does not become empty")


class Life:
    """A user whose days pass as the test says."""

    def __init__(self, shop: Shop, clock: time_machine.Traveller, queue: Queue, attendance: Attendance) -> None:
        self.shop = shop
        self.clock = clock
        self.queue = queue
        self.attendance = attendance

    def until(self, *moment: int) -> None:
        """Let time pass, with the nights in it."""
        end = datetime(*moment, tzinfo=UTC)
        while self.attendance.nights and (night := self._next_night()) <= end:
            self._move(night)
            for _ in range(self.attendance.starts):
                self.queue.start(night - self.attendance.late)
        self._move(end)

    def _next_night(self) -> datetime:
        first, every = START.replace(hour=0), timedelta(days=self.attendance.nights)
        return first + ((utc_now() - first) // every + 1) * every

    def _move(self, moment: datetime) -> None:
        self.shop.double.control("advance", to=int(moment.timestamp()))
        self.clock.move_to(moment)

    def runs(self, times: int = 1) -> None:
        for _ in range(times):
            answer = self.shop.call("POST", "/playground/run", RUN)
            assert answer.status == 200, answer.body
            assert answer.body["credits_spent"] == PRICE_OF_A_RUN

    def subscribes(self) -> str:
        url = self.shop.call("POST", "/playground/subscribe", {}).body["url"]
        sessions = self.shop.double.account.world.all("checkout.session")
        [session] = [each["id"] for each in sessions if each["url"] == url]
        paid = self.shop.double.control("checkout", session=session)
        self.hears()
        return str(paid["subscription"])

    def hears(self, *, newest_first: bool = False, times: int = 1) -> None:
        """The webhook is told what Stripe has to tell."""
        events = self.shop.new_events()
        for event in (events[::-1] if newest_first else events) * times:
            answer = self.shop.send(event)
            assert answer.status == 200, answer.body

    def balance(self) -> dict[str, Any]:
        answer = self.shop.call("GET", "/playground/credits")
        assert answer.status == 200, answer.body
        body: dict[str, Any] = answer.body
        return body

    def has(self, monthly: int, rollover: int, purchased: int, **fields: Any) -> None:
        """What is to be seen now, if somebody looks: the buckets, and the plan or the next boundary."""
        if not self.attendance.looks:
            return
        balance = self.balance()
        assert balance["breakdown"] == {"monthly": monthly, "rollover": rollover, "purchased": purchased}
        assert (balance["balance"], balance["held"], balance["debt"]) == (monthly + rollover + purchased, 0, 0)
        times = {"reset_at": balance["monthly"]["reset_at"], "expires_at": balance["rollover"]["expires_at"]}
        seen = {"plan": balance["plan"]} | {name: time and minute(time) for name, time in times.items()}
        assert {name: seen[name] for name in fields} == fields

    def history(self) -> list[list[str]]:
        """All of it, oldest first, read page by page: when, what, how many, balance afterwards."""
        lines: list[list[str]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = "/playground/credits/history?limit=20" + (f"&cursor={cursor}" if cursor else "")
            answer = self.shop.call("GET", page)
            assert answer.status == 200, answer.body
            for entry in answer.body["transactions"]:
                moment, kind, amount, balance = (
                    entry[name] for name in ("created_at", "type", "amount", "balance_after")
                )
                lines.append([minute(moment), kind, str(amount), str(balance)])
            cursor = answer.body["next_cursor"]
        return lines[::-1]

    def adds_up(self) -> None:
        """For the audit, and for Stripe: it has taken nothing that was not given."""
        audit = self.shop.handlers.invoke("audit", {"task": "audit", "user_id": self.shop.user_id})
        assert (audit["accounts"], audit["damaged"], audit["failed"]) == (1, (), ())
        compared = self.shop.handlers.invoke(
            "reconcile", {"task": "reconcile", "at": iso(utc_now()), "days": None, "everything": True}
        )
        assert (compared["repaired"], compared["found"]) == ((), 0), compared


def minute(moment: str) -> str:
    """Of a time that falls on a whole one."""
    assert moment.endswith(":00.000Z"), moment
    return moment.removesuffix(":00.000Z")


# The last one has all of what the two in the middle have one of.
ATTENDANCE = {
    "nobody looks and no schedule runs": Attendance(),
    "looked at all the time": Attendance(looks=True),
    "the schedule runs every week": Attendance(nights=7),
    "the schedule runs now and then, twice and late": Attendance(
        nights=9, starts=2, late=timedelta(days=2), looks=True
    ),
}
CHOSEN = list(ATTENDANCE) if WHOLE else [*ATTENDANCE][:: len(ATTENDANCE) - 1]


@pytest.fixture(params=CHOSEN)
def life(request: pytest.FixtureRequest, claude: ClaudeDouble, user_id: str) -> Iterator[Life]:
    """In an engine of its own: the schedule goes through all accounts."""
    description = template_description()
    attendance = ATTENDANCE[request.param]
    with (
        Engine() as engine,
        time_machine.travel(START, tick=False) as clock,
        StripeDouble(base=START.timestamp, seed=14) as double,
        loaded(description, engine, claude, double) as handlers,
    ):
        store = new_store(engine)
        queue = Queue(handlers, description, engine)
        yield Life(Shop(handlers, new_ledger(store), double, user_id), clock, queue, attendance)
        queue.sqs.close()
        store.client.close()


def test_fourteen_months(life: Life) -> None:
    shop = life.shop
    life.has(0, 0, 5, plan="free", reset_at=None)
    small = shop.pay(shop.buy("small"))
    life.hears()
    subscription = life.subscribes()
    life.has(200, 0, 105, plan="plus", reset_at="2027-02-28T10:00")
    life.runs()

    life.until(2027, 2, 28, 10)
    life.has(0, 173, 105, reset_at="2027-03-31T10:00")  # its invoice is paid an hour later
    life.until(2027, 2, 28, 12)
    life.hears()
    life.has(200, 173, 105)
    life.runs(2)
    failed = shop.call("POST", "/playground/run", RUN | {"input": "[[claude: status=529]] Not now."})
    assert (failed.status, failed.body["error"]) == (503, "model_overloaded")
    life.has(146, 173, 105)

    life.until(2027, 3, 31, 12)
    life.hears()
    life.has(200, 146, 105, reset_at="2027-04-30T10:00")
    life.until(2027, 4, 10, 10)
    life.runs(8)
    life.has(0, 130, 105)
    life.until(2027, 4, 11, 10)
    shop.double.control("refund", payment_intent=small, amount=250)
    life.hears(times=2)
    life.has(0, 130, 55)

    life.until(2027, 4, 30, 12)
    life.has(0, 0, 55, reset_at="2027-05-31T10:00")
    life.runs()
    life.has(0, 0, 28)
    life.until(2027, 5, 3, 10)
    life.hears(times=3)
    life.has(200, 0, 28)

    life.until(2027, 5, 31, 12)
    life.hears(newest_first=True, times=2)
    life.has(200, 200, 28, reset_at="2027-06-30T10:00")
    life.until(2027, 6, 1, 10)
    medium = shop.pay(shop.buy("medium"))
    life.hears()
    life.has(200, 200, 278)

    life.until(2027, 7, 15, 10)
    life.has(0, 200, 278, reset_at="2027-07-31T10:00")
    life.until(2027, 9, 5, 10)
    life.has(0, 0, 278, reset_at="2027-09-30T10:00")
    life.hears(newest_first=True)
    life.has(200, 200, 278)
    life.runs(3)
    life.has(119, 200, 278)

    life.until(2027, 9, 29, 10)
    shop.double.control("subscription_card", subscription=subscription, card=DECLINED_LATER)
    life.until(2027, 9, 30, 12)
    life.hears()
    assert shop.call("GET", "/playground/subscription").body["status"] == "past_due"
    life.has(0, 119, 278, plan="plus", reset_at="2027-10-31T10:00")
    life.runs()
    life.has(0, 92, 278)
    life.until(2027, 10, 2, 10)
    shop.double.control("subscription_card", subscription=subscription, card=VISA)
    life.until(2027, 10, 4, 10)
    life.hears()
    life.has(200, 92, 278)

    life.until(2027, 10, 31, 12)
    life.hears()
    life.has(200, 200, 278)
    for path in ("cancel", "resume", "cancel", "resume"):
        assert shop.call("POST", f"/playground/subscription/{path}").status == 200
    life.until(2027, 11, 5, 10)
    dispute = shop.double.control("dispute", payment_intent=medium)["id"]
    life.hears()
    life.has(200, 200, 28)

    life.until(2027, 11, 30, 12)
    life.hears()
    life.has(200, 200, 28)
    life.until(2027, 12, 1, 10)
    shop.double.control("close_dispute", dispute=dispute, outcome="won")
    life.hears(newest_first=True)
    life.has(200, 200, 278)
    assert shop.call("POST", "/playground/subscription/cancel").status == 200

    life.until(2027, 12, 31, 12)
    life.hears()
    assert shop.call("GET", "/playground/subscription").body["is_active"] is False
    life.has(0, 200, 278, plan="free", reset_at=None, expires_at="2028-01-31T10:00")
    life.until(2028, 1, 15, 10)
    life.runs()
    life.has(0, 173, 278)
    life.until(2028, 2, 10, 10)
    life.has(0, 0, 278, plan="free", reset_at=None)

    life.subscribes()
    life.has(200, 0, 278, plan="plus", reset_at="2028-03-10T10:00")
    life.runs()
    life.until(2028, 3, 10, 12)
    life.hears()
    life.has(200, 173, 278, reset_at="2028-04-10T10:00")
    life.until(2028, 3, 31, 10)
    life.runs()

    assert life.history() == [line.split()[:4] for line in HISTORY.strip().splitlines()]
    assert life.balance()["breakdown"] == {"monthly": 173, "rollover": 173, "purchased": 278}
    life.adds_up()
