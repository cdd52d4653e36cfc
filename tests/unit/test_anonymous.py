"""Anonymous runs: who is one visitor, and what is counted whatever happens. With fakes and a scripted model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.adapters.claude import most_prompt_tokens
from playground.domain.anonymous import (
    AnonymousOutcome,
    Reservation,
    VisitorKeys,
    day_end,
    day_of,
    network_of,
    seconds_to_day_end,
)
from playground.domain.errors import (
    INVALID_USAGE,
    AnonymousBudgetUsedError,
    AnonymousRunsOffError,
    AnonymousRunUsedError,
    ContextTooLongError,
    ModelError,
    ModelOverloadedError,
    ModelTimedOutError,
    PackageNotFoundError,
    PlaygroundError,
    StoreUnavailableError,
)
from playground.domain.pricing import Spent, Usage
from playground.ports import Admission, Completion, Prompt
from playground.usecases.run_anonymously import (
    MAX_ANSWER_TOKENS,
    MAX_PROMPT_TOKENS,
    STORE_RESERVE_SECONDS,
    AnonymousAnswer,
    RunAnonymously,
)
from tests.fakes import CountingNewId, FrozenClock, InMemoryAnonymousBudget, InMemoryCatalog, Reply, ScriptedModel
from tests.kit.packages import a_package
from tests.kit.prices import EXAMPLE

NOW = datetime(2026, 11, 28, 21, 30, tzinfo=UTC)
DAY = "2026-11-28"
HAIKU = EXAMPLE.models["haiku"]
NAME = "@acme/tidy"
PACKAGE = a_package(NAME)
USAGE = Usage(input_tokens=100, output_tokens=50)
COST = HAIKU.cost_nano(USAGE)
ANSWER = Completion(text="Done.", usage=USAGE, stop_reason="end_turn", model_id="claude-haiku-5-5")
BIG = 10**9
SECRET = "a secret of the tests, 32 bytes at least"


class FailingBudget(InMemoryAnonymousBudget):
    """Does what it is asked, if it `acts`, and then does not answer: the methods in `failing`."""

    def __init__(self, *failing: str, acts: bool) -> None:
        super().__init__()
        self._failing = failing
        self._acts = acts

    def reserve(self, reservation: Reservation, *, budget_nano: int) -> Admission:
        fails = "reserve" in self._failing
        if fails and not self._acts:
            raise StoreUnavailableError
        admission = super().reserve(reservation, budget_nano=budget_nano)
        if fails:
            raise StoreUnavailableError
        return admission

    def settle(self, reservation: Reservation, cost_nano: int) -> None:
        if "settle" in self._failing:
            raise StoreUnavailableError
        super().settle(reservation, cost_nano)

    def give_back(self, reservation: Reservation) -> None:
        if "give_back" in self._failing:
            raise StoreUnavailableError
        super().give_back(reservation)


@dataclass
class World:
    """A worker and everything around it. The model answers "Done.", if nothing else is said."""

    replies: list[Reply] | Callable[[Prompt], Reply] = field(default_factory=lambda: [ANSWER])
    budget: InMemoryAnonymousBudget = field(default_factory=InMemoryAnonymousBudget)
    budget_nano: int = BIG
    is_on: bool = True
    clock: FrozenClock = field(default_factory=lambda: FrozenClock(NOW))
    catalog: InMemoryCatalog = field(default_factory=lambda: InMemoryCatalog(PACKAGE))
    reported: list[AnonymousOutcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = ScriptedModel(self.replies)
        self.run_anonymously = RunAnonymously(
            budget=self.budget,
            catalog=self.catalog,
            model=self.model,
            price=HAIKU,
            keys=VisitorKeys(SECRET),
            most_prompt_tokens=most_prompt_tokens,
            clock=self.clock,
            new_id=CountingNewId(),
            is_on=self.is_on,
            budget_nano=self.budget_nano,
            model_timeout_seconds=15,
            report=self.reported.append,
            monotonic=lambda: (self.clock() - NOW).total_seconds(),
        )

    def run(
        self, text: str = "My desk", *, address: str = "203.0.113.7", package: str = NAME, seconds_left: float = 25
    ) -> AnonymousAnswer:
        return self.run_anonymously(package, text, address=address, seconds_left=seconds_left)

    @property
    def used(self) -> int:
        return self.budget.used.get(DAY, 0)

    @property
    def has_run(self) -> bool:
        """Whether the visitor's run of the day is counted."""
        return bool(self.budget.nonces)


def most(text: str = "My desk") -> int:
    """What is reserved for a run, in nano-dollars."""
    return HAIKU.cost_nano(HAIKU.most_expensive(most_prompt_tokens(prompt_of(text)), MAX_ANSWER_TOKENS))


def prompt_of(text: str) -> Prompt:
    return Prompt(model=HAIKU, system=PACKAGE.prompt, messages=(("user", text),), max_tokens=MAX_ANSWER_TOKENS)


# --- visitors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::FFFF:CB00:7107", "203.0.113.7/32"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "none"),
        ("test-invoke-source-ip", "none"),
        ("203.0.113.7, 198.51.100.1", "none"),
        ("203.0.113.007", "none"),
        ("\ud800", "none"),
    ],
)
def test_a_network_is_one_visitor(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.integers(2, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_64_are_one_visitor_and_no_others(site: int, one: int, host: int) -> None:
    address = IPv6Address((site << 64) + one)
    keys = VisitorKeys(SECRET)
    there = [str(IPv6Address((bits << 64) + host)) for bits in (site, site ^ 1)]
    assert keys.visitor(str(address), DAY) == keys.visitor(there[0], DAY) != keys.visitor(there[1], DAY)


def test_a_visitor_has_another_name_on_another_day_and_under_another_secret() -> None:
    names = {
        VisitorKeys(secret).visitor("203.0.113.7", day)
        for secret in (SECRET, SECRET[::-1])
        for day in (DAY, "2026-11-29")
    }
    assert len(names) == 4
    assert all(len(name) == 32 and "203" not in name[:3] for name in names)


def test_a_secret_is_long_enough() -> None:
    with pytest.raises(ValueError, match="31 bytes, at least 32"):
        VisitorKeys("x" * 31)


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 11, 28, 0, 0, tzinfo=UTC), 86_400),
        (datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 11, 28, 23, 59, 59, 999_000, tzinfo=UTC), 1),
        (datetime(2026, 11, 28, 23, 0, tzinfo=timezone(timedelta(hours=-5))), 20 * 3600),
    ],
)
def test_a_day_ends_at_midnight_utc(now: datetime, seconds: int) -> None:
    assert seconds_to_day_end(now) == seconds
    assert day_of(day_end(now)) > day_of(now)
    assert now + timedelta(seconds=seconds) >= day_end(now)


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_visitor_gets_one_answer_a_day() -> None:
    world = World([ANSWER, ANSWER])
    assert world.run() == AnonymousAnswer(text="Done.", tokens_used=150, duration_ms=0, model_id="claude-haiku-5-5")
    with pytest.raises(AnonymousRunUsedError) as refused:
        world.run("Something else", address="::ffff:203.0.113.7")
    assert refused.value.facts == {"login_required": True, "retry_after": 9_000}
    world.clock.move(timedelta(hours=2, minutes=30))
    assert world.run(seconds_left=25 + 9_000).text == "Done."
    assert world.budget.used == {DAY: COST, "2026-11-29": COST}


def test_the_model_is_asked_for_a_short_answer_of_haiku_and_with_the_package() -> None:
    world = World()
    world.run()
    assert world.model.prompts == [
        Prompt(
            model=HAIKU,
            system="Tidy up.",
            messages=(("user", "My desk"),),
            max_tokens=MAX_ANSWER_TOKENS,
            effort="low",
        )
    ]
    assert world.model.counted == []  # strangers do not make us count


def test_the_most_that_a_run_can_cost_is_reserved_while_the_model_is_asked() -> None:
    seen: list[int] = []

    def reply(prompt: Prompt) -> Reply:
        seen.append(world.used)
        return ANSWER

    world = World(reply)
    world.run()
    assert seen == [most()]
    assert world.used == COST < most()
    assert world.reported == [AnonymousOutcome(package=NAME, counted_nano=COST)]


def test_the_budget_admits_what_it_covers() -> None:
    world = World([ANSWER] * 3, budget_nano=2 * COST + most())
    for number in range(3):
        world.run(address=f"198.51.100.{number}")
    with pytest.raises(AnonymousBudgetUsedError) as refused:
        world.run(address="198.51.100.9")
    assert refused.value.facts == {"login_required": True, "retry_after": 9_000}
    assert world.used == 3 * COST
    assert len(world.model.prompts) == 3


def test_the_newest_version_runs() -> None:
    catalog = InMemoryCatalog(PACKAGE, replace(PACKAGE, version="2.0.0", prompt="Tidy up better."))
    world = World(catalog=catalog)
    world.run()
    assert world.model.prompts[0].system == "Tidy up better."


def refused(world: World, kind: type[PlaygroundError], **how: Any) -> PlaygroundError:
    """The refusal of a run that has counted nothing and asked nobody."""
    with pytest.raises(kind) as caught:
        world.run(**how)
    assert (world.used, world.has_run, world.model.prompts, world.reported) == (0, False, [], [])
    return caught.value


def test_nothing_is_counted_while_it_is_off() -> None:
    assert refused(World(is_on=False), AnonymousRunsOffError, package="@acme/none").facts == {"login_required": True}


def test_nothing_is_counted_for_an_unknown_package() -> None:
    refused(World(), PackageNotFoundError, package="@acme/none")


def test_nothing_is_counted_for_a_withdrawn_package() -> None:
    world = World()
    world.catalog.withdrawn.add((PACKAGE.package_id, PACKAGE.version))
    refused(world, PackageNotFoundError)


def test_a_prompt_that_would_take_a_large_part_of_the_budget_is_refused() -> None:
    longest = "x" * (MAX_PROMPT_TOKENS - most_prompt_tokens(prompt_of("")))
    assert World().run(longest).text == "Done."
    error = refused(World(), ContextTooLongError, text=longest + "x")
    assert error.facts == {"tokens": MAX_PROMPT_TOKENS + 1, "limit": MAX_PROMPT_TOKENS}


def test_nothing_is_counted_when_there_is_no_time_for_the_model() -> None:
    refused(World(), StoreUnavailableError, seconds_left=STORE_RESERVE_SECONDS + 0.9)


def test_the_model_gets_what_the_store_does_not_need() -> None:
    world = World([ANSWER, ANSWER])
    world.run()
    world.run(address="198.51.100.1", seconds_left=STORE_RESERVE_SECONDS + 4)
    assert world.model.timeouts == [15, 4]


# --- no answer --------------------------------------------------------------------------------------------------------

REPORTED = Spent(usage=Usage(input_tokens=90, output_tokens=3), estimated=False)
ESTIMATED = Spent(usage=Usage(input_tokens=90, output_tokens=512), estimated=True)


@pytest.mark.parametrize(
    ("error", "used", "has_run"),
    [
        (ModelOverloadedError("overloaded", retry_after=3), 0, False),
        (ModelError("unreachable"), 0, False),
        (ModelError("rejected"), 0, False),
        (ModelTimedOutError(), 0, False),
        (ModelError("empty").costing(REPORTED), HAIKU.cost_nano(REPORTED.usage), True),
        (ModelError("refused").costing(REPORTED), HAIKU.cost_nano(REPORTED.usage), True),
        (ModelTimedOutError().costing(ESTIMATED), most(), True),
        (ModelError("cut_off").costing(ESTIMATED), most(), True),
        (ModelError(INVALID_USAGE).costing(ESTIMATED), most(), True),
    ],
    ids=[
        "overloaded",
        "unreachable",
        "rejected",
        "no time left",
        "empty",
        "refused",
        "timed out",
        "cut off",
        "impossible",
    ],
)
def test_a_run_without_an_answer_counts_unless_it_is_surely_not_billed(
    error: ModelError, used: int, has_run: bool
) -> None:
    """What is only estimated stays reserved in full."""
    world = World([error])
    with pytest.raises(ModelError):
        world.run()
    assert (world.used, world.has_run) == (used, has_run)
    assert world.reported == [AnonymousOutcome(package=NAME, counted_nano=used, failure=error.reason)]


def test_a_visitor_whose_run_was_not_billed_may_try_again() -> None:
    world = World([ModelOverloadedError("overloaded", retry_after=3), ANSWER])
    with pytest.raises(ModelOverloadedError):
        world.run()
    assert world.run().text == "Done."
    assert world.used == COST


def test_a_defect_leaves_the_run_counted_in_full() -> None:
    world = World([RuntimeError("a defect")])
    with pytest.raises(RuntimeError):
        world.run()
    assert (world.used, world.has_run) == (most(), True)


# --- the store does not answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("acts", [True, False])
def test_a_reservation_without_a_reply_asks_nobody_and_is_undone(acts: bool) -> None:
    refused(World(budget=FailingBudget("reserve", acts=acts)), StoreUnavailableError)


def test_a_reservation_that_cannot_be_undone_stays_counted() -> None:
    world = World(budget=FailingBudget("reserve", "give_back", acts=True))
    with pytest.raises(StoreUnavailableError):
        world.run()
    assert (world.used, world.has_run, world.model.prompts) == (most(), True, [])


def test_an_answer_is_given_although_its_cost_cannot_be_corrected() -> None:
    world = World(budget=FailingBudget("settle", acts=False))
    assert world.run().text == "Done."
    assert world.used == most()
    assert world.reported == [AnonymousOutcome(package=NAME, counted_nano=most())]


def test_a_run_that_was_not_billed_stays_counted_if_it_cannot_be_given_back() -> None:
    world = World([ModelError("unreachable")], FailingBudget("give_back", acts=False))
    with pytest.raises(ModelError, match="no answer"):
        world.run()
    assert (world.used, world.has_run) == (most(), True)
    assert world.reported == [AnonymousOutcome(package=NAME, counted_nano=most(), failure="unreachable")]


def test_a_run_over_midnight_is_settled_on_the_day_that_it_began() -> None:
    def reply(prompt: Prompt) -> Reply:
        world.clock.move(timedelta(seconds=2))
        return ANSWER

    world = World(reply, clock=FrozenClock(datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC)))
    world.run(seconds_left=25 + 9_000)
    assert world.budget.used == {DAY: COST}
