"""What a run looks up before it holds: receipt, account, session, and package or custom prompt, in one batch read over
three tables.

The same read says whether an operator has paused all runs, and whether the spend guard pauses free ones. All accounts
share these two items, so each instance reads them only once in `CONTROL_SECONDS`. A read that fails refuses the run:
fail closed. Without this table there is no hold anyway. A guard that is stored and cannot be understood pauses nobody:
it must not stop people who pay.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_catalog import DynamoCatalog, package_key
from playground.adapters.dynamo_guard import guard_of
from playground.adapters.dynamo_keys import account_key, guard_key, prompt_key, run_key, runs_control_key, session_key
from playground.adapters.dynamo_store import DynamoStore, RawItem
from playground.domain.errors import UnreadableError
from playground.ports import Found, ReportUnreadable

CONTROL_SECONDS = 5.0  # for which an instance uses what it has read of the pause of all runs and of the guard


@dataclass(frozen=True, slots=True)
class _Control:
    read_at: float
    runs_paused: bool
    free_runs_paused_until: datetime | None


class DynamoLookup:
    """`ports.Lookup`. Receipt, account and session are read as last written; a package version never changes."""

    def __init__(
        self,
        store: DynamoStore,
        catalog: DynamoCatalog,
        *,
        ledger_table: str,
        sessions_table: str,
        catalog_table: str,
        monotonic: Callable[[], float] = time.monotonic,
        report: ReportUnreadable = lambda error: None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ledger = ledger_table
        self._sessions = sessions_table
        self._packages = catalog_table
        self._monotonic = monotonic
        self._report = report
        self._control: _Control | None = None

    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str | None, version: str | None, session_id: str | None
    ) -> Found:
        of_account = account_key(self._ledger, user_id)
        of_run = run_key(self._ledger, user_id, run_id) if run_id is not None else None
        of_session = session_key(self._sessions, session_id) if session_id is not None else None
        of_package = package_key(self._packages, package_id, version) if package_id is not None else None
        of_prompt = prompt_key(self._sessions, session_id) if package_id is None and session_id is not None else None
        now, control = self._monotonic(), self._control
        is_known = control is not None and now < control.read_at + CONTROL_SECONDS
        of_pause, of_guard = runs_control_key(self._ledger), guard_key(self._ledger)
        wanted = [key for key in (of_account, of_run, of_session, of_package, of_prompt) if key is not None]
        wanted += [] if is_known else [of_pause, of_guard]
        found = self._store.get_all(wanted, consistent=frozenset({self._ledger, self._sessions}))
        if control is None or not is_known:
            paused_until = self._paused_until(found.get(of_guard))
            control = self._control = _Control(now, "paused_at" in found.get(of_pause, {}), paused_until)

        run = found.get(of_run) if of_run is not None else None
        account = found.get(of_account)
        package = found.get(of_package) if of_package is not None else None
        raw_session = found.get(of_session) if of_session is not None else None
        session = items.own_session_of(user_id, raw_session) if raw_session is not None else None
        session = session if session is not None and session.deleted_at is None else None
        prompt = found.get(of_prompt) if of_prompt is not None and session is not None else None
        return Found(
            run=items.run_of(user_id, run) if run is not None else None,
            package=self._catalog.package_of_item(package) if package is not None else None,
            session=session,
            prompt=items.prompt_of(prompt) if prompt is not None else None,
            account=items.account_of(user_id, account) if account is not None else None,
            runs_paused=control.runs_paused,
            free_runs_paused_until=control.free_runs_paused_until,
        )

    def _paused_until(self, raw: RawItem | None) -> datetime | None:
        try:
            return guard_of(raw).paused_until if raw is not None else None
        except UnreadableError as damage:
            self._report(damage)
            return None
