"""How many planted secrets are found, and what is found where nothing is."""

import random
from dataclasses import dataclass

from playground.adapters.leaks import LeakScanner
from tests.unit.leaks_corpus.planted import planted

SEED = 20261123


@dataclass(frozen=True, slots=True)
class Recall:
    planted: int
    covered: int  # found, from the first to the last character
    named: int  # and by its own kind

    @property
    def share(self) -> float:
        return self.covered / self.planted


def recall(scan: LeakScanner, kind: str, *, cases: int, seed: int = SEED) -> Recall:
    rng = random.Random(f"{kind} {seed}")
    covered = named = 0
    for _ in range(cases):
        case = planted(kind, rng)
        hits = [leak for leak in scan(case.text) if leak.start <= case.start and case.end <= leak.end]
        covered += bool(hits)
        named += any(leak.kind == kind for leak in hits)
    return Recall(cases, covered, named)


@dataclass(frozen=True, slots=True)
class Alarms:
    characters: int
    kinds: tuple[str, ...]

    @property
    def per_100_kb(self) -> float:
        return len(self.kinds) * 100_000 / self.characters


def alarms(scan: LeakScanner, text: str) -> Alarms:
    return Alarms(len(text), tuple(leak.kind for leak in scan(text)))
