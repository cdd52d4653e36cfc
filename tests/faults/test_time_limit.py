"""A store that accepts and says nothing: whatever is asked of it, a function has ended before Lambda cuts it."""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.engine import Engine
from local.template import REGION, Description
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_sessions import DynamoSessions
from playground.adapters.dynamo_store import DynamoStore, connect
from playground.adapters.ids import id_maker
from playground.adapters.texts import TurnTexts
from playground.adapters.time_limit import obey_time_limit, time_left, time_limit
from playground.domain.errors import ModelError, StoreUnavailableError
from playground.domain.runs import RunRequest, RunStatus, run_id_of
from playground.http import utc_now
from playground.ports import Completion, Found, Prompt
from playground.usecases.run_prompt import ANSWER_RESERVE_SECONDS, LEDGER_RESERVE_SECONDS, MIN_MODEL_SECONDS, RunPrompt
from tests.fakes import InMemoryCatalog, ScriptedModel
from tests.kit.mute import Mute
from tests.kit.prices import EXAMPLE
from tests.support import SESSIONS_TABLE, new_ledger
from tests.unit.test_run_prompt import ANSWER, TIDY

REQUEST = RunRequest(package_id="@acme/tidy", input="Hello", model="sonnet")
BUSY = 1.0  # s that a loaded machine may take for what is no waiting
MODEL_SECONDS = MIN_MODEL_SECONDS + 0.5  # of the invocation, beside what is kept for the ledger


@pytest.fixture
def mute(engine: Engine, description: Description) -> Iterator[Mute]:
    with Mute(engine.port) as mute:
        yield mute


@pytest.fixture
def quiet_store(mute: Mute) -> Iterator[DynamoStore]:
    """With the limits that the functions have."""
    store = DynamoStore(connect(REGION, Engine(port=mute.port).endpoint_url))
    with closing(store.client):
        yield store


def prompt_over(store: DynamoStore, model: ScriptedModel, sessions: Any = None) -> RunPrompt:
    def lookup(**_: Any) -> Found:
        return Found(run=None, package=TIDY, session=None)

    return RunPrompt(
        ledger=new_ledger(store),
        lookup=lookup,
        sessions=sessions or DynamoSessions(store, SESSIONS_TABLE),
        catalog=InMemoryCatalog(TIDY),
        model=model,
        prices=EXAMPLE,
        clock=utc_now,
        new_id=id_maker(utc_now),
        max_open_runs=20,
        model_timeout_seconds=24,
        time_limit=time_limit,
    )


@pytest.mark.parametrize("answer", [ANSWER, ModelError("empty")], ids=["settlement and release", "release"])
def test_a_run_whose_store_falls_silent_has_ended_within_the_reserve(
    mute: Mute, quiet_store: DynamoStore, ledger: DynamoLedger, user_id: str, answer: Completion | ModelError
) -> None:
    """The model has taken all that it may take; then the store takes requests and answers none."""
    silent_since: list[float] = []

    def reply(_: Prompt) -> Completion | Exception:
        mute.fall_silent()
        silent_since.append(time.monotonic())
        return answer

    run_prompt = prompt_over(quiet_store, ScriptedModel(reply))

    with pytest.raises((StoreUnavailableError, ModelError)):
        run_prompt(user_id, REQUEST, idempotency_key="k", seconds_left=LEDGER_RESERVE_SECONDS + MODEL_SECONDS)

    assert time.monotonic() - silent_since[0] < LEDGER_RESERVE_SECONDS - ANSWER_RESERVE_SECONDS + MODEL_SECONDS + BUSY
    assert mute.swallowed > 1, "it was tried more than once"
    account = ledger.account(user_id, utc_now())
    assert set(account.holds) == {run_id_of(user_id, "k")}  # its lease ends it
    assert ledger.run(user_id, run_id_of(user_id, "k")) is None


def test_the_release_has_its_own_share_of_the_time(
    mute: Mute, quiet_store: DynamoStore, ledger: DynamoLedger, user_id: str
) -> None:
    """The store is silent for the settlement only: what is left is enough to give everything back."""
    forgotten: list[str] = []

    def swallow(request: Any, event_name: str, **_: Any) -> None:
        if b"TURN#" in request.body:  # a settlement; for a release it is awake again
            forgotten.append(event_name)
            mute.fall_silent()
        else:
            mute.wake_up()

    quiet_store.client.meta.events.register_first("before-send.dynamodb", swallow)
    run_prompt = prompt_over(quiet_store, ScriptedModel([ANSWER]))

    with pytest.raises(StoreUnavailableError):
        run_prompt(user_id, REQUEST, idempotency_key="k", seconds_left=LEDGER_RESERVE_SECONDS + MODEL_SECONDS)

    assert forgotten
    run = ledger.run(user_id, run_id_of(user_id, "k"))
    assert run is not None
    assert run.status is RunStatus.RELEASED
    assert ledger.account(user_id, utc_now()).available == 5


def test_large_texts_share_the_deadline(
    mute: Mute, quiet_store: DynamoStore, ledger: DynamoLedger, store: DynamoStore, user_id: str
) -> None:
    """The bucket is silent and the ledger is not: the run is released, in time."""
    mute.fall_silent()
    s3 = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{mute.port}",
        config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3, "mode": "standard"}),
    )
    obey_time_limit(s3)
    sessions = DynamoSessions(store, SESSIONS_TABLE, TurnTexts(lambda: s3, "content"))
    chance = random.Random(1)
    text = "".join(chr(0x4E00 + chance.randrange(20_000)) for _ in range(300_000))  # which cannot be compressed much
    large = Completion(text=text, usage=ANSWER.usage, stop_reason="end_turn", model_id=ANSWER.model_id)
    began = time.monotonic()

    with pytest.raises(StoreUnavailableError):
        prompt_over(store, ScriptedModel([large]), sessions)(
            user_id, REQUEST, idempotency_key="k", seconds_left=LEDGER_RESERVE_SECONDS + MODEL_SECONDS
        )

    assert time.monotonic() - began < LEDGER_RESERVE_SECONDS + MODEL_SECONDS + BUSY
    assert ledger.account(user_id, utc_now()).available == 5


def test_a_limit_within_another_one_does_not_make_it_longer() -> None:
    with time_limit(5):
        with time_limit(60):
            assert time_left() <= 5
        with time_limit(1):
            assert time_left() <= 1
        assert 1 < time_left() <= 5
    assert time_left() == float("inf")


def test_what_is_asked_after_the_limit_is_not_sent(quiet_store: DynamoStore, mute: Mute, user_id: str) -> None:
    mute.fall_silent()

    with time_limit(0), pytest.raises(StoreUnavailableError):
        new_ledger(quiet_store).account(user_id, utc_now())

    assert mute.swallowed == 0
