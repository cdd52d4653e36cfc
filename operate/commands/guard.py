"""`playground guard`: what Claude costs, and the ceiling of a day."""

from datetime import UTC, datetime
from typing import Any

import click

from operate.commands.grant import order_of
from operate.guard_spend import MAX_RECOUNT_DAYS, GuardSpend, GuardView, first_day, receipts_since, recount
from operate.helptext import more_help
from operate.operator_request import OperatorRequest
from operate.options import (
    by_an_operator,
    counted,
    in_dollars,
    note,
    on_a_stack,
    report_unreadable,
    show,
    with_progress,
    working_on,
)
from operate.pausing import ONCE
from operate.stack import Stack
from playground.adapters.dynamo_guard import DynamoGuard
from playground.adapters.dynamo_spend import DynamoSpend
from playground.domain.calendar import iso
from playground.domain.guard import MAX_CEILING_DOLLARS, NANO_PER_DOLLAR, percent_of
from playground.domain.spend import Counters

HELP = more_help(
    {
        "The ceiling": "What Claude may cost on one day (UTC): DailyCeilingDollars of the deployment, unless an "
        "operator sets another one. Alarms are raised at 50, 80 and 100 percent. At 100 percent, if the deployment has "
        "PauseFreeRuns, accounts that have signup credits only get 503 paused until midnight. All others go on.",
        "Once": ONCE,
    },
    rights=[
        "dynamodb:GetItem, PutItem on the ledger's table",
        "dynamodb:BatchGetItem, Query on the table of what runs cost",
        "for recount also Scan on the ledger's table, and PutItem, UpdateItem on the table of what runs cost",
    ],
    statuses={0: "shown, or done, now or before", 4: None},
    examples=[
        "./playground guard",
        "./playground guard --json --stack playground-prod",
        './playground guard lift --ref incident-7 --reason "A conference"',
        "./playground guard ceiling 250 --ref incident-7",
        "./playground guard ceiling deployed --ref incident-7-over",
        "./playground guard recount --days 2",
    ],
)


@click.group("guard", epilog=HELP, invoke_without_command=True)
@on_a_stack
@click.pass_context
def command(context: click.Context, stack_name: str | None, as_json: bool) -> None:
    """Show what Claude has cost today and this month, and the state of the guard; or lift the pause of free runs, or
    set the ceiling of a day."""
    if context.invoked_subcommand is not None:
        if stack_name is not None or as_json:
            raise click.UsageError(f"give --stack and --json after {context.invoked_subcommand}")
    else:
        with working_on(stack_name) as stack:
            _show(_guard_of(stack).view(datetime.now(UTC)), as_json=as_json)


@command.command("lift", epilog=HELP)
@by_an_operator("Lifted by an operator")
@on_a_stack
def lift(reference: str | None, reason: str, operator: str, stack_name: str | None, as_json: bool) -> None:
    """Let free runs go on until midnight (UTC), whatever they cost. Every instance obeys within 5 seconds."""
    order, now = order_of(reference, reason, operator), datetime.now(UTC)
    with working_on(stack_name) as stack:
        guard = _guard_of(stack)
        _report(guard, order, guard.lift(order, now=now), now, reference, as_json=as_json)


class Dollars(click.ParamType[int]):
    """A whole number of dollars; `deployed` is None."""

    name = "dollars"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        if text == "deployed":
            return text
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_CEILING_DOLLARS):
            self.fail(f"must be whole dollars from 1 to {MAX_CEILING_DOLLARS:,}, or `deployed`; got {text!r}")
        return int(text)


@command.command("ceiling", epilog=HELP)
@click.argument("dollars", type=Dollars())
@by_an_operator("Set by an operator")
@on_a_stack
def ceiling(
    dollars: int | str, reference: str | None, reason: str, operator: str, stack_name: str | None, as_json: bool
) -> None:
    """Set the ceiling of a day to DOLLARS from now on, or with `deployed` to what the deployment says."""
    order, now = order_of(reference, reason, operator), datetime.now(UTC)
    ceiling_nano = dollars * NANO_PER_DOLLAR if isinstance(dollars, int) else None
    with working_on(stack_name) as stack:
        guard = _guard_of(stack)
        _report(guard, order, guard.set_ceiling(order, ceiling_nano, now=now), now, reference, as_json=as_json)


@command.command("recount", epilog=HELP)
@click.option(
    "--days", type=click.IntRange(1, MAX_RECOUNT_DAYS), default=1, show_default=True, help="Of today and days before."
)
@on_a_stack
def recount_(days: int, stack_name: str | None, as_json: bool) -> None:
    """Count the receipts of the last days that are not counted. It scans the ledger, and repeating it adds nothing.

    For receipts in the queue GuardFailures, and on this machine for those whose stream a killed stack has lost."""
    with working_on(stack_name) as stack:
        since = first_day(days, datetime.now(UTC))
        runs = receipts_since(stack.store, stack.ledger_table, since, report_unreadable)
        found, added = recount(DynamoSpend(stack.store, stack.spend_table), with_progress(runs, "receipts"))
    document = {"since": since, "counted": found, **_amounts(added)}
    show(
        document,
        f"counted since {since}: {counted({'receipts': found})}, {in_dollars(added.cost_nano)}",
        as_json=as_json,
    )


def _guard_of(stack: Stack) -> GuardSpend:
    return GuardSpend(DynamoGuard(stack.store, stack.ledger_table), DynamoSpend(stack.store, stack.spend_table))


def _report(
    guard: GuardSpend, order: OperatorRequest, done: bool, now: datetime, reference: str | None, *, as_json: bool
) -> None:
    """What is true now, and whether this call did it."""
    _show(guard.view(now), as_json=as_json, reference=order.reference, done="now" if done else "before")
    if reference is None:
        note(f"reference {order.reference}: repeat it with --ref, and nothing is done twice")


def _show(view: GuardView, *, as_json: bool, **facts: str) -> None:
    guard, ceiling_nano = view.guard, view.ceiling_nano
    percent = percent_of(view.today.cost_nano, ceiling_nano) if ceiling_nano is not None else None
    document = {
        **facts,
        "today": _amounts(view.today),
        "month": _amounts(view.month),
        "models": {row.model: _amounts(row.counters) for row in view.models},
        "ceiling_nano": ceiling_nano,
        "percent": percent,
        "pauses_free_runs": guard.deployed.pauses if guard.deployed is not None else None,
        "paused_until": guard.paused_until,
        "lifted_on": guard.lifted_on,
        "lift_reason": guard.lift_reason,
        "lifted_by": guard.lifted_by,
        "reason": guard.reason,
        "operator": guard.operator,
    }
    show(document, "\n".join(_lines(view, percent, facts)), as_json=as_json)


def _lines(view: GuardView, percent: int | None, facts: dict[str, str]) -> list[str]:
    guard = view.guard
    lines = ["done before"] if facts.get("done") == "before" else []
    of = f" of {in_dollars(view.ceiling_nano)} ({percent} %)" if view.ceiling_nano is not None else ""
    lines += [f"today: {_line(view.today, of)}", f"this month: {_line(view.month)}"]
    lines += [f"  {row.model}: {_line(row.counters)}" for row in view.models]
    if guard.ceiling_nano is not None:
        lines.append("the ceiling was set by an operator")
    if guard.paused_until is not None:
        lines.append(f"free runs are paused until {iso(guard.paused_until)}")
    elif guard.deployed is not None:
        pauses = guard.deployed.pauses
        lines.append("free runs are not paused" if pauses else "free runs are never paused: PauseFreeRuns is false")
    else:
        lines.append("no run has been counted yet")
    if guard.lifted_on is not None:
        by = f" by {guard.lifted_by}: {guard.lift_reason}" if guard.lifted_by is not None else ""
        lines.append(f"the pause was lifted for {guard.lifted_on}{by}")
    if guard.operator is not None:
        lines.append(f"last order by {guard.operator}: {guard.reason}")
    return lines


def _line(counters: Counters, of: str = "") -> str:
    unpaid = f" ({in_dollars(counters.unpaid_nano)} unpaid)" if counters.unpaid_nano else ""
    runs = f"{counted({'runs': counters.runs})} with an answer, {counters.failed} without{unpaid}"
    return f"{in_dollars(counters.cost_nano)}{of}; {runs}"


def _amounts(counters: Counters) -> dict[str, int]:
    return {
        "cost_nano": counters.cost_nano,
        "unpaid_nano": counters.unpaid_nano,
        "runs": counters.runs,
        "failed": counters.failed,
        "credits": counters.credits,
    }
