"""`make bench`: measures the round trips, write units and contention of the ledger, and prints them."""

import argparse
import json
import os
import random
import string
import sys
import time
from collections.abc import Sequence

from bench import measured as measured_units
from bench.functions import invocations
from bench.latency import CONFLICTS, LATENCY, Crowd, Plan, a_hold, crowd, percentile, two_ways_to_hold
from bench.units import Written
from bench.world import MAX_OPEN, SECONDS_LEFT, FixedModel, RoundTrips, World, a_request, utc_now, world
from doubles.claude.server import ClaudeDouble
from local.engine import CREDENTIALS, Engine
from local.process import ROOT
from local.resources import create_resources
from local.seed import seed as seed_packages
from local.template import Description, read_template

MAX_WRITE_UNITS = 16
MAX_ADDED = 0.5  # s
ANSWER = 2048  # bytes

DESCRIPTION = """\
Start a store in memory and a stand-in for Claude, measure, and stop both. Every printed number was measured in this
run. Ratios and counts are comparable between machines; times depend on this machine and its load.

  round trips   sequential calls to the store, counted at the botocore client, before and after the model call: for a
                new account, an existing account, and a repeated request
  write units   the cost of one run with a 2 KB answer by DynamoDB's documented rules, per item, computed from the
                requests and the items before and after them
  parallel      concurrent runs of one user with injected latency and conflicts: false refusals, leaked holds, and the
                time that contention adds to the ledger's steps, compared with the same runs in sequence. The runs share
                one interpreter, and all of them one store: no time can be shorter than what their CPU takes, which is
                printed. Functions have a process each; `make bench-settle` measures the design without either
  two ways      a hold as a conditional update (the implementation) against a hold as a transaction; a warm function
                under Lambda's runtime loop against a direct call of its handler
"""
EPILOG = "Takes less than 90 seconds. Exit status: 0, whatever the numbers are; 1 if it could not measure."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="for conflicts, texts and times (default: from the clock)"
    )
    parser.add_argument("--runs", type=int, default=50, help="parallel runs (default: 50)")
    parser.add_argument("--save", action="store_true", help=f"write {measured_units.FILE.name}, for `make capacity`")
    options = parser.parse_args(arguments)
    if not 1 <= options.runs <= 60:
        parser.error("--runs must be 1 to 60: no more than the store's connections")
    started = time.monotonic()
    os.environ.update(CREDENTIALS)
    print(f"seed {options.seed} · python {sys.version.split()[0]} · {os.cpu_count()} CPUs")
    with Engine() as engine, ClaudeDouble() as claude:
        description = read_template(ROOT / "template.yaml", {"AnthropicBaseUrl": claude.url})
        secrets = {"AuthSecret": json.dumps({"secrets": ["-" * 32]}), "AnthropicSecret": json.dumps({"api_key": "-"})}
        create_resources(description, engine.endpoint_url, secrets)
        seed_packages({**CREDENTIALS, **description.functions["CatalogFunction"].environment}, engine.endpoint_url)
        with world(engine.endpoint_url, description, claude.url, engine.pid) as measured:
            print_round_trips(measured)
            print_write_units(measured, options.seed)
            print_crowds(measured, options.runs, options.seed)
            print_two_ways(measured, description, engine.endpoint_url)
            if options.save:
                table = description.tables["SpendTable"].name
                measured_units.save(measured_units.measure(measured, table, "saved"))
    print(f"\ntook {time.monotonic() - started:.0f} s")
    return 0


# --- round trips ------------------------------------------------------------------------------------------------------


def print_round_trips(measured: World) -> None:
    heading("round trips", "sequential calls to the store", "before the model", "after it")
    first = measured.round_trips("first", key="one")
    trips_line("first contact", first)
    again = measured.round_trips("first", key="one")
    existing = measured.round_trips("first", key="two")
    good = len(existing.before) <= 2 and existing.after is not None and len(existing.after) <= 1
    trips_line("existing account", existing, f"target ≤ 2 and ≤ 1: {reached(good)}")
    trips_line("repeated request", again, "the model is not asked")


def trips_line(what: str, trips: RoundTrips, remark: str = "") -> None:
    after = "-" if trips.after is None else str(len(trips.after))
    print(f"  {what:<30}{len(trips.before):>16}{after:>10}   {remark}")
    print(f"    {' → '.join(trips.before)}{' → model → ' + ' → '.join(trips.after) if trips.after is not None else ''}")


# --- write units ------------------------------------------------------------------------------------------------------


def print_write_units(measured: World, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - must be repeatable # nosec B311
    words = ["answer", "because", "function", "list", "number", "of", "the", "returns", "sum", "that", "when", "which"]
    prose = " ".join(rng.choices(words, k=ANSWER))[:ANSWER]
    noise = "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=ANSWER))
    measured.give("units", 1000)
    heading("write units", f"a run with an answer of {ANSWER:,} bytes", "bytes", "units")
    costs = run_costs(measured, "units", noise)
    for cost in costs:
        print(f"  {cost.what + ', ' + cost.operation:<44}{cost.size:>8,}{cost.units:>8}")
    total = sum(cost.units for cost in costs)
    print(f"  {'all of it':<44}{'':>8}{total:>8}   target ≤ {MAX_WRITE_UNITS}: {reached(total <= MAX_WRITE_UNITS)}")
    later = sum(cost.units for cost in run_costs(measured, "units", noise))
    print(f"  {'the next one, while by_lease has the account':<52}{later:>8}")
    compressible = sum(cost.units for cost in run_costs(measured, "units", prose))
    print(f"  {'the same with an answer that can be compressed':<52}{compressible:>8}")
    swept = measured.writes_of(lambda: sweep(measured, "units"))
    print(f"  {'the sweeper afterwards, once for all of them':<52}{sum(cost.units for cost in swept):>8}")
    for number in range(MAX_OPEN - 1):
        measured.ledger.place_hold("units", a_hold(number), limit=MAX_OPEN, now=utc_now())
    crowded = sum(cost.units for cost in run_costs(measured, "units", noise))
    print(f"  {f'while {MAX_OPEN - 1} others of the account are at work':<52}{crowded:>8}")


def run_costs(measured: World, user_id: str, answer: str) -> list[Written]:
    run_prompt = measured.run_prompt(FixedModel(answer))
    return measured.writes_of(lambda: run_prompt(user_id, a_request(), idempotency_key=None, seconds_left=SECONDS_LEFT))


def sweep(measured: World, user_id: str) -> None:
    """The sweeper's correction of an account whose runs have all ended."""
    measured.ledger.correct_lease(measured.ledger.account(user_id, utc_now()))


# --- parallel ---------------------------------------------------------------------------------------------------------


def print_crowds(measured: World, runs: int, seed: int) -> None:
    heading("parallel", f"runs of one user, store {LATENCY * 1000:.0f} ms slower, {CONFLICTS:.0%} of writes disturbed")
    rng = random.Random(seed)  # noqa: S311 - must be repeatable # nosec B311
    alone = crowd(measured, "alone", [Plan(0, 0)] * runs, at_once=False, seed=seed)
    print_crowd(f"{runs}, one after the other", alone)
    spread = [Plan(rng.uniform(0, 1), rng.uniform(1, 3)) for _ in range(runs)]
    together = [Plan(0, 1)] * runs
    print_crowd(
        f"{runs}, begun within 1 s, answered after 1 to 3 s",
        crowd(measured, "spread", spread, at_once=True, seed=seed),
        alone,
        target=True,
    )
    apart = crowd(measured, "apart", together, at_once=True, seed=seed, apart=True)
    print_crowd(f"{runs} of {runs} users, begun and answered at the same moment", apart, alone)
    print_crowd(
        f"{runs} of one user, begun and answered at the same moment",
        crowd(measured, "together", together, at_once=True, seed=seed),
        alone,
        apart,
    )
    print_crowd(
        f"{min(runs, MAX_OPEN)} of one user, who may have {MAX_OPEN}, at the same moment",
        crowd(measured, "most", together[:MAX_OPEN], at_once=True, seed=seed),
        alone,
        apart,
    )


def print_crowd(
    what: str, seen: Crowd, alone: Crowd | None = None, apart: Crowd | None = None, *, target: bool = False
) -> None:
    failed = ", ".join(f"{number} × {code}" for code, number in sorted(seen.failed.items())) or "none"
    print(f"  {what}: at most {seen.most_open} at work")
    print(f"    false 402: {seen.refused} · lost holds: {seen.lost_holds} · findings of the audit: {seen.findings}")
    print(f"    other failures: {failed}")
    print(f"    {seen.writes} writes, {seen.disturbed} of them disturbed, {seen.outrun} outrun by others")
    store = "" if seen.store_cpu_seconds is None else f", of the store's {seen.store_cpu_seconds:.1f} s"
    print(f"    CPU of this process {seen.cpu_seconds:.1f} s{store}")
    if alone is None:
        return
    added = added_by(seen, alone)
    base = percentile(alone.ledger_seconds, 50)
    p50, p99 = percentile(added, 50), percentile(added, 99)
    verdict = f"; target p99 < {MAX_ADDED * 1000:.0f} ms: {reached(p99 < MAX_ADDED)}" if target else ""
    print(
        f"    added to the ledger's steps: median {p50 / base:.1f}, p99 {p99 / base:.1f} times what they take alone "
        f"(p99 {p99 * 1000:.0f} ms){verdict}"
    )
    if apart is not None:
        print(f"    p99 ÷ that of as many users: {p99 / percentile(added_by(apart, alone), 99):.1f}")


def added_by(seen: Crowd, alone: Crowd) -> list[float]:
    """The time of each run minus that of a run in sequence."""
    return [late - early for late, early in zip(seen.ledger_seconds, alone.ledger_seconds, strict=False)]


# --- two ways ---------------------------------------------------------------------------------------------------------


def print_two_ways(measured: World, description: Description, endpoint_url: str) -> None:
    heading("two ways", "medians, on this machine")
    ways = two_ways_to_hold(measured, "ways", 300)
    print(f"  hold as a transaction ÷ hold as a conditional update: {ways.transaction / ways.update:.2f}")
    calls = invocations(description, endpoint_url, 200)
    print(f"  warm function ÷ its handler called directly: {calls.function / calls.handler:.2f}")


def heading(name: str, title: str, *columns: str) -> None:
    print(f"\n{name}: {title}{'   ' + ' · '.join(columns) if columns else ''}")


def reached(yes: bool) -> str:
    return "reached" if yes else "NOT REACHED"


if __name__ == "__main__":
    sys.exit(main())
