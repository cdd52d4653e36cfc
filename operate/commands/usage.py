"""`playground usage alice`, `playground usage @acme/tidy`: what runs came to, by day."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import click

from operate.errors import NotThereError, no_account
from operate.helptext import more_help
from operate.options import TEXT, counted, in_dollars, on_a_stack, show, working_on
from operate.stack import CATALOG, Stack
from playground.adapters.dynamo_catalog import package_key
from playground.adapters.dynamo_keys import account_key
from playground.adapters.dynamo_usage import DynamoUsage
from playground.domain.packages import is_package_name
from playground.domain.spend import Counters, SpendRow
from playground.usecases.read_usage import DEFAULT_DAYS, MAX_DAYS, last_days


@click.command(
    "usage",
    epilog=more_help(
        {
            "What is shown": "Runs by the day (UTC) on which they ended: of a user by package and model, of a package "
            "by model. Of a package also its runs and users of all time; of few users the public sees less. Cost is "
            "what the provider billed, exactly.",
        },
        rights=[
            "dynamodb:GetItem and Query on the table of what runs cost; there is no scan",
            "dynamodb:GetItem on the table of money and the catalogue's table, for a user or a package without runs",
        ],
        statuses={0: "shown", 1: None, 2: "it could not be done: no stack, no answer"},
        examples=[
            "./playground usage alice",
            "./playground usage @acme/tidy --days 90 --json",
            "./playground usage alice --stack playground-prod",
        ],
    ),
)
@click.argument("who", metavar="USER|PACKAGE", type=TEXT)
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), default=DEFAULT_DAYS, show_default=True, help="Up to today, in UTC."
)
@on_a_stack
def command(who: str, days: int, stack_name: str | None, as_json: bool) -> None:
    """Show what the runs of USER, or of all users of PACKAGE (@scope/name), came to. Reads only."""
    first, last = last_days(days, datetime.now(UTC))
    with working_on(stack_name) as stack:
        usage = DynamoUsage(stack.store, stack.spend_table)
        if is_package_name(who):
            rows, totals, ratings = usage.of_package(who, first, last), usage.all_of_package(who), usage.ratings_of(who)
            whole = {"all": _amounts(totals.counters), "users": totals.users, "ratings": asdict(ratings)}
            if not rows and not totals.users and not has_package(stack, who):
                raise NotThereError(f"there is no package {who} in {stack.described}")
            heading = f"{_line(totals.counters)}; {counted({'users': totals.users})}"
        else:
            rows, whole, heading = usage.of_user(who, first, last), {}, ""
            if not rows and stack.store.get(account_key(stack.ledger_table, who)) is None:
                hint = f"; the package would be @{who}" if is_package_name(f"@{who}") else ""
                raise NotThereError(f"{no_account(who, stack.described)}{hint}")
    _show(who, (first, last), rows, whole, heading, as_json=as_json)


def has_package(stack: Stack, name: str) -> bool:
    """Whether the catalogue has a package of this name, withdrawn or not."""
    key = package_key(stack.name_of(CATALOG), name, None)
    return key is not None and stack.store.get(key) is not None


def _show(
    who: str, span: tuple[date, date], rows: Sequence[SpendRow], whole: dict[str, Any], heading: str, *, as_json: bool
) -> None:
    total = sum((row.counters for row in rows), Counters())
    document = {
        "of": who,
        "first": span[0],
        "last": span[1],
        **whole,
        "days": [
            {"date": row.day, "package": row.package, "model": row.model, **_amounts(row.counters)} for row in rows
        ],
        "totals": _amounts(total),
    }
    lines = [f"of all time: {heading}"] if heading else []
    lines.append(f"{span[0]} to {span[1]}: {_line(total)}")
    lines += [f"  {row.day} {row.model} {row.package or ''}".rstrip() + f": {_line(row.counters)}" for row in rows]
    show(document, "\n".join(lines), as_json=as_json)


def _line(counters: Counters) -> str:
    tokens = counters.input_tokens + counters.output_tokens
    amounts = counted({"credits": counters.credits, "tokens": tokens})
    return (
        f"{counted({'runs': counters.runs})}, {counters.failed:,} failed, {amounts}, {in_dollars(counters.cost_nano)}"
    )


def _amounts(counters: Counters) -> dict[str, int]:
    return asdict(counters)
