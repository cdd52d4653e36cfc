"""AuditAccount, AuditAccounts: check that stored accounts add up. Read only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from playground.domain.audit import Audited, Fields, Finding, Stored, audit
from playground.domain.errors import PlaygroundError
from playground.domain.pricing import PriceTables

MAX_READS = 5  # of an account that changes while it is read
MAX_FINDINGS = 5_000  # in one page, so that it fits into the answer of a function


class Archive(Protocol):
    """All stored items, unchecked."""

    def account(self, user_id: str) -> Fields | None:
        """The account's own item."""
        ...

    def read(self, user_id: str) -> Stored:
        """All stored items of a user: the account at once, the others lazily."""
        ...

    def users(self, *, after: str | None) -> tuple[Sequence[str], str | None]:
        """A page of users after a cursor, and the next cursor, if any. A scan: never on a request's path."""
        ...

    def after(self, user_id: str) -> str:
        """The cursor after this user."""
        ...


@dataclass(frozen=True, slots=True)
class AuditAccount:
    archive: Archive
    prices: PriceTables

    def __call__(self, user_id: str) -> Audited:
        """The findings about the account of `user_id`, which can be used meanwhile.

        Entries and receipts are read page by page. If there are findings it is read again, until there are none or the
        account has not changed since the read before: of a transaction that was just written, the account may be
        visible and the rest not yet. If it changes during every read, the result is the findings common to all reads.
        """
        always: set[Finding] | None = None
        before: Fields | None = None
        for _ in range(MAX_READS):
            stored = self.archive.read(user_id)
            audited = audit(stored, self.prices)
            is_still = always is not None and stored.account == before
            if audited.fine or (is_still and self.archive.account(user_id) == before):
                return audited
            before = stored.account
            always = set(audited.findings) if always is None else always & set(audited.findings)
        return replace(audited, findings=tuple(finding for finding in audited.findings if finding in (always or ())))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """The audits of some accounts. `failed` could not be read. `after` is the next cursor; None at the end."""

    accounts: int
    damaged: tuple[Audited, ...]
    failed: tuple[str, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class AuditAccounts:
    archive: Archive
    audit_account: AuditAccount
    report_failure: Callable[[str, PlaygroundError], None]

    def __call__(self, *, after: str | None, limit: int, time_is_up: Callable[[], bool] = lambda: False) -> AuditPage:
        """Audit at most `limit` accounts after the cursor `after`, until `time_is_up` or MAX_FINDINGS are found."""
        accounts, findings, damaged, failed = 0, 0, list[Audited](), list[str]()

        def page(cursor: str | None) -> AuditPage:
            return AuditPage(accounts=accounts, damaged=tuple(damaged), failed=tuple(failed), after=cursor)

        def enough() -> bool:
            return accounts >= limit or findings >= MAX_FINDINGS or time_is_up()

        while not enough():
            users, following = self.archive.users(after=after)
            for user_id in users:
                if enough():
                    return page(after)
                accounts += 1
                try:
                    audited = self.audit_account(user_id)
                except PlaygroundError as error:
                    failed.append(user_id)
                    self.report_failure(user_id, error)
                else:
                    if not audited.fine:
                        damaged.append(audited)
                        findings += len(audited.findings)
                after = self.archive.after(user_id)
            after = following
            if after is None:
                break
        return page(after)
