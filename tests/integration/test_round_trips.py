"""How often a run waits for the store: counted at the botocore client, for it is what a person waits for."""

from collections.abc import Iterator

import pytest

from bench.transport import Transport
from bench.world import FixedModel, World, a_request, utc_now, world
from doubles.claude.server import ClaudeDouble
from local.engine import Engine
from local.template import Description
from playground.domain.errors import InsufficientCreditsError, StoreUnavailableError
from tests.handlers import Handlers
from tests.support import claude_calls

HOLD, SETTLE = "UpdateItem", "TransactWriteItems"


@pytest.fixture(scope="module")
def measured(engine: Engine, description: Description, claude: ClaudeDouble, handlers: Handlers) -> Iterator[World]:
    """`handlers`, because with them come the sample packages."""
    with world(engine.endpoint_url, description, claude.url) as measured:
        yield measured


def test_run_on_an_existing_account_waits_twice_before_the_model_and_once_after_it(
    measured: World, user_id: str
) -> None:
    measured.give(user_id, 10)
    trips = measured.round_trips(user_id, key="one")
    assert trips.before == ("BatchGetItem", HOLD)
    assert trips.after == (SETTLE,)


def test_run_without_a_key_waits_no_longer(measured: World, user_id: str) -> None:
    measured.give(user_id, 10)
    trips = measured.round_trips(user_id)
    assert (trips.before, trips.after) == (("BatchGetItem", HOLD), (SETTLE,))


def test_first_contact_opens_the_account_on_the_way(measured: World, user_id: str) -> None:
    trips = measured.round_trips(user_id, key="one")
    assert trips.before == ("BatchGetItem", HOLD, "TransactWriteItems", HOLD)
    assert trips.after == (SETTLE,)


def test_repeated_request_reads_and_asks_nobody(measured: World, claude: ClaudeDouble, user_id: str) -> None:
    measured.round_trips(user_id, key="one")
    asked = claude_calls(claude.url)["messages"]
    trips = measured.round_trips(user_id, key="one")
    assert (trips.before, trips.after) == (("BatchGetItem", "BatchGetItem"), None)
    assert claude_calls(claude.url)["messages"] == asked


def test_run_of_a_session_reads_its_turns_as_well(measured: World, user_id: str) -> None:
    measured.give(user_id, 10)
    first = measured.run_prompt()(user_id, a_request(), idempotency_key="one", seconds_left=29)
    with Transport().at(measured.store.client) as transport:
        measured.run_prompt()(
            user_id, a_request(session_id=first.run.session_id), idempotency_key="two", seconds_left=29
        )
    assert [call.operation for call in transport.calls] == ["BatchGetItem", "Query", HOLD, SETTLE]


def test_conflicts_are_injected_where_the_adapter_sees_them_and_no_run_is_lost(measured: World, user_id: str) -> None:
    """What the bench disturbs looks to the ledger like DynamoDB's own conflicts."""
    measured.give(user_id, 100)
    with Transport(conflicts=0.5).at(measured.store.client) as transport:
        for number in range(10):
            measured.run_prompt(FixedModel())(user_id, a_request(), idempotency_key=f"{number}", seconds_left=29)
    codes = {call.error for call in transport.calls if call.injected}
    assert codes == {"TransactionConflictException", "TransactionCanceledException"}
    account = measured.ledger.account(user_id, utc_now())
    assert (account.version, account.held, len(measured.audit(user_id).findings)) == (12, 0, 0)


def test_conflict_without_end_is_no_refusal_for_credits(measured: World, user_id: str) -> None:
    measured.give(user_id, 100)
    with Transport(conflicts=1).at(measured.store.client), pytest.raises(StoreUnavailableError) as error:
        measured.run_prompt(FixedModel())(user_id, a_request(), idempotency_key=None, seconds_left=29)
    assert not isinstance(error.value, InsufficientCreditsError)
