"""Prints what the scan for leaks finds: `PYTHONPATH=layers/shared python -m tests.unit.leaks_corpus`."""

import random
import time
from collections import Counter

from playground.adapters.leaks import LeakScanner
from tests.unit.leaks_corpus import clean
from tests.unit.leaks_corpus.measure import SEED, alarms, recall
from tests.unit.leaks_corpus.planted import ALL_KINDS


def main() -> None:
    scan = LeakScanner()
    print("| Kind | Planted | Found | By its name |\n| --- | --- | --- | --- |")
    for kind in ALL_KINDS:
        found = recall(scan, kind, cases=500)
        print(f"| `{kind}` | {found.planted} | {found.share:.1%} | {found.named} |")

    rng = random.Random(SEED)
    texts = {
        **clean.made(rng),
        "long_numbers": clean.chance(rng),
        "project": clean.project(),
        "standard library": clean.standard_library(),
    }
    print("\n| Text | KB | False alarms per 100 KB | Of them | Seconds per MB |\n| --- | --- | --- | --- | --- |")
    for name, text in texts.items():
        began = time.perf_counter()
        result = alarms(scan, text)
        pace = (time.perf_counter() - began) * 1e6 / len(text)
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(result.kinds).items()))
        print(f"| {name} | {len(text) // 1000} | {result.per_100_kb:.2f} | {kinds or '-'} | {pace:.2f} |")


if __name__ == "__main__":
    main()
