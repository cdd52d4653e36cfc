"""`make bench-settle`: settlements of one account at the same moment, with and without settling them together."""

import argparse
import random
import statistics
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.latency import a_hold, percentile
from bench.transport import WRITES, Call, Transport
from bench.virtual_time import VirtualTime
from bench.world import MAX_OPEN, PRICES, World, started_world, utc_now
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import Backoff, DynamoStore, Write
from playground.domain.account import Account, Hold, settle
from playground.domain.entries import Entry
from playground.domain.errors import PlaygroundError
from playground.domain.packages import package_uuid
from playground.domain.pricing import Usage
from playground.domain.runs import Measured, Run, RunStatus
from playground.domain.sessions import Session, Turn
from playground.ports import Conclude, Conversation, Held

LATENCY = 0.006  # s that a read or a write takes, in the median
TRANSACTION_LATENCY = 0.018  # s that a transaction takes, in the median
ITEM_LATENCY = 0.0003  # s more for each of its items
REQUEST_SECONDS, SECONDS_FOR_ITEM = 0.016, 0.004  # of a slow store, which does one request after the other
MAX_ADDED = 0.5  # s
LIMIT = 64  # open holds in this measurement
ANSWER = 2048  # bytes
CEILING = 1  # credits
PACKAGE = "@playground/code-reviewer"

DESCRIPTION = f"""\
Start a store in memory, settle runs of one account at the same moment, and print how much longer each took than a
settlement without others. Each is measured twice in turn: settled together as the ledger does it, and one by one as it
did before.

Time is virtual: reads and single writes take {LATENCY * 1000:.0f} ms, transactions {TRANSACTION_LATENCY * 1000:.0f} ms
and {ITEM_LATENCY * 1000:.1f} ms per item, in the median, pauses what they say, and everything else nothing. So the
numbers do not depend on this machine. A write of an item that a transaction is at work on is refused as a conflict, as
DynamoDB does.

At the end the store is slow and does one request after the other ({REQUEST_SECONDS * 1000:.0f} ms, and
{SECONDS_FOR_ITEM * 1000:.0f} ms for each item of a transaction), as that of a busy laptop: none may fail.
"""


Makes = Callable[..., DynamoLedger]


class Insisting(DynamoStore):
    """Tries a transaction that meets a conflict again and again."""

    def transact_once(self, *writes: Write) -> None:
        self.transact(*writes)


class OneByOne(DynamoLedger):
    """Settles no run but its own, as all did before."""

    SECONDS = 0.02  # s that one settlement takes

    def _publish(self, account: Account, line: Any) -> None:
        return

    def _others(self, account: Account, line: Any) -> list[Any]:
        return []

    def _pause(self, before: int) -> float:
        return (before - 0.5) * self.SECONDS


@dataclass(frozen=True, slots=True)
class Settled:
    """`seconds` of each settlement; the calls, the conflicts, and the transactions that were outrun of all of them."""

    seconds: Sequence[float]
    failed: Counter[str]
    calls: Counter[str]
    conflicts: int
    outrun: int
    findings: int


class OneAtATime:
    """A slow store that does one request after the other."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self._free_at = 0.0

    def latency_of(self, call: Call) -> float:
        seconds = REQUEST_SECONDS + len(call.params.get("TransactItems", ())) * SECONDS_FOR_ITEM
        self._free_at = max(self._free_at, self._clock.now) + seconds
        return self._free_at - self._clock.now


def settlements(
    world: World, ledger: Makes, users: Sequence[str], seed: int, *, at_once: bool = True, slow: bool = False
) -> Settled:
    """Settle one run for each of `users`, who may be the same: at the same moment, or one after the other. `slow`: on a
    store that does one request after the other."""
    for user in dict.fromkeys(users):
        world.give(user, CEILING * len(users))
    rng = random.Random(seed)  # noqa: S311 - must be repeatable # nosec B311
    clock = VirtualTime()
    backoff = Backoff(sleep=clock.sleep, random=rng.random, monotonic=lambda: clock.now)
    store = (Insisting if ledger is OneByOne else DynamoStore)(world.store.client, backoff)
    subject = ledger(store, ledger_table=world.tables["LedgerTable"], sessions_table=world.tables["SessionsTable"])
    taking = OneAtATime(clock).latency_of if slow else lambda call: latency_of(call, rng)
    transport = Transport(exclusive=True, latency_of=taking, pause=clock.sleep, rng=rng)
    marks = [f"{zlib.crc32(f'{user} {number}'.encode()):010d}" for number, user in enumerate(users)]
    holds = [
        replace(a_hold(number), ceiling=CEILING, session_id=f"ses_{mark}{number:016d}")
        for number, mark in enumerate(marks)
    ]
    held = [placed(world.ledger, user, hold) for user, hold in zip(users, holds, strict=True)] if at_once else []
    failed: Counter[str] = Counter()

    def one(number: int) -> float:
        user, hold = users[number], holds[number]
        conclude, conversation = an_answer(user, hold, seed)
        started = clock.now
        try:
            assert subject.settle(held[number], hold, conclude, conversation).by_us
        except PlaygroundError as error:
            failed[error.code] += 1
        return clock.now - started

    seconds: list[float] = []
    for group in [range(len(users))] if at_once else [[number] for number in range(len(users))]:
        if not at_once:
            held.append(placed(world.ledger, users[group[0]], holds[group[0]]))
        with transport.at(world.store.client):
            seconds += clock.run([partial(one, number) for number in group])
    writes = [call for call in transport.calls if call.operation in WRITES]
    accounts = [world.ledger.account(user, utc_now()) for user in dict.fromkeys(users)]
    findings = Counter(str(finding)[:60] for account in accounts for finding in world.audit(account.user_id).findings)
    return Settled(
        seconds=seconds,
        failed=failed,
        calls=Counter(call.operation for call in transport.calls),
        conflicts=sum(call.injected for call in writes),
        outrun=sum(call.error is not None and not call.injected for call in writes),
        findings=sum(len(account.holds) for account in accounts) + findings.total(),
    )


def latency_of(call: Call, rng: random.Random) -> float:
    """About as long as DynamoDB takes: most calls a little less, one of a hundred three times as long."""
    seconds = TRANSACTION_LATENCY if call.operation == "TransactWriteItems" else LATENCY
    seconds += len(call.params.get("TransactItems", ())) * ITEM_LATENCY
    return seconds * rng.lognormvariate(0.0, 0.45)


def placed(ledger: DynamoLedger, user: str, hold: Hold) -> Account:
    outcome = ledger.place_hold(user, hold, limit=LIMIT, now=utc_now())
    assert isinstance(outcome, Held)
    return outcome.account


def an_answer(user: str, hold: Hold, seed: int) -> tuple[Conclude, Conversation]:
    now = hold.placed_at
    rng = random.Random(f"{seed}{hold.run_id}")  # noqa: S311 - must be repeatable # nosec B311
    usage = Usage(input_tokens=1000, output_tokens=500)
    price = PRICES.price(PRICES.models[hold.model], usage)
    turn = Turn(
        number=1,
        run_id=hold.run_id,
        input="def add(a, b): return a - b",
        answer="".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=ANSWER)),
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        asked_at=now,
        answered_at=now,
    )
    session = Session(
        session_id=hold.session_id,
        user_id=user,
        package_id=package_uuid(PACKAGE),
        package=PACKAGE,
        package_version="1.0.0",
        use_no_prompt=False,
        model=hold.model,
        title="Hello",
        created_at=now,
        updated_at=now,
        turns=1,
        credits=price.credits,
        tokens=usage.billed_tokens,
        duration_ms=0,
    )

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, entries = settle(account, hold.run_id, price.credits, reason=f"Run of {PACKAGE}", now=now)
        spend = entries[-1]
        run = Run.of(
            hold,
            user_id=user,
            status=RunStatus.SETTLED,
            ended_at=now,
            package=PACKAGE,
            package_version="1.0.0",
            model_id=PRICES.models[hold.model].model_id,
            price_version=PRICES.version,
            prompt_tokens=usage.prompt_tokens,
            max_tokens=1000,
            wanted_max_tokens=1000,
            measured=Measured(usage=usage, price=price, stop_reason="end_turn", duration_ms=0),
            charged=price.credits,
            deltas=spend.deltas,
            balance_after=spend.balance_after,
            entry_seq=spend.seq,
            entry_hash=spend.hash,
            turn=1,
        )
        return after, run, entries

    return conclude, Conversation(session, turn)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.settle", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="for the answers (default: from the clock)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: 3)")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed} · python {sys.version.split()[0]}")
    with started_world() as world:
        measure(world, options.rounds, options.seed)
    return 0


def measure(world: World, rounds: int, seed: int) -> None:
    alone = settlements(world, DynamoLedger, ["alone"] * 50, seed, at_once=False)
    base = statistics.median(alone.seconds)
    print(f"one settlement without others: {base * 1000:.0f} ms, {counted(alone)}")
    for many in (50, MAX_OPEN, 5, 2):
        added: dict[str, list[float]] = {"one by one": [], "together": []}
        seen = {}
        for round_ in range(rounds):
            for name, ledger in (("one by one", OneByOne), ("together", DynamoLedger)):
                users = [f"{many} {round_} {name}"] * many
                seen[name] = settlements(world, ledger, users, seed + round_)
                added[name] += [seconds - base for seconds in seen[name].seconds]
        for name, values in added.items():
            p99 = percentile(values, 99)
            target = (
                f"; target p99 ≤ {MAX_ADDED * 1000:.0f} ms: {reached(p99 <= MAX_ADDED)}" if name == "together" else ""
            )
            print(
                f"  {many} at once, {name}: added median {percentile(values, 50) * 1000:.0f} ms, "
                f"p99 {p99 * 1000:.0f} ms{target}\n    {counted(seen[name])}"
            )
        ratio = percentile(added["together"], 99) / percentile(added["one by one"], 99)
        print(f"  {many} at once, p99 together ÷ one by one: {ratio:.2f}")
    seen_slow = settlements(world, DynamoLedger, ["slow"] * MAX_OPEN, seed, slow=True)
    p99 = percentile(seen_slow.seconds, 99)
    print(f"  {MAX_OPEN} at once, on a slow store: p99 {p99 * 1000:.0f} ms\n    {counted(seen_slow)}")


def counted(seen: Settled) -> str:
    calls = ", ".join(f"{number} {operation}" for operation, number in sorted(seen.calls.items()))
    failed = sum(seen.failed.values())
    return f"{calls}; {seen.conflicts} conflicts, {seen.outrun} outrun; failed {failed}, findings {seen.findings}"


def reached(yes: bool) -> str:
    return "reached" if yes else "NOT REACHED"


if __name__ == "__main__":
    sys.exit(main())
