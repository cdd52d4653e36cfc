"""ComparePrompts over the fakes: all variants are held or none, and each ends by itself."""

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from playground.domain.account import LEASE_MARGIN, Hold
from playground.domain.comparisons import comparison_id_of, repeated, variants_of
from playground.domain.errors import (
    AccountPausedError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    ModelError,
    ModelOverloadedError,
    PackageNotFoundError,
    PlaygroundError,
    RateLimitedError,
    RunInProgressError,
    RunsPausedError,
    SessionNotFoundError,
    StoreUnavailableError,
    TooManyFailuresError,
    TooManyRunsError,
    UnsupportedParameterError,
)
from playground.domain.pricing import Spent
from playground.domain.rates import RateStanding
from playground.domain.runs import Run, RunRequest, RunStatus, run_id_of
from playground.domain.sessions import Comparison
from playground.ports import Completion, Conclude, Conversation, Ended, HoldOutcome, Prompt
from playground.usecases.compare_prompts import (
    Compared,
    ComparePrompts,
    Each,
    Outcome,
    at_once,
    one_by_one,
)
from playground.usecases.expire_holds import ExpireHolds
from playground.usecases.live_runs import LiveAnswer
from playground.usecases.run_prompt import PaidAnswer
from tests.fakes import InMemoryLedger, a_hold
from tests.kit.prices import EXAMPLE
from tests.support import all_entries, check_invariants
from tests.unit.test_run_limits import FIVE
from tests.unit.test_run_prompt import ANSWER, NOW, REQUEST, USER, Shaky, World

WITH = REQUEST
WITHOUT = replace(REQUEST, use_no_prompt=True)
OPUS = replace(REQUEST, model="opus", max_tokens=512)
PAIR = (WITH, WITHOUT)
FOUR = (WITH, WITHOUT, replace(WITH, package_version="1.0.0"), replace(WITHOUT, max_tokens=1000))


@dataclass
class Comparing(World):
    """A worker that compares; at once, unless a test decides what happens when."""

    each: Each = at_once
    ended: list[tuple[int, Outcome]] = field(default_factory=list)
    live: dict[int, LiveAnswer] = field(default_factory=dict)

    def compare(
        self,
        requests: Sequence[RunRequest] = PAIR,
        *,
        key: str | None = "k",
        user: str = USER,
        seconds_left: float = 29,
        show: Callable[[RateStanding], None] = lambda standing: None,
        **options: Any,
    ) -> Compared:
        compare = ComparePrompts(
            run_prompt=self.worker(),
            ledger=self.ledger,
            clock=self.clock,
            new_id=self.ids,
            monotonic=lambda: (self.clock() - NOW).total_seconds(),
            each=self.each,
            **options,
        )
        return compare(
            user,
            requests,
            idempotency_key=key,
            seconds_left=seconds_left,
            on_start=self.live.__setitem__,
            on_end=lambda index, outcome: self.ended.append((index, outcome)),
            show_standing=show,
        )

    def runs(self, count: int = 2, key: str = "k") -> list[Run | None]:
        return [self.ledger.run(USER, run_id_of(USER, key, index)) for index in range(count)]


def answers(compared: Compared) -> list[PaidAnswer]:
    for outcome in compared.outcomes:
        assert isinstance(outcome, PaidAnswer), outcome
    return [outcome for outcome in compared.outcomes if isinstance(outcome, PaidAnswer)]


def error(outcome: Outcome) -> PlaygroundError:
    assert isinstance(outcome, PlaygroundError)
    return outcome


def by_prompt(prompt: Prompt) -> Completion:
    """Says whether it had the package's text."""
    return replace(ANSWER, text="With." if prompt.system else "Without.")


def failing_without(prompt: Prompt) -> Completion | Exception:
    return ANSWER if prompt.system else ModelOverloadedError("overloaded", retry_after=3)


# --- it works ---------------------------------------------------------------------------------------------------------


def test_all_are_answered_in_order_and_each_is_a_run_of_its_own() -> None:
    world = Comparing(reply=by_prompt)

    compared = world.compare()

    first, second = answers(compared)
    assert [answer.turn.answer for answer in (first, second)] == ["With.", "Without."]
    assert [first.run, second.run] == world.runs()
    assert compared.credits_spent == first.run.charged + second.run.charged == 2
    assert (world.account().balance, world.account().held) == (3, 0)
    assert {entry.run_id for entry in all_entries(world.ledger, USER)[1:]} == {first.run.run_id, second.run.run_id}
    assert first.run.session_id != second.run.session_id
    assert sorted(world.reported, key=lambda run: run.run_id) == sorted(
        [first.run, second.run], key=lambda run: run.run_id
    )
    assert sorted(index for index, _ in world.ended) == sorted(world.live) == [0, 1]


def test_the_sessions_name_the_comparison_and_go_on_by_themselves() -> None:
    world = Comparing(each=one_by_one)

    compared = world.compare()
    first, second = answers(compared)
    sessions = world.ledger.sessions.summaries
    assert compared.comparison_id == comparison_id_of(USER, "k")
    assert [sessions[answer.run.session_id].comparison for answer in (first, second)] == [
        Comparison(compared.comparison_id, 0),
        Comparison(compared.comparison_id, 1),
    ]

    world.run(replace(WITHOUT, session_id=second.run.session_id))

    assert sessions[second.run.session_id].comparison == Comparison(compared.comparison_id, 1)
    assert (sessions[second.run.session_id].turns, sessions[first.run.session_id].turns) == (2, 1)
    assert sessions[world.run().run.session_id].comparison is None


def test_variants_are_asked_at_the_same_time_all_of_them_under_their_holds() -> None:
    """Each waits for the others inside of its call."""
    world = Comparing()
    world.give(10)
    all_there = threading.Barrier(4, timeout=10)
    held: list[int] = []

    def together(prompt: Prompt) -> Completion:
        held.append(len(world.ledger.account(USER, NOW).holds))
        all_there.wait()
        return ANSWER

    world.reply = together

    assert len(answers(world.compare(FOUR))) == 4
    assert held == [4, 4, 4, 4]


def test_every_variant_has_the_time_limit_of_the_request() -> None:
    limits: ContextVar[tuple[float, ...]] = ContextVar("limits", default=())
    seen: list[tuple[float, ...]] = []

    @contextmanager
    def limited(seconds: float) -> Any:
        token = limits.set((*limits.get(), seconds))
        yield
        limits.reset(token)

    def noting(prompt: Prompt) -> Completion:
        seen.append(limits.get())
        return ANSWER

    world = Comparing(reply=noting)
    world.compare(time_limit=limited)

    assert seen == [(28.5,), (28.5,)]


def test_without_a_key_each_comparison_is_its_own() -> None:
    world = Comparing()

    first, second = world.compare(key=None), world.compare(key=None)

    assert first.comparison_id != second.comparison_id
    assert len({answer.run.run_id for answer in (*answers(first), *answers(second))}) == 4


# --- all or none ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_afforded_together_is_refused_for_all_with_the_total() -> None:
    """One of the two alone would be affordable."""
    world = Comparing()
    dear = replace(OPUS, use_no_prompt=True)

    with pytest.raises(InsufficientCreditsError) as refused:
        world.compare((OPUS, dear))

    assert (refused.value.facts["required_credits"], refused.value.facts["available_credits"]) == (6, 5)
    assert refused.value.message == "Insufficient credits. These 2 runs need 6 credits; available: 5."
    assert world.untouched()
    assert world.runs() == [None, None]


def test_one_limit_for_all_makes_them_affordable() -> None:
    world = Comparing(each=one_by_one)

    first, second, third = answers(
        world.compare(
            (replace(WITH, max_tokens=9000), replace(WITHOUT, max_tokens=9000), replace(WITH, max_tokens=600))
        )
    )

    limits = [answer.run.max_tokens or 0 for answer in (first, second, third)]
    assert limits[0] == limits[1] > 600 == limits[2]
    assert sum(answer.run.ceiling for answer in (first, second, third)) <= 5
    assert [answer.run.wanted_max_tokens for answer in (first, second, third)] == [9000, 9000, 600]
    one_more = [world.prices.ceiling(world.prices.models["sonnet"], 100, limit) for limit in (limits[0] + 1,) * 2]
    assert sum(one_more) + third.run.ceiling > 5


def test_variants_count_as_so_many_open_runs() -> None:
    world = Comparing(max_open_runs=4)
    world.give(100)
    for number in range(3):
        world.hold(a_hold(f"run_{number}", 1, NOW))

    with pytest.raises(TooManyRunsError):
        world.compare()

    assert set(world.account().holds) == {"run_0", "run_1", "run_2"}
    world.max_open_runs = 5
    assert len(answers(world.compare())) == 2


def test_variants_count_as_so_many_runs_that_may_fail() -> None:
    """Only one more failure is admitted: a run is, and two at once are not."""
    billed = Spent(usage=ANSWER.usage, estimated=False)
    world = Comparing(reply=lambda prompt: ModelError("empty").costing(billed))
    allowed = world.prices.allowance(world.account()).failed_runs_per_hour
    for _ in range(allowed - 1):
        with pytest.raises(ModelError):
            world.run()
    asked = len(world.model.prompts)

    with pytest.raises(TooManyFailuresError) as refused:
        world.compare()

    assert len(world.model.prompts) == asked
    retry_after = refused.value.facts["retry_after"]
    assert isinstance(retry_after, int)
    world.clock.move(timedelta(seconds=retry_after))
    world.reply = by_prompt
    assert len(answers(world.compare())) == 2


def test_variants_count_as_so_many_runs_a_minute() -> None:
    """With a limit of five, two comparisons of two are four; a third one is refused, and nothing of it counted."""
    world = Comparing(prices=FIVE)
    world.give(100)
    shown: list[RateStanding] = []
    for key in ("1", "2"):
        world.compare(key=key, show=shown.append)
    assert shown[-1].remaining == 1
    counted = len(world.model.counted)

    with pytest.raises(RateLimitedError) as refused:
        world.compare(key="3", show=shown.append)

    assert len(world.model.counted) == counted
    assert shown[-1].remaining == 1
    assert len(answers(world.compare(key="1"))) == 2  # a repeat is no new run
    world.run()  # one is left
    retry_after = refused.value.facts["retry_after"]
    assert isinstance(retry_after, int)
    world.clock.move(timedelta(seconds=retry_after))
    with pytest.raises(RateLimitedError):
        world.compare(key="3")
    world.clock.move(timedelta(seconds=60 / 5))
    assert len(answers(world.compare(key="3"))) == 2


@pytest.mark.parametrize(
    ("requests", "refusal"),
    [
        ((WITH, replace(WITH, package_id="@acme/none")), PackageNotFoundError),
        ((WITH, replace(WITH, effort="none")), UnsupportedParameterError),
    ],
)
def test_a_refusal_of_one_variant_is_of_all_and_names_it(
    requests: Sequence[RunRequest], refusal: type[PlaygroundError]
) -> None:
    world = Comparing()

    with pytest.raises(refusal) as refused:
        world.compare(requests)

    assert refused.value.facts["variant"] == 1
    assert world.untouched()


def test_paused_runs_are_refused() -> None:
    world = Comparing()
    world.lookup.runs_paused = True

    with pytest.raises(RunsPausedError):
        world.compare()

    assert world.untouched()


def test_a_hold_whose_reply_is_lost_is_cancelled_for_all() -> None:
    world = Comparing(ledger=Shaky(after=("place_hold",)))

    with pytest.raises(StoreUnavailableError):
        world.compare()

    assert world.untouched()
    assert world.account().holds == {}


# --- each ends by itself ----------------------------------------------------------------------------------------------


def test_one_that_fails_costs_nothing_and_does_not_take_the_others() -> None:
    world = Comparing(reply=failing_without)

    compared = world.compare()

    answer, failed = compared.outcomes
    assert isinstance(answer, PaidAnswer)
    assert isinstance(failed, ModelOverloadedError)
    assert failed.facts["run_id"] == run_id_of(USER, "k", 1)
    assert compared.credits_spent == 1
    assert (world.account().balance, world.account().held) == (4, 0)
    settled, released = world.runs()
    assert settled is not None
    assert released is not None
    assert (settled.status, released.status) == (RunStatus.SETTLED, RunStatus.RELEASED)


def test_an_error_that_nobody_expects_is_of_its_variant() -> None:
    def broken(prompt: Prompt) -> Completion:
        if prompt.system is None:
            raise KeyError("a fault of ours")
        return ANSWER

    world = Comparing(reply=broken)

    answer, failed = world.compare().outcomes

    assert isinstance(answer, PaidAnswer)
    assert isinstance(failed, KeyError)
    assert (world.account().balance, world.account().held) == (4, 0)


def test_all_may_fail() -> None:
    world = Comparing(reply=lambda prompt: ModelError("empty"))

    compared = world.compare()

    assert [error(outcome).code for outcome in compared.outcomes] == ["model_failed"] * 2
    assert compared.credits_spent == 0
    assert (world.account().balance, world.account().held) == (5, 0)


# --- the same key again -----------------------------------------------------------------------------------------------


def test_a_repeat_gives_the_same_outcomes_for_ever() -> None:
    world = Comparing(reply=failing_without)
    first = world.compare()
    world.clock.move(timedelta(days=4000))
    world.reply = by_prompt

    again = world.compare()

    answer, failed = first.outcomes
    assert isinstance(answer, PaidAnswer)
    assert again.comparison_id == first.comparison_id
    assert again.outcomes[0] == replace(answer, replayed=True)
    assert (error(again.outcomes[1]).code, error(again.outcomes[1]).facts) == (
        error(failed).code,
        error(failed).facts,
    )
    assert (again.credits_spent, len(world.model.prompts), world.account().balance) == (1, 2, 4)


@pytest.mark.parametrize(
    "other",
    [
        (WITHOUT, WITH),
        (WITH, replace(WITHOUT, max_tokens=600)),
        (*PAIR, OPUS),
        tuple(replace(each, input="Another") for each in PAIR),
    ],
    ids=["another order", "another setting", "another variant", "another input"],
)
def test_the_key_of_another_comparison_is_refused(other: Sequence[RunRequest]) -> None:
    world = Comparing()
    world.give(100)
    world.compare()

    with pytest.raises(IdempotencyConflictError):
        world.compare(other)

    assert len(world.model.prompts) == 2


def test_fewer_variants_are_another_comparison() -> None:
    world = Comparing()
    world.give(100)
    world.compare((*PAIR, OPUS))

    with pytest.raises(IdempotencyConflictError):
        world.compare(PAIR)


def test_one_key_names_a_run_or_a_comparison() -> None:
    world = Comparing()
    world.run(WITH, key="run")
    with pytest.raises(IdempotencyConflictError):
        world.compare(PAIR, key="run")

    world.compare(PAIR, key="both")
    with pytest.raises(IdempotencyConflictError):
        world.run(WITH, key="both")


def test_a_repeat_of_a_comparison_that_is_being_made_is_told_so() -> None:
    """Before any variant has ended, and when one has."""
    world = Comparing(each=one_by_one)
    refused: list[RunInProgressError] = []
    asked: list[Prompt] = []

    def repeated_meanwhile(prompt: Prompt) -> Completion:
        asked.append(prompt)
        assert len(asked) <= 2, "a variant was asked again"
        with pytest.raises(RunInProgressError) as caught:
            world.compare()
        refused.append(caught.value)
        return ANSWER

    world.reply = repeated_meanwhile

    assert len(answers(world.compare())) == 2
    assert [error.run_id for error in refused] == [run_id_of(USER, "k", 0), run_id_of(USER, "k", 1)]
    assert not any("variant" in error.facts for error in refused), "it is the whole that is being made"
    with pytest.raises(IdempotencyConflictError):
        world.compare((WITHOUT, WITH))


class Dies(BaseException):
    """The worker is gone."""


def dying_without(prompt: Prompt) -> Completion:
    if prompt.system is None:
        raise Dies
    return ANSWER


def test_what_a_dead_worker_has_left_ends_with_its_lease_and_stays_so() -> None:
    """The first variant is paid for and readable, the other was interrupted."""
    world = Comparing(each=one_by_one, reply=dying_without)
    with pytest.raises(Dies):
        world.compare()
    with pytest.raises(RunInProgressError):
        world.compare()
    world.clock.move(timedelta(seconds=29) + LEASE_MARGIN)

    compared = world.compare()

    answer, failed = compared.outcomes
    assert isinstance(answer, PaidAnswer)
    assert error(failed).facts == {"reason": "interrupted", "run_id": run_id_of(USER, "k", 1)}
    assert (world.account().balance, world.account().held) == (4, 0)
    again = world.compare()
    assert again.outcomes[0] == compared.outcomes[0]
    assert error(again.outcomes[1]).facts == error(failed).facts


def test_what_was_swept_is_no_longer_in_progress() -> None:
    world = Comparing(each=one_by_one, reply=dying_without)
    with pytest.raises(Dies):
        world.compare((WITHOUT, WITH))
    world.clock.move(timedelta(seconds=29) + LEASE_MARGIN)
    assert ExpireHolds(world.ledger)(world.account(), now=world.clock()) == 2

    assert [error(outcome).facts["reason"] for outcome in world.compare((WITHOUT, WITH)).outcomes] == [
        "interrupted"
    ] * 2
    assert world.account().balance == 5


def test_who_holds_after_the_first_attempt_has_ended_gives_all_back_and_reads_it() -> None:
    """Between the look and the hold of this one, another attempt was made from beginning to end."""

    class Late(InMemoryLedger):
        def place_hold(self, user_id: str, *holds: Hold, now: datetime, **limits: Any) -> HoldOutcome:
            if meanwhile:
                meanwhile.pop()()
            return super().place_hold(user_id, *holds, now=now, **limits)

    world = Comparing(ledger=Late(), reply=failing_without)
    meanwhile = [lambda: first.append(world.compare())]
    first: list[Compared] = []

    second = world.compare()

    assert len(world.model.prompts) == 2
    assert second.credits_spent == first[0].credits_spent == 1
    assert world.account().holds == {}
    assert world.account().balance == 4


def test_a_deleted_session_takes_only_its_own_answer() -> None:
    world = Comparing()
    first, second = answers(world.compare())
    world.ledger.sessions.delete(first.run.session_id)
    spent = world.compare().credits_spent
    assert spent == sum(run.charged for run in world.runs() if run is not None) == 2, "as the receipts say"

    again = world.compare()

    assert isinstance(again.outcomes[0], SessionNotFoundError)
    assert again.outcomes[1] == replace(second, replayed=True)


def test_what_cannot_be_read_now_is_no_outcome() -> None:
    world = Comparing()
    world.compare()

    def unavailable(session_id: str, number: int) -> None:
        raise StoreUnavailableError

    world.ledger.sessions.turn = unavailable  # type: ignore[method-assign]

    with pytest.raises(StoreUnavailableError):
        world.compare()


def test_a_settlement_that_is_undone_is_the_outcome_of_its_variant() -> None:
    """The store does not answer the settlement of the second: it is released, and stays so."""

    class OnceShaky(InMemoryLedger):
        def settle(self, account: Any, hold: Hold, conclude: Conclude, conversation: Conversation) -> Ended:
            if hold.run_id == run_id_of(USER, "k", 1):
                raise StoreUnavailableError
            return super().settle(account, hold, conclude, conversation)

    world = Comparing(ledger=OnceShaky())

    first = world.compare()
    again = world.compare()

    assert [error(each.outcomes[1]).code for each in (first, again)] == ["store_unavailable"] * 2
    assert (world.account().balance, world.account().held) == (4, 0)


def test_a_paused_account_compares_nothing() -> None:
    world = Comparing()
    account = world.account()
    world.ledger._accounts[USER] = replace(account, paused_at=NOW)

    with pytest.raises(AccountPausedError):
        world.compare()

    check_invariants(world.ledger.account(USER, NOW), all_entries(world.ledger, USER))


# --- parts ------------------------------------------------------------------------------------------------------------


def test_variants_that_are_the_same_run_are_found() -> None:
    explicit = replace(WITH, max_tokens=4096, names_model=False)

    assert repeated(PAIR, EXAMPLE) is None
    assert repeated((WITH, WITHOUT, explicit), EXAMPLE) == (0, 2)
    assert repeated((WITHOUT, WITH, replace(WITH, max_tokens=512)), EXAMPLE) is None


def test_the_hash_of_a_variant_depends_on_all_of_them_and_on_its_place() -> None:
    hashes = [each.hash for pair in ((WITH, WITHOUT), (WITHOUT, WITH), (WITH, OPUS)) for each in variants_of(pair)]

    assert len({*hashes, WITH.hash, WITHOUT.hash}) == 8
    assert [each.hash for each in variants_of(PAIR)] == [each.hash for each in variants_of(PAIR)]


def test_tasks_are_done_at_once_and_the_first_error_is_raised_when_all_are_over() -> None:
    done: list[int] = []

    def fail(number: int) -> int:
        done.append(number)
        raise KeyError(number)

    assert at_once([lambda: 1, lambda: 2]) == [1, 2]
    with pytest.raises(KeyError, match="1"):
        at_once([lambda: 0, lambda: fail(1), lambda: fail(2)])
    assert sorted(done) == [1, 2]


def test_without_further_threads_variants_are_asked_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    world = Comparing(reply=by_prompt)
    monkeypatch.setattr(threading.Thread, "start", no_more)

    assert len(answers(world.compare())) == 2
    assert (world.account().balance, world.account().held) == (3, 0)
