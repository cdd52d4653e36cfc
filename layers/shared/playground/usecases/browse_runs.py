"""ListRuns and ReadHistory: what became of a user's runs, and what each change of credits was for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from playground.domain.entries import Entry, EntryType
from playground.domain.runs import Run, RunFilter, RunPlace, RunStatus
from playground.ports import Clock, Ledger
from playground.usecases.read_account import ReadAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """`open`: runs that are being made, on the first page only. `runs`: those that ended. `following` is where the next
    page begins, `unreadable` the ids of runs that were left out because their receipts are damaged."""

    runs: Sequence[Run]
    open: Sequence[Run] = ()
    following: RunPlace | None = None
    unreadable: Sequence[str] = ()


class ListRuns:
    def __init__(self, *, ledger: Ledger, read_account: ReadAccount) -> None:
        self._ledger = ledger
        self._read_account = read_account

    def __call__(self, user_id: str, wanted: RunFilter, *, limit: int, after: RunPlace | None = None) -> RunsPage:
        """At most `limit` runs of the user that ended and fit, the last one to end first, and on the first page all
        that are open and fit. Dead holds are released first, so that those runs are listed as expired.

        A run that ends between the two reads, or a moment ago, may be on neither list of this page.
        """
        open_: Sequence[Run] = ()
        if after is None:
            account = self._read_account(user_id)
            held = [
                Run.of(hold, user_id=user_id, status=RunStatus.HELD, ended_at=hold.lease_at)
                for hold in account.holds.values()
            ]
            open_ = sorted(
                (run for run in held if _fits_while_open(wanted, run)), key=lambda run: run.started_at, reverse=True
            )
        if wanted.status is RunStatus.HELD:
            return RunsPage(runs=(), open=open_)
        runs, following, unreadable = self._ledger.ended_runs(user_id, wanted, after=after, limit=limit)
        return RunsPage(runs=runs, open=open_, following=following, unreadable=unreadable)


def _fits_while_open(wanted: RunFilter, run: Run) -> bool:
    """An open run has no end yet, and its hold does not name the package."""
    return (
        wanted.package is None
        and wanted.since is None
        and wanted.until is None
        and wanted.status in (None, run.status)
        and wanted.model in (None, run.model)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """`runs`: receipts of the runs that `entries` name. `following` is the number below which the next page begins.
    `total`: how many entries the account has; None if it was not read."""

    entries: Sequence[Entry]
    following: int | None
    unreadable: Sequence[int] = ()
    runs: Mapping[str, Run] = field(default_factory=dict)
    total: int | None = None


class ReadHistory:
    def __init__(self, *, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def __call__(
        self, user_id: str, *, limit: int, before: int | None = None, type_: EntryType | None = None
    ) -> HistoryPage:
        """At most `limit` entries of the user, newest first, as of now, with the runs that they are about."""
        account = self._ledger.account(user_id, self._clock())
        page = read_history(self._ledger, user_id, limit=limit, before=before, type_=type_)
        return replace(page, total=account.version if type_ is None else None)


def read_history(
    ledger: Ledger, user_id: str, *, limit: int, before: int | None = None, type_: EntryType | None = None
) -> HistoryPage:
    """As `ReadHistory`, of what is stored: the account is neither opened nor advanced."""
    entries, following, unreadable = ledger.entries(user_id, before=before, limit=limit, type_=type_)
    run_ids = [entry.run_id for entry in entries if entry.run_id is not None]
    runs = ledger.receipts(user_id, run_ids) if run_ids else {}
    return HistoryPage(entries=entries, following=following, unreadable=unreadable, runs=runs)
