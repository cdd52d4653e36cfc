"""Audit: does what is stored of one account add up?

Everything is computed again from the stored items, beginning with entry 1 and zero credits. Nothing is trusted, and
nothing stops it: damage is reported, and the rest is checked all the same. Items come with their attributes as plain
values, because an audit has to handle items that the ledger can no longer read.

An audit checks one account against itself: docs/operations.md lists what it cannot notice.

    stored      what an audit is given
    replay      entries: numbers, sums, hashes
    runs        receipts, with their entries, turns and sessions
    account     the account, its holds and its plan
    findings    what does not add up, and reading without trust
"""

from dataclasses import dataclass

from playground.domain.audit.account import AccountAudit
from playground.domain.audit.findings import MAX_FINDINGS, Code, Fact, Finding, Findings
from playground.domain.audit.replay import Replay
from playground.domain.audit.runs import Runs
from playground.domain.audit.stored import Fields, Stored, StoredEntry, StoredKey, StoredRun, Unreadable
from playground.domain.pricing import PriceTables

__all__ = [
    "MAX_FINDINGS",
    "Audited",
    "Code",
    "Fact",
    "Fields",
    "Finding",
    "Stored",
    "StoredEntry",
    "StoredKey",
    "StoredRun",
    "Unreadable",
    "audit",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The result of an audit. `entries`, `balance` and `held` as stored. `omitted` findings are only counted."""

    user_id: str
    exists: bool
    entries: int
    balance: int
    held: int
    findings: tuple[Finding, ...] = ()
    omitted: int = 0

    @property
    def fine(self) -> bool:
        return not self.findings


def audit(stored: Stored, prices: PriceTables) -> Audited:
    """Everything that does not add up in `stored`. A receipt is checked by the price table that it names.

    Takes memory for sessions, not for entries and receipts.
    """
    findings = Findings()
    replay = Replay(stored.user_id, findings)
    for entry in stored.entries:
        replay.entry(entry)
    runs = Runs(stored.user_id, prices, findings)
    for run in stored.runs:
        runs.run(run)
    runs.sums()
    account = AccountAudit(stored, replay, findings)
    is_used = bool(replay.entries or runs.count)
    if stored.account is not None:
        account.account(stored.account)
    elif is_used:
        findings.add(Code.ACCOUNT, "the account", "there", "nothing")
    for key in stored.keys:
        account.key(key)
    held = (stored.account or {}).get("held")
    return Audited(
        user_id=stored.user_id,
        exists=stored.account is not None or is_used,
        entries=replay.entries,
        balance=replay.balance,
        held=held if isinstance(held, int) else 0,
        findings=tuple(findings.kept),
        omitted=findings.omitted,
    )
