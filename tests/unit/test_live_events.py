"""Events that are made in another thread: read with waiting and without, none lost, none twice."""

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest

from playground.usecases.live_events import LiveEvents
from tests.kit.extent import HANG_SECONDS

pytestmark = pytest.mark.timeout(HANG_SECONDS)


class Numbers:
    """Events that a test makes; None ends them."""

    def __init__(self, *, quiet_seconds: float = HANG_SECONDS) -> None:
        self._made: SimpleQueue[int | None] = SimpleQueue()
        self.events = LiveEvents(self._steps(), quiet=-1, quiet_seconds=quiet_seconds)

    def _steps(self) -> Iterator[int | None]:
        while True:
            try:
                number = self._made.get_nowait()
            except Empty:
                yield None
                continue
            if number is None:
                return
            yield number

    def make(self, *numbers: int | None) -> None:
        for number in numbers:
            self._made.put(number)
            self.events.changed()


def test_what_is_there_is_taken_without_waiting() -> None:
    numbers = Numbers()
    assert list(numbers.events.ready()) == []
    numbers.make(1, 2)
    assert (list(numbers.events.ready()), numbers.events.over) == ([1, 2], False)
    numbers.make(3, None)
    assert (list(numbers.events.ready()), numbers.events.over) == ([3], True)
    assert list(numbers.events.ready()) == []


def test_a_reader_who_waits_gets_all_of_them() -> None:
    numbers = Numbers()
    maker = threading.Thread(target=numbers.make, args=(*range(1_000), None))
    maker.start()
    assert list(numbers.events) == list(range(1_000))
    maker.join()


def test_a_listener_is_called_when_it_begins_and_at_each_change() -> None:
    numbers = Numbers()
    numbers.make(1)  # before anybody listens
    calls: list[list[int]] = []
    numbers.events.listen(lambda: calls.append(list(numbers.events.ready())))
    numbers.make(2)
    numbers.make(None)
    assert (calls, numbers.events.over) == ([[1], [2], []], True)


def test_quiet_is_said_to_a_reader_who_waits() -> None:
    numbers = Numbers(quiet_seconds=0.01)
    assert next(numbers.events) == -1
    numbers.make(5, None)
    assert [number for number in numbers.events if number >= 0] == [5]


def test_mapped_events_are_as_live() -> None:
    numbers = Numbers(quiet_seconds=0.01)
    texts = numbers.events.map(str)
    assert (next(texts), texts.quiet, texts.quiet_seconds) == ("-1", "-1", 0.01)
    woken = threading.Event()
    texts.listen(woken.set)
    woken.clear()
    numbers.make(7, None)
    assert woken.is_set()
    assert (list(texts.ready()), texts.over) == (["7"], True)


def test_what_goes_wrong_follows_the_events_before_it() -> None:
    def steps() -> Iterator[int | None]:
        yield 1
        raise LookupError

    events = LiveEvents(steps(), quiet=0, quiet_seconds=HANG_SECONDS)
    assert next(events) == 1
    with pytest.raises(LookupError):
        next(events)
