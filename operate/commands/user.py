"""`playground user alice`: what support needs to know of a user, on one page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import click

from operate.errors import no_account
from operate.helptext import more_help
from operate.options import USER, counted, on_a_stack, plain, reason_of, show, working_on, wrapped
from operate.pause_runs import PauseRuns
from operate.stack import Stack
from playground.adapters import dynamo_items as items
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_keys import account_key, user_pk
from playground.adapters.dynamo_payments import DynamoPurchaseRecords, purchase_of
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.prices import published_prices
from playground.domain.account import Account, Hold, as_of
from playground.domain.audit import Audited
from playground.domain.calendar import iso
from playground.domain.entries import Entry
from playground.domain.purchases import Purchase
from playground.domain.runs import Run, RunFilter, RunPlace
from playground.domain.subscriptions import Subscription
from playground.ports import CANCELLED
from playground.usecases.audit_account import AuditAccount

MAX_SESSIONS_COUNTED = 1_000
PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is stored of a user, without prompts and answers. `account` is as it is now: boundaries that have passed are
    crossed in it, and nothing is written. `all_paused_at`: since when the runs of all are paused; else None."""

    account: Account
    runs: Sequence[Run]
    entries: Sequence[Entry]
    purchases: Sequence[Purchase]
    subscription: Subscription
    sessions: int
    audited: Audited
    all_paused_at: datetime | None


@click.command(
    "user",
    epilog=more_help(
        rights=[
            (
                "dynamodb:GetItem, BatchGetItem, Query on both tables, on index/by_end of the table of money and on "
                "index/by_owner of the table of sessions; there is no scan"
            ),
        ],
        statuses={
            0: "shown, and the account adds up",
            1: "shown, and the audit found something",
            2: "it could not be done: no stack, no answer",
        },
        examples=[
            "./playground user alice",
            "./playground user alice --entries 50 --stack playground-prod",
            "./playground user alice --json",
        ],
    ),
)
@click.argument("user", type=USER)
@click.option(
    "--entries",
    "count",
    type=click.IntRange(1, 1_000),
    default=10,
    show_default=True,
    help="How many of the last ones.",
)
@click.option(
    "--runs",
    "run_count",
    type=click.IntRange(0, 1_000),
    default=10,
    show_default=True,
    help="How many of the last runs that ended, those that failed, too.",
)
@on_a_stack
def command(user: str, count: int, run_count: int, stack_name: str | None, as_json: bool) -> int:
    """Show account, plan, open runs, last runs with their outcome, last entries, purchases, number of conversations,
    and what an audit of the account finds. Reads only, and neither prompts nor answers."""
    with working_on(stack_name) as stack:
        page = read_page(stack, user, count, run_count, now=datetime.now(UTC))
    if page is None:
        raise no_account(user, stack.described)
    show(document_of(page), text_of(page), as_json=as_json)
    return 0 if page.audited.fine else 1


def read_page(stack: Stack, user_id: str, count: int, run_count: int, *, now: datetime) -> Page | None:
    store, ledger_table = stack.store, stack.ledger_table
    raw = store.get(account_key(ledger_table, user_id))
    if raw is None:
        return None
    archive = DynamoAudit(store, ledger_table=ledger_table, sessions_table=stack.sessions_table)
    return Page(
        account=as_of(items.account_of(user_id, raw), user_id, now),
        runs=last_runs(stack, user_id, run_count),
        entries=last_entries(stack, user_id, count),
        purchases=purchases(stack, user_id),
        subscription=DynamoPurchaseRecords(store, ledger_table).subscription(user_id),
        sessions=count_sessions(DynamoSessions(store, stack.sessions_table), user_id),
        audited=AuditAccount(archive, published_prices)(user_id),
        all_paused_at=PauseRuns(store, ledger_table).state().paused_at,
    )


def last_entries(stack: Stack, user_id: str, count: int) -> Sequence[Entry]:
    """Newest first."""
    found: list[Entry] = []
    before: int | None = None
    while len(found) < count:
        page, before, _ = stack.ledger.entries(user_id, before=before, limit=min(count - len(found), PAGE), type_=None)
        found += page
        if before is None:
            break
    return found


def last_runs(stack: Stack, user_id: str, count: int) -> Sequence[Run]:
    """Those that ended, newest first."""
    found: list[Run] = []
    after: RunPlace | None = None
    while len(found) < count:
        limit = min(count - len(found), PAGE)
        page, after, _ = stack.ledger.ended_runs(user_id, RunFilter(), after=after, limit=limit)
        found += page
        if after is None:
            break
    return found


def purchases(stack: Stack, user_id: str) -> Sequence[Purchase]:
    """Newest first."""
    found: list[Purchase] = []
    first = "PURCHASE#"
    while True:
        page, stopped = stack.store.query(
            stack.ledger_table, user_pk(user_id), first=first, last="PURCHASE$", limit=PAGE
        )
        found += [purchase_of(user_id, raw) for raw in page]
        if stopped is None:
            return sorted(found, key=lambda purchase: purchase.created_at, reverse=True)
        first = stopped + "\0"


def count_sessions(sessions: DynamoSessions, user_id: str) -> int:
    """How many conversations there are, up to MAX_SESSIONS_COUNTED."""
    count, after = 0, None
    while count < MAX_SESSIONS_COUNTED:
        page, after, _ = sessions.listed(user_id, after=after, limit=PAGE)
        count += len(page)
        if after is None:
            break
    return count


def document_of(page: Page) -> dict[str, Any]:
    account, subscription = page.account, page.subscription
    return {
        "user": account.user_id,
        "created_at": account.created_at,
        "balance": account.balance,
        "available": account.available,
        "held": account.held,
        "debt": account.debt,
        "buckets": asdict(account.buckets),
        "plan": account.plan,
        "plan_until": account.entitled_until,
        "resets_at": account.resets_at,
        "paused_at": account.paused_at,
        "all_runs_paused_at": page.all_paused_at,
        "holds": [plain(hold) for hold in account.holds.values()],
        "subscription": {"status": subscription.status, "id": account.subscription_id},
        "runs": [_run_document(run) for run in page.runs],
        "entries": [{**asdict(entry), "amount": entry.amount} for entry in page.entries],
        "purchases": [asdict(purchase) for purchase in page.purchases],
        "sessions": page.sessions,
        "audit": {"fine": page.audited.fine, "findings": [str(finding) for finding in page.audited.findings]},
    }


def text_of(page: Page) -> str:
    """One page for a terminal of 80 columns."""
    account, buckets = page.account, page.account.buckets
    lines = [
        f"{account.user_id}, since {iso(account.created_at)[:10]}",
        (
            f"  balance    {account.balance} = {buckets.monthly} monthly + {buckets.rollover} rollover "
            f"+ {buckets.purchased} purchased"
        ),
        f"  available  {account.available}, held {account.held}, debt {account.debt}",
        f"  plan       {account.plan.value}" + _plan_details(page),
        *([f"  paused     since {iso(account.paused_at)[:16]}: new runs are refused"] if account.paused_at else []),
        *(
            [f"  all runs   paused since {iso(page.all_paused_at)[:16]}, of every account"]
            if page.all_paused_at
            else []
        ),
        f"  sessions   {page.sessions}" + (" or more" if page.sessions >= MAX_SESSIONS_COUNTED else ""),
    ]
    if account.holds:
        lines += ["open runs", *map(_hold_line, account.holds.values())]
    if page.runs:
        lines += ["last runs: id, end (UTC), outcome, credits, model, package or failure", *map(_run_line, page.runs)]
    heading = "number, time (UTC), type, change, balance, reason"
    lines += [f"last entries ({len(page.entries)} of {account.version}): {heading}", *map(_entry_line, page.entries)]
    if page.purchases:
        lines += ["purchases", *map(_purchase_line, page.purchases)]
    findings = [str(finding) for finding in page.audited.findings]
    lines.append("audit      " + ("everything adds up" if page.audited.fine else counted({"findings": len(findings)})))
    lines += [f"  {finding}" for finding in findings]
    return "\n".join(lines)


def _hold_line(hold: Hold) -> str:
    return f"  {hold.run_id}  {hold.ceiling} held, {hold.model}, since {iso(hold.placed_at)[:19]}"


def _run_document(run: Run) -> dict[str, Any]:
    usage = run.final_usage
    return {
        "run_id": run.run_id,
        "status": run.status,
        "session_id": run.session_id,
        "model": run.model,
        "package": run.package,
        "package_version": run.package_version,
        "credits_spent": run.charged,
        "ceiling": run.ceiling,
        "tokens_used": usage.billed_tokens if usage else None,
        "stop_reason": run.measured.stop_reason if run.measured else None,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "failure": run.failure,
    }


def _run_line(run: Run) -> str:
    what = run.failure.reason or run.failure.code if run.failure else run.package or ""
    if run.measured is not None and run.measured.stop_reason == CANCELLED:
        what = f"cancelled {what}"
    ended_at = iso(run.ended_at)[5:16]
    return wrapped(f"  {run.run_id}  {ended_at}  {run.status.value:<8} {run.charged:>3}  {run.model} {what}", indent=34)


def _entry_line(entry: Entry) -> str:
    line = (
        f"  {entry.seq:>5}  {iso(entry.created_at)[:16]}  {entry.type.value:<8} {entry.amount:+6d} "
        f"{entry.balance_after:>6}  {reason_of(entry)}"
    )
    return wrapped(line, indent=27)


def _purchase_line(purchase: Purchase) -> str:
    refunded, disputed = purchase.amount_refunded, purchase.amount_disputed
    line = (
        f"  {purchase.purchase_id}  {iso(purchase.created_at)[:10]}  {purchase.credits} credits, "
        f"{purchase.amount / 100:.2f} {purchase.currency.upper()}, {purchase.state.value}"
        + (f", refunded {refunded / 100:.2f}" if refunded else "")
        + (f", disputed {disputed / 100:.2f}" if disputed else "")
    )
    return wrapped(line, indent=34)


def _plan_details(page: Page) -> str:
    account, details = page.account, []
    if account.subscription_id is not None:
        details.append(f"subscription {page.subscription.status}")
    if account.entitled_until is not None:
        details.append(f"until {iso(account.entitled_until)[:10]}")
    if account.resets_at is not None:
        details.append(f"next month begins {iso(account.resets_at)[:16]}")
    return "".join(f", {detail}" for detail in details)
