"""Goes on trying to break the ledger, with seeds that nobody has tried, until the time is over.

    PYTHONPATH=layers/shared python -m tests.soak [--minutes 10] [--seed N] [--only ROUND] [--rounds N]

Takes turns with: histories of many workers on one account and on several, with and without lost replies; stories told
to the ledger in memory and on a real engine, beside the model; runs of which a third of all requests fail; and lives of
payments, told in any order. Prints
every seed before it is used. A failure prints the command that does the same again, and ends with 1. (Which thread gets
its turn when is not in the seed: a history may have to be repeated.)
"""

import argparse
import os
import random
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial

from doubles.claude.server import ClaudeDouble
from local.engine import CREDENTIALS, Engine
from local.process import ROOT
from local.resources import create_resources
from local.template import read_template
from playground.adapters.dynamo_sessions import DynamoSessions
from tests.fakes import InMemoryLedger
from tests.faults.test_exhaustive_faults import RUNS
from tests.faults.test_exhaustive_faults import (
    test_faults_at_random_charge_every_answer_once_and_nothing_else as faults_at_random,
)
from tests.kit.histories import Crew, Scene, UndecidedError, explain, play
from tests.kit.money_paths import Stage
from tests.kit.operations import Subject
from tests.kit.payment_lives import Life
from tests.kit.story import FIRST_DAYS, Story
from tests.support import SESSIONS_TABLE, new_ledger, new_store, records_of

MAX_ROUNDS = 1_000_000
PROCESSES = 3
MAX_SEED = 10**9


class World:
    """An engine with a crew on it, and what else the rounds need. Every round has its own users."""

    def __init__(self, stack: ExitStack) -> None:
        os.environ.update(CREDENTIALS)
        self.engine = stack.enter_context(Engine())
        create_resources(read_template(ROOT / "template.yaml"), self.engine.endpoint_url)
        store = new_store(self.engine)
        stack.enter_context(closing(store.client))
        self.ledger = new_ledger(store)
        self.sessions = DynamoSessions(store, SESSIONS_TABLE)
        self.crew = stack.enter_context(Crew(self.engine, PROCESSES))
        double = stack.enter_context(ClaudeDouble())
        self.stage = stack.enter_context(closing(Stage(self.engine, double.url)))
        self._names = 0

    def subject(self, seed: int) -> Subject:
        self._names += 1
        return Subject(self.ledger, self.sessions, f"soak-{seed}-{self._names}")


def history(world: World, seed: int, *, accounts: int, disturbed: float) -> int:
    """How many operations there were."""
    chance = random.Random(seed)
    subjects = [world.subject(seed) for _ in range(accounts)]
    users = tuple(subject.user_id for subject in subjects)
    scene = Scene(seed=seed, users=users, threads=chance.randint(2, 5), disturbed=disturbed)
    told = play(world.crew, scene, subjects)
    for records in told.values():
        explain(records, lost_replies=disturbed > 0)
    return sum(map(len, told.values()))


def story(world: World, seed: int, *, in_memory: bool, stories: int, steps: int = 60) -> int:
    """How many steps there were."""
    chance, told = random.Random(seed), 0
    for number in range(stories):
        beyond = chance.choice((0, 999))
        if in_memory:
            ledger = InMemoryLedger()
            names = (f"{number}-plain", f"{number}-scheduled")
            subjects = [Subject(ledger, ledger.sessions, name, sub_millis=beyond) for name in names]
        else:
            subjects = [world.subject(seed) for _ in range(2)]
        one = Story(subjects, chance.choice(FIRST_DAYS))
        for _ in range(steps):
            one.draw_step(chance)
        one.end()
        told += one.steps
    return told


def payment_lives(world: World, seed: int) -> int:
    """On the engine; how many events were told. `make soak-payments` has many more of them, in memory."""
    told = 0
    for number in range(4):
        life, chance = Life(f"soak-{seed}-{number}"), random.Random(f"{seed} {number}")
        billing = life.elsewhere(world.ledger, records_of(world.ledger))
        order = life.disorder(chance, lost=chance.choice((0.0, 0.4)))
        life.deliver(billing, order, at_the_end=True)
        life.reconcile(billing)
        final = life.final(billing)
        assert final == life.expected(), f"{life.user_id} came to\n{final}\ninstead of\n{life.expected()}"
        told += len(order)
    return told


def failing_runs(world: World, seed: int) -> int:
    """How many runs there were."""
    faults_at_random(world.stage, seed)
    return RUNS


ROUNDS: Mapping[str, Callable[[World, int], int]] = {
    "one-account": partial(history, accounts=1, disturbed=0.0),
    "one-account-disturbed": partial(history, accounts=1, disturbed=0.03),
    "accounts": partial(history, accounts=4, disturbed=0.0),
    "accounts-disturbed": partial(history, accounts=4, disturbed=0.05),
    "stories-in-memory": partial(story, in_memory=True, stories=60),
    "stories": partial(story, in_memory=False, stories=3),
    "failing-runs": failing_runs,
    "payment-lives": payment_lives,
}


def soak(world: World, names: list[str], first_seed: int, *, minutes: float, rounds: int) -> int:
    begun = time.monotonic()
    done: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    undecided = 0
    for number in range(rounds):
        spent = time.monotonic() - begun
        if spent >= 60 * minutes:
            break
        name, seed = names[number % len(names)], (first_seed + number // len(names)) % MAX_SEED
        print(f"{spent:6.0f} s  {name} {seed}", end="", flush=True)
        try:
            count = ROUNDS[name](world, seed)
        except UndecidedError as error:  # so many at once that looking through all orders would take too long
            print(f"  {error}", flush=True)
            undecided += 1
            continue
        except Exception:
            again = f"PYTHONPATH=layers/shared python -m tests.soak --only {name} --seed {seed} --rounds 1"
            print(f"  FAILED\n{traceback.format_exc()}\nthe same again: {again}", flush=True)
            return 1
        print(f"  {count} in {time.monotonic() - begun - spent:.1f} s", flush=True)
        done[name] += 1
        operations[name] += count
    for name in names:
        print(f"{name:<24} {done[name]:>5} rounds  {operations[name]:>8} operations")
    took = time.monotonic() - begun
    print(f"{done.total()} rounds in {took:.0f} s from seed {first_seed} on, nothing found, {undecided} undecided")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, help="the first one; a new one each time without it")
    parser.add_argument("--only", choices=ROUNDS, help="one kind of round instead of all in turn")
    parser.add_argument("--rounds", type=int, default=MAX_ROUNDS, help="end after so many, whatever the time")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(MAX_SEED)
    names = [arguments.only] if arguments.only else list(ROUNDS)
    with ExitStack() as stack:
        return soak(World(stack), names, seed, minutes=arguments.minutes, rounds=arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
