"""Console output of the laptop stack: one line per request and outcome, or the functions' raw logs with LOG=json."""

import json
import re
from collections.abc import Callable
from typing import Any

from local.process import ShowLine, show_line

MAX_LINE_CHARACTERS = 300
MAX_ANSWER_BYTES = 1_000_000  # of an answer that is looked at
QUIET_LEVELS = ("DEBUG", "INFO")
EVENT_TYPE = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){1,4}")
# Standard fields of a log line; the others are printed after the message.
FRAME = frozenset(
    {"level", "location", "message", "timestamp", "service", "correlation_id", "trace_id", "trace_ids", "function_name"}
    | {"function_memory_size", "function_arn", "function_request_id", "cold_start", "exception", "exception_name"}
)


def for_a_person(show: ShowLine = show_line, *, behind_the_api: Callable[[str], bool] = lambda name: False) -> ShowLine:
    """Shows log lines as text. Leaves out metric documents, scheduled work that found nothing to do, and INFO and DEBUG
    lines of functions behind the API, whose requests the gateway logs."""

    def show_readable(name: str, line: str) -> None:
        document = _document(line)
        if document is None:
            show(name, line)
        elif "_aws" not in document and not (
            document["level"] in QUIET_LEVELS and (behind_the_api(name) or _did_nothing(document))
        ):
            show(name, text_of(document))

    return show_readable


def text_of(document: dict[str, Any]) -> str:
    """A log line as text: level unless it is INFO, message, fields, and the exception if there is one."""
    facts = []
    for name, value in document.items():
        if name not in FRAME:
            facts += [f"{key}={part}" for key, part in (value if isinstance(value, dict) else {name: value}).items()]
    level = "" if document["level"] == "INFO" else f"{document['level']} "
    text = " ".join([f"{level}{document['message']}", *facts])
    exception = str(document.get("exception") or "").strip()
    if exception:
        return f"{text[:MAX_LINE_CHARACTERS]}\n{exception}"
    return text if len(text) <= MAX_LINE_CHARACTERS else f"{text[:MAX_LINE_CHARACTERS]}..."


def _did_nothing(document: dict[str, Any]) -> bool:
    """Whether it is about a shard without due accounts, or stream records that give no notice."""
    match document:
        case {"message": "index walked", "outcome": {"accounts": 0, "finished": True}}:
            return True
        case {"message": "notices published", "notices": 0}:
            return "failed" not in document
    return False


def _document(line: str) -> dict[str, Any] | None:
    """A line of a function's log, or a metric document; None for any other text."""
    if not line.startswith("{"):
        return None
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(document, dict) and ("_aws" in document or {"level", "message"} <= document.keys())
    return document if known else None


def outcome_of(status: int, body: bytes) -> str:
    """What an answer of the API came to, for the end of its line: credits, or the code of the error."""
    if len(body) > MAX_ANSWER_BYTES:
        return ""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(answer, dict):
        return ""
    if status >= 400:
        return f" {answer['error']}" if isinstance(answer.get("error"), str) else ""
    spent = answer.get("credits_spent")
    if isinstance(spent, int) and "response" in answer:
        return f" {spent} credit{'' if spent == 1 else 's'}"
    return ""


class StreamedAnswer:
    """A streamed answer as it passes, for the end of its line. Of an event stream the last event counts; of any other
    body only so much is kept as is looked at."""

    def __init__(self, content_type: str) -> None:
        self._is_event_stream = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._rest = b""  # the body, or the line of an event stream that has not ended
        self._event = self._data = b""  # the last ones

    def add(self, chunk: bytes) -> None:
        if len(self._rest) > MAX_ANSWER_BYTES:
            return
        self._rest += chunk
        if self._is_event_stream:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                name, _, value = line.partition(b":")
                if name == b"event":
                    self._event = value.strip()
                elif name == b"data":
                    self._data = value

    def outcome(self, status: int) -> str:
        if not self._is_event_stream:
            return outcome_of(status, self._rest)
        return outcome_of(500 if self._event == b"error" else status, self._data)


def event_of(body: bytes) -> str:
    """The type of a delivered Stripe event, for the line of its request; nothing for other bodies. The sender is not
    authenticated here, so nothing else of the event is shown."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(event, dict) or event.get("object") != "event":
        return ""
    kind = event.get("type")
    return f" {kind}" if isinstance(kind, str) and EVENT_TYPE.fullmatch(kind) else ""
