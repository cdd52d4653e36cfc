"""A shop for the tests of payments."""

from collections.abc import Iterator

import pytest

from doubles.stripe import StripeDouble
from playground.adapters.dynamo_ledger import DynamoLedger
from tests.handlers import Handlers
from tests.kit.shop import Shop


@pytest.fixture
def shop(handlers: Handlers, ledger: DynamoLedger, stripe_double: StripeDouble, user_id: str) -> Iterator[Shop]:
    shop = Shop(handlers, ledger, stripe_double, user_id)
    shop.new_events()
    yield shop
    assert shop.account.available >= 0


@pytest.fixture(autouse=True)
def new_catalog_instance(request: pytest.FixtureRequest) -> None:
    """Each test meets an instance of the catalogue's function that has read nothing yet."""
    if "handlers" in request.fixturenames:
        request.getfixturevalue("handlers").forget_catalog()
