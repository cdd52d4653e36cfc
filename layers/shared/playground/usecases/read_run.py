"""ReadRun: the receipt of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from playground.domain.errors import RunNotFoundError
from playground.domain.runs import Run, RunStatus
from playground.ports import Clock, Ledger, Sessions
from playground.usecases.expire_holds import ExpireHolds


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A run, and its answer if it is paid for and its session still exists. While it is held it has not `ended`."""

    run: Run
    ended: bool = True
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRun:
    ledger: Ledger
    sessions: Sessions
    clock: Clock
    report: Callable[[Run], None] = lambda run: None

    def __call__(self, user_id: str, run_id: str) -> Receipt:
        """The receipt of the caller's own run; a dead hold is given back. Raises RunNotFoundError."""
        run = self.ledger.run(user_id, run_id) or self._held(user_id, run_id)
        run = run or self.ledger.run(user_id, run_id, ended=True)
        if run is None:
            raise RunNotFoundError
        if run.status is RunStatus.HELD:
            return Receipt(run=run, ended=False)
        if run.status is not RunStatus.SETTLED or run.turn is None:
            return Receipt(run=run)
        turn = self.sessions.turn(run.session_id, run.turn)
        there = turn is not None and turn.run_id == run_id and not turn.unreadable
        return Receipt(run=run, answer=turn.answer if turn is not None and there else None)

    def _held(self, user_id: str, run_id: str) -> Run | None:
        """The open run, if any. It is read between two reads of the receipt, because it may end meanwhile."""
        now = self.clock()
        hold = self.ledger.account(user_id, now).holds.get(run_id)
        if hold is None:
            return None
        if hold.dead(now):
            return ExpireHolds(self.ledger, self.report).one(user_id, hold, now=now).run
        return Run.of(hold, user_id=user_id, status=RunStatus.HELD, ended_at=hold.lease_at)
