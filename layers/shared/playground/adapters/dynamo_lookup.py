"""What a run looks up before it holds: receipt, account, package and session, in one batch read over three tables.

The same read says whether an operator has paused all runs. All accounts share that item, so each instance reads it only
once in `CONTROL_SECONDS`. A read that fails refuses the run: fail closed. Without this table there is no hold anyway.
"""

import time
from collections.abc import Callable

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_catalog import DynamoCatalog, package_key
from playground.adapters.dynamo_keys import account_key, run_key, runs_control_key, session_key
from playground.adapters.dynamo_store import DynamoStore
from playground.ports import Found

CONTROL_SECONDS = 5.0  # for which an instance uses what it has read of the pause of all runs


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
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ledger = ledger_table
        self._sessions = sessions_table
        self._packages = catalog_table
        self._monotonic = monotonic
        self._control: tuple[float, bool] | None = None  # when it was read, and whether runs are paused

    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
    ) -> Found:
        of_account = account_key(self._ledger, user_id)
        of_run = run_key(self._ledger, user_id, run_id) if run_id is not None else None
        of_session = session_key(self._sessions, session_id) if session_id is not None else None
        of_package = package_key(self._packages, package_id, version)
        now, control = self._monotonic(), self._control
        is_known = control is not None and now < control[0] + CONTROL_SECONDS
        of_control = None if is_known else runs_control_key(self._ledger)
        wanted = [key for key in (of_account, of_run, of_session, of_package, of_control) if key is not None]
        found = self._store.get_all(wanted, consistent=frozenset({self._ledger, self._sessions}))
        if control is None or of_control is not None:
            control = self._control = now, "paused_at" in found.get(runs_control_key(self._ledger), {})

        run = found.get(of_run) if of_run is not None else None
        account = found.get(of_account)
        package = found.get(of_package) if of_package is not None else None
        raw_session = found.get(of_session) if of_session is not None else None
        session = items.own_session_of(user_id, raw_session) if raw_session is not None else None
        return Found(
            run=items.run_of(user_id, run) if run is not None else None,
            package=self._catalog.package_of_item(package) if package is not None else None,
            session=session if session is not None and session.deleted_at is None else None,
            account=items.account_of(user_id, account) if account is not None else None,
            runs_paused=control[1],
        )
