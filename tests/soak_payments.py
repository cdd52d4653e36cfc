"""Many lives of payments, each told in order, in disorder, late and with losses, with seeds that nobody has tried.

    PYTHONPATH=layers/shared python -m tests.soak_payments [--lives 10000] [--seed N] [--processes N]

Prints how far it is. What fails is printed with its name, which is its seed: `--only NAME` does the same again. Ends
with 1 then. On the ledger in memory; tests/soak.py has lives on the engine.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.kit.payment_lives import live_through

BATCH = 50


def live(names: Sequence[str]) -> tuple[int, str | None]:
    """How many events were told; what went wrong."""
    told = 0
    for name in names:
        try:
            told += live_through(name, lambda life: life.in_memory())
        except Exception as error:  # whatever it is, this life has to be looked at
            return told, f"{name}: {type(error).__name__}: {error}"
    return told, None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak_payments", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lives", type=int, default=10_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="the first one; a new one each time without it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at the same time (%(default)s)")
    parser.add_argument("--only", metavar="NAME", help="one life, by its name")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbelow(10**9)
    names = [options.only] if options.only else [f"life-{seed}-{number}" for number in range(options.lives)]
    begun, done, told = time.monotonic(), 0, 0
    print(f"{len(names)} lives from seed {seed} on", flush=True)
    with ProcessPoolExecutor(options.processes) as pool:
        batches = [names[first : first + BATCH] for first in range(0, len(names), BATCH)]
        for future in as_completed([pool.submit(live, batch) for batch in batches]):
            events, trouble = future.result()
            if trouble is not None:
                print(trouble, flush=True)
                pool.shutdown(cancel_futures=True)
                return 1
            done, told = done + 1, told + events
            if done % 20 == 0:
                print(f"{time.monotonic() - begun:6.0f} s  {done * BATCH} lives, {told} events", flush=True)
    print(f"{len(names)} lives and {told} events in {time.monotonic() - begun:.0f} s: nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
