"""The ledger under any sequence of operations, clocks and repetitions: the same answers as a model in plain numbers.

After every step the answer, the account, its new entries and the readable turns are what the model says (I1 to I6), and
an account for which the scheduled work was done at every boundary is no different (I8).
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore
from playground.ports import Ledger, Sessions
from tests.fakes import InMemoryLedger
from tests.kit.extent import examples
from tests.kit.operations import Subject
from tests.kit.story import FIRST_DAYS, STEPS, Story
from tests.support import SESSIONS_TABLE

MakeSubjects = Callable[[int], Sequence[Subject]]
"""Two accounts of their own, for clocks with so many microseconds beyond their milliseconds."""

_users = itertools.count(1)


def numbers(step: str) -> dict[str, Any]:  # strategies: `rule` has other arguments, too
    return {argument: st.integers(least, most) for argument, (least, most) in STEPS[step].items()}


class LedgerLife(RuleBasedStateMachine):
    def __init__(self, make_subjects: MakeSubjects) -> None:
        super().__init__()
        self._make_subjects = make_subjects
        self.story: Story | None = None
        self.sound = True

    @initialize(first_day=st.sampled_from(FIRST_DAYS), sub_millis=st.sampled_from([0, 999]))
    def begin(self, first_day: int, sub_millis: int) -> None:
        self.story = Story(self._make_subjects(sub_millis), first_day)

    def take(self, step: str, **arguments: int) -> None:
        assert self.story is not None
        self.sound = False
        getattr(self.story, step)(**arguments)
        self.sound = True

    @rule(**numbers("read"))
    def reads(self, **arguments: int) -> None:
        self.take("read", **arguments)

    @rule(**numbers("read_run"))
    def reads_a_run(self, **arguments: int) -> None:
        self.take("read_run", **arguments)

    @rule(**numbers("place"))
    def places(self, **arguments: int) -> None:
        self.take("place", **arguments)

    @rule(**numbers("place"))
    def places_another(self, **arguments: int) -> None:
        self.take("place", **arguments)

    @rule(**numbers("settle"))
    def settles(self, **arguments: int) -> None:
        self.take("settle", **arguments)

    @rule(**numbers("place"))
    def places_a_third(self, **arguments: int) -> None:
        self.take("place", **arguments)

    @rule(**numbers("settle"))
    def settles_another(self, **arguments: int) -> None:
        self.take("settle", **arguments)

    @rule(**numbers("release"))
    def releases(self, **arguments: int) -> None:
        self.take("release", **arguments)

    @rule(**numbers("cancel"))
    def cancels(self, **arguments: int) -> None:
        self.take("cancel", **arguments)

    @rule(**numbers("sweep"))
    def sweeps(self, **arguments: int) -> None:
        self.take("sweep", **arguments)

    @rule(**numbers("grant"))
    def grants(self, **arguments: int) -> None:
        self.take("grant", **arguments)

    @rule(**numbers("take"))
    def takes(self, **arguments: int) -> None:
        self.take("take", **arguments)

    @rule(**numbers("undo"))
    def undoes(self, **arguments: int) -> None:
        self.take("undo", **arguments)

    @rule(**numbers("pause"))
    def pauses(self, **arguments: int) -> None:
        self.take("pause", **arguments)

    @rule(**numbers("start"))
    def starts(self, **arguments: int) -> None:
        self.take("start", **arguments)

    @rule(**numbers("entitle"))
    def entitles(self, **arguments: int) -> None:
        self.take("entitle", **arguments)

    @rule(**numbers("repeat"))
    def repeats(self, **arguments: int) -> None:
        self.take("repeat", **arguments)

    @rule(**numbers("wait"))
    def waits(self, **arguments: int) -> None:
        self.take("wait", **arguments)

    @rule(**numbers("wait_for_boundary"))
    def waits_for_a_boundary(self, **arguments: int) -> None:
        self.take("wait_for_boundary", **arguments)

    @rule(**numbers("wait_for_lease"))
    def waits_for_a_lease(self, **arguments: int) -> None:
        self.take("wait_for_lease", **arguments)

    @rule(**numbers("pay"))
    def hears_of_a_payment(self, **arguments: int) -> None:
        self.take("pay", **arguments)

    @rule(**numbers("refund"))
    def hears_of_a_refund(self, **arguments: int) -> None:
        self.take("refund", **arguments)

    @rule(**numbers("dispute"))
    def hears_of_a_dispute(self, **arguments: int) -> None:
        self.take("dispute", **arguments)

    def teardown(self) -> None:
        if self.story is not None and self.sound:
            self.story.end()


def tell(make_subjects: MakeSubjects, *, examples: int, steps: int, phases: Sequence[Phase] | None = None) -> None:
    run_state_machine_as_test(
        lambda: LedgerLife(make_subjects),  # type: ignore[arg-type]  # it is only called
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=phases if phases is not None else settings.default.phases,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def two(ledger: Ledger, sessions: Sessions, sub_millis: int) -> Sequence[Subject]:
    number = next(_users)
    names = (f"machine-{number}-plain", f"machine-{number}-scheduled")
    return [Subject(ledger, sessions, name, sub_millis=sub_millis) for name in names]


def test_the_ledger_in_memory_does_what_the_model_does() -> None:
    def make(sub_millis: int) -> Sequence[Subject]:
        ledger = InMemoryLedger()
        return two(ledger, ledger.sessions, sub_millis)

    tell(make, examples=examples(600), steps=60)


def test_the_ledger_on_the_engine_does_what_the_model_does(ledger: DynamoLedger, store: DynamoStore) -> None:
    sessions = DynamoSessions(store, SESSIONS_TABLE)

    tell(
        lambda sub_millis: two(ledger, sessions, sub_millis),
        examples=examples(45),
        steps=40,
        phases=(Phase.reuse, Phase.generate),  # making a story shorter takes longer than a test may
    )
