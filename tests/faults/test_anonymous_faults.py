"""What becomes of the budget and of a visitor's run when a worker dies, or loses the store or the model, at any request
of an anonymous run: the day never counts less than what was billed, and nobody gets a second answer."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from botocore.awsrequest import AWSResponse

from doubles.claude.server import ClaudeDouble
from local.engine import Engine
from local.template import Description
from playground.adapters.claude import ClaudeModel, most_prompt_tokens
from playground.adapters.dynamo_anonymous import DynamoAnonymousBudget
from playground.adapters.dynamo_catalog import DynamoCatalog
from playground.adapters.dynamo_keys import budget_key, visitor_key
from playground.adapters.dynamo_store import Backoff
from playground.adapters.ids import id_maker
from playground.domain.anonymous import Reservation, VisitorKeys, day_of
from playground.domain.errors import AnonymousRunUsedError, PlaygroundError, StoreUnavailableError
from playground.domain.pricing import NANO
from playground.ports import Prompt
from playground.usecases.run_anonymously import MAX_ANSWER_TOKENS, AnonymousAnswer, RunAnonymously
from tests.kit.extent import HANG_SECONDS, examples
from tests.kit.intercept import Request, intercepted
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE
from tests.kit.transport import Fault, Killed, Life, Plan, Step, Wire, at, at_random, gone_from, nothing_fails
from tests.support import CATALOG_TABLE, VISITORS_TABLE, new_store

HAIKU = EXAMPLE.models["haiku"]
ASKED = "/v1/messages"
ADDRESS = "203.0.113.7"
KEYS = VisitorKeys("a secret of the tests, 32 bytes at least")
NAME = "@crash/anonymous"
TEXT = "Go. [[claude: output_tokens=20]]"
PACKAGE = a_package(NAME)
PROMPT = Prompt(model=HAIKU, system=PACKAGE.prompt, messages=(("user", TEXT),), max_tokens=MAX_ANSWER_TOKENS)
MOST = HAIKU.cost_nano(HAIKU.most_expensive(most_prompt_tokens(PROMPT), MAX_ANSWER_TOKENS))
RANDOM_DAYS = examples(60, minimum=20)
MAX_ATTEMPTS = 12

# To come: what has expired by then is removed by the engine at any moment.
_days = (datetime(2190, 1, 1, 12, tzinfo=UTC) + timedelta(days=number) for number in itertools.count())


class Worker:
    """One process, over one wire; and a store without faults to look at what it has left."""

    def __init__(self, engine: Engine, claude_url: str) -> None:
        self.store = new_store(engine, Backoff(sleep=lambda _: None, most_seconds=HANG_SECONDS))
        self.onlooker = new_store(engine)
        self._claude = ClaudeModel(api_key="test", base_url=claude_url, retries=0, sleep=lambda _: None)
        DynamoCatalog(self.onlooker, table_name=CATALOG_TABLE, bucket="none", s3=None).publish(PACKAGE)
        self.catalog = DynamoCatalog(self.store, table_name=CATALOG_TABLE, bucket="none", s3=None)
        self.wire = Wire(self.store.client, self._claude)

    def close(self) -> None:
        self.wire.close()
        self._claude.close()
        self.store.client.close()
        self.onlooker.client.close()

    def run(self, day: datetime, plan: Plan = nothing_fails) -> tuple[Life, AnonymousAnswer | PlaygroundError | None]:
        """A run under `plan`; None if the worker died of it."""
        run_anonymously = RunAnonymously(
            budget=DynamoAnonymousBudget(self.store, VISITORS_TABLE),
            catalog=self.catalog,
            model=self.wire.model,
            price=HAIKU,
            keys=KEYS,
            most_prompt_tokens=most_prompt_tokens,
            clock=lambda: day,
            new_id=id_maker(lambda: datetime.now(UTC)),
            is_on=True,
            budget_nano=NANO,
            model_timeout_seconds=15,
        )
        outcome: AnonymousAnswer | PlaygroundError | None = None
        with self.wire.life(plan) as life, suppress(Killed):
            try:
                outcome = run_anonymously(NAME, TEXT, address=ADDRESS, seconds_left=HANG_SECONDS)
            except PlaygroundError as error:
                outcome = error
        assert life.dead == (outcome is None)
        return life, outcome

    def used(self, day: datetime) -> int:
        item = self.onlooker.get(budget_key(VISITORS_TABLE, day_of(day)))
        return int(item["used_nano"]["N"]) if item is not None else 0

    def is_counted(self, day: datetime) -> bool:
        """Whether the visitor has had the run of the day."""
        name = day_of(day)
        return self.onlooker.get(visitor_key(VISITORS_TABLE, name, KEYS.visitor(ADDRESS, name))) is not None


@pytest.fixture(scope="module")
def worker(engine: Engine, description: Description, claude: ClaudeDouble) -> Iterator[Worker]:
    with closing(Worker(engine, claude.url)) as worker:
        yield worker


@dataclass(frozen=True, slots=True)
class Rehearsal:
    steps: Sequence[Step]
    cost: int


@pytest.fixture(scope="module")
def rehearsal(worker: Worker) -> Rehearsal:
    """The requests of a run without faults, and what it costs."""
    day = next(_days)
    life, outcome = worker.run(day)
    assert isinstance(outcome, AnonymousAnswer)
    return Rehearsal(tuple(life.steps), worker.used(day))


def check(worker: Worker, day: datetime, cost: int, asked: int, outcome: object) -> None:
    """What is true after any run of the day that nobody else has run on; `asked`: calls that the model has carried
    out."""
    used, counted = worker.used(day), worker.is_counted(day)
    assert asked <= 1, "one reservation, one call"
    assert used >= asked * cost, "something was billed and is not counted"
    assert used in (0, cost, MOST)
    assert counted == (used > 0)
    if isinstance(outcome, AnonymousAnswer):
        assert asked == 1
        assert counted


def test_a_run_is_four_requests(rehearsal: Rehearsal) -> None:
    assert [step.operation for step in rehearsal.steps] == [
        "GetItem",
        "TransactWriteItems",
        "POST",
        "TransactWriteItems",
    ]
    assert 0 < rehearsal.cost < MOST


def plans(number: int) -> Iterator[tuple[str, Plan]]:
    """Everything that may go wrong at one request."""
    for fault in Fault:
        yield fault.value, at(number, fault)
        yield f"{fault.value}, twice", at(number, fault, fault)
        if fault not in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
            yield f"{fault.value}, then killed", at(number, fault, Fault.KILLED_AFTER)
    yield "3 replies lost", at(number, Fault.LOST, Fault.LOST, Fault.LOST)
    yield "given up, arrives", at(number, Fault.LATE, Fault.UNREACHABLE, Fault.UNREACHABLE)
    yield "store gone", gone_from(number)
    lost, gone = at(number, Fault.LOST), gone_from(number + 1)
    yield "done, store gone", lambda step: lost(step) or gone(step)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_whatever_happens_at_a_request_what_was_billed_is_counted(
    worker: Worker, rehearsal: Rehearsal, number: int
) -> None:
    for name, plan in plans(number):
        day = next(_days)
        life, outcome = worker.run(day, plan)
        asked = life.count(ASKED)
        try:
            check(worker, day, rehearsal.cost, asked, outcome)
            counted = worker.is_counted(day)
            _, again = worker.run(day)
            assert isinstance(again, AnonymousRunUsedError if counted else AnonymousAnswer)
            assert worker.used(day) >= rehearsal.cost * (asked if counted else asked + 1)
        except AssertionError as error:
            raise AssertionError(f"{name} at {rehearsal.steps[number - 1]}: {error}") from error


def test_what_passes_is_not_noticed(worker: Worker, rehearsal: Rehearsal) -> None:
    """A conflict, a throttled write, a lost reply: the visitor gets the answer, at its cost."""
    passing = (Fault.CONFLICT, Fault.IN_PROGRESS, Fault.THROTTLED, Fault.OVER_CAPACITY, Fault.LOST, Fault.FORGOTTEN)
    for step in rehearsal.steps:
        for fault in passing:
            if step.operation != "POST" and fault.concerns(step):
                day = next(_days)
                _, outcome = worker.run(day, at(step.number, fault))
                assert isinstance(outcome, AnonymousAnswer), f"{fault} at {step}: {outcome!r}"
                assert worker.used(day) == rehearsal.cost, f"{fault} at {step}"


def test_faults_at_random_never_give_a_second_answer_nor_forget_a_bill(worker: Worker, rehearsal: Rehearsal) -> None:
    """A visitor who tries until there is an answer or a final refusal, while a third of all requests fail."""
    answered = 0
    for seed in range(RANDOM_DAYS):
        day, billed, answers = next(_days), 0, 0
        for attempt in range(MAX_ATTEMPTS):
            life, outcome = worker.run(day, at_random(seed * MAX_ATTEMPTS + attempt, 0.3))
            billed += life.count(ASKED)
            answers += isinstance(outcome, AnonymousAnswer)
            assert worker.used(day) >= billed * rehearsal.cost, f"seed {seed}, attempt {attempt}"
        assert answers <= 1, f"seed {seed}"
        assert billed <= 1, f"seed {seed}"
        answered += answers
    assert answered > RANDOM_DAYS // 2


def test_a_refusal_beside_a_conflict_is_not_taken_for_a_used_up_budget(worker: Worker) -> None:
    """The budget may be used up by this very reservation, whose reply was lost, while another request of the visitor
    has the visitor's item."""
    day = next(_days)
    attempts = itertools.count(1)

    def lost_then_in_conflict(request: Request) -> AWSResponse | None:
        if len(request.writes) != 2 or "Put" not in request.body["TransactItems"][0]:
            return None
        match next(attempts):
            case 1:
                request.without_token().send()
                raise request.hung_up()
            case 2:
                reasons = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed"}]
                return request.error(400, "TransactionCanceledException", CancellationReasons=reasons)
        return None

    budget = DynamoAnonymousBudget(worker.onlooker, VISITORS_TABLE)
    reservation = Reservation(day=day_of(day), visitor="a", nonce="try_1", nano=MOST, cleanup_at=day)
    with (
        intercepted(worker.onlooker.client, lost_then_in_conflict, "TransactWriteItems"),
        pytest.raises(StoreUnavailableError),
    ):
        budget.reserve(reservation, budget_nano=MOST)
    assert worker.used(day) == MOST
    budget.give_back(reservation)
    assert worker.used(day) == 0
