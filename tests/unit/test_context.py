"""How much of a conversation a run takes along."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playground.adapters.prices import parse_prices
from playground.domain.account import Account, Plan, as_of, open_account, start_plus
from playground.domain.calendar import boundary
from playground.domain.credits import Buckets
from playground.domain.errors import (
    ContextTooLongError,
    InsufficientCreditsError,
    SessionConflictError,
    StoreUnavailableError,
)
from playground.domain.pricing import PriceTableError, Usage
from playground.domain.runs import RunRequest
from playground.domain.sessions import Session, Turn
from playground.ports import Found, Prompt, TokenCount
from playground.usecases.prompts import COUNTS, FitConversation, Fitted
from tests.fakes import InMemoryLookup, InMemorySessions, ScriptedModel, a_hold, conversation
from tests.kit.prices import EXAMPLE, EXAMPLE_DATA
from tests.unit.test_run_prompt import ANSWER, NOW, TIDY, USER, World

REQUEST = RunRequest(package_id="@acme/tidy", input="And now?", model="sonnet", session_id="ses_1")
RICH = replace(open_account("user", NOW)[0], buckets=Buckets(purchased=1000))


def count(prompt: Prompt) -> int:
    """The provider's count is the guess."""
    return prompt.guessed_tokens


class CountedSessions(InMemorySessions):
    """Notes how many turns were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def walk(self, session_id: str, *, first: int, last: int, newest_first: bool = False) -> Iterator[Turn]:
        for turn in super().walk(session_id, first=first, last=last, newest_first=newest_first):
            self.read += 1
            yield turn


def stored(turns: int, answer: str) -> tuple[CountedSessions, Session]:
    sessions = CountedSessions()
    hold = a_hold("run_1", 1, NOW, session_id="ses_1")
    for number in range(1, turns + 1):
        about = conversation("user", hold, NOW, turns=number)
        sessions.add(replace(about, turn=replace(about.turn, answer=f"{number} {answer}")))
    return sessions, sessions.summaries["ses_1"]


def fit(
    sessions: InMemorySessions, session: Session | None, account: Account = RICH, request: RunRequest = REQUEST
) -> Fitted:
    return FitConversation(sessions, ScriptedModel(lambda prompt: ANSWER, count=count), EXAMPLE)(
        request, TIDY, session, account, timeout=3
    )


def questions(fitted: Fitted) -> list[str]:
    return [text for role, text in fitted.prompt.messages if role == "user"]


def test_everything_is_taken_along_while_it_fits() -> None:
    sessions, session = stored(5, "Yes.")
    fitted = fit(sessions, session)
    assert questions(fitted) == [*(f"question {number}" for number in range(1, 6)), "And now?"]
    assert fitted.omitted == 0


def test_the_oldest_turns_are_left_out_for_the_budget_and_no_more_are_read() -> None:
    sessions, session = stored(300, "x" * 16_000)
    fitted = fit(sessions, session)
    budget = EXAMPLE.context_budget_tokens["free"]
    assert fitted.tokens <= budget < fitted.tokens + 16_000 // 3 + 50  # not one turn more would fit
    assert questions(fitted)[-2:] == ["question 300", "And now?"]
    assert len(questions(fitted)) - 1 + fitted.omitted == 300
    assert sessions.read == len(questions(fitted))  # the one that did not fit, too
    plus = replace(RICH, plan=Plan.PLUS)
    assert fit(sessions, session, plus).omitted < fitted.omitted


@pytest.mark.parametrize("available", [1, 2, 3, 5, 8])
def test_as_much_is_taken_along_as_can_be_paid_for_with_the_shortest_answer(available: int) -> None:
    sessions, session = stored(40, "x" * 3000)
    fitted = fit(sessions, session, replace(RICH, buckets=Buckets(purchased=available)))
    model = EXAMPLE.models["sonnet"]
    assert EXAMPLE.ceiling(model, fitted.tokens, 512) <= available
    assert EXAMPLE.ceiling(model, fitted.tokens + 1030, 512) > available
    assert fitted.omitted > 0


@pytest.mark.parametrize("why", ["refused", "unreadable"])
def test_turns_that_cannot_be_sent_are_left_out_wherever_they_are(why: str) -> None:
    """The model declines everything after an answer that it declined in part."""
    sessions, session = stored(5, "word")
    for number in (1, 4):
        sessions._turns["ses_1", number] = replace(sessions._turns["ses_1", number], **{why: True})  # type: ignore[arg-type]

    fitted = fit(sessions, session)

    sent = [text.split(" ")[0] for role, text in fitted.prompt.messages if role == "assistant"]
    assert (sent, fitted.omitted) == (["2", "3", "5"], 2)


def test_an_answer_that_was_declined_in_part_is_kept_as_that() -> None:
    world = World(reply=lambda prompt: replace(ANSWER, stop_reason="refusal"))
    first = world.run()
    world.reply = lambda prompt: ANSWER
    second = world.run(replace(REQUEST, session_id=first.run.session_id))

    assert (first.turn.refused, first.run.charged, second.turn.refused) == (True, 1, False)
    assert [len(prompt.messages) for prompt in world.model.prompts] == [1, 1]
    assert second.run.turns_omitted == 1
    assert [turn.number for turn in world.ledger.sessions.turns(first.run.session_id)] == [1, 2]


def guessing(tokens: int) -> FitConversation:
    """With a provider that does not count, and a guess."""
    model = ScriptedModel(lambda prompt: ANSWER, count=lambda prompt: TokenCount(tokens, guessed=True))
    return FitConversation(InMemorySessions(), model, EXAMPLE)


def test_what_only_a_guess_says_is_too_long_is_tried() -> None:
    """A guess is a third too high for plain text: what fits the budget of a plan must not be refused for it."""
    budget = EXAMPLE.context_budget_tokens["free"]
    alone = replace(REQUEST, session_id=None)
    with pytest.raises(ContextTooLongError) as refused:
        FitConversation(InMemorySessions(), ScriptedModel([ANSWER], count=lambda prompt: budget + 1), EXAMPLE)(
            alone, TIDY, None, RICH, timeout=3
        )
    assert "about" not in refused.value.message

    fitted = guessing(budget + 15_389)(alone, TIDY, None, RICH, timeout=3)

    assert (fitted.tokens, fitted.guessed, fitted.prompt.max_tokens) == (budget + 15_389, True, 4096)


@pytest.mark.parametrize("guess", [999_000, 999_999, 1_000_000, 3_000_000])
def test_a_guess_beyond_what_the_model_takes_is_paid_as_what_it_takes(guess: int) -> None:
    """The provider refuses prompt and answer that are longer than its context together, so nothing costs more."""
    model = EXAMPLE.models["sonnet"]

    fitted = guessing(guess)(replace(REQUEST, session_id=None), TIDY, None, RICH, timeout=3)

    assert 512 <= fitted.prompt.max_tokens <= 4096
    assert fitted.tokens + fitted.prompt.max_tokens <= model.context_tokens
    assert fitted.tokens == min(guess, model.context_tokens - 512)


def test_too_few_credits_for_a_guess_are_refused_as_a_guess() -> None:
    """It must be held all the same: what was counted later may be as much, and nobody runs for free."""
    world = World(count=lambda prompt: TokenCount(75_389, guessed=True))

    with pytest.raises(InsufficientCreditsError) as refused:
        world.run()

    assert "needs about" in refused.value.message
    assert world.untouched()


def test_a_run_of_a_guess_holds_the_guess_and_pays_what_it_was() -> None:
    world = World(
        count=lambda prompt: TokenCount(75_389, guessed=True),
        reply=lambda prompt: replace(ANSWER, usage=Usage(input_tokens=59_038, output_tokens=400)),
    )
    world.give(100)

    run = world.run().run

    assert run.ceiling == EXAMPLE.ceiling(EXAMPLE.models["sonnet"], 75_389, 4096)
    assert (run.charged, run.overrun) == (
        EXAMPLE.price(EXAMPLE.models["sonnet"], Usage(input_tokens=59_038, output_tokens=400)).credits,
        0,
    )
    assert run.charged < run.ceiling


def test_without_credits_the_error_names_the_price_of_the_input_alone() -> None:
    sessions, session = stored(3, "Yes.")
    fitted = fit(sessions, session, replace(RICH, buckets=Buckets()))
    assert (questions(fitted), fitted.omitted, sessions.read) == (["And now?"], 3, 0)


@pytest.mark.parametrize("turns", [0, 3])
def test_what_does_not_fit_without_any_history_is_refused(turns: int) -> None:
    sessions, session = stored(turns, "Yes.") if turns else (InMemorySessions(), None)
    with pytest.raises(ContextTooLongError) as caught:
        fit(sessions, session, request=replace(REQUEST, input="x" * 200_000))
    assert caught.value.facts["limit"] == EXAMPLE.context_budget_tokens["free"]


def test_a_guess_that_was_too_low_is_corrected_by_counting() -> None:
    """The provider counts four times as many tokens as the guess: fewer turns, in a bounded number of counts."""
    sessions, session = stored(30, "x" * 5000)
    model = ScriptedModel(lambda prompt: ANSWER, count=lambda prompt: 4 * count(prompt))
    fitted = FitConversation(sessions, model, EXAMPLE)(REQUEST, TIDY, session, RICH, timeout=3)
    assert fitted.tokens <= EXAMPLE.context_budget_tokens["free"]
    assert fitted.omitted < 30
    assert len(model.counted) <= COUNTS


def test_a_count_that_makes_no_sense_ends_without_history() -> None:
    sessions, session = stored(30, "Yes.")
    model = ScriptedModel(lambda prompt: ANSWER, count=lambda prompt: 70_000 if len(prompt.messages) > 1 else 100)
    fitted = FitConversation(sessions, model, EXAMPLE)(REQUEST, TIDY, session, RICH, timeout=3)
    assert (fitted.omitted, fitted.tokens) == (30, 100)


def test_a_run_says_what_it_left_out_and_so_does_its_repeat() -> None:
    world = World(count=count)
    world.give(1000)
    world.reply = lambda prompt: replace(ANSWER, text="x" * 100_000)
    session_id = world.run().run.session_id
    request = replace(REQUEST, session_id=session_id, package_id="@acme/tidy")
    for key, omitted in (("a", 0), ("b", 1), ("c", 2), ("c", 2)):
        assert world.run(request, key=key).run.turns_omitted == omitted


def test_credits_that_others_spend_meanwhile_cost_history_before_they_cost_the_run() -> None:
    """Between the lookup and the hold another run takes credits: the run goes on with fewer turns."""

    class Late(InMemoryLookup):
        def __call__(self, **asked: Any) -> Found:
            found = super().__call__(**asked)
            if asked["session_id"] is not None:
                world.hold(a_hold("run_other", world.account().available - 2, NOW))
            return found

    world = World(count=count)
    world.give(20)
    world.reply = lambda prompt: replace(ANSWER, text="x" * 30_000)
    session_id = world.run().run.session_id
    request = replace(REQUEST, session_id=session_id)
    late = Late(world.ledger, world.catalog)
    answer = world.worker(late)(USER, request, idempotency_key=None, seconds_left=29)
    assert (answer.run.turns_omitted, answer.run.ceiling <= 2) == (1, True)


def test_credits_of_a_dead_run_pay_for_history() -> None:
    world = World(count=count)
    world.give(20)
    world.reply = lambda prompt: replace(ANSWER, text="x" * 30_000)
    session_id = world.run().run.session_id
    world.hold(a_hold("run_dead", world.account().available, NOW, lease=timedelta(seconds=1)))
    world.clock.move(timedelta(seconds=2))
    assert world.run(replace(REQUEST, session_id=session_id)).run.turns_omitted == 0


def test_the_plan_is_that_of_now() -> None:
    """The account in the store may not have crossed its boundaries yet."""
    account, _ = start_plus(open_account("user", NOW)[0], allowance=200, entitled_until=boundary(NOW, 1), now=NOW)
    later = datetime(2027, 3, 1, tzinfo=UTC)
    assert as_of(account, "user", NOW).plan is Plan.PLUS
    assert as_of(account, "user", boundary(NOW, 1)).buckets == Buckets(rollover=200, purchased=5)
    assert as_of(account, "user", later).buckets == Buckets(purchased=5)
    assert as_of(None, "user", NOW).available == 5


def test_a_session_never_moves_down_in_the_list_whatever_the_clocks_say() -> None:
    world = World()
    session_id = world.run().run.session_id
    world.clock.move(timedelta(seconds=-30))
    world.run(replace(REQUEST, session_id=session_id))
    session = world.ledger.sessions.summaries[session_id]
    assert (session.turns, session.updated_at) == (2, NOW)


# --- texts that are too large for an item -----------------------------------------------------------------------------


def test_texts_are_kept_before_the_run_is_settled_and_stay() -> None:
    world = World()
    world.ledger.sessions._most_bytes = 1
    answer = world.run()
    assert [turn.answer for turn in world.ledger.sessions.texts.values()] == [answer.turn.answer]


@pytest.mark.parametrize("error", [SessionConflictError(), StoreUnavailableError()])
def test_texts_of_a_run_that_is_not_settled_are_removed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.ledger.sessions._most_bytes = 1

    def fail(*_: object) -> None:
        assert world.ledger.sessions.texts  # they are there before the transaction is
        raise error

    monkeypatch.setattr(world.ledger, "settle", fail)
    with pytest.raises(type(error)):
        world.run()
    assert not world.ledger.sessions.texts
    assert (world.account().balance, world.account().held) == (5, 0)


def test_texts_that_cannot_be_kept_release_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(world.ledger.sessions, "store_texts", fail)
    with pytest.raises(StoreUnavailableError):
        world.run()
    assert (world.account().balance, world.account().held) == (5, 0)


# --- the data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budgets",
    [{}, {"free": 60_000}, {"free": 0, "plus": 1}, {"free": 60_000, "plus": 2_000_000}, {"free": 4095, "plus": 60_000}],
)
def test_budgets_that_make_no_sense_are_refused_at_load(budgets: dict[str, int]) -> None:
    data = {**EXAMPLE_DATA, "context_budget_tokens": budgets}
    with pytest.raises(PriceTableError, match="context_budget_tokens"):
        parse_prices(data)
