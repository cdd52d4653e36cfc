"""The cost of a run's checkpoints and cancellation checks, counted without waiting."""

import random
import string
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

from bench.units import item_size
from bench.world import SECONDS_LEFT, World, a_request, utc_now
from playground.adapters.dynamo_checkpoints import DynamoCheckpoints
from playground.adapters.dynamo_keys import account_key
from playground.domain.account import Hold
from playground.domain.pricing import Usage
from playground.ports import UNWATCHED, Completion, Ledger, Progress, Prompt, TokenCount
from playground.usecases.live_runs import LiveRuns

READ_UNIT = 4096  # bytes of a consistent read
HANG_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """Units of one run. `run`: writes other than checkpoints. `read`: by cancellation checks."""

    seconds: int
    characters: int
    run: int
    puts: int
    put_items: int
    deletes: int
    read: int


class _Turns:
    """Alternates the model and the thread that follows it: one second of the answer, then one cancellation check and
    its checkpoint."""

    def __init__(self) -> None:
        self._written = threading.Semaphore(0)
        self._ready = threading.Semaphore(0)
        self._over = threading.Event()

    def begin(self) -> None:
        self._wait(self._ready)

    def second(self) -> None:
        self._written.release()
        self._wait(self._ready)

    def end(self) -> None:
        self._over.set()
        self._written.release()

    def next_check(self) -> bool:
        """Whether the answer continues."""
        self._ready.release()
        self._wait(self._written)
        return not self._over.is_set()

    def _wait(self, turn: threading.Semaphore) -> None:
        if not turn.acquire(timeout=HANG_SECONDS):
            raise RuntimeError("the other thread does not take its turn")


class _Checks:
    """The part of a ledger that the following thread uses; it checks after each second. `read`: units of that."""

    def __init__(self, world: World, turns: _Turns) -> None:
        self._world = world
        self._turns = turns
        self.read = 0

    def should_stop(self, user_id: str, hold: Hold) -> bool:
        if not self._turns.next_check():
            return False
        key = account_key(self._world.tables["LedgerTable"], user_id)
        account = self._world.item(key.table, key.raw)
        assert account is not None
        self.read += -(-item_size(account) // READ_UNIT)
        return self._world.ledger.should_stop(user_id, hold)


class _Steady:
    """A model that writes for `seconds` simulated seconds."""

    def __init__(self, seconds: int, characters: int, turns: _Turns) -> None:
        self._seconds = seconds
        self._characters = characters
        self._turns = turns

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return TokenCount(1000)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        self._turns.begin()
        text = answer_of(self._characters)
        for second in range(self._seconds):
            first, last = (len(text) * number // self._seconds for number in (second, second + 1))
            progress.write(text[first:last])
            if second < self._seconds - 1:  # it ends within its last second
                self._turns.second()
        self._turns.end()
        usage = Usage(input_tokens=1000, output_tokens=len(text) // 4)
        return Completion(text=text, usage=usage, stop_reason="end_turn", model_id=prompt.model.model_id)


def answer_of(characters: int) -> str:
    """Text that compresses badly."""
    letters = string.ascii_letters + string.digits + "+/"
    return "".join(random.Random(1).choices(letters, k=characters))  # noqa: S311 - must be repeatable # nosec B311


def checkpointed(world: World, user_id: str, seconds: int, characters: int) -> Checkpointed:
    """One run of an existing account, with an answer of `characters` over `seconds`: an odd number, because an even
    number of checks leaves nothing to save."""
    if seconds % 2 == 0:
        raise ValueError(f"{seconds} is even")
    world.give(user_id, 1000)
    turns = _Turns()
    checks = _Checks(world, turns)
    live = LiveRuns(
        ledger=cast(Ledger, checks),
        checkpoints=DynamoCheckpoints(world.store, world.tables["SessionsTable"]),
        clock=utc_now,
        time_limit=lambda _: nullcontext(),
        tick_seconds=0,
    )
    run_prompt = world.run_prompt(_Steady(seconds, characters, turns), live=live)
    request = replace(a_request(), max_tokens=characters // 4 + 512)
    costs = world.writes_of(lambda: run_prompt(user_id, request, idempotency_key=None, seconds_left=SECONDS_LEFT))
    puts = [cost for cost in costs if cost.operation == "batch put"]
    deletes = [cost for cost in costs if cost.operation == "batch delete"]
    return Checkpointed(
        seconds=seconds,
        characters=characters,
        run=sum(cost.units for cost in costs) - sum(cost.units for cost in (*puts, *deletes)),
        put_items=len(puts),
        puts=sum(cost.units for cost in puts),
        deletes=sum(cost.units for cost in deletes),
        read=checks.read,
    )
