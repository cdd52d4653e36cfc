"""Runs without a login over real HTTP: many callers at once, each from the address that its connection has."""

import http.client
import json
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import urlsplit

import pytest

from playground.adapters.prices import load_prices
from playground.domain.pricing import NANO_PER_CENT
from playground.usecases.run_anonymously import MAX_ANSWER_TOKENS
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.kit.extent import HANG_SECONDS
from tests.kit.ports import free_ports
from tests.support import VISITORS_TABLE, claude_calls

HAIKU = load_prices().models["haiku"]
CALLERS = 20
BUDGET_CENTS = 200
MARK = "words-of-a-visitor"
INPUT_CHARACTERS = 9_500


@pytest.fixture(scope="module")
def on() -> Iterator[Stack]:
    """A stack with anonymous runs."""
    if not has_many_addresses():
        pytest.skip("this machine has one loopback address")
    with tempfile.TemporaryDirectory(prefix="playground-e2e-") as folder:
        variables = {
            "ANONYMOUS_RUNS": "true",
            "ANONYMOUS_BUDGET_CENTS": str(BUDGET_CENTS),
            "WARM": "anonymous,catalog",
        }
        stack = start_stack(Path(folder), free_ports(5), variables)
        yield stack
        stop_stack(stack)


def has_many_addresses() -> bool:
    """Whether all of 127.0.0.0/8 is this machine, as it is on Linux."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.1.1", 0))
        except OSError:
            return False
    return True


def ask(stack: Stack, address: str, directive: str) -> tuple[int, dict[str, object], str | None]:
    """Status, body and Retry-After for a caller who connects from `address`."""
    text = f"{MARK} [[claude: {directive}]]"
    body = {"package_id": "@playground/code-reviewer", "input": text.ljust(INPUT_CHARACTERS, ".")}
    connection = http.client.HTTPConnection(
        urlsplit(stack.url).netloc, timeout=HANG_SECONDS, source_address=(address, 0)
    )
    try:
        headers = {"Content-Type": "application/json", "X-Forwarded-For": f"198.51.100.{address.rpartition('.')[2]}"}
        connection.request("POST", "/api/v1/playground/anonymous-run", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers["Retry-After"]
    finally:
        connection.close()


def ask_at_once(
    stack: Stack, addresses: Sequence[str], directive: str
) -> list[tuple[int, dict[str, object], str | None]]:
    barrier = Barrier(len(addresses))

    def call(address: str) -> tuple[int, dict[str, object], str | None]:
        barrier.wait(HANG_SECONDS)
        return ask(stack, address, directive)

    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(call, addresses))


def stored(stack: Stack) -> list[dict[str, dict[str, str]]]:
    items: list[dict[str, dict[str, str]]] = stack.ledger._store.client.scan(TableName=VISITORS_TABLE)["Items"]
    return items


def used(stack: Stack) -> int:
    return sum(int(item["used_nano"]["N"]) for item in stored(stack) if "used_nano" in item)


def leave(stack: Stack, nano: int) -> None:
    """Make what is left of the day's budget `nano`."""
    [budget] = [item for item in stored(stack) if "used_nano" in item]
    stack.ledger._store.client.update_item(
        TableName=VISITORS_TABLE,
        Key={"pk": budget["pk"], "sk": budget["sk"]},
        UpdateExpression="SET used_nano = :used",
        ExpressionAttributeValues={":used": {"N": str(BUDGET_CENTS * NANO_PER_CENT - nano)}},
    )


def test_callers_at_once_get_what_their_addresses_and_the_budget_allow(on: Stack) -> None:
    calls = claude_calls(on.claude_url)["messages"]

    # One address, whatever X-Forwarded-For says. The answer breaks off, so that all that was reserved stays counted.
    answers = ask_at_once(on, ["127.0.0.2"] * CALLERS, "cut_after=5")
    assert Counter(status for status, _, _ in answers) == {502: 1, 429: 19}
    assert {body["error"] for status, body, _ in answers if status == 429} == {"rate_limited"}
    assert all(0 < int(wait or 0) <= 86_400 for status, _, wait in answers if status == 429)
    assert claude_calls(on.claude_url)["messages"] == calls + 1

    # What is left of the budget is enough for three more, which cost nearly what they reserve.
    most = used(on)
    leave(on, 3 * most + most // 2)
    tokens = (most - HAIKU.output_nano * MAX_ANSWER_TOKENS) // HAIKU.cache_write_nano
    real = f"output_tokens=400 reported_input=0 reported_cache_read=0 reported_cache_write={tokens - 200}"
    answers = ask_at_once(on, [f"127.0.1.{number}" for number in range(1, CALLERS + 1)], real)
    assert Counter(status for status, _, _ in answers) == {200: 3, 503: 17}
    assert {body["error"] for status, body, _ in answers if status == 503} == {"paused"}
    assert all(0 < int(wait or 0) <= 86_400 for status, _, wait in answers if status == 503)
    assert claude_calls(on.claude_url)["messages"] == calls + 4
    assert used(on) <= BUDGET_CENTS * NANO_PER_CENT

    # Those who were refused for the budget have not had their run; those who were answered have.
    again = ask_at_once(on, [f"127.0.1.{number}" for number in range(1, CALLERS + 1)], real)
    assert Counter(status for status, _, _ in again) == {429: 3, 503: 17}
    assert claude_calls(on.claude_url)["messages"] == calls + 4


def test_neither_words_nor_addresses_are_stored_or_logged(on: Stack) -> None:
    ask(on, "127.0.0.9", "output_tokens=10")
    texts = {"what is stored": json.dumps(stored(on)), "the log": on.log}
    assert "anonymous run ended" in on.log
    for where, text in texts.items():
        for secret in (MARK, "127.0.0.2", "127.0.0.9", "127.0.1.", "198.51.100."):
            assert secret not in text, f"{secret} in {where}"
