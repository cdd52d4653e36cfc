"""What tests share: one real engine per run, with the tables that template.yaml describes; every test has its own users."""

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.engine import CREDENTIALS, Engine
from local.resources import create_resources
from local.template import Description, read_template
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import DynamoStore
from tests.support import new_ledger, new_store

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The real store, in memory, on a free port."""
    os.environ.update(CREDENTIALS)
    with Engine() as engine:
        yield engine


@pytest.fixture
def user_id(request: pytest.FixtureRequest) -> str:
    """A user that no other test has."""
    return f"{request.node.name[:60]}-{next(_numbers)}"


@pytest.fixture(scope="session")
def description(engine: Engine) -> Description:
    """template.yaml, with its tables, bucket and secrets made in the engine."""
    description = read_template(ROOT / "template.yaml")
    create_resources(description, engine.endpoint_url)
    return description


@pytest.fixture(scope="session")
def store(engine: Engine, description: Description) -> DynamoStore:
    return new_store(engine)


@pytest.fixture(scope="session")
def ledger(store: DynamoStore) -> DynamoLedger:
    return new_ledger(store)
