"""What becomes of a user's credits when a worker dies, or loses the store, at any request of any path that moves them.

    make crash-matrix ARGS="sweep 'run, a month'"

prints it, of all paths or of those whose names begin so:
path × request × what goes wrong × when the sweeper comes → what was left behind → the final outcome.

The requests of a path are learned by playing it once, so a new one is in the matrix by itself.
"""

import argparse
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from doubles.claude.server import ClaudeDouble
from local.engine import CREDENTIALS, Engine
from local.process import ROOT
from local.resources import create_resources
from local.template import read_template
from playground.domain.errors import ModelError, PlaygroundError
from playground.domain.runs import Run, RunStatus, run_id_of
from playground.usecases.compare_prompts import Compared
from playground.usecases.run_prompt import PaidAnswer
from tests.kit.books import Books
from tests.kit.money_paths import KEY, PATHS, START, Outcome, Path, Scene, Stage
from tests.kit.transport import MODEL, Fault, Life, Meanwhile, Plan, Step, at, gone_from, nothing_fails

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)


class Sweeper(StrEnum):
    """When the sweeper comes by. It does something when it comes on time, and nothing before that or a second time."""

    ON_TIME = "early, on time, twice"  # the client's next attempt comes after that
    LATE = "late"  # after the client has asked until it knew


@dataclass(frozen=True, slots=True)
class Mishap:
    """What befalls the worker at one request. `stands_still`: until its lease is over and everybody else is done.
    `may_end`: how the run may end by it other than if nothing had happened. `gives_back`: the worker lives, and the
    store does again, so that it leaves no hold of its own behind."""

    name: str
    plan: Callable[[int], Plan]
    concerns: Callable[[Step], bool]
    may_end: tuple[str, ...] = ()
    gives_back: bool = False
    stands_still: bool = False


def _any(_step: Step) -> bool:
    return True


def _writes(step: Step) -> bool:
    return step.writes


def _has_no_token(step: Step) -> bool:
    """Where the store cannot know a repeat; where it can, a repeat whose token is forgotten is the harder case."""
    return step.writes and not Fault.FORGOTTEN.concerns(step)


def _slow(step: Step) -> bool:
    return step.writes or step.operation == MODEL


def _lost_and_gone(number: int) -> Plan:
    lost, gone = at(number, Fault.LOST), gone_from(number + 1)
    return lambda step: lost(step) or gone(step)


GIVEN_UP = "released: store_unavailable"

MISHAPS = (
    Mishap("killed before", lambda n: at(n, Fault.KILLED_BEFORE), _any),
    Mishap("killed after", lambda n: at(n, Fault.KILLED_AFTER), _slow),
    Mishap("reply lost", lambda n: at(n, Fault.LOST), _has_no_token, gives_back=True),
    Mishap("reply, token lost", lambda n: at(n, Fault.FORGOTTEN), Fault.FORGOTTEN.concerns, gives_back=True),
    Mishap(
        "3 replies lost", lambda n: at(n, Fault.LOST, Fault.LOST, Fault.LOST), _writes, (GIVEN_UP,), gives_back=True
    ),
    Mishap("repeat overtakes it", lambda n: at(n, Fault.LATE), _writes),
    Mishap(
        "given up, arrives", lambda n: at(n, Fault.LATE, Fault.UNREACHABLE, Fault.UNREACHABLE), _writes, (GIVEN_UP,)
    ),
    Mishap("store gone", gone_from, _writes),
    Mishap("done, store gone", _lost_and_gone, _writes),
    Mishap("stands still", lambda n: nothing_fails, _slow, ("expired",), stands_still=True),
)
ALWAYS = "killed before"  # … and dead after a request is dead before the next one


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the matrix. `left` is what the worker left behind, `came_to` what it is in the end; `wrong`: an
    invariant that did not hold."""

    path: str
    step: Step
    mishap: str
    sweeper: Sweeper
    left: str = ""
    came_to: str = ""
    wrong: str = ""

    def __str__(self) -> str:
        return (
            f"{self.path:<32}{self.step.number:>3} {self.step!s:<38}{self.mishap:<21}{self.sweeper:<23}"
            f"{self.left:<22}{f'WRONG: {self.wrong}' if self.wrong else self.came_to}"
        )


class Matrix:
    """The cells of one path. How a user comes through from books of one shape is played once and then known.

    `every`: one of so many mishaps, evenly; which ones depends on the path, so that all paths together have all kinds.
    """

    def __init__(self, stage: Stage, path: Path, *, every: int = 1) -> None:
        self._stage = stage
        self._path = path
        self._every = every
        self._known: dict[object, str] = {}
        self.steps: Sequence[Step] = ()
        """The requests of the path, once it was played."""

    def __iter__(self) -> Iterator[Cell]:
        """Every request of the path × what may befall it × when the sweeper comes, if there is anything for it."""
        life, self._expected = rehearse(self._stage, self._path)
        self._undisturbed = self._expected
        if self._path.has_others:
            self._undisturbed = rehearse(self._stage, self._path, alone=True)[1]
        self.steps = life.steps
        mishaps = list(self._mishaps())
        first = zlib.crc32(self._path.name.encode()) % min(self._every, len(mishaps))
        for step, mishap in mishaps[first :: self._every]:
            for sweeper in Sweeper:
                cell = self._play(step, mishap, sweeper)
                yield cell
                if not cell.left.startswith("held"):
                    break  # nothing is held: the sweeper has nothing to do, whenever it comes

    def _mishaps(self) -> Iterator[tuple[Step, Mishap]]:
        for step in self.steps:
            for mishap in MISHAPS:
                if mishap.concerns(step) and (mishap.name == ALWAYS or is_telling(step, self.steps)):
                    yield step, mishap

    def _play(self, step: Step, mishap: Mishap, sweeper: Sweeper) -> Cell:
        """One cell; whatever is wrong with it is in it."""
        left, came_to, wrong = "", "", ""
        scene = Scene(self._stage, self._path)
        try:
            began = scene.now
            outcome = _befall(scene, step, mishap)
            then = scene.books()
            left = _left(then)
            then.check()
            if isinstance(outcome, PaidAnswer | Compared | ModelError):
                scene.check_answer(outcome, then)
            gave_back = not any(hold.placed_at >= began for hold in then.holds)
            assert gave_back or not mishap.gives_back, "the worker lives and has not given back what it held"
            came_to = self._recovered(scene, sweeper, then)
            wanted = {self._expected, *mishap.may_end} | ({self._undisturbed} if mishap.stands_still else set())
            if self._path.is_run and then.receipt is None:
                wanted = {"expired" if then.is_held else self._undisturbed}
            if self._path.variants:
                wanted = self._may_come_to(scene, then, mishap)
            assert came_to in wanted, f"came to {came_to}, should be {' or '.join(sorted(wanted))}"
        except AssertionError as error:
            wrong = str(error).partition("\n")[0] or f"line {_line(error)}"
        scene.forget()
        return Cell(self._path.name, step, mishap.name, sweeper, left, came_to, wrong)

    def _may_come_to(self, scene: Scene, then: Books, mishap: Mishap) -> set[str]:
        """What becomes of the variants of a comparison: those that have ended stay so, those that are held expire. All
        were held in one write, so that each is the one or the other if any is."""
        ids = [run_id_of(scene.user_id, KEY, index) for index in range(self._path.variants)]
        held = then.account.holds.keys() if then.account is not None else set[str]()
        if not any(run_id in then.receipts or run_id in held for run_id in ids):
            return {self._undisturbed}
        ended = []
        for index, run_id in enumerate(ids):
            receipt = then.receipts.get(run_id)
            assert receipt is not None or run_id in held, f"variant {index} has neither hold nor receipt"
            ended.append(_ended(receipt) if receipt is not None else "expired")
            usual = {self._expected.split(" / ")[index], self._undisturbed.split(" / ")[index]}
            assert receipt is None or ended[-1] in {*usual, *mishap.may_end}, f"variant {index} is {ended[-1]}"
        return {" / ".join(ended)}

    def _recovered(self, scene: Scene, sweeper: Sweeper, then: Books) -> str:
        known = (then.shape(START), scene.at_stripe, self._path.beside(scene), scene.now, sweeper)
        if known not in self._known:
            final = _recover(scene, sweeper, then)
            books = scene.books()
            _check_last_word(scene, books, final, then)
            self._known[known] = _came_to(books, self._path, scene.user_id)
        return self._known[known]


def rehearse(stage: Stage, path: Path, *, alone: bool = False) -> tuple[Life, str]:
    """The requests of `path` and its outcome without faults. `alone`: without acts of the other worker."""
    scene = Scene(stage, path)
    life, outcome = scene.act(stage.worker) if alone else scene.first_act()
    books = scene.books()
    books.check()
    books.check_rest()
    scene.check_answer(outcome, books)
    scene.forget()
    return life, _came_to(books, path, scene.user_id)


def is_telling(step: Step, steps: Sequence[Step]) -> bool:
    """Whether `step` is the first or the last of those that look alike: sixteen shards, fourteen months."""
    alike = [other.number for other in steps if str(other) == str(step)]
    return step.number in (alike[0], alike[-1])


def _befall(scene: Scene, step: Step, mishap: Mishap) -> Outcome:
    """The act, with `mishap` at `step`."""
    others: Meanwhile = scene.path.meanwhile(scene)
    stood_still = False

    def meanwhile(now: Step) -> None:
        nonlocal stood_still
        others(now)
        if mishap.stands_still and now.number == step.number:
            stood_still = True
            scene.pass_leases()
            scene.by_other(scene.sweep)
            scene.insist()

    life, outcome = scene.act(scene.stage.worker, mishap.plan(step.number), meanwhile)
    assert stood_still or life.befallen, f"nothing happened at request {step.number}"
    assert life.steps[step.number - 1] == step, f"request {step.number} was {life.steps[step.number - 1]}"
    return outcome


def _recover(scene: Scene, sweeper: Sweeper, then: Books) -> Outcome:
    """The sweeper comes, and the client asks again until it knows; in the order that `sweeper` says."""
    if then.holds and sweeper is Sweeper.ON_TIME:
        ends = min(hold.lease_at for hold in then.holds)
        if scene.now < ends:
            scene.now = ends - MILLISECOND
            scene.by_other(scene.sweep)
            assert scene.books().content == then.content, "the sweeper came early and did something"
        scene.pass_leases()
        scene.move(SECOND)
        scene.by_other(scene.sweep)
        swept = scene.books()
        assert not swept.holds, "the sweeper came on time, and something is still held"
        scene.by_other(scene.sweep)
        assert scene.books() == swept, "the sweeper came twice and did something"
    final = scene.insist()
    if sweeper is Sweeper.LATE:
        scene.pass_leases()
        scene.move(SECOND)
        scene.by_other(scene.sweep)
    return final


def _check_last_word(scene: Scene, books: Books, final: Outcome, then: Books) -> None:
    """The books are right, and the final outcome is the client's answer and does not change."""
    books.check()
    books.check_rest()
    scene.check_answer(final, books)
    assert then.receipt in (None, books.receipt), "the receipt changed"
    asked = scene.asked
    again = scene.insist()
    assert _answered(again) == _answered(final), f"the client got {_answered(final)} first and {_answered(again)} later"
    assert (scene.asked, scene.books()) == (asked, books), "asking again did something"


def _answered(outcome: object) -> object:
    if isinstance(outcome, PaidAnswer):
        return outcome.run, outcome.turn
    if isinstance(outcome, Compared):
        return [_answered(each) for each in outcome.outcomes]
    return (outcome.code, outcome.message) if isinstance(outcome, PlaygroundError) else type(outcome)


def _left(books: Books) -> str:
    """What the worker left behind."""
    if books.account is None:
        return "no account"
    held, receipt = books.account.held, books.receipt
    words = ([f"held {held}"] if held else []) + ([receipt.status.value] if receipt is not None else [])
    return ", ".join(words) or "nothing"


def _ended(run: Run) -> str:
    ended = run.status.value + (f" for {run.charged}" if run.charged else "")
    return ended + (f": {run.failure.code}" if run.failure is not None and run.status is not RunStatus.EXPIRED else "")


def _came_to(books: Books, path: Path, user_id: str) -> str:
    """How the run ended, for what; or each run of a comparison; or what the account is."""
    if path.variants:
        runs = [books.receipts.get(run_id_of(user_id, KEY, index)) for index in range(path.variants)]
        return " / ".join(_ended(run) if run is not None else "nothing" for run in runs)
    run, account = books.receipt, books.account
    ended = _ended(run) if run is not None else ""
    bought = ", ".join(f"purchase {each.state.value}" for each in books.purchases)
    if path.is_run or account is None:
        return ended or bought or "nothing"
    buckets = account.buckets
    became = f"{buckets.monthly} + {buckets.rollover} + {buckets.purchased} credits, {account.version} entries"
    became += f", {account.debt} owed" if account.debt else ""
    return ", ".join(filter(None, (became, bought, ended)))


def _line(error: BaseException) -> int:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_lineno if trace is not None else 0


def chosen(arguments: Sequence[str]) -> list[Path]:
    """The paths that a command line names by how they begin; all if it names none."""
    names = sorted(path.name for path in PATHS)
    parser = argparse.ArgumentParser(
        prog="make crash-matrix",
        usage='make crash-matrix [ARGS="path ..."]',
        description="Kill a worker at every request of every path that moves credits, and print what came of it.",
        epilog="\n  ".join(["paths:", *names]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", nargs="*", help="how the names of the wanted paths begin (default: all of them)")
    wanted = parser.parse_args(arguments).path
    for beginning in wanted:
        if not any(name.startswith(beginning) for name in names):
            parser.error(f"no path begins with {beginning!r}: there are {'; '.join(names)}")
    return [path for path in PATHS if not wanted or path.name.startswith(tuple(wanted))]


def main(arguments: Sequence[str]) -> int:
    """Print the matrix on an engine of its own. 0: all is well; 1: some cell is wrong; 2: there is none."""
    paths = chosen(arguments)
    os.environ.update(CREDENTIALS)
    number = wrong = 0
    with Engine() as engine, ClaudeDouble() as claude:
        create_resources(read_template(ROOT / "template.yaml"), engine.endpoint_url)
        with closing(Stage(engine, claude.url)) as stage:
            for path in paths:
                for cell in Matrix(stage, path):
                    print(cell, flush=True)
                    number, wrong = number + 1, wrong + bool(cell.wrong)
    print(f"{number} cells, {wrong} wrong")
    return 2 if not number else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
