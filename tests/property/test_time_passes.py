"""Doing the scheduled work or not doing it gives the same answers (I8), over random lives of fourteen months.

The same life is lived beside four jobs: none at all, one every day, one every hour that runs twice, and one that comes
days late. What people do is the same in all of them; only who crosses a boundary first differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from playground.domain.account import Account, Change, cross_boundary, grant, start_plus
from playground.domain.entries import Entry, EntryType
from playground.domain.runs import RunStatus
from playground.domain.work import AccountTask, Task
from playground.ports import Held
from playground.usecases.visit_accounts import VisitAccount
from tests.fakes import InMemoryLedger, a_hold, charging, conversation, receipt
from tests.kit.extent import examples
from tests.support import all_entries, check_invariants

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LONG = timedelta(days=14 * 31)


@dataclass(frozen=True)
class Act:
    """Something at a moment: a run held for a while and then charged or given back, or a bonus."""

    after: timedelta
    credits: int
    lasts: timedelta
    cost: int | None  # None: given back


@dataclass(frozen=True)
class Life:
    anchor: datetime
    paid_for: timedelta | None
    acts: tuple[Act, ...]


ACTS = st.builds(
    Act,
    after=st.integers(1, int(LONG / HOUR) - 1).map(lambda hours: hours * HOUR),
    credits=st.integers(1, 250),
    lasts=st.sampled_from([timedelta(0), timedelta(minutes=20), 3 * DAY, 40 * DAY]),
    cost=st.none() | st.integers(1, 250),
)
LIVES = st.builds(
    Life,
    anchor=st.builds(
        lambda day, of_day: datetime(2024, 1, day, tzinfo=UTC) + of_day,
        st.integers(1, 31),
        st.sampled_from([timedelta(0), DAY - timedelta(milliseconds=1), timedelta(hours=13, minutes=7)]),
    ),
    paid_for=st.none() | st.integers(1, 500).map(lambda days: days * DAY),
    acts=st.lists(ACTS, max_size=12).map(lambda acts: tuple(sorted(acts, key=lambda act: act.after))),
)


class NoticeOutbox:
    """`ports.NoticeOutbox` for a job that only advances."""

    def put(self, notice: object) -> bool:
        raise AssertionError("there is nothing to tell")


def lived(life: Life, nights: Sequence[datetime]) -> tuple[Account, list[Entry]]:
    """The account and its entries after the life, read once at the end; the job visits at `nights`."""
    ledger = InMemoryLedger()
    visit = VisitAccount(ledger=ledger, outbox=NoticeOutbox())

    def start(account: Account) -> Change:
        until = life.anchor + life.paid_for if life.paid_for else None
        return start_plus(account, allowance=200, entitled_until=until, now=life.anchor)

    ledger.change("alice", start, business_key="plan", now=life.anchor)
    todo: list[tuple[datetime, int, Callable[[], object]]] = []
    for number, act in enumerate(life.acts):
        todo += _steps(ledger, number, act, life.anchor + act.after)
    for night in nights:
        todo.append(
            (night, 10_000, lambda night=night: visit(AccountTask(task=Task.ADVANCE, at=night, user_id="alice")))
        )
    for _, _, step in sorted(todo, key=lambda item: item[:2]):
        step()
    account = ledger.account("alice", life.anchor + LONG + 50 * DAY)
    return account, all_entries(ledger, "alice")


def _steps(
    ledger: InMemoryLedger, number: int, act: Act, at: datetime
) -> list[tuple[datetime, int, Callable[[], object]]]:
    if act.lasts == timedelta(0) and act.cost is None:

        def bonus(account: Account) -> Change:
            after, entry = grant(
                account, act.credits, type_=EntryType.BONUS, business_key=f"b{number}", reason="x", now=at
            )
            return after, (entry,)

        return [(at, number, lambda: ledger.change("alice", bonus, business_key=f"b{number}", now=at))]
    hold, ends = a_hold(f"run_{number}", act.credits, at, session_id=f"ses_{number}"), at + act.lasts
    held = []

    def place() -> None:
        held.append(isinstance(ledger.place_hold("alice", hold, limit=20, now=at), Held))

    def end() -> None:
        if not held[0]:
            return
        if act.cost is None:
            ledger.release("alice", receipt("alice", hold, RunStatus.RELEASED, ends))
        else:
            charge = charging(hold, min(act.cost, act.credits), ends)
            ledger.settle(ledger.account("alice", ends), hold, charge, conversation("alice", hold, ends))

    return [(at, 2 * number, place), (ends, 2 * number + 1, end)]


def every(step: timedelta, *, late: timedelta = timedelta(0), since: datetime) -> list[datetime]:
    midnight = since.replace(hour=0, minute=0, second=0, microsecond=0)
    return [midnight + late + number * step for number in range(1, int((LONG + 50 * DAY) / step))]


@settings(max_examples=examples(25), deadline=None)
@given(LIVES)
def test_no_job_is_a_daily_job_is_an_hourly_job_that_runs_twice_is_a_late_one(life: Life) -> None:
    account, entries = lived(life, [])
    check_invariants(account, entries)
    daily = every(DAY, since=life.anchor)
    hourly = every(HOUR, since=life.anchor)
    for nights in (daily, sorted(hourly * 2), every(5 * DAY, late=3 * DAY, since=life.anchor)):
        again, lines = lived(life, nights)
        assert again == account
        assert [line.hash for line in lines] == [line.hash for line in entries]


@given(st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 31), timezones=st.just(UTC)), st.integers(0, 20))  # noqa: DTZ001
def test_fourteen_months_at_once_are_fourteen_nights(anchor: datetime, months: int) -> None:
    """In the pure domain: crossing a boundary is the same for every caller."""
    ledger = InMemoryLedger()

    def start(account: Account) -> Change:
        return start_plus(account, allowance=200, entitled_until=None, now=anchor)

    account = ledger.change("alice", start, business_key="plan", now=anchor)
    at_once = account
    while at_once.period < months:
        at_once, _ = cross_boundary(at_once)
    for _ in range(months):
        due = ledger.account("alice", anchor).due_at
        assert due is not None
        ledger.account("alice", due)
    assert ledger.account("alice", anchor) == at_once
