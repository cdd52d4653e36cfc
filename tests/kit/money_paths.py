"""Every way in which credits move, as a scene that can be played again: with nothing wrong, or with a fault at any
request. Shared by the crash matrix and the exhaustive faults.

A scene has a user of its own, a clock that only the scene moves, and two workers over one engine: the one whose wire is
tampered with, and the other one, which acts later or in between (the client's next attempt, the sweeper).
"""

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from doubles.stripe import StripeDouble
from local.engine import Engine
from operate.grant_bonus import GrantBonus
from operate.operator_request import OperatorRequest
from operate.pause_account import PauseAccount
from operate.take_credits import TakeCredits
from operate.undo_grant import UndoGrant
from playground.adapters import dynamo_items as items
from playground.adapters.claude import ClaudeModel
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_checkpoints import DynamoCheckpoints
from playground.adapters.dynamo_index import DynamoLeases
from playground.adapters.dynamo_keys import counted_key, shard_of
from playground.adapters.dynamo_lookup import CONTROL_SECONDS, DynamoLookup
from playground.adapters.dynamo_payments import DynamoPurchaseRecords
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_spend import DynamoSpend
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.adapters.ids import id_maker
from playground.domain.account import Account, Change, Hold, grant, start_plus
from playground.domain.calendar import boundary
from playground.domain.entries import Entry, EntryType
from playground.domain.errors import (
    CorruptLedgerError,
    PaymentsUnavailableError,
    PlaygroundError,
    RunInProgressError,
    StoreUnavailableError,
)
from playground.domain.pricing import Usage
from playground.domain.purchases import Customer
from playground.domain.runs import Measured, Run, RunRequest, RunStatus, run_id_of
from playground.domain.spend import Counters
from playground.ports import CANCELLED, UNWATCHED, Completion, Held, Leases, Progress, Prompt, TokenCount
from playground.usecases.apply_payment import Applied
from playground.usecases.buy_credits import Offer
from playground.usecases.compare_prompts import Compared, ComparePrompts, one_by_one
from playground.usecases.live_runs import TICKS_PER_CHECKPOINT, Follower, LiveAnswer, LiveRuns, not_followed
from playground.usecases.run_prompt import PaidAnswer, RunPrompt
from playground.usecases.stream_run import Delta, FollowRun
from playground.usecases.sweep_holds import SweepHolds, Swept
from tests.fakes import a_hold, charging, conversation
from tests.kit.billing import Billing, stripe_in_process
from tests.kit.books import Books, Onlooker
from tests.kit.extent import HANG_SECONDS
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE
from tests.kit.transport import (
    Fault,
    Killed,
    Life,
    Meanwhile,
    Plan,
    Step,
    Wire,
    at_first,
    nobody_else,
    nothing_fails,
)
from tests.support import (
    CATALOG_TABLE,
    LEDGER_TABLE,
    SESSIONS_TABLE,
    SPEND_TABLE,
    new_ledger,
    new_store,
)

# Before whatever other tests of the same engine do: a sweep of all accounts meets only what the scenes have left.
START = datetime(2021, 3, 10, 9, 0, tzinfo=UTC)
SHARD = "07"
FAR = timedelta(days=36_500)
SECONDS_LEFT = 29.0
MAX_OPEN_RUNS = 20
ASKED = "/v1/messages"


def no_pause(_seconds: float) -> None:
    return None


# --- who acts ---------------------------------------------------------------------------------------------------------


class Worker:
    """The adapters of one process, all of them over one wire."""

    def __init__(self, engine: Engine, claude_url: str) -> None:
        self.paused = 0.0
        """Seconds: pauses take no time, but that of the clock that bounds them."""
        self.store = new_store(
            engine, Backoff(sleep=self._pause, monotonic=lambda: self.paused, most_seconds=HANG_SECONDS)
        )
        self._claude = ClaudeModel(api_key="test", base_url=claude_url, sleep=no_pause)
        self.wire = Wire(self.store.client, self._claude)
        self.ledger = new_ledger(self.store)
        self.sessions = DynamoSessions(self.store, SESSIONS_TABLE)
        self.records = DynamoPurchaseRecords(self.store, LEDGER_TABLE)
        self.leases = DynamoLeases(self.store, LEDGER_TABLE)
        self.catalog = _catalog(self.store)
        self.lookup = DynamoLookup(
            self.store,
            self.catalog,
            ledger_table=LEDGER_TABLE,
            sessions_table=SESSIONS_TABLE,
            catalog_table=CATALOG_TABLE,
            monotonic=itertools.count(0, CONTROL_SECONDS).__next__,  # each life makes the same requests
        )

    def _pause(self, seconds: float) -> None:
        self.paused += seconds

    def close(self) -> None:
        self.wire.close()
        self._claude.close()
        self.store.client.close()


def _catalog(store: DynamoStore) -> DynamoCatalog:
    def no_s3() -> Any:
        raise AssertionError("the prompts of these packages are in their items")

    return DynamoCatalog(store, table_name=CATALOG_TABLE, bucket="none", s3=no_s3)


class Stage:
    """What all scenes share: the packages, and connections that take a while to make."""

    def __init__(self, engine: Engine, claude_url: str) -> None:
        self.onlooker = Onlooker(engine.endpoint_url)
        self.worker = Worker(engine, claude_url)
        self.other = Worker(engine, claude_url)
        with self.other.wire.life():
            for name, version in (("@crash/tidy", "1.0.0"), ("@crash/moved", "1.0.0"), ("@crash/moved", "2.0.0")):
                self.other.catalog.publish(a_package(name, version))

    def close(self) -> None:
        self.worker.close()
        self.other.close()
        self.onlooker.close()


class _OurShard:
    """`ports.Leases`: only the shard of our users, for a sweep that is not what is being looked at."""

    shards = 1

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def due(self, shard: int, *, now: datetime, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        return self._leases.due(int(SHARD), now=now, after=after, limit=limit)


class Followed:
    """A model that is followed, in the thread of its worker: two ticks when it has written everything. And how."""

    def __init__(self, worker: Worker, clock: Callable[[], datetime]) -> None:
        self._model = worker.wire.model
        self._runs = LiveRuns(
            ledger=worker.ledger,
            checkpoints=DynamoCheckpoints(worker.store, SESSIONS_TABLE),
            clock=clock,
            time_limit=lambda seconds: nullcontext(),
        )
        self._follower: Follower | None = None

    @contextmanager
    def live(self, user_id: str, hold: Hold) -> Iterator[LiveAnswer]:
        live = LiveAnswer(hold)
        self._follower = Follower(self._runs, user_id, live)
        try:
            yield live
        except PlaygroundError:
            self._follower.forget()  # who is dead does not
            raise
        self._follower.forget()

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return self._model.count_tokens(prompt, timeout=timeout)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        completion = self._model.complete(prompt, timeout=timeout, progress=progress)
        assert self._follower is not None
        for _ in range(TICKS_PER_CHECKPOINT):
            self._follower.tick()
        return replace(completion, stop_reason=CANCELLED) if progress.stopping() else completion


def _undecided(outcome: object) -> bool:
    """Whether the worker does not know what became of a run: then the error does not name it."""
    return isinstance(outcome, StoreUnavailableError) and "run_id" not in outcome.facts


def _new_user(variants: int) -> str:
    """All of them in one shard, so that a sweep takes the same requests for each; and the account remembers the end of
    each variant, and of the runs that wait for a settlement, because they have slots of their own."""

    def fits(user_id: str) -> bool:
        runs = [run_id_of(user_id, KEY, index) for index in range(variants)]
        runs = runs or [run_id_of(user_id, key) for key in (KEY, ANOTHER, A_THIRD)]
        return shard_of(user_id) == SHARD and len({items.recent_slot(run_id)[0] for run_id in runs}) == len(runs)

    return next(user_id for _ in itertools.count() if fits(user_id := f"crash-{uuid4().hex}"))


# --- a scene ----------------------------------------------------------------------------------------------------------

Outcome = PaidAnswer | Compared | PlaygroundError | Account | Swept | Applied | Offer | None
"""The outcome of an act; None if its worker died."""


class Scene:
    """One user, one clock, and everything that is done for that user."""

    def __init__(self, stage: Stage, path: "Path") -> None:
        self.stage = stage
        self.path = path
        self.user_id = _new_user(path.variants)
        self.now = START
        self.session_ids: list[str] = []
        first = START.timestamp()
        self.stripe = StripeDouble(base=lambda: first, seed=zlib.crc32(self.user_id.encode()))
        self.event: Mapping[str, Any] = {}
        """What Stripe tells, and tells again until it is answered with 2xx."""
        self.asked = 0
        """How often the model was asked, by anybody."""
        path.prepare(self)

    def clock(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        self.now += by

    # what can be done

    def run(
        self,
        worker: Worker,
        request: RunRequest,
        key: str,
        *,
        seconds_left: float = SECONDS_LEFT,
        followed: "Followed | None" = None,
    ) -> PaidAnswer:
        run_prompt = self._run_prompt(worker, followed)
        return run_prompt(self.user_id, request, idempotency_key=key, seconds_left=seconds_left)

    def _run_prompt(self, worker: Worker, followed: "Followed | None" = None) -> RunPrompt:
        return RunPrompt(
            ledger=worker.ledger,
            lookup=worker.lookup,
            sessions=worker.sessions,
            catalog=worker.catalog,
            model=followed or worker.wire.model,
            live=followed.live if followed else not_followed,
            prices=EXAMPLE,
            clock=self.clock,
            new_id=self._new_id,
            max_open_runs=MAX_OPEN_RUNS,
            model_timeout_seconds=24.0,
        )

    def compare(self, worker: Worker, requests: Sequence[RunRequest], key: str) -> Compared:
        """One variant after the other: a wire is for one thread at a time."""
        compare_prompts = ComparePrompts(
            run_prompt=self._run_prompt(worker),
            ledger=worker.ledger,
            clock=self.clock,
            new_id=self._new_id,
            each=one_by_one,
        )
        return compare_prompts(self.user_id, requests, idempotency_key=key, seconds_left=SECONDS_LEFT)

    def _new_id(self, kind: str) -> str:
        new_id = id_maker(self.clock)(kind)
        if kind == "ses":
            self.session_ids.append(new_id)
        return new_id

    def sweep(self, worker: Worker, *, everybody: bool = False) -> Swept:
        """As the scheduled function does it."""
        failures: list[str] = []
        sweep_holds = SweepHolds(
            ledger=worker.ledger,
            leases=worker.leases if everybody else _OurShard(worker.leases),
            report_failure=lambda user_id, error: failures.append(f"{user_id}: {error.code}"),
        )
        swept = sweep_holds(now=self.now, limit=1000)
        if failures:
            raise StoreUnavailableError
        return swept

    def account(self, worker: Worker) -> Account:
        return worker.ledger.account(self.user_id, self.now)

    def give(self, worker: Worker, credits_: int, name: str) -> Account:
        def amend(account: Account) -> Change | None:
            after, entry = grant(
                account, credits_, type_=EntryType.BONUS, business_key=name, reason="For you", now=self.now
            )
            return after, (entry,)

        return worker.ledger.change(self.user_id, amend, business_key=name, now=self.now)

    def billing(self, worker: Worker) -> Billing:
        """What this user and Stripe do through a worker."""
        payments = stripe_in_process(self.stripe, wire=worker.wire)
        billing = Billing(worker.ledger, worker.records, self.stripe, payments, self.user_id)
        billing.at = self.now
        return billing

    @property
    def at_stripe(self) -> object:
        """How many objects of each kind Stripe has."""
        return tuple(sorted((kind, len(ids)) for kind, ids in self.stripe.account.world.kinds.items()))

    # who does it

    def act(
        self, worker: Worker, plan: Plan = nothing_fails, meanwhile: Meanwhile = nobody_else
    ) -> tuple[Life, Outcome]:
        """What the path is about, once."""
        return self.live(worker, lambda: self.path.act(self, worker), plan, meanwhile)

    def live(
        self,
        worker: Worker,
        what: Callable[[], Any],
        plan: Plan = nothing_fails,
        meanwhile: Meanwhile = nobody_else,
    ) -> tuple[Life, Outcome]:
        """A process that does `what`. Its model is asked once at most for each run, and only if that was held."""
        outcome: Outcome = None
        with worker.wire.life(plan, meanwhile) as life, suppress(Killed):
            try:
                outcome = what()
            except CorruptLedgerError as error:
                raise AssertionError(f"corrupt ledger: {error.what}") from error
            except PlaygroundError as error:
                outcome = error
        self.asked += life.count(ASKED)
        assert life.dead == (outcome is None)
        runs = max(self.path.variants, 1)
        allowed = min(life.count("hold"), 1) * runs + life.befell_the_model()  # a call that failed is made again
        assert life.count(ASKED) <= allowed, f"the model was asked {life.count(ASKED)} times for {allowed}"
        return life, outcome

    def first_act(self, plan: Plan = nothing_fails) -> tuple[Life, Outcome]:
        """The act that the scene is about: by the worker, in the middle of what else happens."""
        return self.act(self.stage.worker, plan, self.path.meanwhile(self))

    def by_other(self, what: Callable[[Worker], Any]) -> Outcome:
        """The other worker does `what`, without faults."""
        return self.live(self.stage.other, lambda: what(self.stage.other))[1]

    def insist(self) -> Outcome:
        """What a client does: the same again, until the outcome is final. While another attempt is at work, it waits
        for that attempt's lease to end."""
        for _ in range(6):
            _, outcome = self.act(self.stage.other)
            if isinstance(outcome, RunInProgressError):
                self.pass_leases()
            elif isinstance(outcome, Compared) and any(map(_undecided, outcome.outcomes)):
                continue
            elif not isinstance(outcome, StoreUnavailableError | PaymentsUnavailableError) or (
                not self.path.variants and self.books().receipt is not None
            ):
                return outcome
        raise AssertionError("the client never gets a final answer")

    def pass_leases(self) -> None:
        """Until every lease has just ended."""
        self.now = max([self.now, *(hold.lease_at for hold in self.books().holds)])

    def leave_dead(self, request: RunRequest, key: str) -> None:
        """A run whose worker died before it asked the model; its lease is over now."""
        life, _ = self.live(
            self.stage.other, lambda: self.run(self.stage.other, request, key), at_first(ASKED, Fault.KILLED_BEFORE)
        )
        assert life.dead
        self.pass_leases()

    # what came of it

    def books(self) -> Books:
        run_id = run_id_of(self.user_id, KEY)
        return self.stage.onlooker.books(self.user_id, run_id=run_id, session_ids=self.session_ids)

    def check_answer(self, outcome: Outcome, books: Books) -> None:
        """The client's answer agrees with the books."""
        run = books.receipt
        if not self.path.is_run:
            assert isinstance(outcome, self.path.result), f"{outcome!r} is no final outcome"
        self.path.check(self)
        if isinstance(outcome, Compared):
            for index, variant in enumerate(outcome.outcomes):
                receipt = books.receipts.get(run_id_of(self.user_id, KEY, index))
                if isinstance(variant, PaidAnswer) or (receipt is not None and not _undecided(variant)):
                    self._check_run(variant, receipt, books)
        if self.path.is_run:
            self._check_run(outcome, run, books)

    def _check_run(self, outcome: object, run: Run | None, books: Books) -> None:
        assert run is not None, f"no receipt, and the client got {outcome!r}"
        if isinstance(outcome, PaidAnswer):
            assert outcome.run == run, "the client was given another receipt"
            assert outcome.turn == books.turns.get((run.session_id, run.turn or 0)), "… or another answer"
            return
        assert isinstance(outcome, PlaygroundError)
        assert run.failure is not None, f"the run is paid, and the client got {outcome.code}"
        answered = outcome.code, outcome.facts.get("reason", run.failure.reason)
        assert answered == (run.failure.code, run.failure.reason), f"the client got {answered}"

    def forget(self) -> None:
        """Leave the next scene nothing to sweep."""
        self.stage.onlooker.forget(self.user_id)


# --- paths ------------------------------------------------------------------------------------------------------------

KEY = "the key"
ANOTHER, A_THIRD = "another", "a third"
ORDINARY = RunRequest(
    package_id="@crash/tidy", input="Go. [[claude: output_tokens=20 usage_factor=150]]", model="sonnet", max_tokens=7000
)  # holds 3 credits and costs 2
LONG = RunRequest(package_id="@crash/tidy", input=ORDINARY.input, model="sonnet", max_tokens=20_000)  # 8, if it could
THINKING = RunRequest(
    package_id="@crash/tidy", input="Go. [[claude: thinking_only]]", model="sonnet", max_tokens=4000
)  # costs us 4 cents
PAIR = (ORDINARY, replace(ORDINARY, use_no_prompt=True))
LONG_THOUGHT = "Go. [[claude: thinking=600 output_tokens=700]]"
ONE_FAILS = (
    replace(ORDINARY, input=LONG_THOUGHT),
    replace(ORDINARY, input=LONG_THOUGHT, max_tokens=512),
)  # the thought alone is longer than the second may be
CUSTOM = RunRequest(custom_prompt="You are a pirate. Answer in one line.", input="Go.", model="sonnet")
CUSTOM_PAIR = (ORDINARY, CUSTOM)
FAILING = RunRequest(package_id="@crash/tidy", input="Go. [[claude: empty]]", model="sonnet", max_tokens=7000)
UNTRUE = RunRequest(
    package_id="@crash/tidy", input="Go. [[claude: reported_input=20.5]]", model="sonnet", max_tokens=7000
)


def _nothing(_scene: Scene) -> None:
    return None


def _nobody(_scene: Scene) -> Meanwhile:
    return nobody_else


@dataclass(frozen=True, kw_only=True)
class Path:
    """`act` is what the worker does, and what a client repeats. `meanwhile` is what others do during the first time.
    `beside`: what the act has left that the books do not show; from each such state the recovery is played."""

    name: str
    act: Callable[[Scene, Worker], Outcome]
    prepare: Callable[[Scene], Any] = _nothing
    meanwhile: Callable[[Scene], Meanwhile] = _nobody
    check: Callable[[Scene], None] = _nothing
    beside: Callable[[Scene], Any] = _nothing
    is_run: bool = True
    result: type = field(default=PaidAnswer)
    variants: int = 0
    """Of a comparison: how many runs the key names."""

    @property
    def has_others(self) -> bool:
        """Whether anybody else does something during the first time."""
        return self.meanwhile is not _nobody


def _run(request: RunRequest) -> Callable[[Scene, Worker], Outcome]:
    return lambda scene, worker: scene.run(worker, request, KEY)


def _compare(*requests: RunRequest) -> Callable[[Scene, Worker], Outcome]:
    return lambda scene, worker: scene.compare(worker, requests, KEY)


def _same_key_compares(scene: Scene) -> None:
    _bonus(20)(scene)
    scene.by_other(lambda other: scene.compare(other, PAIR, KEY))


def _dead_comparison(scene: Scene) -> None:
    """Its worker died before it asked for the first variant, and its lease is over now."""
    _bonus(20)(scene)
    life, _ = scene.live(
        scene.stage.other,
        lambda: scene.compare(scene.stage.other, PAIR, KEY),
        at_first(ASKED, Fault.KILLED_BEFORE),
    )
    assert life.dead
    scene.pass_leases()


def _followed(request: RunRequest) -> Callable[[Scene, Worker], Outcome]:
    return lambda scene, worker: scene.run(worker, request, KEY, followed=Followed(worker, scene.clock))


def _ask_to_stop(scene: Scene) -> None:
    run_id = run_id_of(scene.user_id, KEY)

    def ask(other: Worker) -> Account:
        other.ledger.ask_to_stop(scene.user_id, run_id)  # in vain if the run was expired before
        return other.ledger.account(scene.user_id, scene.now)

    scene.by_other(ask)


def _ran_before_a_pause(scene: Scene) -> None:
    """The account has a stamp of its rate limit, which has passed."""
    scene.by_other(lambda other: scene.run(other, ORDINARY, "before the pause"))
    scene.move(timedelta(minutes=5))


def _counted_once(scene: Scene) -> None:
    """However often its key was sent, and whoever died: the run has moved the stamp once, from a time that has been."""
    account = scene.books().account
    assert account is not None
    assert account.runs_at is not None
    assert account.runs_at - EXAMPLE.run_limit(account).interval <= scene.now


def _readable_if_paid(scene: Scene) -> None:
    """A reader gets the text if it was paid for, and the failure otherwise, whatever checkpoints are left."""
    run, answers = scene.books().receipt, list[str | None]()
    assert run is not None

    def read(other: Worker) -> Account:
        follow = FollowRun(
            ledger=other.ledger,
            sessions=other.sessions,
            checkpoints=DynamoCheckpoints(other.store, SESSIONS_TABLE),
            clock=scene.clock,
            sleep=no_pause,
        )
        try:
            events = list(follow(scene.user_id, run.run_id, offset=0, seconds_left=3).events)
        except PlaygroundError:
            answers.append(None)
        else:
            answers.append("".join(event.text for event in events if isinstance(event, Delta)))
        return other.ledger.account(scene.user_id, scene.now)

    scene.by_other(read)
    turn = scene.books().turns.get((run.session_id, run.turn or 0))
    assert answers == [turn.answer if turn is not None and run.status is RunStatus.SETTLED else None]


def _cancelled(scene: Scene) -> None:
    _readable_if_paid(scene)
    run = scene.books().receipt
    assert run is not None
    assert run.measured is None or run.measured.stop_reason in (CANCELLED, "end_turn")
    assert run.charged <= run.ceiling


def _before(label: str, what: Callable[[Scene], Any]) -> Callable[[Scene], Meanwhile]:
    """`what` happens while the worker is about to send its first request of this label."""

    def meanwhile(scene: Scene) -> Meanwhile:
        pending = [what]

        def happen(step: Step) -> None:
            if pending and step.label == label:
                pending.pop()(scene)

        return happen

    return meanwhile


def _another_waits_dead(scene: Scene) -> None:
    """The worker of another run stored its outcome, because it was outrun, and died before it was its turn."""
    _bonus(20)(scene)
    settlements = itertools.count(1)

    def plan(step: Step) -> Fault | None:
        return Fault.KILLED_BEFORE if step.label == "settled" and next(settlements) == 2 else None

    outrun = _before("settled", lambda scene: scene.by_other(lambda other: scene.give(other, 1, "bonus#meanwhile")))
    life, _ = scene.live(
        scene.stage.worker, lambda: scene.run(scene.stage.worker, ORDINARY, ANOTHER), plan, outrun(scene)
    )
    assert life.dead
    assert life.count("outcome") == life.count("ticket") == 1
    scene.move(timedelta(seconds=1))


def _a_third_settles(scene: Scene) -> Meanwhile:
    """While ours waits, a third run settles all of them."""
    waits = settled = False

    def happen(step: Step) -> None:
        nonlocal waits, settled
        if step.label == "account" and waits and not settled:
            settled = True
            scene.by_other(lambda other: scene.run(other, ORDINARY, A_THIRD))
        waits = waits or step.label == "ticket"

    return happen


def _others_are_paid(scene: Scene) -> None:
    """Whoever settled it: the other run was paid once, or has expired, and has its answer if it was paid."""
    books = scene.books()
    for name in (ANOTHER, A_THIRD):
        run = books.receipts.get(run_id_of(scene.user_id, name))
        if run is not None and run.status is RunStatus.SETTLED:
            assert run.charged == 2
            assert (run.session_id, run.turn) in books.turns


def _account(scene: Scene) -> Outcome:
    return scene.by_other(scene.account)


def _plus(scene: Scene) -> Outcome:
    return scene.by_other(
        lambda other: other.ledger.change(
            scene.user_id,
            lambda account: start_plus(account, allowance=200, entitled_until=None, now=scene.now),
            business_key="plus",
            now=scene.now,
        )
    )


def _prompt_if_paid(scene: Scene) -> None:
    """The text is there with the turn that is paid, and not without one."""
    receipt = scene.books().receipt
    paid = receipt is not None and receipt.status is RunStatus.SETTLED
    with scene.stage.other.wire.life():
        texts = {scene.stage.other.sessions.prompt(session_id) for session_id in scene.session_ids} - {None}
    assert texts == ({CUSTOM.custom_prompt} if paid else set())


def _bonus(credits_: int) -> Callable[[Scene], Outcome]:
    return lambda scene: scene.by_other(lambda other: scene.give(other, credits_, "bonus#before"))


def _a_longer_lease(scene: Scene) -> None:
    """A run that has ended has left the account in the index, by a lease that is later than that of the run now."""
    _bonus(20)(scene)
    scene.by_other(lambda other: scene.run(other, ORDINARY, "longer", seconds_left=SECONDS_LEFT + 60))


def _in_month(number: int, by: timedelta) -> Callable[[Scene], None]:
    """With the plan, and `by` after boundary `number`."""

    def prepare(scene: Scene) -> None:
        _plus(scene)
        scene.now = boundary(START, number) + by

    return prepare


def _ran(request: RunRequest) -> Callable[[Scene], None]:
    def prepare(scene: Scene) -> None:
        scene.by_other(lambda other: scene.run(other, request, KEY))
        assert scene.books().receipt is not None

    return prepare


def _first_turn(scene: Scene) -> None:
    request = RunRequest(
        package_id="@crash/moved", package_version="1.0.0", input=ORDINARY.input, model="sonnet", max_tokens=7000
    )
    _bonus(20)(scene)
    scene.by_other(lambda other: scene.run(other, request, "the first turn"))
    assert scene.books().receipts


def _next_turn(scene: Scene, worker: Worker, key: str = KEY) -> PaidAnswer:
    request = RunRequest(
        package_id="@crash/moved", session_id=scene.session_ids[0], input="More.", model="sonnet", max_tokens=7000
    )
    return scene.run(worker, request, key)


def _month_passes(scene: Scene) -> None:
    scene.move(timedelta(seconds=20))
    account = _account(scene)
    assert isinstance(account, Account)
    assert account.period == 1


def _sweeper_comes(scene: Scene) -> None:
    scene.pass_leases()
    scene.by_other(scene.sweep)


def _same_key_runs(scene: Scene) -> None:
    scene.by_other(lambda other: scene.run(other, ORDINARY, KEY))


def _same_key_runs_and_is_forgotten(scene: Scene) -> None:
    """… because another run that ended since has its slot in the account's memory."""
    _same_key_runs(scene)
    slot = items.recent_slot(run_id_of(scene.user_id, KEY))[0]
    fillers = (f"filler {number}" for number in itertools.count())
    filler = next(key for key in fillers if items.recent_slot(run_id_of(scene.user_id, key))[0] == slot)
    scene.by_other(lambda other: scene.run(other, FAILING, filler))


def _bought(scene: Scene) -> None:
    """A pack that was paid for, and Stripe about to say so."""

    def buy(other: Worker) -> Offer:
        billing = scene.billing(other)
        offer = billing.buy("small", KEY)
        billing.pay(offer)
        return offer

    scene.by_other(buy)
    _expects(scene, "payment_intent.succeeded")


def _bought_spent_and_refunded(scene: Scene) -> None:
    """Six of the five credits that were not bought are spent, then Stripe gives all of the money back."""
    _bought(scene)
    scene.by_other(lambda other: scene.billing(other).send(scene.event))
    for number in range(3):
        scene.by_other(lambda other, number=number: scene.run(other, ORDINARY, f"run {number}"))
    scene.stripe.control("refund", payment_intent=scene.event["data"]["object"]["id"])
    _expects(scene, "charge.refunded")


def _bought_and_spent(scene: Scene) -> None:
    """99 credits are left of 105, and Stripe is asked for the money of 100: 4 will be owed while a run holds 3."""
    _bought(scene)
    scene.by_other(lambda other: scene.billing(other).send(scene.event))
    for number in range(3):
        scene.by_other(lambda other, number=number: scene.run(other, ORDINARY, f"run {number}"))


def _taken_back(control: str, kind: str) -> Callable[[Scene], None]:
    """The money goes back, or is disputed, and Stripe says so."""

    def happen(scene: Scene) -> None:
        [paid] = scene.stripe.events("payment_intent.succeeded")
        scene.stripe.control(control, payment_intent=paid["data"]["object"]["id"])
        [event] = scene.stripe.events(kind)
        scene.by_other(lambda other: scene.billing(other).send(event))
        account = scene.books().account
        assert account is not None
        assert (account.debt, account.available) == (1 + account.held, 0)

    return happen


_refunded = _taken_back("refund", "charge.refunded")
_disputed = _taken_back("dispute", "charge.dispute.created")


def _in_debt(scene: Scene) -> None:
    _bought_and_spent(scene)
    _refunded(scene)


def _dead_and_refunded(scene: Scene) -> None:
    _bought_and_spent(scene)
    scene.leave_dead(ORDINARY, KEY)
    _refunded(scene)


def _spend(scene: Scene, credits_: int) -> None:
    """One run that costs so much, at least 3."""
    model = EXAMPLE.models["sonnet"]
    usage = Usage(input_tokens=10_000 + 4_000 * (credits_ - 3), output_tokens=0)
    price = EXAMPLE.price(model, usage)
    assert price.credits == credits_
    hold = a_hold(f"run_{uuid4().hex}", credits_, scene.now)
    charge = charging(hold, credits_, scene.now)
    scene.session_ids.append(hold.session_id)

    def conclude(account: Account) -> tuple[Account, Run, Sequence[Entry]]:
        after, run, entries = charge(account)
        measured = Measured(usage=usage, price=price, stop_reason="end_turn", duration_ms=0)
        return after, replace(run, measured=measured), entries

    def spend(other: Worker) -> Account:
        placed = other.ledger.place_hold(scene.user_id, hold, limit=MAX_OPEN_RUNS, now=scene.now)
        assert isinstance(placed, Held)
        talk = conversation(scene.user_id, hold, scene.now)
        talk = replace(talk, session=replace(talk.session, credits=credits_))
        assert other.ledger.settle(placed.account, hold, conclude, talk).by_us
        account = other.ledger.account(scene.user_id, scene.now)
        assert other.ledger.correct_lease(account)  # so that no sweep looks for this hold
        return account

    assert isinstance(scene.by_other(spend), Account)


def _only_old_rollover(scene: Scene) -> None:
    """3 credits are left, which roll over a second time in 10 seconds: they expire, unless they are held."""
    _plus(scene)
    _spend(scene, 205)
    scene.now = boundary(START, 1)
    _spend(scene, 197)
    scene.now = boundary(START, 2)
    _spend(scene, 200)
    scene.now = boundary(START, 3) - timedelta(seconds=10)


def _rollover_lapses(scene: Scene) -> None:
    scene.move(timedelta(seconds=20))
    account = _account(scene)
    assert isinstance(account, Account)
    assert (account.period, account.lapsed) == (3, account.held)


def _dead_with_old_rollover(scene: Scene) -> None:
    _only_old_rollover(scene)
    scene.leave_dead(ORDINARY, KEY)


def _subscribed(scene: Scene) -> None:
    """PRPM+ was paid for, and Stripe is about to say so."""

    scene.by_other(lambda other: scene.billing(other).subscribe())
    _expects(scene, "invoice.paid")


def _month_refunded(*, paid_before: bool) -> Callable[[Scene], None]:
    """A month of PRPM+ that is refunded in part. `paid_before`: the event of its payment has arrived before, and
    some credits are spent."""

    def prepare(scene: Scene) -> None:
        _subscribed(scene)
        if paid_before:
            scene.by_other(lambda other: scene.billing(other).send(scene.event))
            scene.by_other(lambda other: scene.run(other, ORDINARY, "a run"))
        [invoice] = scene.stripe.account.world.all("invoice")
        scene.stripe.control("refund", payment_intent=invoice["_intent"], amount=1999)
        _expects(scene, "refund.created")

    return prepare


def _renewed_at_a_former_price(scene: Scene) -> None:
    """The second month is paid for, and the price table has another price by now."""
    _subscribed(scene)
    scene.by_other(lambda other: scene.billing(other).send(scene.event))
    scene.stripe.control("advance", days=31)
    scene.move(timedelta(days=31))
    scene.event = max(scene.stripe.events("invoice.paid"), key=lambda event: event["created"])


def _told_at_a_new_price(scene: Scene, worker: Worker) -> Applied:
    billing = scene.billing(worker)
    billing.sell(replace(billing.prices, plan=replace(billing.prices.plan, price_cents=2500)))
    return billing.send(scene.event)


def _paid_beside_a_plan(scene: Scene) -> None:
    """An operator has given PRPM+, and a subscription is paid for all the same."""
    scene.by_other(lambda other: scene.billing(other).subscriptions.subscribe(scene.user_id))
    _plus(scene)
    scene.by_other(lambda other: scene.billing(other).subscribe_now())
    _expects(scene, "invoice.paid")


def _subscribed_twice(scene: Scene) -> None:
    """A second subscription of the same customer is paid for."""
    _subscribed(scene)
    scene.by_other(lambda other: scene.billing(other).send(scene.event))
    scene.stripe.control("advance", days=5)
    [first] = scene.stripe.account.world.all("subscription")
    scene.by_other(lambda other: scene.billing(other).subscribe_at_stripe(like=first["id"]))
    scene.event = max(scene.stripe.events("invoice.paid"), key=lambda event: event["created"])


def _expects(scene: Scene, kind: str) -> None:
    [scene.event] = scene.stripe.events(kind)


def _deliver(scene: Scene, worker: Worker) -> Applied:
    return scene.billing(worker).send(scene.event)


def _failed_before(scene: Scene) -> None:
    scene.by_other(lambda other: scene.run(other, FAILING, "before"))


def _counted(scene: Scene, before: datetime | None) -> None:
    """Of the allowance, exactly what this run uses up was used."""
    books = scene.books()
    run, account = books.receipt, books.account
    assert run is not None
    assert account is not None
    allowance = EXAMPLE.allowance(account)
    ours = run.failure is not None and run.failure.code == "store_unavailable"
    expected = before
    failed_for_a_price = run.unpaid is not None and run.status is not RunStatus.SETTLED and not ours
    if run.status is RunStatus.EXPIRED or failed_for_a_price:
        expected = max(before or run.ended_at, run.ended_at) + allowance.interval
    assert account.failures_at == expected, f"{account.failures_at} after a run that ended at {run.ended_at}"
    if run.unpaid is not None and run.status is RunStatus.RELEASED:
        assert run.unpaid.cost_nano > 0


def _counted_once(scene: Scene) -> None:
    _counted(scene, None)


def _counted_after_others(scene: Scene) -> None:
    _counted(scene, START + EXAMPLE.allowance(Account(user_id="", created_at=START)).interval)


def _one_of_each(scene: Scene) -> None:
    """However often it was tried, Stripe has one customer and one payment."""
    assert [len(scene.stripe.account.world.all(kind)) for kind in ("customer", "payment_intent")] == [1, 1]


def _customer_gone(scene: Scene) -> None:
    """A user who bought before, and whose customer has been deleted in Stripe's dashboard since."""

    def buy_and_delete(other: Worker) -> Offer:
        billing = scene.billing(other)
        offer = billing.buy("small", "before")
        [customer] = scene.stripe.account.world.all("customer")
        billing.payments.client.v1.customers.delete(customer["id"])
        return offer

    scene.by_other(buy_and_delete)
    _expects(scene, "customer.deleted")


def _customer(scene: Scene) -> Customer:
    found: list[Customer | None] = []

    def look(other: Worker) -> Account:
        found.append(other.records.customer(scene.user_id, live=False))
        return scene.account(other)

    scene.by_other(look)
    assert found[0] is not None
    return found[0]


def _replaced_once(scene: Scene) -> None:
    """However often it was tried, Stripe has one new customer, and one payment of it."""
    world = scene.stripe.account.world
    [there] = [each for each in world.all("customer") if not each.get("deleted")]
    former, payment = world.all("payment_intent")
    assert payment["customer"] == there["id"] != former["customer"]
    customer = _customer(scene)
    assert (customer.customer_id, customer.former, customer.gone) == (there["id"], (former["customer"],), False)


def _noted_as_gone(scene: Scene) -> None:
    customer = _customer(scene)
    assert (customer.gone, customer.former) == (True, ())


ORDER = OperatorRequest(reference="ticket-1", reason="Because", operator="anna")


def _granted_and_spent(scene: Scene) -> None:
    """Of 15 credits, 10 by an operator, 9 are spent."""
    scene.by_other(lambda other: GrantBonus(other.ledger)(scene.user_id, 10, ORDER, now=scene.now).account)
    _spend(scene, 9)


def _paused(scene: Scene) -> None:
    account = scene.books().account
    assert account is not None
    assert account.paused_at == scene.now


def _receipts(scene: Scene) -> Sequence[Run]:
    """Of the user, in a time whose marks do not expire here."""
    return [replace(run, ended_at=run.ended_at + FAR) for run in scene.books().receipts.values()]


def _count_spend(scene: Scene, worker: Worker) -> Outcome:
    """As the stream does it: at least once."""
    spend, left = DynamoSpend(worker.store, SPEND_TABLE), _receipts(scene)
    while left:
        taken, _ = spend.count(left)
        left = left[taken:]
    return scene.account(worker)


def _spend_of_user(scene: Scene) -> tuple[Counters, bool]:
    """What is counted for the user, and whether the mark of the receipt is there."""
    [run] = _receipts(scene)
    store = scene.stage.other.store
    with scene.stage.other.wire.life():
        mark = store.get(counted_key(SPEND_TABLE, run.run_id))
        return DynamoSpend(store, SPEND_TABLE).all_of_user(scene.user_id), mark is not None


def _spend_counted_once(scene: Scene) -> None:
    [run] = _receipts(scene)
    assert _spend_of_user(scene) == (Counters.of(run), True)


PATHS: Sequence[Path] = (
    Path(name="run, new account", act=_run(ORDINARY)),
    Path(name="run", act=_run(ORDINARY), prepare=_account),
    Path(name="run, followed", act=_followed(ORDINARY), prepare=_account, check=_readable_if_paid),
    Path(name="run, followed, fails", act=_followed(FAILING), prepare=_account, check=_readable_if_paid),
    Path(
        name="run, stopped",
        act=_followed(ORDINARY),
        prepare=_account,
        meanwhile=_before("account", _ask_to_stop),
        check=_cancelled,
    ),
    Path(name="run, after a pause", act=_run(ORDINARY), prepare=_ran_before_a_pause, check=_counted_once),
    Path(name="run, max_tokens shrunk", act=_run(LONG), prepare=_account),
    Path(name="compare", act=_compare(*PAIR), prepare=_bonus(20), is_run=False, result=Compared, variants=2),
    Path(name="run, custom prompt", act=_run(CUSTOM), prepare=_plus, check=_prompt_if_paid),
    Path(
        name="compare, custom prompt",
        act=_compare(*CUSTOM_PAIR),
        prepare=_plus,
        is_run=False,
        result=Compared,
        variants=2,
    ),
    Path(name="compare, max_tokens shrunk", act=_compare(*PAIR), is_run=False, result=Compared, variants=2),
    Path(
        name="compare, one fails",
        act=_compare(*ONE_FAILS),
        prepare=_bonus(20),
        is_run=False,
        result=Compared,
        variants=2,
    ),
    Path(
        name="compare, its key is compared meanwhile",
        act=_compare(*PAIR),
        prepare=_account,
        meanwhile=_before("hold", _same_key_compares),
        is_run=False,
        result=Compared,
        variants=2,
    ),
    Path(
        name="compare, expired before one settles",
        act=_compare(*PAIR),
        prepare=_bonus(20),
        meanwhile=_before("settled", _sweeper_comes),
        is_run=False,
        result=Compared,
        variants=2,
    ),
    Path(
        name="compare, a dead attempt in its way",
        act=_compare(*PAIR),
        prepare=_dead_comparison,
        is_run=False,
        result=Compared,
        variants=2,
    ),
    Path(name="run over a boundary", act=_run(ORDINARY), prepare=_in_month(1, timedelta(days=1))),
    Path(name="run, the model fails", act=_run(FAILING), prepare=_account),
    Path(name="run, its usage cannot be true", act=_run(UNTRUE), prepare=_account),
    Path(name="replay of an answer", act=_run(ORDINARY), prepare=_ran(ORDINARY)),
    Path(name="replay of a failure", act=_run(FAILING), prepare=_ran(FAILING)),
    Path(name="run in a session", act=_next_turn, prepare=_first_turn),
    Path(
        name="run, the session moves on",
        act=_next_turn,
        prepare=_first_turn,
        meanwhile=_before("settled", lambda scene: scene.by_other(lambda other: _next_turn(scene, other, "faster"))),
    ),
    Path(
        name="run, a month passes",
        act=_run(ORDINARY),
        prepare=_in_month(1, -timedelta(seconds=10)),
        meanwhile=_before("settled", _month_passes),
    ),
    Path(name="run, only thinking", act=_run(THINKING), prepare=_account, check=_counted_once),
    Path(
        name="run, others failed before",
        act=_run(THINKING),
        prepare=_failed_before,
        check=_counted_after_others,
    ),
    Path(
        name="run, expired before it settles",
        act=_run(ORDINARY),
        prepare=_account,
        meanwhile=_before("settled", _sweeper_comes),
    ),
    Path(
        name="run, expired before it fails",
        act=_run(FAILING),
        prepare=_account,
        meanwhile=_before("released", _sweeper_comes),
    ),
    Path(name="run, settles another", act=_run(ORDINARY), prepare=_another_waits_dead, check=_others_are_paid),
    Path(
        name="run, settled by another",
        act=_run(ORDINARY),
        prepare=_another_waits_dead,
        meanwhile=_a_third_settles,
        check=_others_are_paid,
    ),
    Path(name="run, its key runs meanwhile", act=_run(ORDINARY), meanwhile=_before("hold", _same_key_runs)),
    Path(
        name="run, its key runs unnoticed",
        act=_run(ORDINARY),
        prepare=_bonus(20),
        meanwhile=_before("hold", _same_key_runs_and_is_forgotten),
    ),
    Path(name="expire on the spot", act=_run(ORDINARY), prepare=lambda scene: scene.leave_dead(ORDINARY, KEY)),
    Path(
        name="run, a dead hold in its way",
        act=_run(ORDINARY),
        prepare=lambda scene: scene.leave_dead(ORDINARY, "a dead one"),
    ),
    Path(name="run, its lease ends first", act=_run(ORDINARY), prepare=_a_longer_lease),
    Path(
        name="sweep",
        act=lambda scene, worker: scene.sweep(worker, everybody=True),
        prepare=lambda scene: scene.leave_dead(ORDINARY, KEY),
        is_run=False,
        result=Swept,
    ),
    Path(
        name="bonus",
        act=lambda scene, worker: scene.give(worker, 10, "bonus#1"),
        prepare=_account,
        is_run=False,
        result=Account,
    ),
    Path(
        name="operator takes more than there is",
        act=lambda scene, worker: TakeCredits(worker.ledger)(scene.user_id, 10, ORDER, now=scene.now).account,
        prepare=_account,
        is_run=False,
        result=Account,
    ),
    Path(
        name="operator undoes a grant that was spent",
        act=lambda scene, worker: UndoGrant(worker.ledger)(scene.user_id, ORDER, now=scene.now).account,
        prepare=_granted_and_spent,
        is_run=False,
        result=Account,
    ),
    Path(
        name="operator pauses",
        act=lambda scene, worker: PauseAccount(worker.ledger)(scene.user_id, ORDER, paused=True, now=scene.now).account,
        prepare=_account,
        check=_paused,
        is_run=False,
        result=Account,
    ),
    Path(
        name="receipt is counted",
        act=_count_spend,
        prepare=_ran(ORDINARY),
        check=_spend_counted_once,
        beside=_spend_of_user,
        is_run=False,
        result=Account,
    ),
    Path(
        name="plan starts, new account",
        act=lambda scene, worker: worker.ledger.change(
            scene.user_id,
            lambda account: start_plus(account, allowance=200, entitled_until=None, now=START),
            business_key="plus",
            now=scene.now,
        ),
        is_run=False,
        result=Account,
    ),
    Path(
        name="fourteen missed months",
        act=lambda scene, worker: scene.account(worker),
        prepare=_in_month(14, timedelta(days=1)),
        is_run=False,
        result=Account,
    ),
    Path(name="webhook, paid", act=_deliver, prepare=_bought, is_run=False, result=Applied),
    Path(
        name="webhook, refund after spending",
        act=_deliver,
        prepare=_bought_spent_and_refunded,
        is_run=False,
        result=Applied,
    ),
    Path(name="webhook, invoice", act=_deliver, prepare=_subscribed, is_run=False, result=Applied),
    Path(
        name="run, refunded before it settles",
        act=_run(ORDINARY),
        prepare=_bought_and_spent,
        meanwhile=_before("settled", _refunded),
    ),
    Path(
        name="run, disputed before it fails",
        act=_run(FAILING),
        prepare=_bought_and_spent,
        meanwhile=_before("released", _disputed),
    ),
    Path(
        name="sweep, in debt",
        act=lambda scene, worker: scene.sweep(worker, everybody=True),
        prepare=_dead_and_refunded,
        is_run=False,
        result=Swept,
    ),
    Path(
        name="bonus, in debt",
        act=lambda scene, worker: scene.give(worker, 10, "bonus#1"),
        prepare=_in_debt,
        is_run=False,
        result=Account,
    ),
    Path(
        name="run, its rollover lapses",
        act=_run(ORDINARY),
        prepare=_only_old_rollover,
        meanwhile=_before("settled", _rollover_lapses),
    ),
    Path(
        name="run, fails, its rollover lapses",
        act=_run(FAILING),
        prepare=_only_old_rollover,
        meanwhile=_before("released", _rollover_lapses),
    ),
    Path(
        name="sweep, rollover lapsed",
        act=lambda scene, worker: scene.sweep(worker, everybody=True),
        prepare=_dead_with_old_rollover,
        is_run=False,
        result=Swept,
    ),
    Path(
        name="webhook, month refunded after spending",
        act=_deliver,
        prepare=_month_refunded(paid_before=True),
        is_run=False,
        result=Applied,
    ),
    Path(
        name="webhook, refund before its invoice",
        act=_deliver,
        prepare=_month_refunded(paid_before=False),
        is_run=False,
        result=Applied,
    ),
    Path(
        name="webhook, invoice at a former price",
        act=_told_at_a_new_price,
        prepare=_renewed_at_a_former_price,
        is_run=False,
        result=Applied,
    ),
    Path(
        name="webhook, invoice beside an operator's plan",
        act=_deliver,
        prepare=_paid_beside_a_plan,
        is_run=False,
        result=Applied,
    ),
    Path(name="webhook, second subscription", act=_deliver, prepare=_subscribed_twice, is_run=False, result=Applied),
    Path(
        name="purchase",
        act=lambda scene, worker: scene.billing(worker).buy("small", KEY),
        check=_one_of_each,
        is_run=False,
        result=Offer,
    ),
    Path(
        name="purchase, the customer is gone",
        act=lambda scene, worker: scene.billing(worker).buy("small", KEY),
        prepare=_customer_gone,
        check=_replaced_once,
        is_run=False,
        result=Offer,
    ),
    Path(
        name="webhook, customer deleted",
        act=_deliver,
        prepare=_customer_gone,
        check=_noted_as_gone,
        is_run=False,
        result=Applied,
    ),
)
