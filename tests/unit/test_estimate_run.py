"""EstimateRun says what RunPrompt would do, and writes nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from playground.domain.account import Account, Change, grant
from playground.domain.entries import EntryType
from playground.domain.errors import (
    ContextTooLongError,
    InsufficientCreditsError,
    PackageNotFoundError,
    PlaygroundError,
    RunsPausedError,
    SessionConflictError,
    SessionNotFoundError,
    UnsupportedParameterError,
)
from playground.domain.packages import package_uuid
from playground.domain.pricing import PriceTable, Usage
from playground.domain.runs import RunRequest
from playground.ports import Completion, Prompt, TokenCount
from playground.usecases.estimate_run import Estimate, EstimateRun
from playground.usecases.run_prompt import RunPrompt
from tests.fakes import (
    CountingNewId,
    FrozenClock,
    InMemoryCatalog,
    InMemoryLedger,
    InMemoryLookup,
    ScriptedModel,
    a_hold,
)
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE

USER = "user_1"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
WIDE = replace(EXAMPLE, context_budget_tokens={"free": 1_000_000, "plus": 1_000_000})
TIDY = a_package()
OTHER = replace(TIDY, package_id=package_uuid("@acme/other") or "", name="@acme/other")
REQUEST = RunRequest(package_id="@acme/tidy", input="My desk", model="sonnet")
ANSWER = Completion(
    text="Done.", usage=Usage(input_tokens=60, output_tokens=40), stop_reason="end_turn", model_id="claude-sonnet-5-5"
)


class World:
    def __init__(
        self, count: Callable[[Prompt], int | TokenCount] = lambda prompt: 100, prices: PriceTable = EXAMPLE
    ) -> None:
        self.ledger = InMemoryLedger()
        self.model = ScriptedModel(lambda prompt: ANSWER, count=count)
        catalog, clock = InMemoryCatalog(TIDY, OTHER), FrozenClock(NOW)
        self.lookup = lookup = InMemoryLookup(self.ledger, catalog)
        self._estimate = EstimateRun(
            ledger=self.ledger,
            lookup=lookup,
            sessions=self.ledger.sessions,
            catalog=catalog,
            model=self.model,
            prices=prices,
            clock=clock,
            count_timeout_seconds=8,
        )
        self._run = RunPrompt(
            ledger=self.ledger,
            lookup=lookup,
            sessions=self.ledger.sessions,
            catalog=catalog,
            model=self.model,
            prices=prices,
            clock=clock,
            new_id=CountingNewId(),
            max_open_runs=20,
            model_timeout_seconds=24,
        )

    def estimate(self, user: str, request: RunRequest, *, seconds_left: float = 15) -> Estimate:
        return self._estimate(user, request, seconds_left=seconds_left)

    def run(self, request: RunRequest = REQUEST, user: str = USER) -> str:
        """The session of a run."""
        return self._run(user, request, idempotency_key=None, seconds_left=29).run.session_id

    def give(self, credits_: int) -> None:
        def amend(account: Account) -> Change | None:
            after, entry = grant(account, credits_, type_=EntryType.BONUS, business_key="b", reason="", now=NOW)
            return after, (entry,)

        self.ledger.change(USER, amend, business_key="b", now=NOW)


def test_what_a_dead_run_holds_can_be_spent_as_a_run_would() -> None:
    world = World()
    world.ledger.place_hold(USER, a_hold("run_dead", 5, NOW - timedelta(hours=1)), limit=20, now=NOW)

    estimate = world.estimate(USER, REQUEST)

    assert (estimate.can_afford, estimate.available, estimate.affordable_max_tokens) == (True, 5, 4096)
    world.run()


def test_while_all_runs_are_paused_there_is_no_estimate() -> None:
    world = World()
    world.lookup.runs_paused = True
    with pytest.raises(RunsPausedError):
        world.estimate(USER, REQUEST)


def test_says_what_a_run_typically_and_at_most_costs() -> None:
    world = World()

    assert world.estimate(USER, REQUEST) == Estimate(
        estimated_credits=1,
        max_credits=2,
        estimated_tokens=900,
        prompt_tokens=100,
        max_tokens=4096,
        affordable_max_tokens=4096,
        can_afford=True,
        balance=5,
        available=5,
        model_id="claude-sonnet-5-5",
        price_version=EXAMPLE.version,
    )


def test_nothing_is_held_spent_or_asked() -> None:
    world = World()

    world.estimate(USER, REQUEST)

    account = world.ledger.account(USER, NOW)
    assert (account.balance, account.held, account.version) == (5, 0, 1)
    assert not world.model.prompts


def test_a_short_answer_is_not_estimated_as_a_long_one() -> None:
    estimate = World().estimate(USER, replace(REQUEST, max_tokens=300))

    assert (estimate.estimated_tokens, estimate.max_tokens, estimate.affordable_max_tokens) == (400, 300, 300)


@pytest.mark.parametrize(
    ("model", "tokens", "held", "max_tokens", "affordable"),
    [
        ("sonnet", 100, 0, None, 4096),
        ("sonnet", 100, 4, None, 2400),
        ("sonnet", 1988, 4, None, 512),
        ("sonnet", 1989, 4, None, 0),
        ("sonnet", 2400, 4, 100, 100),
        ("sonnet", 2401, 4, 100, 0),
        ("sonnet", 100, 5, None, 0),
        ("opus", 100, 0, None, 2400),
        ("opus", 100, 3, None, 0),
    ],
)
def test_what_can_be_afforded_is_what_a_run_would_get(
    model: str, tokens: int, held: int, max_tokens: int | None, affordable: int
) -> None:
    world = World(lambda prompt: tokens)
    if held:
        world.ledger.place_hold(USER, a_hold("run_1", held, NOW), limit=20, now=NOW)
    request = replace(REQUEST, model=model, max_tokens=max_tokens)

    estimate = world.estimate(USER, request)

    assert (estimate.affordable_max_tokens, estimate.can_afford) == (affordable, affordable > 0)
    assert (estimate.balance, estimate.available) == (5, 5 - held)
    if affordable:
        world.run(request)
        assert world.model.prompts[-1].max_tokens == affordable
    else:
        with pytest.raises(InsufficientCreditsError):
            world.run(request)


def test_the_conversation_so_far_is_counted() -> None:
    world = World(lambda prompt: 100 * len(prompt.messages))
    session_id = world.run()

    estimate = world.estimate(USER, replace(REQUEST, session_id=session_id))

    assert estimate.prompt_tokens == 300
    assert world.model.counted[-1].messages == (("user", "My desk"), ("assistant", "Done."), ("user", "My desk"))


def test_the_prompt_is_counted_unless_it_is_left_out() -> None:
    world = World(lambda prompt: 50 + len(prompt.system or ""))

    assert world.estimate(USER, REQUEST).prompt_tokens == 58
    assert world.estimate(USER, replace(REQUEST, use_no_prompt=True)).prompt_tokens == 50


def test_what_hardly_fits_the_model_gets_what_is_left() -> None:
    world = World(lambda prompt: 999_300, WIDE)
    world.give(10_000)

    estimate = world.estimate(USER, REQUEST)

    assert (estimate.max_tokens, estimate.estimated_tokens) == (700, 1_000_000)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"package_id": "@acme/none"}, PackageNotFoundError),
        ({"package_version": "9.9.9"}, PackageNotFoundError),
        ({"session_id": "ses_none"}, SessionNotFoundError),
        ({"temperature": 0.5}, UnsupportedParameterError),
        ({"effort": "frantic"}, UnsupportedParameterError),
        ({"max_tokens": 128_001}, UnsupportedParameterError),
    ],
)
def test_refuses_what_a_run_would_refuse(changes: dict[str, object], error: type[PlaygroundError]) -> None:
    with pytest.raises(error):
        World().estimate(USER, replace(REQUEST, **changes))  # type: ignore[arg-type]


def test_refuses_what_does_not_fit_the_model() -> None:
    with pytest.raises(ContextTooLongError):
        World(lambda prompt: 999_600, WIDE).estimate(USER, REQUEST)


def test_refuses_a_foreign_conversation_and_another_package() -> None:
    world = World()
    session_id = world.run()

    with pytest.raises(SessionNotFoundError):
        world.estimate("user_2", replace(REQUEST, session_id=session_id))
    with pytest.raises(SessionConflictError):
        world.estimate(USER, replace(REQUEST, session_id=session_id, package_id="@acme/other"))


@pytest.mark.parametrize(("seconds_left", "timeout"), [(29, 8), (16, 8), (9, 4), (2, 0), (-9, 0)])
def test_counting_takes_no_longer_than_there_is_time(seconds_left: float, timeout: float) -> None:
    world = World()

    world.estimate(USER, REQUEST, seconds_left=seconds_left)

    assert world.model.count_timeouts == [timeout]


def test_an_estimate_of_a_guess_says_so() -> None:
    counted, guessed = World(), World(count=lambda prompt: TokenCount(100, guessed=True))

    assert (counted.estimate(USER, REQUEST).guessed, guessed.estimate(USER, REQUEST).guessed) == (False, True)
