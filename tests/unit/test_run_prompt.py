"""RunPrompt, every way it can end, over the fakes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from playground.domain.account import (
    LEASE_MARGIN,
    Account,
    Change,
    Hold,
    grant,
    note_payment,
    start_plus,
    take_back,
)
from playground.domain.allowance import NOTHING_USED, AllowanceUse
from playground.domain.calendar import iso
from playground.domain.entries import EntryType
from playground.domain.errors import (
    ContextTooLongError,
    FreeRunsPausedError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    ModelError,
    ModelOverloadedError,
    ModelTimedOutError,
    PackageNotFoundError,
    PlaygroundError,
    RunInProgressError,
    RunsPausedError,
    SessionConflictError,
    SessionNotFoundError,
    StoreUnavailableError,
    TooManyFailuresError,
    TooManyRunsError,
    UnsupportedParameterError,
)
from playground.domain.packages import package_uuid
from playground.domain.pricing import PriceTable, Spent, Tiers, Usage
from playground.domain.rates import RateLimit
from playground.domain.runs import Run, RunRequest, RunStatus, UnpaidCost, run_id_of
from playground.domain.sessions import Turn
from playground.ports import (
    CannotAfford,
    Completion,
    Conclude,
    Conversation,
    Ended,
    Found,
    HoldOutcome,
    Lookup,
    Prompt,
    TokenCount,
)
from playground.usecases.expire_holds import ExpireHolds
from playground.usecases.place_hold import MAX_TRIES
from playground.usecases.run_prompt import INTERNAL, PaidAnswer, RunPrompt, RunTimes
from playground.usecases.watch_holds import MAX_WATCHED, HoldWatch
from tests.fakes import (
    CountingNewId,
    FrozenClock,
    InMemoryCatalog,
    InMemoryLedger,
    InMemoryLookup,
    ScriptedModel,
    a_hold,
    charging,
    conversation,
    receipt,
)
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE
from tests.support import all_entries, check_invariants

T = TypeVar("T")

USER = "user_1"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
YEARS = timedelta(days=4000)
WIDE = replace(EXAMPLE, context_budget_tokens={"free": 1_000_000, "plus": 1_000_000})

TIDY = a_package()
TIDY_2 = replace(TIDY, version="2.0.0", prompt="Tidy up better.")
OTHER = replace(TIDY, package_id=package_uuid("@acme/other") or "", name="@acme/other", prompt="Something else.")

REQUEST = RunRequest(package_id="@acme/tidy", input="My  desk\nplease", model="sonnet")
ANSWER = Completion(
    text="Done.", usage=Usage(input_tokens=60, output_tokens=40), stop_reason="end_turn", model_id="claude-sonnet-5-5"
)


def reply_done(prompt: Prompt) -> Completion:
    return ANSWER


@dataclass
class World:
    """A worker and everything around it. The model answers "Done." for 1 credit, if nothing else is said."""

    reply: Callable[[Prompt], Completion | Exception] = reply_done
    count: Callable[[Prompt], int | TokenCount] = lambda prompt: 100
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    max_open_runs: int = 20
    clock: FrozenClock = field(default_factory=lambda: FrozenClock(NOW))
    catalog: InMemoryCatalog = field(default_factory=lambda: InMemoryCatalog(TIDY, TIDY_2, OTHER))
    reported: list[Run] = field(default_factory=list)
    times: list[RunTimes] = field(default_factory=list)
    ids: CountingNewId = field(default_factory=CountingNewId)
    prices: PriceTable = EXAMPLE

    def __post_init__(self) -> None:
        self.model = ScriptedModel(lambda prompt: self.reply(prompt), count=lambda prompt: self.count(prompt))
        self.lookup = InMemoryLookup(self.ledger, self.catalog)

    def worker(self, lookup: Lookup | None = None, watch: HoldWatch | None = None) -> RunPrompt:
        return RunPrompt(
            ledger=self.ledger,
            lookup=lookup or self.lookup,
            sessions=self.ledger.sessions,
            catalog=self.catalog,
            model=self.model,
            prices=self.prices,
            clock=self.clock,
            new_id=self.ids,
            max_open_runs=self.max_open_runs,
            model_timeout_seconds=24,
            report=self.reported.append,
            report_times=self.times.append,
            monotonic=lambda: (self.clock() - NOW).total_seconds(),
            watch=watch,
        )

    def run(
        self, request: RunRequest = REQUEST, *, key: str | None = None, user: str = USER, seconds_left: float = 29
    ) -> PaidAnswer:
        return self.worker()(user, request, idempotency_key=key, seconds_left=seconds_left)

    def give(self, credits_: int, user: str = USER) -> None:
        def amend(account: Account) -> Change | None:
            after, entry = grant(account, credits_, type_=EntryType.BONUS, business_key="b", reason="", now=NOW)
            return after, (entry,)

        self.ledger.change(user, amend, business_key="b", now=self.clock.now)

    def hold(self, hold: Hold) -> None:
        self.ledger.place_hold(USER, hold, limit=100, now=self.clock.now)

    def account(self, user: str = USER) -> Account:
        """The account, which adds up."""
        account = self.ledger.account(user, self.clock.now)
        check_invariants(account, all_entries(self.ledger, user))
        return account

    def receipt(self, key: str = "k") -> Run:
        run = self.ledger.run(USER, run_id_of(USER, key))
        assert run is not None
        return run

    def untouched(self) -> bool:
        """Nothing is held or charged, and no model was asked."""
        account = self.account()
        reported = [run for run in self.reported if run.status is not RunStatus.EXPIRED]
        return (account.balance, account.held, self.model.prompts, reported) == (5, 0, [], [])


# --- it works ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_paid_for_and_stored() -> None:
    world = World()

    def takes_time(prompt: Prompt) -> Completion:
        world.clock.move(timedelta(seconds=1.5))
        return ANSWER

    world.reply = takes_time

    answer = world.run(key="k")

    run = answer.run
    entry = all_entries(world.ledger, USER)[-1]
    assert not answer.replayed
    assert run == world.receipt() == world.reported[0]
    assert len(world.reported) == 1
    assert (run.status, run.charged, run.overrun, run.balance_after, run.turn) == (RunStatus.SETTLED, 1, 0, 4, 1)
    assert (run.ceiling, run.prompt_tokens, run.max_tokens, run.wanted_max_tokens) == (2, 100, 4096, 4096)
    assert (run.package, run.package_version, run.model, run.model_id) == (
        "@acme/tidy",
        "2.0.0",
        "sonnet",
        "claude-sonnet-5-5",
    )
    assert (run.price_version, run.request_hash, run.failure) == (EXAMPLE.version, REQUEST.hash, None)
    assert (run.entry_seq, run.entry_hash, run.deltas) == (entry.seq, entry.hash, entry.deltas)
    assert (run.started_at, run.ended_at) == (NOW, NOW + timedelta(seconds=1.5))
    assert run.measured is not None
    assert (run.measured.usage, run.measured.stop_reason, run.measured.duration_ms) == (ANSWER.usage, "end_turn", 1500)
    assert run.measured.price == EXAMPLE.price(EXAMPLE.models["sonnet"], ANSWER.usage)
    assert (entry.amount, entry.run_id, entry.session_id) == (-1, run.run_id, run.session_id)
    assert (world.account().balance, world.account().held) == (4, 0)


def test_times_of_an_answer_are_reported_without_the_models_own() -> None:
    world = World()

    def counting(prompt: Prompt) -> int:
        world.clock.move(timedelta(milliseconds=250))
        return 100

    def answering(prompt: Prompt) -> Completion:
        world.clock.move(timedelta(seconds=2))
        return ANSWER

    world.count, world.reply = counting, answering
    world.run(key="k")
    world.run(key="k")  # a repeat is no run

    world.reply = lambda prompt: ModelError("empty")
    with pytest.raises(ModelError):
        world.run()
    assert world.times == [RunTimes(added_ms=250, first_text_ms=2250)]


def test_the_turn_and_the_session_are_what_was_asked_and_answered() -> None:
    world = World()

    answer = world.run()

    session = world.ledger.sessions.summaries[answer.run.session_id]
    assert world.ledger.sessions.turns(session.session_id) == [answer.turn]
    assert answer.turn == Turn(
        number=1,
        run_id=answer.run.run_id,
        input="My  desk\nplease",
        answer="Done.",
        input_tokens=60,
        output_tokens=40,
        asked_at=NOW,
        answered_at=NOW,
        credits=1,
        stop_reason="end_turn",
    )
    assert (session.user_id, session.package_id, session.package, session.package_version) == (
        USER,
        TIDY.package_id,
        "@acme/tidy",
        "2.0.0",
    )
    assert (session.title, session.model, session.use_no_prompt) == ("My desk please", "sonnet", False)
    assert (session.turns, session.credits, session.tokens, session.duration_ms) == (1, 1, 100, 0)
    assert (session.created_at, session.updated_at) == (NOW, NOW)


def test_while_all_runs_are_paused_nothing_is_held_and_outcomes_are_read() -> None:
    world = World()
    first = world.run(key="k")
    world.lookup.runs_paused = True

    with pytest.raises(RunsPausedError) as refused:
        world.run()
    assert refused.value.facts == {"retry_after": 60}
    assert (len(world.model.prompts), len(world.model.counted)) == (1, 1)
    assert world.run(key="k").turn == first.turn


def test_a_repeat_gets_its_outcome_whatever_the_price_table_has_become() -> None:
    """The model has lost an effort since, which only new runs are refused for."""
    world = World()
    request = replace(REQUEST, effort="low")
    first = world.run(request, key="k")
    sonnet = replace(EXAMPLE.models["sonnet"], efforts=("high",))
    world.prices = replace(EXAMPLE, models={**EXAMPLE.models, "sonnet": sonnet})

    with pytest.raises(UnsupportedParameterError):
        world.run(request, key="another")
    again = world.run(request, key="k")

    assert (again.replayed, again.turn, again.run) == (True, first.turn, first.run)


def test_the_guard_pauses_runs_for_signup_credits_only() -> None:
    """Outcomes can be read, and whoever holds credits that somebody paid for goes on."""
    world = World()
    first = world.run(key="k")
    world.lookup.free_runs_paused_until = NOW + timedelta(minutes=10)

    with pytest.raises(FreeRunsPausedError) as refused:
        world.run()
    assert refused.value.facts == {"retry_after": 600}
    assert (len(world.model.prompts), len(world.model.counted)) == (1, 1)
    assert not world.ledger.account(USER, NOW).holds
    assert world.run(key="k").turn == first.turn

    world.lookup.free_runs_paused_until = NOW  # it is over
    assert world.run().run.charged == 1
    world.lookup.free_runs_paused_until = NOW + timedelta(minutes=10)
    world.ledger.change(USER, lambda account: (note_payment(account), ()), business_key="pay", now=NOW)
    assert world.run().run.charged == 1


def test_the_guard_does_not_pause_a_plan() -> None:
    world = World()
    world.lookup.free_runs_paused_until = NOW + timedelta(days=1)
    world.ledger.change(
        USER,
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=NOW),
        business_key="plan",
        now=NOW,
    )
    assert world.run().run.charged == 1


def test_a_session_does_not_go_on_with_a_version_that_was_withdrawn() -> None:
    """It stays readable. A new run takes the newest version that is left."""
    world = World()
    first = world.run()
    world.catalog.withdrawn.add((TIDY.package_id, "2.0.0"))

    with pytest.raises(PackageNotFoundError):
        world.run(replace(REQUEST, session_id=first.run.session_id))
    with pytest.raises(PackageNotFoundError):
        world.run(replace(REQUEST, package_version="2.0.0"))
    assert world.run().run.package_version == "1.0.0"
    assert world.ledger.sessions.turns(first.run.session_id) == [first.turn]


def test_a_title_is_short() -> None:
    world = World()

    answer = world.run(replace(REQUEST, input="x" * 10_000))

    assert world.ledger.sessions.summaries[answer.run.session_id].title == "x" * 79 + "…"


def test_the_model_is_asked_what_was_requested() -> None:
    world = World()
    world.give(1000)

    world.run(replace(REQUEST, model="opus", max_tokens=700, effort="low"))

    (prompt,) = world.model.prompts
    assert prompt == Prompt(
        model=EXAMPLE.models["opus"],
        system="Tidy up better.",
        messages=(("user", "My  desk\nplease"),),
        max_tokens=700,
        effort="low",
    )
    assert world.model.counted == [prompt]


def test_the_prompt_of_the_package_can_be_left_out() -> None:
    world = World()

    answer = world.run(replace(REQUEST, use_no_prompt=True))

    assert world.model.prompts[0].system is None
    assert world.ledger.sessions.summaries[answer.run.session_id].use_no_prompt


def test_a_version_can_be_pinned() -> None:
    world = World()

    answer = world.run(replace(REQUEST, package_version="1.0.0"))

    assert world.model.prompts[0].system == "Tidy up."
    assert answer.run.package_version == "1.0.0"


def test_the_model_is_asked_only_while_its_most_expensive_answer_is_held() -> None:
    world = World()

    def checks(prompt: Prompt) -> Completion:
        account = world.account()
        (hold,) = account.holds.values()
        assert hold.ceiling == account.held == EXAMPLE.ceiling(prompt.model, 100, prompt.max_tokens)
        assert hold.request_hash == REQUEST.hash
        assert hold.lease_at == NOW + timedelta(seconds=29) + LEASE_MARGIN
        assert (hold.placed_at, hold.model, account.balance) == (NOW, "sonnet", 5)
        return ANSWER

    world.reply = checks

    world.run()

    assert len(world.model.prompts) == 1


def test_each_request_without_a_key_is_an_attempt_of_its_own() -> None:
    world = World()

    runs = {world.run().run.run_id for _ in range(3)}

    assert len(runs) == 3
    assert world.account().balance == 2


def test_a_refusal_with_text_is_an_answer() -> None:
    world = World(reply=lambda prompt: replace(ANSWER, text="I would rather not.", stop_reason="refusal"))

    answer = world.run()

    assert (answer.run.charged, answer.turn.answer) == (1, "I would rather not.")
    assert answer.run.measured is not None
    assert answer.run.measured.stop_reason == "refusal"


def test_every_class_of_tokens_counts() -> None:
    usage = Usage(input_tokens=1000, output_tokens=2000, cache_write_tokens=1500, cache_read_tokens=1600)
    world = World(reply=lambda prompt: replace(ANSWER, usage=usage), count=lambda prompt: 5000)

    answer = world.run()

    assert answer.run.charged == 3  # 6,100 tokens
    assert (answer.turn.input_tokens, answer.turn.output_tokens) == (4100, 2000)
    assert world.ledger.sessions.summaries[answer.run.session_id].tokens == 6100


# --- refused before anything is held ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"package_id": "@acme/none"}, PackageNotFoundError),
        ({"package_id": "nonsense"}, PackageNotFoundError),
        ({"package_version": "9.9.9"}, PackageNotFoundError),
        ({"session_id": "ses_none"}, SessionNotFoundError),
        ({"temperature": 0.5}, UnsupportedParameterError),
        ({"effort": "frantic"}, UnsupportedParameterError),
        ({"max_tokens": 128_001}, UnsupportedParameterError),
    ],
)
def test_what_cannot_be_run_holds_nothing_and_is_not_remembered(
    changes: dict[str, object], error: type[PlaygroundError]
) -> None:
    world = World()

    with pytest.raises(error):
        world.run(replace(REQUEST, **changes), key="k")  # type: ignore[arg-type]

    assert world.untouched()
    assert world.run(key="k").run.charged == 1


def test_what_does_not_fit_the_model_is_refused() -> None:
    world = World(count=lambda prompt: 999_600, prices=WIDE)
    world.give(10_000)

    with pytest.raises(ContextTooLongError) as caught:
        world.run()

    assert caught.value.facts == {"tokens": 999_600, "limit": 1_000_000}
    assert not world.model.prompts


def test_what_hardly_fits_the_model_gets_what_is_left() -> None:
    world = World(count=lambda prompt: 999_300, prices=WIDE)
    world.give(10_000)

    assert world.run().run.max_tokens == 700


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_with_all_that_was_said() -> None:
    world = World()
    answers = iter(range(1, 4))
    world.reply = lambda prompt: replace(ANSWER, text=f"answer {next(answers)}")
    session_id = world.run(replace(REQUEST, input="question 1")).run.session_id
    for number in (2, 3):
        world.clock.move(timedelta(minutes=1))
        answer = world.run(replace(REQUEST, input=f"question {number}", session_id=session_id, package_version=None))

    assert world.model.prompts[-1].messages == (
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "question 2"),
        ("assistant", "answer 2"),
        ("user", "question 3"),
    )
    assert (answer.run.turn, answer.turn.number, answer.run.session_id) == (3, 3, session_id)
    session = world.ledger.sessions.summaries[session_id]
    assert (session.turns, session.credits, session.tokens, session.duration_ms) == (3, 3, 300, 0)
    assert (session.title, session.created_at, session.updated_at) == (
        "question 1",
        NOW,
        NOW + timedelta(minutes=2),
    )
    assert [turn.answer for turn in world.ledger.sessions.turns(session_id)] == ["answer 1", "answer 2", "answer 3"]
    assert world.account().balance == 2


def test_a_conversation_stays_with_its_version() -> None:
    world = World(catalog=InMemoryCatalog(TIDY))
    session_id = world.run().run.session_id
    world.catalog.publish(TIDY_2)

    answers = [
        world.run(replace(REQUEST, session_id=session_id)),
        world.run(replace(REQUEST, session_id=session_id, package_version="1.0.0")),
    ]

    assert [answer.run.package_version for answer in answers] == ["1.0.0", "1.0.0"]
    assert {prompt.system for prompt in world.model.prompts} == {"Tidy up."}


@pytest.mark.parametrize(
    "changes",
    [{"package_id": "@acme/other"}, {"package_version": "1.0.0"}, {"use_no_prompt": True}],
    ids=["package", "version", "prompt"],
)
def test_a_conversation_is_not_continued_with_something_else(changes: dict[str, object]) -> None:
    world = World()
    session_id = world.run().run.session_id

    with pytest.raises(SessionConflictError):
        world.run(replace(REQUEST, session_id=session_id, **changes))  # type: ignore[arg-type]

    assert (len(world.model.prompts), world.account().balance, world.account().held) == (1, 4, 0)


def test_another_users_conversation_looks_like_none() -> None:
    world = World()
    session_id = world.run().run.session_id

    with pytest.raises(SessionNotFoundError):
        world.run(replace(REQUEST, session_id=session_id), user="user_2")

    assert len(world.model.prompts) == 1
    assert world.ledger.sessions.summaries[session_id].turns == 1


def test_of_two_answers_to_one_turn_the_second_is_not_charged() -> None:
    """And whoever repeats the request is told the same."""
    world = World()
    session_id = world.run().run.session_id
    request = replace(REQUEST, session_id=session_id)

    def overtaken(prompt: Prompt) -> Completion:
        world.reply = reply_done
        world.run(request, key="faster")
        return ANSWER

    world.reply = overtaken

    for _ in range(2):
        with pytest.raises(SessionConflictError):
            world.run(request, key="slower")

    assert (world.receipt("slower").status, world.receipt("slower").charged) == (RunStatus.RELEASED, 0)
    assert (len(world.model.prompts), world.account().balance, world.account().held) == (3, 3, 0)
    assert world.ledger.sessions.summaries[session_id].turns == 2
    assert [run.status for run in world.reported] == [RunStatus.SETTLED, RunStatus.SETTLED, RunStatus.RELEASED]


# --- what can be afforded ---------------------------------------------------------------------------------------------


def test_who_cannot_afford_the_longest_answer_gets_the_longest_that_they_can() -> None:
    """Opus: up to 2,500 tokens are 3 credits, more are 6. With 100 in the prompt, 2,400 are left for an answer."""
    world = World()

    answer = world.run(replace(REQUEST, model="opus"))

    assert world.model.prompts[0].max_tokens == 2400
    assert (answer.run.max_tokens, answer.run.wanted_max_tokens, answer.run.ceiling) == (2400, 4096, 3)
    opus = EXAMPLE.models["opus"]
    assert (EXAMPLE.ceiling(opus, 100, 2400), EXAMPLE.ceiling(opus, 100, 2401)) == (3, 6)


def test_a_number_that_was_asked_for_is_shrunk_as_well() -> None:
    world = World()

    answer = world.run(replace(REQUEST, model="opus", max_tokens=3000))

    assert (answer.run.max_tokens, answer.run.wanted_max_tokens) == (2400, 3000)


def test_what_is_held_elsewhere_cannot_be_afforded() -> None:
    """One credit is left: 2,500 tokens in all."""
    world = World()
    world.hold(a_hold("run_other", 4, NOW))

    answer = world.run()

    assert (answer.run.max_tokens, answer.run.ceiling, answer.run.charged) == (2400, 1, 1)
    assert world.account().held == 4


def test_the_refusal_says_what_the_account_owes() -> None:
    world = World()

    def taken(account: Account) -> Change:
        return take_back(account, 25, type_=EntryType.ADMIN, business_key="take:t-1", reason="Correction", now=NOW)

    world.ledger.change(USER, taken, business_key="take:t-1", now=NOW)
    with pytest.raises(InsufficientCreditsError) as refused:
        world.run()

    assert (refused.value.facts["available_credits"], refused.value.facts["debt"]) == (0, 20)


@pytest.mark.parametrize(("tokens", "max_tokens"), [(1988, 512), (1987, 513)])
def test_an_answer_is_not_shrunk_below_512_tokens(tokens: int, max_tokens: int) -> None:
    world = World(count=lambda prompt: tokens)
    world.hold(a_hold("run_other", 4, NOW))

    assert world.run().run.max_tokens == max_tokens

    world = World(count=lambda prompt: 1989)
    world.hold(a_hold("run_other", 4, NOW))
    with pytest.raises(InsufficientCreditsError):
        world.run()
    assert not world.model.prompts


def test_a_shorter_answer_can_be_asked_for_and_is_not_shrunk() -> None:
    world = World(count=lambda prompt: 2400)
    world.hold(a_hold("run_other", 4, NOW))

    answer = world.run(replace(REQUEST, max_tokens=100))
    assert (answer.run.max_tokens, answer.run.wanted_max_tokens, answer.run.ceiling) == (100, 100, 1)

    world = World(count=lambda prompt: 2401)
    world.hold(a_hold("run_other", 4, NOW))
    with pytest.raises(InsufficientCreditsError) as caught:
        world.run(replace(REQUEST, max_tokens=100))
    assert caught.value.facts["required_credits"] == 2


def test_too_few_credits_for_the_shortest_answer_are_refused_with_its_price() -> None:
    """20,000 and 512 tokens are in the tier of 6 credits; there are 5. Nothing is remembered of it."""
    world = World(count=lambda prompt: 20_000)

    with pytest.raises(InsufficientCreditsError) as caught:
        world.run(key="k")

    assert caught.value.facts == {"required_credits": 6, "available_credits": 5, "debt": 0, "reset_at": None}
    assert world.untouched()
    world.count = lambda prompt: 100
    assert world.run(key="k").run.charged == 1


def test_a_refusal_on_a_plan_names_the_next_reset() -> None:
    world = World(count=lambda prompt: 950_000, prices=WIDE)
    world.ledger.change(
        USER,
        lambda account: start_plus(account, allowance=200, entitled_until=None, now=NOW),
        business_key="plus",
        now=NOW,
    )

    with pytest.raises(InsufficientCreditsError) as caught:
        world.run()

    assert caught.value.facts["reset_at"] == "2026-12-01T12:00:00.000Z"
    assert caught.value.facts["available_credits"] == 205


def test_credits_that_come_free_meanwhile_are_used() -> None:
    """The first refusal is for what was held then; the next try asks for what can be afforded now."""

    class Busy(InMemoryLedger):
        def place_hold(self, user_id: str, *holds: Hold, now: datetime, **limits: Any) -> HoldOutcome:
            outcome = super().place_hold(user_id, *holds, now=now, **limits)
            if isinstance(outcome, CannotAfford):
                self.cancel_hold(user_id, others.pop(), now=now) if others else None
            return outcome

    world = World(ledger=Busy())
    others = [a_hold("run_2", 1, NOW), a_hold("run_1", 3, NOW)]
    for other in others:
        world.hold(other)
    others.pop(0)

    answer = world.run(replace(REQUEST, max_tokens=6000))

    assert answer.run.ceiling == 1  # what was left at the first refusal
    assert answer.run.max_tokens == 2400


def test_a_hold_that_never_succeeds_ends_as_store_unavailable() -> None:
    tries: list[int] = []

    class Fickle(InMemoryLedger):
        def place_hold(self, user_id: str, *holds: Hold, now: datetime, **limits: Any) -> HoldOutcome:
            tries.append(holds[0].ceiling)
            return CannotAfford(self.account(user_id, now))

    world = World(ledger=Fickle())

    with pytest.raises(StoreUnavailableError):
        world.run()

    assert len(tries) == MAX_TRIES
    assert world.untouched()


# --- the same attempt again -------------------------------------------------------------------------------------------


def test_the_same_attempt_gets_the_same_answer_for_ever() -> None:
    world = World()
    first = world.run(key="k")
    world.give(100)
    world.clock.move(YEARS)

    again = world.run(key="k")

    assert again == replace(first, replayed=True)
    assert len(world.model.prompts) == len(world.reported) == 1
    assert world.account().balance == 104


def test_a_key_belongs_to_its_user() -> None:
    world = World()

    assert world.run(key="k").run.run_id != world.run(key="k", user="user_2").run.run_id
    assert len(world.model.prompts) == 2


@pytest.mark.parametrize("outcome", [ANSWER, ModelError("provider_error")], ids=["answer", "failure"])
def test_a_run_has_one_price_table_when_prices_change_while_the_model_is_at_work(
    outcome: Completion | ModelError,
) -> None:
    """Hold, charge and receipt are by the table of the worker that placed the hold; a repeat later reads them."""
    later = replace(EXAMPLE, version="2099-01-01", tiers=Tiers(steps=((50, 1), (4_000, 2)), further_tokens=50))
    world = World()
    world.give(500)

    def deploy(prompt: Prompt) -> Completion | Exception:
        world.prices = later
        with pytest.raises(RunInProgressError):
            world.run(key="k")
        return outcome

    world.reply = deploy
    for _ in range(2):  # the second is a repeat
        with nullcontext() if outcome is ANSWER else pytest.raises(ModelError):
            world.run(key="k")
    world.reply = reply_done
    world.run(key="later")

    before, after = world.receipt("k"), world.receipt("later")
    for run, table in ((before, EXAMPLE), (after, later)):
        model = table.models["sonnet"]
        assert run.price_version == table.version
        assert run.prompt_tokens is not None
        assert run.max_tokens is not None
        assert run.ceiling == table.ceiling(model, run.prompt_tokens, run.max_tokens)
        if run.measured is not None:
            assert run.measured.price == table.price(model, run.measured.usage)
            assert run.charged == run.measured.price.credits
    assert (before.charged, after.charged) == (1 if outcome is ANSWER else 0, 2)
    assert before.ceiling != after.ceiling
    assert world.account().balance == 5 + 500 - before.charged - after.charged


def test_another_request_under_the_same_key_is_refused() -> None:
    world = World()
    world.run(key="k")

    with pytest.raises(IdempotencyConflictError):
        world.run(replace(REQUEST, input="Something else"), key="k")

    assert len(world.model.prompts) == 1
    assert world.account().balance == 4


FAILURES: Sequence[PlaygroundError] = (
    ModelError("refused"),
    ModelError("empty"),
    ModelError("no_text"),
    ModelError("cut_off"),
    ModelOverloadedError("overloaded", retry_after=7),
    ModelOverloadedError("rate_limited", retry_after=1),
    ModelTimedOutError(),
)


def same(one: PlaygroundError, other: PlaygroundError) -> bool:
    return (type(one), one.code, one.message, one.facts) == (type(other), other.code, other.message, other.facts)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: f"{error.code}-{error.facts.get('reason')}")
def test_a_failure_of_the_model_is_free_and_the_same_for_ever(error: PlaygroundError) -> None:
    world = World(reply=lambda prompt: error)

    with pytest.raises(type(error)) as caught:
        world.run(key="k")
    assert caught.value is error
    assert (world.account().balance, world.account().held) == (5, 0)
    assert (world.receipt().status, world.receipt().charged, world.receipt().turn) == (RunStatus.RELEASED, 0, None)
    assert world.reported == [world.receipt()]
    assert not world.ledger.sessions.summaries

    world.reply = reply_done
    world.clock.move(YEARS)
    with pytest.raises(type(error)) as again:
        world.run(key="k")
    assert same(again.value, error)
    assert len(world.model.prompts) == 1
    with pytest.raises(IdempotencyConflictError):
        world.run(replace(REQUEST, input="Something else"), key="k")

    assert world.run(key="a new key").run.charged == 1


def test_a_receipt_of_a_failure_says_what_was_asked() -> None:
    world = World(reply=lambda prompt: ModelOverloadedError("overloaded", retry_after=7))

    with pytest.raises(ModelOverloadedError):
        world.run(replace(REQUEST, model="opus"), key="k")

    run = world.receipt()
    assert run.failure is not None
    assert (run.failure.code, run.failure.reason, run.failure.retry_after) == ("model_overloaded", "overloaded", 7)
    assert (run.package, run.package_version, run.model, run.model_id) == (
        "@acme/tidy",
        "2.0.0",
        "opus",
        "claude-opus-5-5",
    )
    assert (run.prompt_tokens, run.max_tokens, run.wanted_max_tokens, run.ceiling) == (100, 2400, 4096, 3)
    assert (run.price_version, run.measured, run.entry_seq) == (EXAMPLE.version, None, None)


def test_a_bug_in_the_model_adapter_is_free_and_seen() -> None:
    bug = RuntimeError("a bug")
    world = World(reply=lambda prompt: bug)

    with pytest.raises(RuntimeError) as caught:
        world.run(key="k")

    assert caught.value is bug
    assert (world.account().balance, world.account().held) == (5, 0)
    assert world.receipt().status is RunStatus.RELEASED
    with pytest.raises(ModelError) as again:
        world.run(key="k")
    assert again.value.reason == "internal"
    assert len(world.model.prompts) == 1


LOST = Spent(usage=Usage(input_tokens=1_000, output_tokens=500), estimated=True)
LOST_NANO = 1_000 * 2_000 + 500 * 10_000


def test_what_lost_attempts_may_have_cost_is_on_the_receipt_of_an_answer() -> None:
    """Nobody pays for it, and it is no failure of the user."""
    world = World(reply=lambda prompt: replace(ANSWER, lost=(LOST, LOST)))

    answer = world.run(key="k")

    unpaid = world.receipt("k").unpaid
    assert unpaid is not None
    assert (unpaid.cost_nano, unpaid.estimated) == (2 * LOST_NANO, True)
    assert (answer.run.charged, answer.run.unpaid) == (1, unpaid)
    assert (world.account().failures_at, world.account().unpaid_at) == (None, None)


def test_what_lost_attempts_may_have_cost_is_on_the_receipt_of_a_failure_that_costs_nothing_itself() -> None:
    world = World(reply=lambda prompt: ModelOverloadedError("overloaded", retry_after=1).after([LOST]))
    with pytest.raises(ModelOverloadedError):
        world.run(key="k")

    unpaid = world.receipt("k").unpaid
    assert unpaid is not None
    assert (unpaid.cost_nano, unpaid.estimated) == (LOST_NANO, True)
    assert world.account().unpaid_at is not None


def test_while_a_run_is_at_work_the_same_attempt_is_asked_to_wait() -> None:
    world = World()
    refused: list[RunInProgressError] = []

    def asked_again(prompt: Prompt) -> Completion:
        with pytest.raises(RunInProgressError) as caught:
            world.run(key="k")
        refused.append(caught.value)
        with pytest.raises(IdempotencyConflictError):
            world.run(replace(REQUEST, input="Something else"), key="k")
        return ANSWER

    world.reply = asked_again

    assert world.run(key="k").run.charged == 1

    lease_at = NOW + timedelta(seconds=29) + LEASE_MARGIN
    assert refused[0].facts == {"run_id": run_id_of(USER, "k"), "retry_after": 2, "lease_at": iso(lease_at)}
    assert len(world.model.prompts) == 1
    assert world.run(key="k").replayed


def dead_hold(key: str = "k", *, longest: timedelta = timedelta(seconds=29)) -> Hold:
    """Of an attempt whose function has just died."""
    return replace(
        a_hold(run_id_of(USER, key), 2, NOW, lease=longest + LEASE_MARGIN),
        request_hash=REQUEST.hash,
        cost_nano=41_000_000,
        interval=timedelta(minutes=3),
    )


class FrozenMonotonic:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_hold_seen_for_longer_than_a_run_can_take_is_dead() -> None:
    """Without comparing two clocks: what counts is how long this process has seen it, by its own monotonic clock."""
    world, monotonic = World(), FrozenMonotonic()
    worker = world.worker(watch=HoldWatch(monotonic))
    dead = dead_hold()
    world.hold(dead)
    told: list[object] = []
    for seconds in (0, 2, 27, 4.5):
        monotonic.now += seconds
        world.clock.move(timedelta(seconds=seconds))
        with pytest.raises(RunInProgressError) as caught:
            worker(USER, REQUEST, idempotency_key="k", seconds_left=29)
        assert caught.value.facts["lease_at"] == iso(dead.lease_at)
        told.append(caught.value.facts["retry_after"])

    assert told == [2, 2, 5, 2], "as long as it may be alive, and then until it is known to be dead"
    assert world.account().held == 2
    monotonic.now += 0.5
    with pytest.raises(ModelTimedOutError) as ended:
        worker(USER, REQUEST, idempotency_key="k", seconds_left=29)

    assert ended.value.reason == "interrupted"
    assert world.receipt().status is RunStatus.EXPIRED
    assert world.account().held == 0
    assert not world.model.prompts


def test_a_wrong_clock_does_not_end_another_run() -> None:
    """Ten minutes ahead, or behind: only what this process has seen itself counts."""
    for minutes in (-10, 10):
        world, monotonic = World(), FrozenMonotonic()
        world.hold(dead_hold())
        world.clock.move(timedelta(minutes=minutes))
        worker = world.worker(watch=HoldWatch(monotonic))
        for left in (34, 24):
            with pytest.raises(RunInProgressError) as caught:
                worker(USER, REQUEST, idempotency_key="k", seconds_left=29)
            assert caught.value.facts["retry_after"] == (2 if minutes < 0 else left)
            monotonic.now += 10
        assert world.account().held == 2


def test_another_attempt_is_watched_anew() -> None:
    world, monotonic = World(), FrozenMonotonic()
    worker = world.worker(watch=HoldWatch(monotonic))
    world.hold(dead_hold())
    with pytest.raises(RunInProgressError):
        worker(USER, REQUEST, idempotency_key="k", seconds_left=29)
    monotonic.now += 60
    world.ledger.cancel_hold(USER, dead_hold(), now=NOW)
    world.hold(replace(dead_hold(), nonce="try_2"))

    with pytest.raises(RunInProgressError):
        worker(USER, REQUEST, idempotency_key="k", seconds_left=29)


def test_another_request_does_not_end_a_run_that_it_has_watched() -> None:
    world, monotonic = World(), FrozenMonotonic()
    worker = world.worker(watch=HoldWatch(monotonic))
    world.hold(dead_hold())
    with pytest.raises(RunInProgressError):
        worker(USER, REQUEST, idempotency_key="k", seconds_left=29)
    monotonic.now += 60

    with pytest.raises(IdempotencyConflictError):
        worker(USER, replace(REQUEST, input="Something else"), idempotency_key="k", seconds_left=29)

    assert world.account().held == 2


def test_a_run_that_was_given_up_and_lives_all_the_same_is_not_charged() -> None:
    """It cannot be, for the platform ends an invocation in time. If it were, the receipt decides."""
    world, monotonic = World(), FrozenMonotonic()
    other = world.worker(watch=HoldWatch(monotonic))

    def meanwhile(prompt: Prompt) -> Completion:
        with pytest.raises(RunInProgressError):
            other(USER, REQUEST, idempotency_key="k", seconds_left=29)
        monotonic.now += 34
        with pytest.raises(ModelTimedOutError):
            other(USER, REQUEST, idempotency_key="k", seconds_left=29)
        return ANSWER

    world.reply = meanwhile

    with pytest.raises(ModelTimedOutError):
        world.run(key="k")

    assert (world.account().balance, world.account().held) == (5, 0)
    assert world.receipt().status is RunStatus.EXPIRED


def test_a_watch_forgets_what_it_saw_first() -> None:
    monotonic = FrozenMonotonic()
    watch = HoldWatch(monotonic)
    watch.seconds_left(USER, dead_hold())
    monotonic.now += 100
    assert watch.seconds_left(USER, dead_hold()) < 0
    for number in range(MAX_WATCHED):
        watch.seconds_left(USER, replace(dead_hold(), nonce=f"try_{number + 2}"))

    assert watch.seconds_left(USER, dead_hold()) > 0


# --- failures that cost us --------------------------------------------------------------------------------------------


def test_a_failure_that_cost_us_is_on_the_receipt_and_counted() -> None:
    spent = Spent(usage=Usage(input_tokens=100, output_tokens=4000), estimated=False)
    world = World(reply=lambda prompt: ModelError("no_text").costing(spent))

    with pytest.raises(ModelError):
        world.run(key="k")

    cost = 100 * 2000 + 4000 * 10_000
    assert world.receipt().unpaid == UnpaidCost(cost_nano=cost, estimated=False, usage=spent.usage)
    account = world.account()
    allowance = EXAMPLE.allowance(account)
    assert account.failures_at == NOW + allowance.interval
    assert account.unpaid_at == NOW + allowance.use(cost).unpaid


@pytest.mark.parametrize("error", [ModelOverloadedError("overloaded", retry_after=1), ModelError("unreachable")])
def test_a_failure_that_is_not_billed_is_not_counted(error: ModelError) -> None:
    world = World(reply=lambda prompt: error)

    with pytest.raises(ModelError):
        world.run(key="k")

    assert world.receipt().unpaid is None
    assert (world.account().failures_at, world.account().unpaid_at) == (None, None)


def test_an_answer_that_lost_the_race_for_its_session_is_counted() -> None:
    """Otherwise many answers to one session at once would be free, all but one."""
    world = World()
    session = world.run().run.session_id

    def meanwhile(prompt: Prompt) -> Completion:
        world.reply = reply_done
        world.run(replace(REQUEST, session_id=session))
        return ANSWER

    world.reply = meanwhile
    with pytest.raises(SessionConflictError):
        world.run(replace(REQUEST, session_id=session), key="k")

    unpaid = world.receipt().unpaid
    assert unpaid is not None
    assert (unpaid.usage, unpaid.estimated) == (ANSWER.usage, False)
    assert world.account().failures_at is not None
    assert world.account().unpaid_at is not None


def test_a_store_that_does_not_take_the_answer_is_our_failure_and_our_cost() -> None:
    world = World(ledger=Shaky(before=("settle",)))

    with pytest.raises(StoreUnavailableError):
        world.run(key="k")

    unpaid = world.receipt().unpaid
    assert unpaid is not None
    assert unpaid.usage == ANSWER.usage
    assert (world.account().failures_at, world.account().unpaid_at) == (None, None)


def test_an_unexpected_error_is_a_failure_with_the_upper_bound_of_its_cost() -> None:
    """A bug that somebody can call at will must not make it free."""
    world = World(reply=lambda prompt: ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        world.run(key="k")

    unpaid = world.receipt().unpaid
    assert unpaid is not None
    assert unpaid.estimated
    assert unpaid.cost_nano == 100 * 2500 + 4096 * 10_000
    assert world.account().failures_at == NOW + timedelta(minutes=3)


def test_what_a_dead_worker_may_have_cost_is_reported() -> None:
    world = World()
    world.hold(dead_hold())
    world.clock.move(timedelta(hours=1))

    with pytest.raises(ModelTimedOutError):
        world.run(key="k")

    assert [run.unpaid for run in world.reported] == [UnpaidCost(cost_nano=41_000_000, estimated=True)]
    account = world.account()
    assert account.failures_at == world.clock.now + timedelta(minutes=3)
    assert account.unpaid_at is None, "it was our worker that died"


def test_too_many_failures_say_when_to_come_again() -> None:
    spent = Spent(usage=Usage(input_tokens=1, output_tokens=1), estimated=False)
    world = World(reply=lambda prompt: ModelError("empty").costing(spent))
    for _ in range(EXAMPLE.failure_limits.failed_runs_per_hour):
        with pytest.raises(ModelError):
            world.run()
    world.reply = reply_done

    with pytest.raises(TooManyFailuresError) as caught:
        world.run()

    assert caught.value.facts == {"retry_after": 180}
    world.clock.move(timedelta(seconds=180))
    assert world.run().run.charged == 1


def test_open_runs_that_may_fail_are_too_many_runs_and_no_failures() -> None:
    """Nothing has failed, so nobody is told so: it is enough to wait for one of the runs to end."""
    world = World()
    world.give(1000)
    for number in range(3):
        world.hold(replace(a_hold(f"run_{number}", 62, NOW), nonce=f"try_{number}"))

    with pytest.raises(TooManyRunsError) as caught:
        world.run()

    assert caught.value.facts == {"limit": 3, "retry_after": 2}
    world.ledger.cancel_hold(USER, replace(a_hold("run_1", 62, NOW), nonce="try_1"), now=NOW)
    assert world.run().run.charged == 1


def test_a_payment_during_a_hold_gives_the_larger_allowance_at_once() -> None:
    """More runs have failed since than the smaller one allows."""
    world = World()
    world.account()

    class Paying(InMemoryLookup):
        def __call__(
            self, *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
        ) -> Found:
            found = super().__call__(
                user_id=user_id, run_id=run_id, package_id=package_id, version=version, session_id=session_id
            )
            world.ledger.change(USER, lambda account: (note_payment(account), ()), business_key="pay", now=NOW)
            use = EXAMPLE.allowance(world.account()).use(0)
            for number in range(59):
                hold = a_hold(f"run_{number}", 1, NOW)
                world.hold(hold)
                world.ledger.release(USER, receipt(USER, hold, RunStatus.RELEASED, NOW), use)
            return found

    worker = world.worker(Paying(world.ledger, world.catalog))

    assert worker(USER, REQUEST, idempotency_key=None, seconds_left=29).run.charged == 1


def test_an_attempt_that_died_has_failed_for_ever() -> None:
    """Its lease is over: the attempt after it records that, and does not run again."""
    world = World()
    dead = replace(a_hold(run_id_of(USER, "k"), 2, NOW), request_hash=REQUEST.hash)
    world.hold(dead)
    world.clock.move(dead.lease_at - NOW - timedelta(milliseconds=1))
    with pytest.raises(RunInProgressError):
        world.run(key="k")
    world.clock.move(timedelta(milliseconds=1))

    for _ in range(2):
        with pytest.raises(ModelTimedOutError) as caught:
            world.run(key="k")
        assert caught.value.reason == "interrupted"
        world.clock.move(YEARS)

    run = world.receipt()
    assert (run.status, run.charged, run.ended_at, run.nonce) == (RunStatus.EXPIRED, 0, dead.lease_at, dead.nonce)
    assert world.untouched()
    with pytest.raises(IdempotencyConflictError):
        world.run(replace(REQUEST, input="Something else"), key="k")


def test_another_request_under_the_key_of_a_dead_attempt_is_refused() -> None:
    world = World()
    world.hold(replace(a_hold(run_id_of(USER, "k"), 2, NOW), request_hash=REQUEST.hash))
    world.clock.move(timedelta(hours=1))

    with pytest.raises(IdempotencyConflictError):
        world.run(replace(REQUEST, input="Something else"), key="k")

    assert world.untouched()
    assert world.receipt().status is RunStatus.EXPIRED


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
def test_a_run_that_ended_between_the_look_and_the_hold_is_not_run_again(fails: bool) -> None:
    world = World(reply=lambda prompt: ModelError("empty") if fails else ANSWER)

    def overtaken(
        *, user_id: str, run_id: str | None, package_id: str, version: str | None, session_id: str | None
    ) -> Found:
        found = world.lookup(
            user_id=user_id, run_id=run_id, package_id=package_id, version=version, session_id=session_id
        )
        assert found.run is None
        if fails:
            with pytest.raises(ModelError):
                world.run(key="k")
        else:
            world.run(key="k")
        return found

    slow = world.worker(overtaken)
    if fails:
        with pytest.raises(ModelError):
            slow(USER, REQUEST, idempotency_key="k", seconds_left=29)
    else:
        answer = slow(USER, REQUEST, idempotency_key="k", seconds_left=29)
        assert answer == PaidAnswer(run=world.receipt(), turn=answer.turn, replayed=True)

    assert len(world.model.prompts) == 1
    assert (world.account().balance, world.account().held) == (5 if fails else 4, 0)


def test_an_answer_whose_conversation_was_deleted_is_gone_and_stays_paid() -> None:
    world = World()
    world.ledger.sessions.delete(world.run(key="k").run.session_id)

    with pytest.raises(SessionNotFoundError):
        world.run(key="k")

    assert len(world.model.prompts) == 1
    assert world.account().balance == 4


def test_an_answer_that_is_not_the_runs_own_is_not_shown() -> None:
    world = World()
    first = world.run(key="k").run
    world.ledger.sessions.delete(first.session_id)
    other = a_hold("run_other", 1, NOW, session_id=first.session_id)
    world.hold(other)
    world.ledger.settle(world.account(), other, charging(other, 1, NOW), conversation(USER, other, NOW))

    with pytest.raises(SessionNotFoundError):
        world.run(key="k")


# --- holds in the way -------------------------------------------------------------------------------------------------


def test_no_more_runs_at_once_than_allowed() -> None:
    world = World(max_open_runs=2)
    for number in range(2):
        world.hold(a_hold(f"run_{number}", 1, NOW))

    with pytest.raises(TooManyRunsError) as caught:
        world.run(key="k")

    assert caught.value.facts == {"limit": 2, "retry_after": 2}
    assert not world.model.prompts
    world.ledger.cancel_hold(USER, a_hold("run_0", 1, NOW), now=NOW)
    assert world.run(key="k").run.charged == 1


def test_dead_holds_are_given_back_when_they_are_in_the_way_of_the_limit() -> None:
    world = World(max_open_runs=2)
    world.hold(a_hold("run_dead", 1, NOW))
    world.clock.move(timedelta(hours=1))
    world.hold(a_hold("run_alive", 1, world.clock.now))

    assert world.run().run.charged == 1

    expired = world.ledger.run(USER, "run_dead")
    assert expired is not None
    assert (expired.status, expired.charged) == (RunStatus.EXPIRED, 0)
    assert set(world.account().holds) == {"run_alive"}


def test_dead_holds_are_given_back_when_their_credits_are_needed() -> None:
    world = World()
    for number in range(2):
        world.hold(a_hold(f"run_{number}", 2, NOW))
    world.clock.move(timedelta(hours=1))

    answer = world.run()

    assert answer.run.ceiling == 2
    assert answer.run.max_tokens == answer.run.wanted_max_tokens
    assert world.account().held == 0
    assert all(world.ledger.run(USER, f"run_{number}") is not None for number in range(2))


def test_holds_that_may_be_alive_are_left_alone() -> None:
    world = World()
    alive = a_hold("run_alive", 5, NOW)
    world.hold(alive)
    world.clock.move(alive.lease_at - NOW - timedelta(milliseconds=1))

    with pytest.raises(InsufficientCreditsError) as caught:
        world.run()

    assert caught.value.facts["available_credits"] == 0
    assert world.account().holds == {"run_alive": alive}


def test_a_run_that_was_expired_while_it_was_at_work_is_not_charged() -> None:
    """Its lease was over and somebody gave its credits back: that is how it ended."""
    world = World()

    def too_late(prompt: Prompt) -> Completion:
        world.clock.move(timedelta(hours=1))
        assert ExpireHolds(world.ledger)(world.account(), now=world.clock.now) == 1
        return ANSWER

    world.reply = too_late

    with pytest.raises(ModelTimedOutError):
        world.run(key="k")

    assert (world.receipt().status, world.account().balance, world.account().held) == (RunStatus.EXPIRED, 5, 0)
    assert not world.ledger.sessions.summaries
    assert not world.reported


def test_a_failure_after_the_run_expired_is_answered_as_recorded() -> None:
    world = World()

    def too_late(prompt: Prompt) -> Exception:
        world.clock.move(timedelta(hours=1))
        ExpireHolds(world.ledger)(world.account(), now=world.clock.now)
        return ModelError("empty")

    world.reply = too_late

    with pytest.raises(ModelTimedOutError) as caught:
        world.run(key="k")

    assert caught.value.reason == "interrupted"
    assert world.receipt().status is RunStatus.EXPIRED
    assert not world.reported


# --- the charge -------------------------------------------------------------------------------------------------------


def test_a_run_is_charged_at_most_its_hold() -> None:
    """The provider bills 5,100 tokens of Opus, 6 credits; 3 were held."""
    usage = Usage(input_tokens=100, output_tokens=5000)
    world = World(reply=lambda prompt: replace(ANSWER, usage=usage))

    answer = world.run(replace(REQUEST, model="opus"), key="k")

    assert (answer.run.charged, answer.run.overrun, answer.run.ceiling) == (3, 3, 3)
    assert answer.run.measured is not None
    assert answer.run.measured.price.credits == 6
    assert world.receipt() == answer.run
    assert world.account().balance == 2
    assert world.ledger.sessions.summaries[answer.run.session_id].credits == 3


def test_a_short_answer_costs_less_than_was_held() -> None:
    world = World()
    world.give(100)

    answer = world.run(replace(REQUEST, model="opus", max_tokens=20_000))

    assert (answer.run.charged, answer.run.ceiling > 10, answer.run.overrun) == (3, True, 0)
    assert (world.account().balance, world.account().held) == (102, 0)


def test_what_is_charged_after_a_grant_goes_by_the_account_of_then() -> None:
    world = World()

    def meanwhile(prompt: Prompt) -> Completion:
        world.give(10)
        return ANSWER

    world.reply = meanwhile

    answer = world.run()

    assert (answer.run.balance_after, answer.run.entry_seq) == (14, 3)
    assert world.account().balance == 14


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds_left", "counting", "timeout"),
    [(60, 0, 24), (31, 0, 24), (29, 0, 22), (27.5, 0, 20.5), (20, 0, 13), (29, 5, 17), (8, 0, 1)],
)
def test_the_model_gets_its_time_or_what_is_left_of_the_invocation(
    seconds_left: float, counting: float, timeout: float
) -> None:
    """7 seconds are kept for ending the run."""
    world = World()

    def count(prompt: Prompt) -> int:
        world.clock.move(timedelta(seconds=counting))
        return 100

    world.count = count

    world.run(seconds_left=seconds_left)

    assert world.model.timeouts == [timeout]


@pytest.mark.parametrize("seconds_left", [7.9, 7, 1, 0, -20])
def test_without_time_for_an_answer_nothing_is_held(seconds_left: float) -> None:
    """A request that has waited for too long is refused, not run for nobody; it may come again with its key."""
    world = World()

    with pytest.raises(StoreUnavailableError):
        world.run(key="k", seconds_left=seconds_left)

    assert world.untouched()
    assert world.run(key="k").run.charged == 1


# --- the store --------------------------------------------------------------------------------------------------------


class Shaky(InMemoryLedger):
    """Raises StoreUnavailableError from the operations in `before` (it did nothing) and `after` (it had worked)."""

    def __init__(self, *, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.broken = False

    def run(self, user_id: str, run_id: str, *, ended: bool = False) -> Run | None:
        return self._shake("run", lambda: super(Shaky, self).run(user_id, run_id))

    def place_hold(self, user_id: str, *holds: Hold, **limits: Any) -> HoldOutcome:
        placing = super().place_hold
        return self._shake("place_hold", lambda: placing(user_id, *holds, **limits))

    def settle(self, account: Account, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
        if self.broken:
            "\ud800".encode()
        return self._shake("settle", lambda: super(Shaky, self).settle(account, hold, conclude, conversation))

    def release(
        self, user_id: str, run: Run, use: AllowanceUse = NOTHING_USED, *, seen: Account | None = None
    ) -> Ended:
        return self._shake("release", lambda: super(Shaky, self).release(user_id, run, use, seen=seen))

    def cancel_hold(self, user_id: str, *holds: Hold, now: datetime, rate: RateLimit | None = None) -> None:
        return self._shake("cancel_hold", lambda: super(Shaky, self).cancel_hold(user_id, *holds, now=now, rate=rate))

    def _shake(self, name: str, act: Callable[[], T]) -> T:
        if name in self.before:
            raise StoreUnavailableError
        result = act()
        if name in self.after:
            raise StoreUnavailableError
        return result


def test_an_answer_whose_payment_was_not_confirmed_is_given_if_it_was_paid() -> None:
    world = World(ledger=Shaky(after=("settle",)))

    answer = world.run(key="k")

    assert answer == PaidAnswer(run=world.receipt(), turn=answer.turn, replayed=False)
    assert (answer.run.status, answer.turn.answer) == (RunStatus.SETTLED, "Done.")
    assert world.reported == [answer.run]
    assert (world.account().balance, world.account().held) == (4, 0)
    assert world.run(key="k") == replace(answer, replayed=True)


def test_an_answer_that_could_not_be_paid_is_not_given() -> None:
    world = World(ledger=Shaky(before=("settle",)))

    for _ in range(2):
        with pytest.raises(StoreUnavailableError) as failed:
            world.run(key="k")
        assert failed.value.facts["run_id"] == world.receipt().run_id
        assert "new Idempotency-Key" in failed.value.message  # this one leads to the same failure for ever

    assert (world.receipt().status, world.receipt().charged) == (RunStatus.RELEASED, 0)
    assert (world.account().balance, world.account().held, len(world.model.prompts)) == (5, 0, 1)
    assert not world.ledger.sessions.summaries
    assert [run.status for run in world.reported] == [RunStatus.RELEASED]


@pytest.mark.parametrize("worked", [False, True], ids=["not paid", "paid"])
def test_when_nothing_can_be_found_out_the_lease_ends_the_run(worked: bool) -> None:
    """Neither the charge nor the release gets through; the same attempt is answered when the store is back."""
    ledger = Shaky(before=("release",) if worked else ("settle", "release"), after=("settle",) if worked else ())
    world = World(ledger=ledger)

    with pytest.raises(StoreUnavailableError):
        world.run(key="k")

    ledger.before = ledger.after = ()
    if worked:
        assert world.run(key="k").replayed
        assert world.account().balance == 4
    else:
        with pytest.raises(RunInProgressError):
            world.run(key="k")
        world.clock.move(timedelta(hours=1))
        with pytest.raises(ModelTimedOutError):
            world.run(key="k")
        assert world.account().balance == 5
    assert (world.account().held, len(world.model.prompts)) == (0, 1)


@pytest.mark.parametrize("worked", [False, True], ids=["not held", "held"])
def test_a_hold_that_was_not_confirmed_is_taken_back(worked: bool) -> None:
    ledger = Shaky(after=("place_hold",)) if worked else Shaky(before=("place_hold",))
    world = World(ledger=ledger)

    with pytest.raises(StoreUnavailableError):
        world.run(key="k")

    assert world.untouched()
    ledger.before = ledger.after = ()
    assert world.run(key="k").run.charged == 1


def test_a_hold_is_given_back_if_it_is_not_known_how_the_run_has_ended() -> None:
    """The attempt came late: the run has ended since it was looked up, so that its hold is not needed."""

    class Late(InMemoryLookup):
        def __call__(self, **asked: Any) -> Found:
            return replace(super().__call__(**asked), run=None)

    ledger = Shaky()
    world = World(ledger=ledger)
    world.run(key="k")
    asked = len(world.model.prompts)
    ledger.before = ("run",)

    with pytest.raises(StoreUnavailableError):
        world.worker(Late(ledger, world.catalog))(USER, REQUEST, idempotency_key="k", seconds_left=29)

    assert (world.account().held, len(world.model.prompts)) == (0, asked)


def test_what_cannot_be_stored_gives_everything_back() -> None:
    """A lone surrogate is no text that the store takes; nor is anything that nobody thought of."""
    ledger = Shaky()
    ledger.broken = True
    world = World(ledger=ledger)

    with pytest.raises(UnicodeEncodeError):
        world.run(key="k")

    assert (world.account().held, world.account().balance) == (0, 5)
    assert (world.receipt().status, world.receipt().failure) == (RunStatus.RELEASED, INTERNAL)


def test_a_hold_that_cannot_even_be_taken_back_ends_with_its_lease() -> None:
    ledger = Shaky(before=("cancel_hold",), after=("place_hold",))
    world = World(ledger=ledger)

    with pytest.raises(StoreUnavailableError):
        world.run(key="k")

    assert (world.account().held, world.model.prompts) == (2, [])
    world.clock.move(timedelta(hours=1))
    assert ExpireHolds(ledger)(world.account(), now=world.clock.now) == 1
    assert world.untouched()


def test_a_failure_that_cannot_be_recorded_is_not_answered_as_one() -> None:
    """The hold is still there; what the run came to is not known yet."""
    world = World(ledger=Shaky(before=("release",)), reply=lambda prompt: ModelError("empty"))

    with pytest.raises(StoreUnavailableError):
        world.run(key="k")

    assert world.account().held == 2
    assert not world.reported
