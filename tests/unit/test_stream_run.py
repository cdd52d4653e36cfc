"""A run as a stream: what its readers get, whoever makes it, wherever they begin, however it ends."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from playground.adapters.time_limit import ATTEMPT_SECONDS
from playground.domain.account import Hold
from playground.domain.errors import (
    IdempotencyConflictError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModelError,
    ModelTimedOutError,
    PlaygroundError,
    RunCancelledError,
    RunEndedError,
    RunInProgressError,
    RunNotFoundError,
    SessionNotFoundError,
)
from playground.domain.runs import RunStatus, run_id_of
from playground.ports import CANCELLED, UNWATCHED, Checkpoint, Completion, Progress, Prompt, TokenCount
from playground.sse import encoded
from playground.usecases.cancel_run import CancelRun
from playground.usecases.live_runs import STORE_SECONDS, LiveAnswer, LiveRuns
from playground.usecases.read_run import ReadRun, Receipt
from playground.usecases.run_prompt import RunPrompt
from playground.usecases.stream_run import (
    ANSWER_RESERVE_SECONDS,
    Delta,
    Done,
    Event,
    Failed,
    FollowRun,
    KeepAlive,
    RunStream,
    Started,
    StreamRun,
    text_after,
)
from tests.fakes import (
    CountingNewId,
    FrozenClock,
    InMemoryCatalog,
    InMemoryCheckpoints,
    InMemoryLedger,
    InMemoryLookup,
    a_hold,
)
from tests.kit.extent import HANG_SECONDS
from tests.kit.prices import EXAMPLE
from tests.support import all_entries, check_invariants
from tests.unit.test_run_prompt import ANSWER, NOW, OTHER, REQUEST, TIDY, USER

WORDS = ("Under ", "the ", "st", "airs.")
TEXT = "".join(WORDS)
RUN = run_id_of(USER, "k")


class Speaking:
    """`ports.Model` that writes a piece when the test lets it, and ends as the test says."""

    def __init__(self, pieces: Sequence[str] = WORDS, end: Exception | None = None) -> None:
        self.pieces = pieces
        self.end = end
        self.gates = [threading.Event() for _ in range(len(pieces) + 1)]
        self.asked = 0

    def let(self, pieces: int) -> None:
        """Write so many pieces; with one more than there are, end."""
        for gate in self.gates[:pieces]:
            gate.set()

    def let_all(self) -> None:
        self.let(len(self.gates))

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        return TokenCount(100)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        self.asked += 1
        written = ""
        for gate, piece in zip(self.gates, (*self.pieces, None), strict=True):
            while not gate.wait(0.005):
                if progress.stopping():
                    if not written:
                        raise RunCancelledError
                    return replace(ANSWER, text=written, stop_reason=CANCELLED)
            if piece is not None:
                progress.write(piece)
                written += piece
        if self.end is not None:
            raise self.end
        return replace(ANSWER, text=written)


@dataclass
class World:
    """A store, and instances of the functions that share it."""

    model: Speaking = field(default_factory=Speaking)
    ledger: InMemoryLedger = field(default_factory=InMemoryLedger)
    checkpoints: InMemoryCheckpoints = field(default_factory=InMemoryCheckpoints)
    clock: FrozenClock = field(default_factory=lambda: FrozenClock(NOW))
    ended: threading.Event = field(default_factory=threading.Event)
    tick_seconds: float = 0.005
    end_seconds: float = HANG_SECONDS
    sleeps: Callable[[float], None] = lambda seconds: None

    def __post_init__(self) -> None:
        catalog = InMemoryCatalog(TIDY, OTHER)
        self.run_prompt = RunPrompt(
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
            live=LiveRuns(
                ledger=self.ledger,
                checkpoints=self.checkpoints,
                clock=self.clock,
                time_limit=lambda seconds: nullcontext(),
                tick_seconds=self.tick_seconds,
                end_seconds=self.end_seconds,
            ),
        )
        self.follow = FollowRun(
            ledger=self.ledger,
            sessions=self.ledger.sessions,
            checkpoints=self.checkpoints,
            clock=self.clock,
            sleep=lambda seconds: self.sleeps(seconds),
        )
        read_run = ReadRun(ledger=self.ledger, sessions=self.ledger.sessions, clock=self.clock)
        self.cancel_run = CancelRun(ledger=self.ledger, read_run=read_run, sleep=lambda seconds: self.sleeps(seconds))

    def stream(self, *, key: str | None = "k", offset: int = 0, keep_alive: float = HANG_SECONDS) -> RunStream:
        make = StreamRun(
            run_prompt=self.run_prompt, follow=self.follow, ended=self.ended.set, keep_alive_seconds=keep_alive
        )
        return make(USER, REQUEST, idempotency_key=key, seconds_left=320, offset=offset)

    def read_on(self, offset: int = 0, run_id: str = RUN, seconds_left: float = 320) -> RunStream:
        return self.follow(USER, run_id, offset=offset, seconds_left=seconds_left)

    def balance(self) -> tuple[int, int]:
        """Of the account, which adds up, and what is held."""
        account = self.ledger.account(USER, self.clock())
        check_invariants(account, all_entries(self.ledger, USER))
        return account.balance, account.held

    def saved(self) -> str:
        return text_after(self.checkpoints.after(RUN, self.nonce(), 0), 0)

    def nonce(self) -> str:
        return self.ledger.account(USER, self.clock()).holds[RUN].nonce


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.model.let_all()


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(HANG_SECONDS * 200)):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen")


# --- from the process that makes it -----------------------------------------------------------------------------------


def test_events_come_while_the_model_writes(world: World) -> None:
    stream = world.stream()
    started = next(stream.events)
    assert isinstance(started, Started)
    assert (started.run_id, started.ceiling, started.max_tokens) == (RUN, 2, 4096)
    assert world.balance() == (5, 2)

    end = 0
    for place, word in enumerate(WORDS, 1):
        world.model.let(place)
        end += len(word)
        assert next(stream.events) == Delta(word, end)
    world.model.let_all()

    done = next(stream.events)
    assert isinstance(done, Done)
    assert (done.answer.turn.answer, done.answer.replayed) == (TEXT, False)
    assert next(stream.events, None) is None
    assert world.balance() == (4, 0)


def test_what_is_refused_before_the_model_is_asked_is_no_stream(world: World) -> None:
    world.ledger.place_hold(USER, a_hold("run_other", 5, NOW), limit=20, now=NOW)

    with pytest.raises(InsufficientCreditsError):
        world.stream()
    assert world.model.asked == 0


def test_a_reader_who_leaves_changes_nothing(world: World) -> None:
    stream = world.stream()
    next(stream.events)
    world.model.let_all()
    stream.wait()

    assert world.ended.wait(HANG_SECONDS)
    assert world.balance() == (4, 0)
    assert text_of(list(world.read_on().events)) == TEXT


def test_a_slow_reader_gets_what_has_come_meanwhile_in_one_piece(world: World) -> None:
    stream = world.stream()
    next(stream.events)
    world.model.let_all()
    stream.wait()

    assert [type(event) for event in stream.events] == [Delta, Done]


def test_silence_is_broken(world: World) -> None:
    stream = world.stream(keep_alive=0.01)
    next(stream.events)
    assert next(stream.events) == KeepAlive()
    world.model.let_all()
    stream.wait()
    assert text_of(list(stream.events)) == TEXT


@pytest.mark.parametrize("pieces", [0, 2, 4])
def test_a_run_that_fails_in_mid_stream_ends_with_its_error(world: World, pieces: int) -> None:
    world.model.end = ModelError("cut_off")
    stream = world.stream()
    world.model.let(pieces)
    until(lambda: len(world.saved()) == len("".join(WORDS[:pieces])))
    world.model.let_all()
    events = list(stream.events)

    failed = events[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelError)
    assert failed.error.facts["run_id"] == RUN
    assert text_of(events) == TEXT
    stream.wait()
    assert world.balance() == (5, 0)
    assert world.checkpoints.pieces == {}
    for again in (lambda: world.stream(), lambda: world.read_on()):
        with pytest.raises(ModelError) as caught:
            again()
        assert caught.value.reason == "cut_off"


def test_a_bug_is_an_error_and_not_the_end_of_the_world(world: World) -> None:
    world.model.end = ZeroDivisionError()
    stream = world.stream()
    world.model.let_all()

    failed = list(stream.events)[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ZeroDivisionError)
    assert world.balance() == (5, 0)


# --- once more --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["same key", "read on"])
def test_wherever_a_reader_goes_on_the_text_is_the_same(world: World, again: str) -> None:
    stream = world.stream()
    world.model.let_all()
    stream.wait()

    for offset in range(len(TEXT) + 1):
        repeated = world.stream(offset=offset) if again == "same key" else world.read_on(offset)
        events = list(repeated.events)
        assert isinstance(events[0], Started)
        assert text_of(events) == TEXT[offset:]
        assert all(event.end == len(TEXT) for event in events if isinstance(event, Delta))
        assert isinstance(events[-1], Done)
    assert (world.model.asked, world.balance()) == (1, (4, 0))
    with pytest.raises(InvalidRequestError, match="last-event-id"):
        world.read_on(len(TEXT) + 1)


def test_a_key_with_another_request_is_refused(world: World) -> None:
    stream = world.stream()
    make = StreamRun(run_prompt=world.run_prompt, follow=world.follow)
    for _ in range(2):
        with pytest.raises(IdempotencyConflictError):
            make(USER, replace(REQUEST, input="Something else"), idempotency_key="k", seconds_left=320)
        world.model.let_all()
        stream.wait()


def test_a_run_that_begins_now_begins_at_its_beginning(world: World) -> None:
    stream = world.stream(offset=7)
    world.model.let_all()
    assert text_of(list(stream.events)) == TEXT


# --- from elsewhere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["same key", "read on"])
def test_another_process_follows_the_checkpoints(world: World, again: str) -> None:
    stream = world.stream()
    world.model.let(3)
    until(lambda: world.saved() == "Under the st")

    repeated = world.stream(offset=2) if again == "same key" else world.read_on(2)
    assert isinstance(next(repeated.events), Started)
    assert next(repeated.events) == Delta("der the st", 12)

    def over(seconds: float) -> None:
        world.model.let_all()
        stream.wait()

    world.sleeps = over  # the next look comes when the run is over
    last, done = repeated.events
    assert last == Delta("airs.", len(TEXT))
    assert isinstance(done, Done)
    assert (world.model.asked, world.balance()) == (1, (4, 0))
    assert world.checkpoints.pieces == {}


def test_two_readers_do_not_disturb_each_other(world: World) -> None:
    stream = world.stream()
    world.model.let(2)
    until(lambda: world.saved() == "Under the ")
    readers = [world.read_on(), world.read_on(3)]
    assert [text_of([next(reader.events), next(reader.events)]) for reader in readers] == ["Under the ", "er the "]
    world.model.let_all()
    stream.wait()
    assert [text_of(list(reader.events)) for reader in readers] == ["stairs.", "stairs."]


def test_what_is_not_held_any_more_is_not_shown(world: World) -> None:
    """Its worker died; text that nobody pays for stays where it is until it is removed."""
    hold = a_hold(RUN, 2, NOW)
    world.ledger.place_hold(USER, hold, limit=20, now=NOW)
    world.checkpoints.save(RUN, hold.nonce, Checkpoint(0, "secret"), now=NOW)
    reader = world.read_on()
    assert isinstance(next(reader.events), Started)
    world.clock.now = hold.lease_at + timedelta(seconds=1)

    (failed,) = reader.events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelTimedOutError)
    assert world.balance() == (5, 0)
    with pytest.raises(ModelTimedOutError):
        world.read_on()


def test_text_of_another_attempt_is_not_shown(world: World) -> None:
    hold = a_hold(RUN, 2, NOW)
    world.ledger.place_hold(USER, hold, limit=20, now=NOW)
    world.checkpoints.save(RUN, "try_0", Checkpoint(0, "secret"), now=NOW)

    events = list(world.read_on(seconds_left=3).events)
    assert text_of(events) == ""
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, RunInProgressError)


def test_who_follows_hears_that_nothing_happens(world: World) -> None:
    world.ledger.place_hold(USER, a_hold(RUN, 2, NOW), limit=20, now=NOW)

    events = list(world.read_on(seconds_left=25).events)
    assert [type(event) for event in events] == [Started, KeepAlive, KeepAlive, Failed]


def test_a_reader_hears_that_the_worker_is_dead(world: World) -> None:
    """Also if it died before it had saved anything."""
    hold = a_hold(RUN, 2, NOW)
    world.ledger.place_hold(USER, hold, limit=20, now=NOW)
    reader = world.read_on()
    assert isinstance(next(reader.events), Started)
    world.clock.now = hold.lease_at + timedelta(seconds=1)

    (failed,) = reader.events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelTimedOutError)
    assert world.balance() == (5, 0)


def test_a_reader_is_told_to_come_again_before_the_invocation_ends(world: World) -> None:
    """Looks take time, too: a store that is slow must not lead beyond the end, where Lambda cuts the stream off."""
    world.ledger.place_hold(USER, a_hold(RUN, 2, NOW), limit=20, now=NOW)
    now = 0.0

    def look(seconds: float) -> None:
        nonlocal now
        now += seconds + 0.5

    follow = replace(world.follow, sleep=look, monotonic=lambda: now)
    *_, failed = follow(USER, RUN, offset=0, seconds_left=100).events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RunInProgressError)
    assert now <= 100 - ANSWER_RESERVE_SECONDS + 1.5


def test_a_repeat_follows_for_what_is_left_of_its_time(world: World) -> None:
    """Finding out that another process makes the run has taken some of it."""
    world.ledger.place_hold(USER, replace(a_hold(RUN, 2, NOW), request_hash=REQUEST.hash), limit=20, now=NOW)
    now = 0.0

    def slow(seconds: float) -> AbstractContextManager[None]:
        nonlocal now
        now += 60  # RunPrompt begins
        return nullcontext()

    def look(seconds: float) -> None:
        nonlocal now
        now += seconds

    world.run_prompt._time_limit = slow
    world.follow = replace(world.follow, sleep=look, monotonic=lambda: now)
    *_, failed = world.stream().events
    assert isinstance(failed, Failed)
    assert now <= 320 - ANSWER_RESERVE_SECONDS + 1


def test_a_reader_beyond_the_end_is_told_so_when_the_run_has_ended(world: World) -> None:
    stream = world.stream()
    reader = world.read_on(1000)
    world.model.let_all()
    stream.wait()
    _, failed = reader.events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRequestError)


def test_runs_of_others_and_of_nobody_are_not_found(world: World) -> None:
    stream = world.stream()
    for user, run_id in ((USER, "run_x"), ("user_2", RUN)):
        with pytest.raises(RunNotFoundError):
            world.follow(user, run_id, offset=0, seconds_left=320)
    world.model.let_all()
    stream.wait()
    with pytest.raises(RunNotFoundError):
        world.follow("user_2", RUN, offset=0, seconds_left=320)


def test_an_answer_whose_conversation_was_deleted_is_gone(world: World) -> None:
    stream = world.stream()
    world.model.let_all()
    stream.wait()
    run = world.ledger.run(USER, RUN)
    assert run is not None
    world.ledger.sessions.delete(run.session_id)

    with pytest.raises(SessionNotFoundError):
        world.read_on()


@pytest.mark.parametrize(
    ("pieces", "offset", "text"),
    [
        ([], 0, ""),
        ([Checkpoint(0, "abc"), Checkpoint(3, "de")], 0, "abcde"),
        ([Checkpoint(0, "abc"), Checkpoint(0, "abcde")], 2, "cde"),
        ([Checkpoint(0, "abc"), Checkpoint(4, "e")], 0, "abc"),
        ([Checkpoint(3, "de")], 4, "e"),
        ([Checkpoint(0, "abc")], 3, ""),
    ],
)
def test_pieces_are_put_together_without_a_gap(pieces: list[Checkpoint], offset: int, text: str) -> None:
    assert text_after(pieces, offset) == text


# --- checkpoints ------------------------------------------------------------------------------------------------------


class Refusing(InMemoryCheckpoints):
    def save(self, run_id: str, nonce: str, checkpoint: Checkpoint, *, now: datetime) -> None:
        raise PlaygroundError("no")

    def delete(self, run_id: str, nonce: str, ends: Sequence[int]) -> None:
        raise PlaygroundError("no")


def test_a_store_that_takes_no_checkpoints_does_not_disturb_the_run() -> None:
    world = World(checkpoints=Refusing())
    stream = world.stream()
    world.model.let_all()
    assert text_of(list(stream.events)) == TEXT
    assert world.balance() == (4, 0)


class Stuck(InMemoryCheckpoints):
    """Does not answer until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = threading.Event(), threading.Event()

    def save(self, run_id: str, nonce: str, checkpoint: Checkpoint, *, now: datetime) -> None:
        self.asked.set()
        self.may.wait(HANG_SECONDS)
        super().save(run_id, nonce, checkpoint, now=now)


def test_an_answer_does_not_wait_for_a_store_that_takes_no_checkpoints() -> None:
    """It is paid for, and the invocation may be about to end. What was saved late is removed all the same."""
    checkpoints = Stuck()
    world = World(checkpoints=checkpoints, end_seconds=0.05)
    stream = world.stream()
    world.model.let(2)
    assert checkpoints.asked.wait(HANG_SECONDS)
    world.model.let_all()

    done = threading.Event()
    threading.Thread(target=lambda: (stream.wait(), done.set())).start()
    try:
        assert done.wait(HANG_SECONDS / 2)
        assert world.balance() == (4, 0)
    finally:
        checkpoints.may.set()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "live"])
    assert checkpoints.pieces == {}


def test_a_look_has_time_for_a_whole_attempt() -> None:
    """With less the client opens a connection of its own for each request, which is every second."""
    assert STORE_SECONDS > ATTEMPT_SECONDS


def test_a_short_run_saves_nothing() -> None:
    """A checkpoint comes with every second tick."""
    world = World(tick_seconds=HANG_SECONDS)
    stream = world.stream()
    world.model.let_all()
    stream.wait()
    assert world.checkpoints.pieces == {}


def test_a_live_answer_is_read_from_anywhere() -> None:
    live = LiveAnswer(a_hold("run_1", 1, NOW))
    assert live.read(0, seconds=0) == ("", False)
    for word in WORDS:
        live.write(word)
    for offset in range(len(TEXT) + 3):
        assert live.read(offset, seconds=0) == (TEXT[offset:], False)
    live.close()
    assert live.read(3, seconds=HANG_SECONDS) == (TEXT[3:], True)
    assert live.read(len(TEXT), seconds=HANG_SECONDS) == ("", True)


# --- stop -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_kept_and_paid_for(world: World) -> None:
    stream = world.stream()
    world.model.let(2)
    until(lambda: world.saved() == "Under the ")

    receipt = cancelled(world, stream)

    assert (receipt.run.status, receipt.answer) == (RunStatus.SETTLED, "Under the ")
    assert receipt.run.measured is not None
    assert receipt.run.measured.stop_reason == CANCELLED
    events = list(stream.events)
    assert text_of(events) == "Under the "
    assert isinstance(events[-1], Done)
    assert world.balance() == (4, 0)
    assert world.cancel_run(USER, RUN, seconds_left=20) == receipt
    assert text_of(list(world.read_on(3).events)) == "er the "


def cancelled(world: World, stream: RunStream) -> Receipt:
    """A worker is faster than the next look of whoever cancels."""
    world.sleeps = lambda seconds: stream.wait()
    return world.cancel_run(USER, RUN, seconds_left=20)


def test_a_run_of_which_nothing_is_written_is_released(world: World) -> None:
    stream = world.stream()

    receipt = cancelled(world, stream)

    assert (receipt.run.status, receipt.run.charged) == (RunStatus.RELEASED, 0)
    assert world.balance() == (5, 0)
    assert world.cancel_run(USER, RUN, seconds_left=20) == receipt
    failed = list(stream.events)[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RunCancelledError)
    with pytest.raises(RunCancelledError):
        world.stream()


def test_a_run_that_came_to_its_end_is_not_cancelled(world: World) -> None:
    stream = world.stream()
    world.model.let_all()
    stream.wait()

    with pytest.raises(RunEndedError) as caught:
        world.cancel_run(USER, RUN, seconds_left=20)
    assert caught.value.facts == {"status": "settled"}
    assert world.balance() == (4, 0)


def test_a_run_that_ends_at_that_moment_has_one_outcome() -> None:
    """It was asked to stop, and was faster."""
    world = World(tick_seconds=HANG_SECONDS)
    stream = world.stream()

    def over(seconds: float) -> None:
        world.model.let_all()
        stream.wait()

    world.sleeps = over
    with pytest.raises(RunEndedError):
        world.cancel_run(USER, RUN, seconds_left=20)
    assert text_of(list(stream.events)) == TEXT
    assert world.balance() == (4, 0)


def test_a_worker_that_does_not_answer_is_not_waited_for_for_ever(world: World) -> None:
    hold: Hold = a_hold(RUN, 2, NOW)
    world.ledger.place_hold(USER, hold, limit=20, now=NOW)
    slept: list[float] = []
    world.sleeps = slept.append

    receipt = world.cancel_run(USER, RUN, seconds_left=20)

    assert (receipt.ended, receipt.run.status) == (False, RunStatus.HELD)
    assert 4 <= sum(slept) <= 6
    assert world.ledger.account(USER, NOW).holds[RUN].stop


def test_runs_of_others_are_not_cancelled(world: World) -> None:
    stream = world.stream()
    for user, run_id in ((USER, "run_x"), ("user_2", RUN)):
        with pytest.raises(RunNotFoundError):
            world.cancel_run(user, run_id, seconds_left=20)
    world.model.let_all()
    assert text_of(list(stream.events)) == TEXT


def test_a_run_that_was_expired_meanwhile_stops(world: World) -> None:
    """Its hold is gone: nobody pays for more of it."""
    stream = world.stream()
    world.model.let(1)
    until(lambda: world.saved() == "Under ")
    hold = world.ledger.account(USER, NOW).holds[RUN]
    world.clock.now = hold.lease_at + timedelta(seconds=1)
    ReadRun(ledger=world.ledger, sessions=world.ledger.sessions, clock=world.clock)(USER, RUN)

    failed = list(stream.events)[-1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelTimedOutError)
    assert world.balance() == (5, 0)
    assert world.checkpoints.pieces == {}


# --- as they are sent -------------------------------------------------------------------------------------------------

ODD = "a\x85b\u2028c\u2029d\r\ne\x00\x0b\x1cf\U0001f600"


@pytest.mark.parametrize("replays", [False, True])
def test_an_event_is_whole_for_clients_that_end_a_line_at_more_than_line_feeds(replays: bool) -> None:
    """`str.splitlines`, and with it httpx, also ends a line at U+0085, U+2028 and others."""
    world = World(model=Speaking((ODD, "\u2028")))
    world.model.let_all()
    stream = world.stream()
    if replays:
        stream.wait()
        stream = world.stream()
    body = b"".join(encoded(stream.events, lambda error: "{}")).decode()

    told = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
    assert "".join(data["text"] for data in told if "text" in data) == ODD + "\u2028"
    assert told[-1]["response"] == ODD + "\u2028"
    assert [line for line in body.splitlines() if line and not line.startswith(("data: ", "event: ", "id: "))] == []
