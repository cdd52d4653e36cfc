"""One trace id from the request to what is done about its run afterwards, in what the functions of a stack write."""

import http.client
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Stack

REVIEW = {"package_id": "@playground/code-reviewer", "input": "def add(a, b): return a - b"}
OURS = "1-58406520-a006649127e371903a2de979"
TRACE_ID = re.compile(r"1-[0-9a-f]{8}-[0-9a-f]{24}")
FOLLOWING = {"notices published", "spend counted"}


def lines_of(stack: Stack, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    found = []
    for text in stack.log.splitlines():
        start = text.find("{")
        try:
            line = json.loads(text[start:]) if start >= 0 else None
        except ValueError:
            continue
        if isinstance(line, dict) and "message" in line and wanted(line):
            found.append(line)
    return found


def send(stack: Stack, path: str, token: str, **headers: str) -> tuple[int, str]:
    """Status and id of a request."""
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=60)
    try:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
        connection.request("POST", f"/api/v1{path}", body=json.dumps(REVIEW), headers=sent)
        response = connection.getresponse()
        response.read()
        return response.status, str(response.headers["x-amzn-requestid"])
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/playground/run", "/playground/run/stream"])
def test_a_run_is_followed_by_its_trace_id(stack: Stack, user_id: str, path: str) -> None:
    """From the line of the run, written by the function that had the request, to those of the functions that read the
    stream of the ledger; and the receipt has it."""
    status, request_id = send(stack, path, stack.client(user_id).token or "")
    assert status == 200
    [ended] = lines_of(stack, lambda line: line["message"] == "run ended" and line["correlation_id"] == request_id)
    trace_id = ended["trace_id"]
    assert TRACE_ID.fullmatch(trace_id)
    for _ in range(300):
        following = lines_of(stack, lambda line: trace_id in line.get("trace_ids", ()))
        if {line["message"] for line in following} == FOLLOWING:
            break
        time.sleep(0.1)
    assert {line["service"]: line["message"] for line in following} == {
        "notices": "notices published",
        "guard": "spend counted",
    }
    assert all(TRACE_ID.fullmatch(line["trace_id"]) and line["trace_id"] != trace_id for line in following)  # their own
    receipt = stack.ledger.run(user_id, ended["run_id"])
    assert receipt is not None
    assert receipt.trace_id == trace_id


def test_a_trace_that_a_client_sends_is_continued_and_anything_else_is_not(stack: Stack, user_id: str) -> None:
    token = stack.client(user_id).token or ""
    _, ours = send(stack, "/playground/run", token, **{"X-Amzn-Trace-Id": f"Root={OURS};Lineage=12345678:99"})
    _, theirs = send(stack, "/playground/run", token, **{"X-Amzn-Trace-Id": "Root=somebodys-address"})

    def trace_of(request_id: str) -> str:
        [line] = lines_of(stack, lambda line: line["message"] == "run ended" and line["correlation_id"] == request_id)
        return str(line["trace_id"])

    assert trace_of(ours) == OURS
    assert TRACE_ID.fullmatch(trace_of(theirs))
    assert "somebodys-address" not in stack.log
