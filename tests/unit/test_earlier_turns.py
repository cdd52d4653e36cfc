"""The turns that are sent with an answer: they never keep it back."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from playground.adapters.time_limit import time_left, time_limit
from playground.domain.errors import StoreUnavailableError
from playground.domain.sessions import Turn
from playground.usecases.browse_sessions import MAX_EARLIER_SECONDS, RESERVE_SECONDS, ReadEarlierTurns
from tests.fakes import InMemorySessions

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def turn(number: int) -> Turn:
    return Turn(
        number=number,
        run_id=f"run_{number}",
        input="Hello?",
        answer="Hello.",
        input_tokens=1,
        output_tokens=1,
        asked_at=NOW,
        answered_at=NOW,
    )


class Silent(InMemorySessions):
    """Answers with one turn, and then with nothing until the time is up."""

    waited: float | None = None

    def walk(self, session_id: str, *, first: int, last: int, newest_first: bool = False) -> Iterator[Turn]:
        self.waited = time_left()
        if self.waited > 0:
            yield turn(last)
        raise StoreUnavailableError


@pytest.mark.parametrize(
    ("seconds_left", "most", "found"),
    [(100.0, MAX_EARLIER_SECONDS, [4]), (2.0, 2.0 - RESERVE_SECONDS, [4]), (RESERVE_SECONDS, 0.0, [])],
)
def test_a_store_that_falls_silent_does_not_keep_back_an_answer_that_is_paid_for(
    seconds_left: float, most: float, found: list[int]
) -> None:
    sessions = Silent()
    read_earlier = ReadEarlierTurns(sessions=sessions, time_limit=time_limit)

    earlier = read_earlier("ses_1", turn(5), seconds_left=seconds_left)

    assert [each.number for each in earlier] == found
    assert sessions.waited is not None
    assert most - 0.5 < sessions.waited <= most
