"""The units that a run costs, measured by `make bench` and stored in bench/data/measured.json, for `make capacity`.

They follow from requests and items, not from clocks: every machine measures the same.
"""

import json
import random
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from bench.checkpoints import READ_UNIT, checkpointed
from bench.transport import Call, Transport
from bench.units import Written, item_size
from bench.world import SECONDS_LEFT, FixedModel, World, a_request, utc_now
from local.process import ROOT
from playground.adapters.dynamo_spend import DynamoSpend
from playground.domain.runs import Run

FILE = ROOT / "bench" / "data" / "measured.json"
ANSWER_BYTES = 2048
ANSWER_SECONDS = 7  # odd: bench/checkpoints.py says why
COUNTED_TOGETHER = 20  # receipts of as many users, in one transaction


@dataclass(frozen=True, slots=True)
class Units:
    """`run`, `sweep` and `counted`: write units by kind of item or by index. `run` has an answer of `answer_bytes`."""

    answer_bytes: int
    answer_seconds: int
    run: Mapping[str, int]
    run_reads: float
    stored_bytes: int
    """Of a run, without indexes."""
    sweep: Mapping[str, int]
    """Of an account that had runs since the last sweep."""
    checkpoint_writes: int
    """And deletions, of an answer that is streamed for `answer_seconds`."""
    checkpoint_reads: int
    counted_alone: int
    """Write units of counting one receipt in a transaction of its own."""
    counted_together: int
    receipts_together: int


def load(path: Path = FILE) -> Units:
    return Units(**json.loads(path.read_text(encoding="utf-8")))


def save(units: Units, path: Path = FILE) -> None:
    path.write_text(json.dumps(asdict(units), indent=2) + "\n", encoding="utf-8")


def measure(world: World, spend_table: str, name: str) -> Units:
    """`name`: which users are made for it. Their ids are UUIDs, because sizes depend on lengths."""
    name = str(uuid5(NAMESPACE_URL, name))
    world.give(name, 1000)
    rng = random.Random(1)  # noqa: S311 - must be repeatable # nosec B311
    answer = "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=ANSWER_BYTES))
    run_prompt = world.run_prompt(FixedModel(answer))
    run_ids: list[str] = []

    def run() -> None:
        done = run_prompt(name, a_request(), idempotency_key=None, seconds_left=SECONDS_LEFT)
        run_ids.append(done.run.run_id)

    costs = world.writes_of(run)
    receipt = world.ledger.run(name, run_ids[0])
    assert receipt is not None
    swept = world.writes_of(lambda: sweep(world, name))
    reads = Reads()
    with reads.at(world.store.client):
        run()
    streamed = checkpointed(world, str(uuid5(NAMESPACE_URL, f"{name} streamed")), ANSWER_SECONDS, ANSWER_BYTES)
    spend = DynamoSpend(world.store, spend_table)
    alone, *others = [
        replace(
            receipt, user_id=str(uuid5(NAMESPACE_URL, f"{name} {number}")), run_id=f"{receipt.run_id[:-2]}{number:02}"
        )
        for number in range(1 + COUNTED_TOGETHER)
    ]
    return Units(
        answer_bytes=ANSWER_BYTES,
        answer_seconds=ANSWER_SECONDS,
        run=by_what(costs),
        run_reads=reads.half_units / 2,
        stored_bytes=sum(cost.size for cost in costs if cost.operation == "put" and not cost.what.startswith("by_")),
        sweep=by_what(swept),
        checkpoint_writes=streamed.puts + streamed.deletes,
        checkpoint_reads=streamed.read,
        counted_alone=counting(world, spend, [alone]),
        counted_together=counting(world, spend, others),
        receipts_together=COUNTED_TOGETHER,
    )


def by_what(costs: Sequence[Written]) -> dict[str, int]:
    units: Counter[str] = Counter()
    for cost in costs:
        units[cost.what] += cost.units
    return dict(sorted(units.items()))


def counting(world: World, spend: DynamoSpend, receipts: Sequence[Run]) -> int:
    """Write units of one transaction that counts all of `receipts`. Raises ValueError if they do not fit, or if one
    was counted before."""
    done: list[Sequence[Run]] = []
    costs = world.writes_of(lambda: done.append(spend.count(receipts)[1]))
    if [len(counted) for counted in done] != [len(receipts)]:
        raise ValueError(f"{done} of {len(receipts)} receipts were counted in one transaction")
    return sum(cost.units for cost in costs)


def sweep(world: World, user_id: str) -> None:
    """The sweeper's correction of an account whose runs have all ended."""
    world.ledger.correct_lease(world.ledger.account(user_id, utc_now()))


class Reads(Transport):
    """Adds up the read units of what passes, in halves: of consistent reads two, of others one, for each begun 4 KB."""

    half_units = 0

    def _answered(self, parsed: Mapping[str, Any], context: dict[str, Any], **rest: Any) -> None:
        super()._answered(parsed, context, **rest)
        call: Call = context["bench_call"]
        found: dict[str, Callable[[], int]] = {
            "GetItem": lambda: halves([parsed.get("Item", {})], consistent=call.params.get("ConsistentRead", False)),
            "BatchGetItem": lambda: sum(
                halves(parsed["Responses"].get(table, ()), consistent=wanted.get("ConsistentRead", False))
                # what is not there costs as much as a small item
                + (len(wanted["Keys"]) - len(parsed["Responses"].get(table, ())))
                * (2 if wanted.get("ConsistentRead") else 1)
                for table, wanted in call.params["RequestItems"].items()
            ),
            "Query": lambda: halves(
                [{str(n): {"M": item} for n, item in enumerate(parsed.get("Items", ()))}],
                consistent=call.params.get("ConsistentRead", False),
            ),
        }
        if call.operation in found:
            self.half_units += found[call.operation]()


def halves(items: Sequence[Mapping[str, Any]], *, consistent: bool) -> int:
    return sum(max(-(-item_size(item) // READ_UNIT), 1) for item in items) * (2 if consistent else 1)
