"""The console output of the laptop stack."""

import json

import pytest

from local.console import MAX_ANSWER_BYTES, StreamedAnswer, event_of, for_a_person, outcome_of
from local.settings import SettingsError, read_settings

LOG = {
    "level": "INFO",
    "location": "handler:24",
    "message": "notices published",
    "timestamp": "2026-11-28 02:33:13,591+0000",
    "service": "notices",
    "records": 5,
    "trace_id": "1-6b0a3d69",
}


def shown(name: str, line: str) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for_a_person(lambda *each: lines.append(each), behind_the_api={"run"}.__contains__)(name, line)
    return lines


def test_a_log_line_is_a_sentence_with_its_facts() -> None:
    assert shown("notices", json.dumps(LOG)) == [("notices", "notices published records=5")]
    assert shown("notices", json.dumps({**LOG, "level": "ERROR"})) == [("notices", "ERROR notices published records=5")]


def test_a_successful_request_has_only_the_gateways_line() -> None:
    assert shown("run", json.dumps(LOG)) == []
    assert shown("run", json.dumps({**LOG, "level": "WARNING"})) == [("run", "WARNING notices published records=5")]


def test_scheduled_work_without_effect_is_not_shown() -> None:
    """A schedule visits sixteen shards; a stream has records without notices."""
    walked = {**LOG, "message": "index walked", "task": "advance", "shard": 3}
    assert shown("reset", json.dumps({**walked, "outcome": {"accounts": 0, "finished": True}})) == []
    assert shown("reset", json.dumps({**walked, "outcome": {"accounts": 2, "finished": True}})) == [
        ("reset", "index walked records=5 task=advance shard=3 accounts=2 finished=True")
    ]
    assert shown("reset", json.dumps({**walked, "outcome": {"accounts": 0, "finished": False}})) != []
    assert shown("notices", json.dumps({**LOG, "notices": 0})) == []
    assert shown("notices", json.dumps({**LOG, "notices": 0, "failed": "s-1"})) != []
    assert shown("notices", json.dumps({**LOG, "level": "ERROR", "notices": 0})) != []


def test_an_event_of_stripe_is_named() -> None:
    body = json.dumps({"object": "event", "type": "invoice.paid"}).encode()
    assert event_of(body) == " invoice.paid"
    for other in (
        b"{}",
        b"[1]",
        b"",
        b"\xff",
        b'{"object": "event", "type": "\\u001b[2J"}',
        b'{"type": "invoice.paid"}',
    ):
        assert event_of(other) == ""


def test_metric_documents_are_left_out() -> None:
    assert shown("notices", json.dumps({"_aws": {"Timestamp": 1}, "RunSettled": [1.0]})) == []


def test_an_exception_is_shown_with_its_lines() -> None:
    line = json.dumps(
        {**LOG, "level": "ERROR", "exception": "Traceback ...\nValueError: x", "exception_name": "ValueError"}
    )
    ((_, text),) = shown("run", line)
    assert text.endswith("\nTraceback ...\nValueError: x")


@pytest.mark.parametrize("line", ["Task timed out after 3.00 seconds", "{half", "[1]", '{"a": 1}', ""])
def test_everything_else_is_shown_as_it_is(line: str) -> None:
    assert shown("run", line) == [("run", line)]


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"response": "Hello", "credits_spent": 1}, " 1 credit"),
        (200, {"response": "Hello", "credits_spent": 3}, " 3 credits"),
        (200, {"run_id": "run_1", "credits_spent": 3}, ""),  # a receipt that is read
        (402, {"error": "insufficient_credits"}, " insufficient_credits"),
        (500, {"error": 5}, ""),
        (200, [1], ""),
        (200, "text", ""),
    ],
)
def test_the_line_of_a_request_shows_its_outcome(status: int, body: object, outcome: str) -> None:
    assert outcome_of(status, json.dumps(body).encode()) == outcome


DEEP = b"[" * 100_000
"""Deeper nesting than Python's parser accepts."""


def test_a_body_that_is_no_json_has_no_outcome() -> None:
    assert outcome_of(200, b"\xff") == outcome_of(502, b"") == outcome_of(200, DEEP) == ""


def test_json_that_is_nested_too_deep_is_shown_as_text() -> None:
    assert event_of(DEEP) == ""
    line = '{"level": ' + DEEP.decode()
    assert shown("run", line) == [("run", line)]


def streamed(content_type: str, *chunks: bytes, status: int = 200) -> str:
    answer = StreamedAnswer(content_type)
    for chunk in chunks:
        answer.add(chunk)
    return answer.outcome(status)


def test_the_line_of_a_stream_shows_the_outcome_of_its_last_event() -> None:
    events = (
        b"event: delta\nda",
        b'ta: {"text": "H"}\n\nevent: ',
        b"done\ndata: ",
        b'{"response": "H", "credits_spent": 2}\n',
    )
    assert streamed("text/event-stream; charset=utf-8", *events) == " 2 credits"
    assert streamed("text/event-stream", *events[:2]) == ""
    assert streamed("text/event-stream", b'event: error\ndata: {"error": "model_failed"}\n\n') == " model_failed"
    assert streamed("text/event-stream", b": alive\n", b": alive\n") == ""
    assert streamed("application/json", b'{"error": ', b'"not_found"}', status=404) == " not_found"


def test_only_the_beginning_of_a_long_answer_is_kept() -> None:
    answer = StreamedAnswer("application/octet-stream")
    for _ in range(100):
        answer.add(b"x" * 65_536)
    assert len(answer._rest) < MAX_ANSWER_BYTES + 65_537
    assert answer.outcome(200) == ""


def test_log_is_text_or_json() -> None:
    assert not read_settings({}).log_as_json
    assert read_settings({"LOG": "json"}).log_as_json
    with pytest.raises(SettingsError, match="LOG must be text or json, not 'yaml'"):
        read_settings({"LOG": "yaml"})
