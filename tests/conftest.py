"""What tests share: one real engine, with the tables that template.yaml describes; every test has its own users."""

import asyncio
import gc
import itertools
import logging
import os
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from doubles.claude.server import ClaudeDouble
from doubles.stripe import StripeDouble
from local.engine import CREDENTIALS, Engine
from local.resources import create_resources
from local.template import Description
from playground.adapters.dynamo_ledger import DynamoLedger
from playground.adapters.dynamo_store import Backoff, DynamoStore
from playground.observability import logger
from tests.handlers import Handlers, loaded
from tests.kit.extent import HANG_SECONDS, load_profile
from tests.kit.log_leaks import LogWatch
from tests.kit.template import template_description
from tests.schedule import Scheduling, longest_first
from tests.support import new_ledger, new_store

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)

_numbers = itertools.count(1)

load_profile()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Modules and tests live until the end of the process: the garbage collector need not look at them, again and again
    while they are collected and once more whenever it runs."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: workers wait for stores, streams and processes a third of the time."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items)


@pytest.fixture(scope="session", autouse=True)
def credentials() -> None:
    """What SDKs sign with: made up, and never the developer's own."""
    os.environ.update(CREDENTIALS)


@pytest.fixture(scope="module", autouse=True)
def no_loop_left() -> Iterator[None]:
    """A file that leaves an event loop running (Playwright's, say) breaks files that the same worker runs after it."""
    yield
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def formatted(record: logging.LogRecord) -> str:
    """A line as functions write it."""
    return str(logger.registered_formatter.format(record))


@pytest.fixture(scope="session")
def log_watch() -> Iterator[LogWatch]:
    """Looks at every line that functions log in this process."""
    watch = LogWatch(formatted)
    logger.addHandler(watch)
    yield watch
    logger._logger.removeHandler(watch)


@pytest.fixture(autouse=True)
def nothing_leaks_into_a_log(log_watch: LogWatch) -> Iterator[None]:
    yield
    found, log_watch.found[:] = list(log_watch.found), []
    assert not found, found


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The real store, in memory, on a free port."""
    with Engine() as engine:
        yield engine


@pytest.fixture
def user_id(request: pytest.FixtureRequest) -> str:
    """A user that no other test has."""
    return f"{request.node.name[:60]}-{next(_numbers)}"


@pytest.fixture(scope="session")
def description(engine: Engine) -> Description:
    """template.yaml, with its tables, bucket and secrets made in the engine."""
    create_resources(template_description(), engine.endpoint_url)
    return template_description()


@pytest.fixture(scope="session")
def store(engine: Engine, description: Description) -> Iterator[DynamoStore]:
    store = new_store(engine, Backoff(most_seconds=HANG_SECONDS))
    yield store
    store.client.close()


@pytest.fixture(scope="session")
def ledger(store: DynamoStore) -> DynamoLedger:
    return new_ledger(store)


@pytest.fixture(scope="session")
def claude() -> Iterator[ClaudeDouble]:
    """A Claude-compatible server of its own for this run."""
    with ClaudeDouble() as double:
        yield double


@pytest.fixture(scope="session")
def stripe_double() -> Iterator[StripeDouble]:
    """A Stripe-compatible server of its own for this run. It sends nothing unless it is told to."""
    with StripeDouble(base=time.time, seed=1) as double:
        double.control("portal")
        yield double


@pytest.fixture(scope="session")
def handlers(
    engine: Engine, claude: ClaudeDouble, stripe_double: StripeDouble, description: Description
) -> Iterator[Handlers]:
    """All functions, loaded into this process, over the engine and the doubles. For one thread at a time."""
    with loaded(description, engine, claude, stripe_double) as handlers:
        yield handlers
