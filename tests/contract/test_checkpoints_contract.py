"""`ports.Checkpoints`: what every implementation does."""

from datetime import UTC, datetime, timedelta

import pytest

from playground.adapters.dynamo_checkpoints import LIFETIME, DynamoCheckpoints
from playground.adapters.dynamo_keys import checkpoint_key
from playground.adapters.dynamo_store import DynamoStore
from playground.domain.errors import StoreUnavailableError
from playground.ports import Checkpoint, Checkpoints
from tests.fakes import InMemoryCheckpoints
from tests.kit.intercept import intercepted
from tests.support import SESSIONS_TABLE

NOW = datetime(2126, 1, 31, 12, 0, tzinfo=UTC)  # what has expired may be gone at any moment
FIRST, SECOND = Checkpoint(0, "Under "), Checkpoint(6, "the 楼梯 stairs")


@pytest.fixture(params=["memory", "dynamo"])
def checkpoints(request: pytest.FixtureRequest) -> Checkpoints:
    if request.param == "memory":
        return InMemoryCheckpoints()
    return DynamoCheckpoints(request.getfixturevalue("store"), SESSIONS_TABLE)


@pytest.fixture
def run_id(user_id: str) -> str:
    return f"run_{user_id}"


def save(checkpoints: Checkpoints, run_id: str, *pieces: Checkpoint, nonce: str = "try_1") -> None:
    for piece in pieces:
        checkpoints.save(run_id, nonce, piece, now=NOW)


def test_pieces_are_read_from_the_one_that_a_character_is_in(checkpoints: Checkpoints, run_id: str) -> None:
    save(checkpoints, run_id, FIRST, SECOND)

    assert [list(checkpoints.after(run_id, "try_1", offset)) for offset in (0, 5, 6, SECOND.end - 1, SECOND.end)] == [
        [FIRST, SECOND],
        [FIRST, SECOND],
        [SECOND],
        [SECOND],
        [],
    ]


def test_a_piece_that_is_saved_again_is_there_once(checkpoints: Checkpoints, run_id: str) -> None:
    save(checkpoints, run_id, FIRST, FIRST)

    assert list(checkpoints.after(run_id, "try_1", 0)) == [FIRST]


def test_attempts_and_runs_do_not_mix(checkpoints: Checkpoints, run_id: str) -> None:
    save(checkpoints, run_id, FIRST)
    save(checkpoints, run_id, SECOND, nonce="try_2")
    save(checkpoints, f"{run_id}2", SECOND)

    assert list(checkpoints.after(run_id, "try_1", 0)) == [FIRST]
    assert list(checkpoints.after(run_id, "try_3", 0)) == []


def test_deleted_pieces_are_gone(checkpoints: Checkpoints, run_id: str) -> None:
    save(checkpoints, run_id, FIRST, SECOND)

    checkpoints.delete(run_id, "try_1", [FIRST.end, SECOND.end, 999])
    checkpoints.delete(run_id, "try_1", [FIRST.end])

    assert list(checkpoints.after(run_id, "try_1", 0)) == []


def test_a_page_is_bounded_and_the_next_one_goes_on(checkpoints: Checkpoints, run_id: str) -> None:
    save(checkpoints, run_id, *(Checkpoint(place, "x") for place in range(120)))

    offset, pages = 0, 0
    while pieces := checkpoints.after(run_id, "try_1", offset):
        assert [piece.offset for piece in pieces] == list(range(offset, pieces[-1].end))
        offset, pages = pieces[-1].end, pages + 1
    assert offset == 120
    assert pages <= 3


def test_an_item_says_when_it_may_be_removed(store: DynamoStore, run_id: str) -> None:
    save(DynamoCheckpoints(store, SESSIONS_TABLE), run_id, FIRST)

    raw = store.get(checkpoint_key(SESSIONS_TABLE, run_id, "try_1", FIRST.end)) or {}
    assert raw["ttl"] == {"N": str(int((NOW + LIFETIME).timestamp()))}
    assert timedelta(hours=1) <= LIFETIME


def test_a_store_that_does_not_answer_is_said(store: DynamoStore, run_id: str) -> None:
    checkpoints = DynamoCheckpoints(store, SESSIONS_TABLE)
    with intercepted(store.client, lambda request: request.error(400, "AccessDeniedException")):
        for call in (
            lambda: save(checkpoints, run_id, FIRST),
            lambda: checkpoints.after(run_id, "try_1", 0),
            lambda: checkpoints.delete(run_id, "try_1", [1]),
        ):
            with pytest.raises(StoreUnavailableError):
                call()
