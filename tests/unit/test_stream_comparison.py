"""A comparison as one stream: the events of each variant in order, whatever becomes of the others."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from playground.domain.errors import InsufficientCreditsError, ModelError, RunInProgressError
from playground.domain.runs import RunRequest, run_id_of
from playground.ports import UNWATCHED, Completion, Progress, Prompt, TokenCount
from playground.sse import encoded_comparison
from playground.usecases.compare_prompts import Compared, ComparePrompts
from playground.usecases.live_runs import LiveAnswer
from playground.usecases.run_prompt import PaidAnswer, RunPrompt
from playground.usecases.stream_comparison import (
    ComparisonEvent,
    ComparisonStream,
    OfVariant,
    StreamComparison,
)
from playground.usecases.stream_run import Delta, Done, Event, Failed, KeepAlive, Started
from tests.fakes import CountingNewId, FrozenClock, InMemoryCatalog, InMemoryLedger, InMemoryLookup, a_hold
from tests.kit.extent import HANG_SECONDS
from tests.kit.prices import EXAMPLE
from tests.support import all_entries, check_invariants
from tests.unit.test_run_prompt import ANSWER, NOW, REQUEST, TIDY, USER

PAIR = (REQUEST, replace(REQUEST, use_no_prompt=True))
DEAR = (replace(REQUEST, model="opus"), replace(REQUEST, model="opus", use_no_prompt=True))


class Turns:
    """`ports.Model` for two variants that write by turns, a word each; the second fails if it is to."""

    def __init__(self, words: Sequence[str] = ("One ", "two ", "three."), *, second: Exception | None = None) -> None:
        self.words = words
        self.second = second
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self._barrier = threading.Barrier(2, timeout=HANG_SECONDS)

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return TokenCount(100)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        self.asked += 1
        assert self.gate.wait(HANG_SECONDS)
        for word in self.words:
            self._barrier.wait()
            progress.write(word)
        if prompt.system is None and self.second is not None:
            raise self.second
        return replace(ANSWER, text="".join(self.words))


class World:
    def __init__(self, model: Turns | None = None) -> None:
        self.model = model or Turns()
        self.ledger = InMemoryLedger()
        self.clock = FrozenClock(NOW)
        self.ended = threading.Event()
        catalog = InMemoryCatalog(TIDY)
        run_prompt = RunPrompt(
            ledger=self.ledger,
            lookup=InMemoryLookup(self.ledger, catalog),
            sessions=self.ledger.sessions,
            catalog=catalog,
            model=self.model,
            prices=EXAMPLE,
            clock=self.clock,
            new_id=CountingNewId(),
            max_open_runs=20,
            model_timeout_seconds=300,
        )
        self.compare = ComparePrompts(
            run_prompt=run_prompt, ledger=self.ledger, clock=self.clock, new_id=CountingNewId()
        )

    def stream(self, requests: Sequence[RunRequest] = PAIR, *, keep_alive_seconds: float = 10) -> ComparisonStream:
        stream = StreamComparison(
            compare_prompts=self.compare, ended=self.ended.set, keep_alive_seconds=keep_alive_seconds
        )
        return stream(USER, requests, idempotency_key="k", seconds_left=60)

    def balance(self) -> tuple[int, int]:
        account = self.ledger.account(USER, NOW)
        check_invariants(account, all_entries(self.ledger, USER))
        return account.balance, account.held


def of(events: Sequence[ComparisonEvent], index: int) -> list[Event]:
    return [event.event for event in events if isinstance(event, OfVariant) and event.index == index]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_each_variant_is_started_written_and_done_and_the_whole_is_the_last() -> None:
    world = World()

    stream = world.stream()
    events = list(stream.events)

    for index in (0, 1):
        started, *deltas, done = of(events, index)
        assert isinstance(started, Started)
        assert started.run_id == run_id_of(USER, "k", index)
        assert started.ceiling == 2
        assert isinstance(done, Done)
        assert text_of(deltas) == done.answer.turn.answer == "One two three."
        ends = [event.end for event in deltas if isinstance(event, Delta)]
        assert ends == sorted(ends)
        assert ends[-1] == len("One two three.")
    assert isinstance(events[-1], Compared)
    assert events[-1].credits_spent == 2
    places = [event.index for event in events if isinstance(event, OfVariant) and isinstance(event.event, Delta)]
    assert places not in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert world.ended.wait(HANG_SECONDS)
    assert world.balance() == (3, 0)


def test_a_variant_that_fails_is_failed_and_the_other_goes_on() -> None:
    world = World(Turns(second=ModelError("cut_off")))

    events = list(world.stream().events)

    failed = of(events, 1)[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelError)
    assert isinstance(of(events, 0)[-1], Done)
    assert isinstance(events[-1], Compared)
    assert (events[-1].credits_spent, world.balance()) == (1, (4, 0))


def test_what_is_refused_before_the_model_is_asked_is_no_stream() -> None:
    world = World()

    with pytest.raises(InsufficientCreditsError):
        world.stream(DEAR)

    assert world.model.asked == 0
    assert world.balance() == (5, 0)


def test_a_repeat_is_the_same_from_the_beginning() -> None:
    world = World(Turns(second=ModelError("cut_off")))
    first = list(world.stream().events)

    again = list(world.stream().events)

    assert [type(event) for event in of(again, 0)] == [Started, Delta, Done]
    assert text_of(of(again, 0)) == text_of(of(first, 0))
    [failed] = of(again, 1)
    assert isinstance(failed, Failed)
    assert isinstance(again[-1], Compared)
    assert again[-1].credits_spent == 1
    assert world.model.asked == 2


def test_while_it_is_made_elsewhere_a_repeat_is_refused() -> None:
    world = World()
    world.model.gate.clear()
    stream = world.stream()

    with pytest.raises(RunInProgressError):
        world.stream()

    world.model.gate.set()
    assert isinstance(list(stream.events)[-1], Compared)


def test_it_is_finished_whether_anybody_reads_it_or_not() -> None:
    world = World()

    world.stream().wait()

    assert world.ended.is_set()
    assert world.balance() == (3, 0)


def test_in_silence_the_connection_is_kept_alive() -> None:
    world = World()
    world.model.gate.clear()
    stream = world.stream(keep_alive_seconds=0.01)
    events: list[ComparisonEvent] = []
    for event in stream.events:
        events.append(event)
        if isinstance(event, KeepAlive):
            world.model.gate.set()

    assert any(isinstance(event, KeepAlive) for event in events)
    assert isinstance(events[-1], Compared)


def test_a_fault_of_the_whole_ends_the_stream() -> None:
    class Gone(BaseException):
        pass

    world = World(Turns(second=Gone()))  # type: ignore[arg-type]

    events = list(world.stream().events)

    assert isinstance(events[-1], Failed)


def test_the_rest_of_an_answer_that_another_attempt_has_stored_is_sent() -> None:
    """This attempt wrote something else, and was not the one that settled."""
    world = World(Turns(("Other.",)))
    finish = world.compare._run_prompt.finish
    longer = "Other. And more."

    def finished_elsewhere(*arguments: object) -> PaidAnswer:
        answer = finish(*arguments)  # type: ignore[arg-type]
        return replace(answer, turn=replace(answer.turn, answer=longer))

    world.compare._run_prompt.finish = finished_elsewhere  # type: ignore[assignment]

    events = of(list(world.stream().events), 0)

    assert text_of(events) == longer
    assert [type(event) for event in events] == [Started, Delta, Delta, Done]


def test_what_is_written_after_the_end_is_not_heard() -> None:
    live = LiveAnswer(a_hold("run_1", 1, NOW))
    heard: list[tuple[str, int]] = []
    live.listen(lambda text, end: heard.append((text, end)))

    live.write("Ab")
    live.write("")
    live.write("c")
    live.close()
    live.write("d")

    assert heard == [("Ab", 2), ("c", 3)]


def test_events_name_their_variant() -> None:
    world = World(Turns(("One.",), second=ModelError("cut_off")))
    events = list(world.stream().events)
    sent = [
        chunk.decode().splitlines()
        for chunk in encoded_comparison(
            [*events[:-1], KeepAlive(), events[-1], Failed(ModelError("empty"))],
            lambda error: json.dumps({"error": type(error).__name__}),
        )
    ]

    told = [(lines[0], json.loads(lines[-2].removeprefix("data: "))) for lines in sent if lines[0] != ": keep-alive"]
    assert {(name, data["index"]) for name, data in told if "index" in data} == {
        ("event: run", 0),
        ("event: run", 1),
        ("event: delta", 0),
        ("event: delta", 1),
        ("event: done", 0),
        ("event: error", 1),
    }
    assert [":" in lines[0] and lines[0] == ": keep-alive" for lines in sent].count(True) == 1
    assert ["id: 4" in lines for lines in sent if lines[0] == "event: delta"] == [True, True]
    assert told[-2] == ("event: end", {"comparison_id": events[-1].comparison_id, "credits_spent": 1})  # type: ignore[union-attr]
    assert told[-1] == ("event: error", {"error": "ModelError"})
