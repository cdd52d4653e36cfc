"""What a run looks up before it holds: receipt, account, package and session, in one batch read over three tables."""

from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_catalog import DynamoCatalog, package_key
from playground.adapters.dynamo_keys import account_key, run_key, session_key
from playground.adapters.dynamo_store import DynamoStore
from playground.ports import Found


class DynamoLookup:
    """`ports.Lookup`. Receipt, account and session are read as last written; a package version never changes."""

    def __init__(
        self, store: DynamoStore, catalog: DynamoCatalog, *, ledger_table: str, sessions_table: str, catalog_table: str
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ledger = ledger_table
        self._sessions = sessions_table
        self._packages = catalog_table

    def __call__(
        self, *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
    ) -> Found:
        of_account = account_key(self._ledger, user_id)
        of_run = run_key(self._ledger, user_id, run_id) if run_id is not None else None
        of_session = session_key(self._sessions, session_id) if session_id is not None else None
        of_package = package_key(self._packages, package_id, version)
        wanted = [key for key in (of_account, of_run, of_session, of_package) if key is not None]
        found = self._store.get_all(wanted, consistent=frozenset({self._ledger, self._sessions}))

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
        )
