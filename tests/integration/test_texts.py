"""Texts that are too large for an item: where they are, how they go, and how those go that nobody names."""

import random
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from local.engine import Engine
from local.resources import client
from local.template import Description
from operate.commands.sweep_texts import orphans
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore, Key
from playground.adapters.texts import TurnTexts
from playground.domain.errors import CorruptLedgerError, StoreUnavailableError
from playground.domain.sessions import Turn
from tests.conftest import NOW
from tests.fakes import a_hold, conversation
from tests.support import SESSIONS_TABLE

NOISE = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=800_000))


@pytest.fixture
def texts(engine: Engine, description: Description) -> Iterator[TurnTexts]:
    s3 = client("s3", engine.endpoint_url)
    yield TurnTexts(lambda: s3, description.buckets["ContentBucket"].name)
    s3.close()


@pytest.fixture
def session_id() -> str:
    return f"ses_{uuid4().hex}"


def a_turn(number: int = 1, answer: str = NOISE) -> Turn:
    turn = conversation("user", a_hold("run_1", 1, NOW), NOW, turns=number).turn
    return replace(turn, answer=answer)


def test_an_orphan_is_found_and_what_a_turn_names_is_not(store: DynamoStore, texts: TurnTexts, session_id: str) -> None:
    sessions = DynamoSessions(store, SESSIONS_TABLE, texts)
    sessions.copy(session_id, [a_turn(1)])
    named = texts.put(session_id, a_turn(1), "fork")
    orphan = texts.put(session_id, a_turn(1), "another-attempt")
    lost = texts.put(session_id, a_turn(2), "no-turn-at-all")
    later = datetime.now(UTC) + timedelta(days=1)
    found = [name for name in orphans(store, SESSIONS_TABLE, texts, before=later) if session_id in name]
    assert found == [orphan.name, lost.name]
    assert named.name not in found
    early = datetime.now(UTC) - timedelta(days=1)
    assert not [name for name in orphans(store, SESSIONS_TABLE, texts, before=early) if session_id in name]


def test_a_turn_and_its_texts_are_read_as_they_were_written(
    store: DynamoStore, texts: TurnTexts, session_id: str
) -> None:
    sessions = DynamoSessions(store, SESSIONS_TABLE, texts)
    turn = a_turn(1, NOISE + " ﷽ \ud83d\ude42".encode("utf-16", "surrogatepass").decode("utf-16"))
    sessions.copy(session_id, [turn, a_turn(2, "short")])
    assert sessions.turns(session_id) == [turn, a_turn(2, "short")]
    raw = store.get(Key(SESSIONS_TABLE, f"SESSION#{session_id}", "TURN#000001"))
    assert raw is not None
    assert set(raw["kept"]["M"]) >= {"name", "digest"}
    assert "answer" not in raw


def test_a_text_that_was_changed_or_lost_is_not_given_to_anybody(texts: TurnTexts, session_id: str) -> None:
    kept = texts.put(session_id, a_turn(), "n")
    with pytest.raises(CorruptLedgerError):
        texts.get(replace(kept, digest="0" * 64))
    texts.delete(kept)
    with pytest.raises(CorruptLedgerError):
        texts.get(kept)


def test_a_deleted_text_is_gone_with_its_version(
    engine: Engine, description: Description, texts: TurnTexts, session_id: str
) -> None:
    kept = texts.put(session_id, a_turn(), "n")
    texts.delete(kept)
    s3 = client("s3", engine.endpoint_url)
    versions = s3.list_object_versions(Bucket=description.buckets["ContentBucket"].name, Prefix=kept.name)
    s3.close()
    assert kept.version is not None
    assert not versions.get("Versions")


def test_without_a_bucket_nothing_is_lost(store: DynamoStore) -> None:
    """A worker that was put together without one fails before it writes half of a turn."""
    with pytest.raises(StoreUnavailableError):
        DynamoSessions(store, SESSIONS_TABLE).store_texts("ses_1", a_turn(), nonce="n")
