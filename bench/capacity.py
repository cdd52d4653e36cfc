"""`make capacity`: what runs cost and need at AWS, and where the design breaks first. Computed, not measured there.

From prices and quotas (bench/data/aws.json), the units of a run (bench/data/measured.json, by `make bench`), the
template, the price table, and the assumptions below. It writes docs/capacity.md.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from bench.measured import Units, load
from local.process import ROOT
from local.template import Description, read_template
from playground.adapters.dynamo_keys import SHARDS, TOTAL_SHARDS
from playground.adapters.dynamo_store import MAX_TRANSACTION_ITEMS
from playground.adapters.prices import load_prices
from playground.domain.pricing import Usage

PAGE = ROOT / "docs" / "capacity.md"
DATA = ROOT / "bench" / "data" / "aws.json"
RATES = (10, 1_000, 100_000)  # runs a minute
MILLION = 1_000_000
MONTH_MINUTES = 30 * 24 * 60
ROWS_OF_A_RECEIPT = 4  # that no other receipt has: the mark, the user's total and day, the user's first with a package
SWEEP_SECONDS = 110  # that functions/reset has for one sweep


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody has measured. Each is in the page."""

    input_tokens: int = 1_000
    output_tokens: int = 500
    own_seconds: float = 0.15  # of a run's function, besides waiting for Claude
    short_seconds: float = 0.1  # of a call of `estimate`, `credits`, `guard`, `notices`
    short_requests: int = 2  # before or after a run: its estimate, the balance
    log_bytes: int = 3_000  # of a run and those requests
    sent_bytes: int = 6_000  # of their answers
    notices: int = 1  # events on the bus for each run
    transaction_seconds: float = 0.02  # for which a transaction keeps others from its items
    purchases_percent: float = 1.0  # of runs
    runs_of_an_account: int = 100  # in a month; every account has a plan
    advance_seconds: float = 0.03  # of an account at its boundary
    sweep_account_seconds: float = 0.02  # of an account in a sweep


ASSUMED = Assumptions()


@dataclass(frozen=True, slots=True)
class Aws:
    prices: Mapping[str, float]
    """Dollars for one."""
    quotas: Mapping[str, float]
    rows: Sequence[Sequence[str]]
    """Of the page: name, value, source."""
    date: str
    region: str


@dataclass(frozen=True, slots=True)
class Functions:
    """What the template says."""

    run_gb: float
    short_gb: float
    work_concurrency: int
    sweep_minutes: float
    """Between two sweeps."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that ends at `runs` a minute. `then`: what to do."""

    name: str
    runs: float
    how: str
    then: str


def read_aws(path: Path = DATA) -> Aws:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (name, f"${each['dollars']:g} / {each['per']:,}", f"{each['source']} ({each['seen']})")
        for name, each in found["prices"].items()
    ] + [(name, f"{each['value']:,}", f"{each['source']} ({each['seen']})") for name, each in found["quotas"].items()]
    return Aws(
        prices={name: each["dollars"] / each["per"] for name, each in found["prices"].items()},
        quotas={name: each["value"] for name, each in found["quotas"].items()},
        rows=rows,
        date=found["date"],
        region=found["region"],
    )


def functions_of(description: Description) -> Functions:
    [work] = [source for source in description.queue_sources if source.queue == "AccountWork"]
    [sweep] = [schedule for schedule in description.schedules if '"expire_holds"' in schedule.input]
    every = re.fullmatch(r"rate\((\d+) minutes\)", sweep.expression)
    if every is None:
        raise ValueError(f"the sweeper's schedule is {sweep.expression}")
    return Functions(
        run_gb=description.functions["StreamFunction"].memory / 1024,
        short_gb=description.functions["EstimateFunction"].memory / 1024,
        work_concurrency=work.concurrency,
        sweep_minutes=int(every[1]),
    )


class Capacity:
    """At `rate` runs a minute."""

    def __init__(self, rate: float, units: Units, aws: Aws, functions: Functions, assumed: Assumptions = ASSUMED):
        self.rate, self.units, self.aws, self.functions, self.assumed = rate, units, aws, functions, assumed
        self.per_second = rate / 60

    # --- of one run ---------------------------------------------------------------------------------------------------

    @property
    def ledger_units(self) -> float:
        """Write units in the ledger's table and its indexes, with the sweeper after every run."""
        run, sweep = self.units.run, self.units.sweep
        return sum(run[what] for what in ("account", "run", "entry", "by_lease", "by_end")) + sum(sweep.values())

    @property
    def sessions_units(self) -> float:
        run = self.units.run
        return sum(run[what] for what in ("session", "turn", "by_owner")) + self.units.checkpoint_writes

    @property
    def lease_units(self) -> float:
        """In the index by_lease."""
        return self.units.run["by_lease"] + self.units.sweep["by_lease"]

    def _counting(self, receipts: float) -> float:
        """Write units of a transaction that counts so many receipts, between what was measured for one and for many."""
        each = (self.units.counted_together - self.units.counted_alone) / (self.units.receipts_together - 1)
        return self.units.counted_alone + each * (receipts - 1)

    @property
    def receipts_counted_together(self) -> float:
        """A batch of the stream is what a shard has got in a second, and a transaction takes no more than it can."""
        most = (MAX_TRANSACTION_ITEMS - ROWS_OF_A_RECEIPT) // ROWS_OF_A_RECEIPT
        return min(max(self.per_second / self.stream_shards, 1), most)

    @property
    def spend_units(self) -> float:
        return self._counting(self.receipts_counted_together) / self.receipts_counted_together

    @property
    def read_units(self) -> float:
        """Of the run and its looks for a stop; of `estimate` and `credits` an account each; of the counting of its
        receipt a mark, the user and the package."""
        return self.units.run_reads + self.units.checkpoint_reads + self.assumed.short_requests + 3

    @property
    def seconds(self) -> float:
        """Of the run's function."""
        return self.units.answer_seconds + self.assumed.own_seconds

    # --- of all of them -----------------------------------------------------------------------------------------------

    @property
    def ledger_partitions(self) -> int:
        """At least: by units, not by size. A new table on demand has four."""
        quotas = self.aws.quotas
        least = quotas["new_table_write_units_per_second"] / quotas["partition_write_units_per_second"]
        needed = self.per_second * self.ledger_units / quotas["partition_write_units_per_second"]
        return ceil(max(least, needed))

    stream_shards = ledger_partitions

    @property
    def run_concurrency(self) -> float:
        return self.per_second * self.seconds

    @property
    def other_concurrency(self) -> float:
        a = self.assumed
        batches = self.per_second / max(self.per_second / self.stream_shards, 1)  # a second
        return self.per_second * a.short_requests * a.short_seconds + 2 * min(batches * a.short_seconds, 100)

    @property
    def accounts(self) -> float:
        return self.rate * MONTH_MINUTES / self.assumed.runs_of_an_account

    @property
    def advances_per_second(self) -> float:
        """What the queue's workers do."""
        return self.functions.work_concurrency / self.assumed.advance_seconds

    @property
    def due_per_hour(self) -> float:
        """If anchors are spread over the month."""
        return self.accounts / (30 * 24)

    @property
    def costs(self) -> dict[str, float]:
        """Dollars for a million runs."""
        a, prices = self.assumed, self.aws.prices
        short_seconds = a.short_requests * a.short_seconds + 2 * a.short_seconds / self.receipts_counted_together
        gb_seconds = self.functions.run_gb * self.seconds + self.functions.short_gb * short_seconds
        invocations = 1 + a.short_requests + 2 / self.receipts_counted_together
        of_one = {
            "DynamoDB, writes": (self.ledger_units + self.sessions_units + self.spend_units)
            * prices["dynamodb_write_unit"],
            "DynamoDB, reads": self.read_units * prices["dynamodb_read_unit"],
            "DynamoDB, a month of keeping it": self.units.stored_bytes / 2**30 * prices["dynamodb_gb_month"],
            "Lambda": gb_seconds * prices["lambda_gb_second"] + invocations * prices["lambda_request"],
            "API Gateway": (1 + a.short_requests) * prices["api_gateway_request"],
            "logs": a.log_bytes / 2**30 * prices["log_gb"],
            "events": a.notices * prices["eventbridge_event"],
            "sent to clients": a.sent_bytes / 2**30 * prices["transfer_out_gb"],
        }
        return {name: dollars * MILLION for name, dollars in of_one.items()}

    @property
    def claude_dollars(self) -> float:
        """For a million runs of the default model."""
        prices = load_prices()
        usage = Usage(input_tokens=self.assumed.input_tokens, output_tokens=self.assumed.output_tokens)
        return prices.model(prices.default_model).cost_nano(usage) / 1e9 * MILLION

    # --- where it ends ------------------------------------------------------------------------------------------------

    def limits(self) -> list[Limit]:
        """What ends first comes first."""
        a, quotas = self.assumed, self.aws.quotas
        most_receipts = (MAX_TRANSACTION_ITEMS - ROWS_OF_A_RECEIPT) // ROWS_OF_A_RECEIPT
        partition = quotas["partition_write_units_per_second"]
        transactions = 1 / a.transaction_seconds
        found = [
            Limit(
                "the sweeper of leases",
                SHARDS * SWEEP_SECONDS / a.sweep_account_seconds / self.functions.sweep_minutes,
                f"{SHARDS} shards every {self.functions.sweep_minutes:g} minutes, each for {SWEEP_SECONDS} s at "
                f"{a.sweep_account_seconds * 1000:.0f} ms an account; one that ran once is swept once",
                "Beyond that the index by_lease grows, and holds of dead runs of accounts that nobody touches come "
                "back later; who returns finds them given back. More shards, or a message for each account, as "
                "`advance` has.",
            ),
            Limit(
                "Claude: output tokens",
                quotas["claude_output_tokens_per_minute"] / a.output_tokens,
                f"{quotas['claude_output_tokens_per_minute']:,.0f} tokens a minute, {a.output_tokens} for a run",
                "Agree on higher limits with Anthropic before they are needed. Until then runs are 503 "
                "`model_overloaded` and cost nobody anything: each gives its hold back. Limits are per model: runs of "
                "another one have their own.",
            ),
            Limit(
                "Claude: requests",
                quotas["claude_requests_per_minute"],
                f"{quotas['claude_requests_per_minute']:,.0f} a minute",
                "The same.",
            ),
            Limit(
                "Lambda: concurrency",
                quotas["lambda_concurrency"] / (self.run_concurrency + self.other_concurrency) * self.rate,
                f"{quotas['lambda_concurrency']:,.0f} executions at once in an account, each run has one for "
                f"{self.seconds:g} s",
                "Raise the quota; it is one number. Reserve some for `credits`, `webhook` and `guard`, so that waiting "
                "runs cannot take all of it. Beyond some ten thousand, waiting for Claude in a function is the wrong "
                "place: then processes that serve many runs at once, for which the streaming function, an ASGI "
                "application, can be hosted in containers behind the same API.",
            ),
            Limit(
                "counters of the most popular package",
                60 * transactions * most_receipts,
                f"two rows that are in every transaction of `guard` with a run of it: {transactions:.0f} a second at "
                f"{a.transaction_seconds * 1000:.0f} ms, of {most_receipts} receipts",
                "Nothing is lost, and no run waits: the stream keeps receipts for 24 hours, and the alarm `GuardAge` "
                "rings. Split these rows as those of the totals are split "
                f"({TOTAL_SHARDS} each), by the shard of the transaction; who reads a package reads all of them.",
            ),
            Limit(
                "Stripe: payments that begin",
                60 * quotas["stripe_requests_per_second_of_an_endpoint"] / (a.purchases_percent / 100),
                f"{quotas['stripe_requests_per_second_of_an_endpoint']:.0f} a second, a purchase for each "
                f"{100 / a.purchases_percent:.0f} runs",
                "Ask Stripe for more, six weeks before. A refused purchase is 503 and can be repeated with its key.",
            ),
            Limit(
                "API Gateway: requests",
                60 * quotas["api_gateway_requests_per_second"] / (1 + a.short_requests),
                f"{quotas['api_gateway_requests_per_second']:,.0f} a second in an account, {1 + a.short_requests} "
                "for a run",
                "Raise the quota.",
            ),
            Limit(
                "DynamoDB: the ledger's table",
                60 * quotas["table_write_units_per_second"] / self.ledger_units,
                f"{quotas['table_write_units_per_second']:,.0f} write units a second for a table, "
                f"{self.ledger_units:.0f} for a run",
                "Raise the quota. Before a known peak set the table's warm throughput: on demand it takes "
                f"{quotas['new_table_write_units_per_second']:,.0f} at first and doubles within half an hour.",
            ),
            Limit(
                "the index by_lease",
                60 * SHARDS * partition / self.lease_units,
                f"{SHARDS} keys of {partition:,.0f} write units a second, {self.lease_units:.0f} for a run",
                "More shards (`SHARDS`), written beside the old ones until those are empty. The sweeper reads each of "
                "them every five minutes.",
            ),
            Limit(
                "the totals of the day",
                60 * TOTAL_SHARDS * transactions * most_receipts,
                f"{TOTAL_SHARDS} rows, {transactions:.0f} transactions a second each, of {most_receipts} receipts",
                "More of them (`TOTAL_SHARDS`): a day's sum reads all.",
            ),
            Limit(
                "the monthly boundary, if all share an anchor",
                self.advances_per_second * 24 * 3600 / self.accounts * self.rate,
                f"{self.advances_per_second:,.0f} accounts a second by {self.functions.work_concurrency} workers, a "
                f"day for all, {a.runs_of_an_account} runs a month for each",
                "Nothing has to be done: whoever comes is advanced first. For notices on the day: more workers "
                "(`MaximumConcurrency`), once the table has grown.",
            ),
        ]
        return sorted(found, key=lambda limit: limit.runs)


def dollars(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:,.2f}"


def numbers(at: Sequence[Capacity]) -> list[tuple[str, list[str]]]:
    """The table of what is needed: what, and a number for each rate."""
    return [
        ("runs a second", [f"{each.per_second:,.1f}" for each in at]),
        ("write units a second, ledger", [f"{each.per_second * each.ledger_units:,.0f}" for each in at]),
        ("write units a second, sessions", [f"{each.per_second * each.sessions_units:,.0f}" for each in at]),
        ("write units a second, counters", [f"{each.per_second * each.spend_units:,.0f}" for each in at]),
        ("read units a second, all tables", [f"{each.per_second * each.read_units:,.0f}" for each in at]),
        ("partitions of the ledger, at least", [f"{each.ledger_partitions}" for each in at]),
        ("receipts in a transaction of guard", [f"{each.receipts_counted_together:,.0f}" for each in at]),
        ("functions at work: runs", [f"{each.run_concurrency:,.0f}" for each in at]),
        ("functions at work: all others", [f"{each.other_concurrency:,.0f}" for each in at]),
        ("seconds until as many have started", [f"{starting_seconds(each):,.0f}" for each in at]),
        ("requests a second, API Gateway", [f"{each.per_second * (1 + ASSUMED.short_requests):,.0f}" for each in at]),
        ("accounts", [f"{each.accounts:,.0f}" for each in at]),
        ("boundaries an hour, spread", [f"{each.due_per_hour:,.0f}" for each in at]),
        ("minutes of the queue for those", [f"{minutes_of_queue(each.due_per_hour, each):,.1f}" for each in at]),
        ("hours for all, if on one anchor", [f"{minutes_of_queue(each.accounts, each) / 60:,.1f}" for each in at]),
    ]


def minutes_of_queue(accounts: float, at: Capacity) -> float:
    return accounts / at.advances_per_second / 60


def starting_seconds(at: Capacity) -> float:
    """Of the functions of runs, from none."""
    return 10 * ceil(at.run_concurrency / at.aws.quotas["lambda_scaling_per_10_seconds"])


def cost_rows(at: Sequence[Capacity]) -> list[tuple[str, list[str]]]:
    lines = [(name, [dollars(each.costs[name]) for each in at]) for name in at[0].costs]
    total = [dollars(sum(each.costs.values())) for each in at]
    return [*lines, ("all of it", total), ("Claude, at its prices", [dollars(each.claude_dollars) for each in at])]


def report(at: Sequence[Capacity]) -> list[str]:
    """At most 80 columns wide."""
    head = "".join(f"{each.rate:>13,.0f}" for each in at)
    lines = [f"{'runs a minute':<41}{head}", ""]
    lines += [f"{name:<41}" + "".join(f"{value:>13}" for value in values) for name, values in numbers(at)]
    lines += ["", "dollars for a million runs"]
    lines += [f"  {name:<39}" + "".join(f"{value:>13}" for value in values) for name, values in cost_rows(at)]
    lines += ["", "what ends first, in runs a minute"]
    for limit in at[0].limits():
        lines += textwrap.wrap(
            f"{limit.runs:>12,.0f}  {limit.name}: {limit.how}", 80, subsequent_indent=" " * 14, drop_whitespace=True
        )
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def page(at: Sequence[Capacity]) -> str:
    first = at[0]
    aws, a, units = first.aws, first.assumed, first.units
    heads = ["runs a minute", *(f"{each.rate:,.0f}" for each in at)]
    breaks = [[f"{each.runs:,.0f}", each.name, each.how, each.then] for each in first.limits()]
    text = f"""\
# Capacity

What runs cost and need at AWS ({aws.region}), and where the design breaks first. Made by `make capacity`; do not \
edit. It is a calculation: nothing of it was measured at AWS. It follows from prices and quotas ({aws.date}, below), \
from the units of a run, which `make bench ARGS=--save` measures by DynamoDB's rules, from template.yaml, and from \
assumptions.

## What is needed
{table(heads, [[name, *values] for name, values in numbers(at)])}

A run here has an answer of {units.answer_bytes:,} bytes that is streamed for {units.answer_seconds} s: \
{first.ledger_units:.0f} write units in the ledger, the sweeper's included, {first.sessions_units:.0f} in the table of \
sessions, {units.checkpoint_writes} of them for checkpoints, which a run that is not streamed does not have.

## Dollars for a million runs
{table(heads, [[name, *values] for name, values in cost_rows(at)])}

On demand and without discounts. Waiting for Claude in a function is {waiting_percent(first):.0f} % of it, and Claude \
costs {first.claude_dollars / sum(first.costs.values()):.0f} times all of it.

## What breaks first
{table(["Runs a minute", "What", "Because", "Then"], breaks)}

None of these limits loses credits or charges wrongly: a run that meets one is refused or ends without a charge, and \
work behind queues and streams is late.

**One account** does not get faster than its own item: a run begins and ends with one write of it, and a \
transaction keeps others out for about {a.transaction_seconds * 1000:.0f} ms. Its limits of open runs and of runs a \
minute end first.

## Assumptions
{table(["What", "Value"], assumption_rows(a))}

## Prices and quotas
{table(["What", "Value", "Source"], [[name.replace("_", " "), value, source] for name, value, source in aws.rows])}

Quotas are those of a new account. "From memory": nobody has read it at its source.
"""
    return "\n".join(wrapped(line) for line in text.splitlines()) + "\n"


def wrapped(line: str) -> str:
    """Prose in lines of 120 characters; tables and headings as they are."""
    if line.startswith(("|", "#")) or len(line) <= 120:
        return line
    return textwrap.fill(line, 120, break_long_words=False, break_on_hyphens=False)


def waiting_percent(at: Capacity) -> float:
    waiting = at.functions.run_gb * at.units.answer_seconds * at.aws.prices["lambda_gb_second"] * MILLION
    return 100 * waiting / sum(at.costs.values())


def assumption_rows(a: Assumptions) -> list[list[str]]:
    return [
        ["tokens of a run, in and out", f"{a.input_tokens:,} and {a.output_tokens:,}"],
        ["a run's function works, besides waiting", f"{a.own_seconds * 1000:.0f} ms"],
        ["a call of another function", f"{a.short_seconds * 1000:.0f} ms"],
        ["requests besides a run", f"{a.short_requests}: its estimate, the balance"],
        ["logs of them", f"{a.log_bytes:,} bytes"],
        ["answers of them", f"{a.sent_bytes:,} bytes"],
        ["events on the bus for a run", f"{a.notices}"],
        ["a transaction keeps others from its items for", f"{a.transaction_seconds * 1000:.0f} ms"],
        ["purchases", f"{a.purchases_percent:g} % of runs"],
        ["runs of an account in a month", f"{a.runs_of_an_account}; every account has a plan"],
        ["an account at its boundary takes a worker", f"{a.advance_seconds * 1000:.0f} ms"],
        ["an account takes the sweeper", f"{a.sweep_account_seconds * 1000:.0f} ms"],
    ]


def capacities() -> list[Capacity]:
    units, aws, functions = load(), read_aws(), functions_of(read_template(ROOT / "template.yaml"))
    return [Capacity(rate, units, aws, functions) for rate in RATES]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether docs/capacity.md is what it would write")
    options = parser.parse_args(arguments)
    at = capacities()
    made = page(at)
    if options.check:
        if PAGE.read_text(encoding="utf-8") == made:
            return 0
        print("docs/capacity.md is not what `make capacity` writes: run it", file=sys.stderr)
        return 1
    print(*report(at), sep="\n")
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
