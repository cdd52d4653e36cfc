"""`make load`: many users at once on the whole laptop stack, and whether everything adds up afterwards."""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.latency import percentile
from bench.life import REFUSALS
from bench.operator import Operator, serving
from local.demo import UnexpectedAnswerError, free_ports, wait_until_ready
from local.process import ROOT
from local.resources import client
from local.settings import TEMPLATE
from local.tokens import issuer
from operate.commands.reconcile import sides
from operate.stack import Stack, open_stack
from playground.adapters.dynamo_audit import DynamoAudit
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.prices import published_prices
from playground.domain.audit import Audited, audit
from playground.domain.audit.stored import StoredEntry, StoredRun
from playground.domain.entries import EntryType
from playground.domain.errors import PlaygroundError
from playground.domain.runs import RunStatus

LOCUST = ROOT / ".venv-load" / "bin" / "locust"
PAGE = ROOT / "docs" / "load.md"
RATE_LIMIT_FACTOR = 600  # each user does in seconds what takes a person minutes
CLAUDE_SECONDS = 0.2
TOKENS_PER_USER_AND_MINUTE = 60  # more lives than anybody can lead
WARM_UP_SECONDS = 20  # in which functions start; not in the times, but in everything else
QUIET_SECONDS = 120  # that work which has begun may take until its end
COUNTED_SECONDS = 30  # that the stream may be behind
STOP_SECONDS = 30
COLUMNS = 80

DESCRIPTION = f"""\
Start the laptop stack with an empty state folder and have USERS users at a time use it for MINUTES: each signs up,
runs, streams, continues, compares, buys (the stand-in for Stripe pays), gets money back or subscribes, is erased, and
is followed by the next one. In the middle a month passes, at Stripe and by the schedule. Then every account is audited,
the stand-in for Stripe reconciled, and receipts are compared with what `guard` has counted. The first {WARM_UP_SECONDS}
s, in which functions start, are not among the times.

Rate limits are multiplied by {RATE_LIMIT_FACTOR}, and the stand-in for Claude answers after {CLAUDE_SECONDS:g} s.
Clients, functions, store and stand-ins share this machine: the numbers do not apply to AWS.
"""
EPILOG = """\
Exit status: 0 if everything adds up; 1 if an account or Stripe differs, credits stayed held, or a request had an
outcome that a correct client should not meet (a fault); 2 if it could not be done.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One step of one user: its name, its seconds, the code of its error, and when it ended, in seconds."""

    name: str
    seconds: float
    code: str | None
    ended: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the books say afterwards."""

    accounts: int
    entries: Counter[str]
    """By type."""
    receipts: tuple[int, int, int]
    """Charged and other runs, and credits that were charged, as the accounts say."""
    counted: tuple[int, int, int]
    """The same as `guard` has counted them."""
    held: int
    damaged: tuple[str, ...]
    looked_at: int
    repaired: tuple[str, ...]
    differences: tuple[str, ...]
    dead_letters: Mapping[str, int]

    @property
    def fine(self) -> bool:
        return not (
            self.damaged
            or self.differences
            or self.held
            or self.receipts != self.counted
            or any(self.dead_letters.values())
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=2, help="how long (default: 2)")
    parser.add_argument("--users", type=int, default=20, help="how many at a time (default: 20)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="for what users do (default: from the clock)"
    )
    parser.add_argument("--page", action="store_true", help="write docs/load.md from this run")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= 60 or not 1 <= options.users <= 500:
        parser.error("--minutes must be up to 60, --users 1 to 500")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="playground-load-") as name:
        folder = Path(name)
        os.environ["STATE_DIR"] = name  # where operators' commands find the stack
        try:
            with running_stack(folder / "stack.log", folder), open_stack(None) as stack:
                samples = drive(stack, folder, options.minutes, options.users, options.seed)
                waited = wait_until_quiet(stack)
                checked = check(stack)
        except (UnexpectedAnswerError, PlaygroundError, OSError, subprocess.SubprocessError) as error:
            print(f"it could not be done: {error}", file=sys.stderr)
            return 2
    title = (
        f"{options.users} users for {options.minutes:g} min, seed {options.seed}, {machine()}, load {before:.1f} before"
    )
    lines = report(samples, 60 * options.minutes, checked, waited)
    print(title, *lines, sep="\n")
    if options.page:
        PAGE.write_text(page(title, lines), encoding="utf-8")
    return exit_status(samples, checked)


@contextmanager
def running_stack(log: Path, folder: Path) -> Iterator[str]:
    """A stack of its own; its URL."""
    environment = {
        **os.environ,
        "PORT": str(free_ports()),
        "STATE_DIR": str(folder),
        "RATE_LIMIT_FACTOR": str(RATE_LIMIT_FACTOR),
    }
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.stack"], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield wait_until_ready(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def drive(stack: Stack, folder: Path, minutes: float, users: int, seed: int) -> list[Sample]:
    """Have locust's users use the stack. Raises UnexpectedAnswerError if locust did not."""
    assert stack.state is not None
    tokens = issuer(TEMPLATE, folder)
    lives = int(users * TOKENS_PER_USER_AND_MINUTE * max(minutes, 1))
    people, samples, plan = folder / "people", folder / "samples.json", folder / "plan.json"
    names = [f"load-{number}" for number in range(lives)]
    people.write_text(
        "".join(f"{name}\t{tokens.token(name, timedelta(hours=3))}\n" for name in names), encoding="utf-8"
    )
    with serving(Operator(stack)) as operator:
        plan.write_text(
            json.dumps(
                {
                    "places": {
                        "api": stack.state["url"],
                        "stripe": stack.state["stripe_url"],
                        "operator": operator,
                    },
                    "people": str(people),
                    "samples": str(samples),
                    "seed": seed,
                    "delay_seconds": CLAUDE_SECONDS,
                    "month_after_seconds": WARM_UP_SECONDS + 30 * minutes,
                }
            ),
            encoding="utf-8",
        )
        ended = subprocess.run(  # noqa: S603 - of this repository
            [
                *(str(LOCUST), "--locustfile", "bench/locustfile.py", "--headless", "--only-summary"),
                *("--users", str(users + 1), "--spawn-rate", str(max(users / 5, 1))),  # and the one who moves time
                *(
                    "--run-time",
                    f"{60 * minutes + WARM_UP_SECONDS:.0f}s",
                    "--stop-timeout",
                    "30s",
                    "--host",
                    stack.state["url"],
                ),
                *("--loglevel", "WARNING", "--exit-code-on-error", "0"),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LOAD_PLAN": str(plan)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # its summary; what it says if it fails
            text=True,
            timeout=60 * minutes + WARM_UP_SECONDS + 120,
        )
    if not samples.exists():
        raise UnexpectedAnswerError(f"locust ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return [Sample(*sample) for sample in json.loads(samples.read_text(encoding="utf-8"))]


# --- afterwards -------------------------------------------------------------------------------------------------------


def messages(stack: Stack) -> dict[str, int]:
    """How many messages are in each queue, waiting or at work."""
    assert stack.state is not None
    sqs = client("sqs", stack.state["engine_url"])
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    try:
        return {
            name: sum(
                int(number)
                for number in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()
            )
            for name, url in stack.state["queues"].items()
        }
    finally:
        sqs.close()


def is_dead_letters(queue: str) -> bool:
    return queue.endswith("Failures")


def wait_until_quiet(stack: Stack) -> float:
    """Wait until the queues of work are empty; the seconds it took. Raises UnexpectedAnswerError if they stay full."""
    begun = time.monotonic()
    while any(count for queue, count in messages(stack).items() if not is_dead_letters(queue)):
        if time.monotonic() - begun > QUIET_SECONDS:
            raise UnexpectedAnswerError(f"work is left in the queues: {messages(stack)}")
        time.sleep(0.5)
    return time.monotonic() - begun


def check(stack: Stack) -> Checked:
    """Compare Stripe with the ledger, then audit every account, which may have been made up for."""
    looked_at, repaired, differences = reconciled(stack)
    archive = DynamoAudit(stack.store, ledger_table=stack.ledger_table, sessions_table=stack.sessions_table)
    tally = Tally()
    audits = [audited(archive, user_id, tally) for user_id in users_of(archive)]
    return Checked(
        accounts=len(audits),
        entries=tally.entries,
        receipts=tally.receipts,
        counted=counted(stack, tally.receipts),
        held=sum(each.held for each in audits),
        damaged=tuple(f"{each.user_id}: {'; '.join(map(str, each.findings))}" for each in audits if not each.fine),
        looked_at=looked_at,
        repaired=repaired,
        differences=differences,
        dead_letters={queue: count for queue, count in messages(stack).items() if is_dead_letters(queue)},
    )


def reconciled(stack: Stack) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """How much was looked at, what was made up for, and what differs. A damaged account cannot be compared."""
    try:
        found = sides(stack)(window=None, everything=True)
    except PlaygroundError as error:
        return 0, (), (f"it could not be compared: {error}",)
    differences = [f"{each.subject}: {each.cause.value} {each.detail or ''}" for each in found.differences]
    return found.looked_at, found.repaired, tuple(differences)


@dataclass(slots=True)
class Tally:
    """Of what audits pass on, which can be read only once."""

    entries: Counter[str] = field(default_factory=Counter)
    credits: int = 0
    runs: Counter[bool] = field(default_factory=Counter)

    @property
    def receipts(self) -> tuple[int, int, int]:
        return self.runs[True], self.runs[False], self.credits

    def of_entries(self, entries: Iterable[StoredEntry]) -> Iterator[StoredEntry]:
        for entry in entries:
            type_, amount = entry.fields.get("type"), entry.fields.get("amount")
            self.entries[str(type_)] += 1
            if type_ == EntryType.SPEND and isinstance(amount, int):
                self.credits -= amount
            yield entry

    def of_runs(self, runs: Iterable[StoredRun]) -> Iterator[StoredRun]:
        for run in runs:
            self.runs[run.fields.get("status") == RunStatus.SETTLED] += 1
            yield run


def audited(archive: DynamoAudit, user_id: str, tally: Tally) -> Audited:
    """The audit of an account, which is added to `tally`."""
    stored = archive.read(user_id)
    return audit(
        replace(stored, entries=tally.of_entries(stored.entries), runs=tally.of_runs(stored.runs)), published_prices
    )


def counted(stack: Stack, receipts: tuple[int, int, int]) -> tuple[int, int, int]:
    """What `guard` has counted of all runs, as soon as it is that of `receipts`, or after `COUNTED_SECONDS`."""
    spend, today = DynamoSpend(stack.store, stack.spend_table), datetime.now(UTC).date()
    begun = time.monotonic()
    while True:
        sums = [row.counters for row in spend.totals(today - timedelta(days=1), today + timedelta(days=1))]
        found = (sum(row.runs for row in sums), sum(row.failed for row in sums), sum(row.credits for row in sums))
        if found == receipts or time.monotonic() - begun > COUNTED_SECONDS:
            return found
        time.sleep(0.5)


def users_of(archive: DynamoAudit) -> Iterator[str]:
    after: str | None = None
    while True:
        found, after = archive.users(after=after)
        yield from found
        if after is None:
            return


# --- the report -------------------------------------------------------------------------------------------------------


def faults(samples: Sequence[Sample]) -> Counter[str]:
    return Counter(sample.code for sample in samples if sample.code is not None and sample.code not in REFUSALS)


def exit_status(samples: Sequence[Sample], checked: Checked) -> int:
    return 0 if checked.fine and not faults(samples) else 1


def report(samples: Sequence[Sample], seconds: float, checked: Checked, waited: float) -> list[str]:
    """At most 80 columns wide. Times are of what ended in the `seconds` after the warm-up."""
    names = list(dict.fromkeys(sample.name for sample in samples))
    timed = [sample for sample in samples if sample.code is None and sample.ended >= WARM_UP_SECONDS]
    lines = ["", f"{'step':<26}{'number':>8}{'per s':>8}{'p50 ms':>9}{'p90':>8}{'p99':>8}{'most':>8}"]
    for name in names:
        spent = [sample.seconds * 1000 for sample in timed if sample.name == name]
        if not spent:
            continue
        numbers = [percentile(spent, percent) for percent in (50, 90, 99)] + [max(spent)]
        lines.append(
            f"{name:<26}{len(spent):>8,}{len(spent) / seconds:>8.1f}{numbers[0]:>9,.0f}"
            + "".join(f"{number:>8,.0f}" for number in numbers[1:])
        )
    lines += ["", f"{'errors by kind':<42}{'number':>8}  of the steps"]
    kinds = Counter((sample.code, sample.code in REFUSALS) for sample in samples if sample.code is not None)
    for (code, is_refusal), number in sorted(kinds.items(), key=lambda each: -each[1]):
        steps = sorted({sample.name for sample in samples if sample.code == code})
        kind = f"{'refused' if is_refusal else 'FAULT'}: {code}"
        lines.append(f"{kind:<42.42}{number:>8,}  {', '.join(steps)}"[:COLUMNS])
    if not kinds:
        lines.append("none")
    lines += ["", f"work that had begun ended {waited:.0f} s after the last user"]
    lines.append(
        f"audit: {checked.accounts:,} accounts, {checked.entries.total():,} entries, {len(checked.damaged)} with "
        f"findings, {checked.held} held"
    )
    lines += textwrap.wrap(
        ", ".join(f"{number:,} {kind}" for kind, number in checked.entries.most_common()),
        COLUMNS,
        initial_indent="  ",
        subsequent_indent="  ",
    )
    charged, others, credits_ = checked.receipts
    as_counted = "as guard counted them" if checked.receipts == checked.counted else f"guard counted {checked.counted}"
    lines.append(f"receipts: {charged:,} charged {credits_:,} credits, {others:,} not charged; {as_counted}")
    lines.append(
        f"Stripe: {checked.looked_at:,} looked at, {len(checked.repaired)} made up for, "
        f"{len(checked.differences)} differences"
    )
    lines.append(f"dead letters: {sum(checked.dead_letters.values())}")
    lines += [f"  {line}"[:COLUMNS] for line in (*checked.damaged, *checked.differences)]
    lines.append("everything adds up" if checked.fine else "NOT EVERYTHING ADDS UP")
    return lines


def machine() -> str:
    return f"{os.cpu_count()} CPUs, Python {platform.python_version()}"


def processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "unknown")


def page(title: str, lines: Sequence[str]) -> str:
    where = (
        f"Made by `make load ARGS=--page` on {datetime.now(UTC):%Y-%m-%d}, from one run on this machine: "
        f"{processor()}, {machine()}, {platform.system()} {platform.release()}. Clients, functions, store and "
        "stand-ins shared it: the numbers say what a laptop does, and whether all adds up under load. They say nothing "
        f"about AWS. The stand-in for Claude answered after {CLAUDE_SECONDS:g} s, and rate limits were multiplied by "
        f"{RATE_LIMIT_FACTOR}. The first {WARM_UP_SECONDS} s, in which functions start, are not among the times. "
        "The stand-in for Stripe sends four events at a time, and the next ones when all four are answered. "
        '"Load" is the average of a minute, before it began: where it is more than the number '
        "of CPUs, others were at work, and the times are theirs, too."
    )
    return "\n".join(
        [
            "# Load",
            "",
            *textwrap.wrap(where, 120, break_on_hyphens=False),
            "",
            *(f"    {line}".rstrip() for line in (title, *lines)),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
