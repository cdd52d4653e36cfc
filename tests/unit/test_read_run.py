"""ReadRun: what became of a run, also while it is open and after its worker died."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from playground.domain.account import Hold
from playground.domain.errors import RunNotFoundError
from playground.domain.runs import Run, RunStatus
from playground.ports import Held
from playground.usecases.read_run import ReadRun, Receipt
from tests.fakes import FrozenClock, InMemoryLedger, a_hold, charging, conversation, receipt
from tests.support import all_entries, check_invariants

USER = "user_1"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HOLD = a_hold("run_1", 3, NOW)


@pytest.fixture
def ledger() -> InMemoryLedger:
    return InMemoryLedger()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
def read_run(ledger: InMemoryLedger, clock: FrozenClock) -> ReadRun:
    return ReadRun(ledger=ledger, sessions=ledger.sessions, clock=clock)


def hold(ledger: InMemoryLedger) -> None:
    assert isinstance(ledger.place_hold(USER, HOLD, limit=20, now=NOW), Held)


def settle(ledger: InMemoryLedger, hold: Hold = HOLD) -> Run:
    account = ledger.account(USER, NOW)
    return ledger.settle(account, hold, charging(hold, 2, NOW), conversation(USER, hold, NOW)).run


def test_a_settled_run_comes_with_its_answer(ledger: InMemoryLedger, read_run: ReadRun) -> None:
    hold(ledger)
    run = settle(ledger)

    assert read_run(USER, "run_1") == Receipt(run=run, ended=True, answer="answer 1")


def test_a_settled_run_whose_conversation_was_deleted_has_no_answer(ledger: InMemoryLedger, read_run: ReadRun) -> None:
    hold(ledger)
    run = settle(ledger)
    ledger.sessions.delete(run.session_id)

    assert read_run(USER, "run_1") == Receipt(run=run, ended=True, answer=None)


def test_an_answer_that_is_not_the_runs_own_is_not_shown(ledger: InMemoryLedger, read_run: ReadRun) -> None:
    hold(ledger)
    run = settle(ledger)
    ledger.sessions.delete(run.session_id)
    other = a_hold("run_2", 2, NOW, session_id=run.session_id)
    ledger.place_hold(USER, other, limit=20, now=NOW)
    settle(ledger, other)

    assert read_run(USER, "run_1") == Receipt(run=run, ended=True, answer=None)


@pytest.mark.parametrize("status", [RunStatus.RELEASED, RunStatus.EXPIRED])
def test_a_run_that_was_not_charged_has_no_answer(ledger: InMemoryLedger, read_run: ReadRun, status: RunStatus) -> None:
    hold(ledger)
    run = ledger.release(USER, receipt(USER, HOLD, status, NOW)).run

    assert read_run(USER, "run_1") == Receipt(run=run, ended=True, answer=None)


def test_a_run_at_work_is_held(ledger: InMemoryLedger, read_run: ReadRun, clock: FrozenClock) -> None:
    hold(ledger)
    clock.now = HOLD.lease_at - timedelta(milliseconds=1)

    found = read_run(USER, "run_1")

    assert (found.ended, found.answer) == (False, None)
    run = found.run
    assert (run.status, run.charged, run.ceiling, run.session_id) == (RunStatus.HELD, 0, 3, HOLD.session_id)
    assert (run.run_id, run.user_id, run.model, run.started_at) == ("run_1", USER, "sonnet", NOW)
    assert ledger.account(USER, NOW).held == 3


def test_a_run_whose_lease_is_over_has_expired_and_gives_its_credits_back(
    ledger: InMemoryLedger, read_run: ReadRun, clock: FrozenClock
) -> None:
    hold(ledger)
    clock.now = HOLD.lease_at

    found = read_run(USER, "run_1")

    assert (found.run.status, found.run.ended_at, found.ended) == (RunStatus.EXPIRED, HOLD.lease_at, True)
    assert found.run.failure is not None
    assert found.run.failure.reason == "interrupted"
    assert read_run(USER, "run_1") == found
    account = ledger.account(USER, clock.now)
    check_invariants(account, all_entries(ledger, USER))
    assert account.available == 5


@pytest.mark.parametrize("user_id", [USER, "user_2"])
def test_a_run_that_is_not_the_users_own_is_not_there(ledger: InMemoryLedger, read_run: ReadRun, user_id: str) -> None:
    hold(ledger)
    run_id = "run_none" if user_id == USER else "run_1"

    with pytest.raises(RunNotFoundError):
        read_run(user_id, run_id)

    settle(ledger)
    with pytest.raises(RunNotFoundError):
        read_run(user_id, run_id)


def test_a_run_that_ends_between_two_looks_is_found() -> None:
    class Ending(InMemoryLedger):
        """Settles the run right before the account is read."""

        then: Callable[[], object] | None = None

        def run(self, user_id: str, run_id: str, *, ended: bool = False) -> Run | None:
            found = super().run(user_id, run_id)
            if self.then is not None:
                then, self.then = self.then, None
                then()
            return found

    ledger = Ending()
    hold(ledger)
    ledger.then = lambda: settle(ledger)

    found = ReadRun(ledger=ledger, sessions=ledger.sessions, clock=FrozenClock(NOW))(USER, "run_1")

    assert (found.run.status, found.answer) == (RunStatus.SETTLED, "answer 1")
