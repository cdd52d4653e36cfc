"""Runs per minute in RunPrompt: what counts, what the refusal says, and what callers are shown."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from playground.domain.account import Hold, note_payment
from playground.domain.errors import (
    InsufficientCreditsError,
    ModelError,
    RateLimitedError,
    RunInProgressError,
    StoreUnavailableError,
    TooManyRunsError,
)
from playground.domain.rates import RateLimits, RateStanding
from playground.domain.runs import run_id_of
from playground.ports import Found, HoldOutcome
from playground.usecases.run_prompt import RunPrompt
from tests.fakes import InMemoryLedger, a_hold
from tests.kit.prices import LIMITED
from tests.unit.test_run_prompt import NOW, REQUEST, USER, World

SECOND = timedelta(seconds=1)


LIMITS = RateLimits(runs_free=5, runs_paying=5, runs_organisation=5, purchases=3)
FIVE = replace(LIMITED, rate_limits=LIMITS)  # whoever has more than the signup credits pays, or was given a bonus


def limited(**options: Any) -> World:
    return World(**{"prices": FIVE, **options})


def refused(world: World, *, key: str | None = None) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        world.run(key=key)
    return caught.value


def test_a_free_account_runs_five_times_and_then_every_twelve_seconds() -> None:
    world = limited()
    world.give(100)
    for _ in range(5):
        world.run()
    before, calls = world.account(), len(world.model.prompts)

    error = refused(world)

    assert (error.code, dict(error.facts)) == ("rate_limited", {"limit": 5, "retry_after": 12})
    assert world.account() == before, "a refused run moves nothing"
    assert len(world.model.prompts) == calls
    world.clock.move(11 * SECOND)
    assert refused(world).facts["retry_after"] == 1
    world.clock.move(SECOND)
    world.run()
    assert refused(world).facts["retry_after"] == 12


def test_retry_after_is_exact_to_the_second() -> None:
    world = limited()
    world.give(100)
    for _ in range(5):
        world.run()
        world.clock.move(timedelta(milliseconds=170))

    assert refused(world).facts["retry_after"] == 12, "11.15 s, rounded up"
    world.clock.move(11 * SECOND)
    assert refused(world).facts["retry_after"] == 1
    world.clock.move(SECOND)
    world.run()


def test_whoever_has_paid_may_run_more_at_once() -> None:
    """Also if the payment comes between the read and the hold: the account that refused says what the limit is."""
    world = limited(prices=LIMITED, reply=lambda prompt: ModelError("broken"))

    def fail(worker: RunPrompt) -> None:
        with pytest.raises(ModelError):
            worker(USER, REQUEST, idempotency_key=None, seconds_left=29)

    for _ in range(5):
        fail(world.worker())
    refused(world)
    before = world.account()
    world.ledger.change(USER, lambda account: (note_payment(account), ()), business_key="paid", now=NOW)
    refused(world)
    world.clock.move(3 * SECOND)

    def long_ago(**asked: Any) -> Found:
        return replace(world.lookup(**asked), account=replace(before, runs_at=None))

    fail(world.worker(long_ago))
    refused(world)
    world.clock.move(3 * SECOND)
    fail(world.worker())


def test_a_run_that_failed_counts() -> None:
    world = limited(reply=lambda prompt: ModelError("broken"))
    for _ in range(5):
        with pytest.raises(ModelError):
            world.run()
    refused(world)
    assert world.account().balance == 5


def test_a_run_that_cannot_be_paid_does_not_count() -> None:
    world = limited(count=lambda prompt: 30_000)
    for _ in range(7):
        with pytest.raises(InsufficientCreditsError):
            world.run(replace(REQUEST, model="opus"))
    assert world.account().runs_at is None


def test_a_run_beside_too_many_open_ones_does_not_count() -> None:
    world = limited(max_open_runs=1)
    world.hold(a_hold("other", 1, NOW))
    for _ in range(7):
        with pytest.raises(TooManyRunsError):
            world.run()
    assert world.account().runs_at is None


def test_repeats_of_a_run_do_not_count_and_are_answered_when_the_limit_is_used_up() -> None:
    world = limited()
    world.give(100)
    first = world.run(key="first")
    for _ in range(9):
        assert world.run(key="first").turn == first.turn
    assert world.account().runs_at == NOW + 12 * SECOND
    for number in range(4):
        world.run(key=f"{number}")
    refused(world)
    assert world.run(key="first").turn == first.turn


def test_a_repeat_of_an_open_run_is_told_that_it_is_open() -> None:
    world = limited()
    world.give(100)
    for _ in range(5):
        world.run()
    world.hold(replace(a_hold(run_id_of(USER, "k"), 1, NOW), request_hash=REQUEST.hash))
    with pytest.raises(RunInProgressError):
        world.run(key="k")


def test_a_repeat_that_began_before_its_run_ended_is_answered_and_does_not_count() -> None:
    world = limited()
    world.give(100)
    first = world.run(key="first")

    def early(**asked: Any) -> Found:
        """Saw neither the receipt nor the use of the limit."""
        found = world.lookup(**asked)
        assert found.account is not None
        return replace(found, run=None, account=replace(found.account, runs_at=None, holds={}))

    late = world.worker(early)
    for _ in range(9):
        answer = late(USER, REQUEST, idempotency_key="first", seconds_left=29)
        assert (answer.replayed, answer.turn) == (True, first.turn)
    assert world.account().runs_at == NOW + 12 * SECOND
    for number in range(4):
        world.run(key=f"{number}")

    assert late(USER, REQUEST, idempotency_key="first", seconds_left=29).turn == first.turn, "also beyond the limit"
    with pytest.raises(RateLimitedError):
        late(USER, REQUEST, idempotency_key="new", seconds_left=29)
    assert world.account().runs_at == NOW + 60 * SECOND


def test_the_prompt_of_a_refused_run_is_not_counted() -> None:
    """The account as it was read shows that it is too fast."""
    world = limited()
    world.give(100)
    for _ in range(5):
        world.run()
    counted = len(world.model.counted)
    for _ in range(10):
        refused(world)
    assert len(world.model.counted) == counted


def test_a_hold_that_was_not_confirmed_does_not_count_when_it_is_taken_back() -> None:
    class Mute(InMemoryLedger):
        """Places holds, and does not say so."""

        def place_hold(self, user_id: str, hold: Hold, **options: Any) -> HoldOutcome:
            super().place_hold(user_id, hold, **options)
            raise StoreUnavailableError

    world = limited(ledger=Mute())
    world.ledger.account(USER, NOW)
    for _ in range(7):
        with pytest.raises(StoreUnavailableError):
            world.run()
    account = world.account()
    assert (account.held, account.runs_at) == (0, NOW)


def test_callers_are_shown_where_they_stand() -> None:
    world = limited(prices=LIMITED)
    world.give(5)

    def shown(key: str | None = None) -> RateStanding:
        found: list[RateStanding] = []
        with suppress(ModelError):
            world.worker()(USER, REQUEST, idempotency_key=key, seconds_left=29, show_standing=found.append)
        return found[-1]

    def standing(remaining: int, seconds: int) -> RateStanding:
        return RateStanding(name="runs", per_minute=20, remaining=remaining, seconds=seconds)

    assert shown("k") == standing(19, 3)
    assert shown("k") == standing(19, 3), "a repeat, too"
    world.clock.move(SECOND)
    assert shown("k") == standing(19, 2)
    world.reply = lambda prompt: ModelError("broken")
    assert shown() == standing(18, 2)


@pytest.mark.parametrize(
    ("required", "debt", "message"),
    [
        (1, 0, "Insufficient credits. This run needs 1 credit; available: 0."),
        (2, 0, "Insufficient credits. This run needs 2 credits; available: 0."),
        (
            2,
            1,
            (
                "Insufficient credits. This run needs 2 credits; available: 0. "
                "The account has a debt of 1 credit: credits that you buy repay it first."
            ),
        ),
        (
            1,
            20,
            (
                "Insufficient credits. This run needs 1 credit; available: 0. "
                "The account has a debt of 20 credits: credits that you buy repay it first."
            ),
        ),
    ],
)
def test_the_refusal_says_how_many_credits_are_missing_and_owed(required: int, debt: int, message: str) -> None:
    error = InsufficientCreditsError(required_credits=required, available_credits=0, debt=debt)
    assert (str(error), error.facts["debt"]) == (message, debt)
