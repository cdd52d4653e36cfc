r"""A Claude-compatible server on loopback, for the laptop stack and the tests when there is no ANTHROPIC_API_KEY.

    python -m doubles.claude.server --port 8082

It answers POST /v1/messages (JSON, and SSE with `stream: true`), POST /v1/messages/count_tokens, GET /v1/models and
GET /v1/models/{id} in the shapes the anthropic SDK reads. Its behaviour:

* One token count for everything: the input classes of `usage` always add up to count_tokens of the same request, and
  `output_tokens` is the count of the text, unless a script says otherwise.
* The same request gets the same text: Markdown about the package in the system prompt and the user's words, 150 to 400
  tokens, cut by `max_tokens`.
* A system prompt marked with `cache_control` is written to the cache the first time a model sees it and read from it
  afterwards, from 1024 tokens on. The cache lives as long as the process. Marks in messages are not looked at.
* It refuses what these models refuse, with the same status and error type: sampling parameters, thinking budgets and
  disabled thinking, prefill, forced tool choice, unknown effort, malformed messages, too long prompts, other models.
* A conversation with an answer that was refused in part is refused until that turn is removed.
* Any key is accepted, but one is required, as `x-api-key` or as `authorization: Bearer`; so is `anthropic-version`.
* `request-id` on every answer; `retry-after` on 429 and 529.
* Prompts and answers are never logged. `--verbose` prints one line per call: method, path, status.

GET /_calls has the number of calls (`messages`, `count_tokens`, `messages_by_model`) and the last
/v1/messages body with the texts of its messages replaced by their length. Every /v1/messages call counts in
`messages`, also a failed one; one refused for its headers is not read, so it has no model. POST /_reset resets
counters, cache and used-up scripts. Neither needs a key.

Tools are counted but never called; `stop_sequences` are accepted but not searched for.

A directive in the last user message scripts the answer: `[[claude: key=value flag ...]]`. It is counted as input but
not repeated in the answer; anywhere else it is plain text. An unknown key or a bad value is a 400.

    output_tokens=N        text of exactly N tokens; longer than max_tokens: cut, stop_reason max_tokens
    delay=SECONDS          wait first, at most 120; in a stream before the first content delta
    together=N             wait first, like delay, until N calls wait for the same N, at most 120 s; 2 to 64
    status=CODE            fail with this HTTP status, 400 to 599, and its error type
    count_status=CODE      fail to count its tokens, with this HTTP status
    retry_after=SECONDS    the retry-after header of that failure (429 and 529 have one anyway)
    times=N                only the first N calls with this exact message fail; later ones ignore delay, together, slow,
                           status, cut_after, error_in_stream, error_first, empty, thinking_only, stop_reason, emoji and
                           reported_*
    stop_reason=X          end_turn, max_tokens, stop_sequence, refusal, pause_turn, model_context_window_exceeded;
                           refusal has no content, unless output_tokens=N asks for text before it
    empty                  no content, stop_reason end_turn, 3 output tokens
    thinking=N             a thinking block of N tokens before the text; both are output tokens
    thinking_only          a thinking block as long as max_tokens and nothing else, stop_reason max_tokens
    cut_after=N            the connection closes after N output tokens; JSON: the body ends before its Content-Length
    error_in_stream=TYPE   an error event such as overloaded_error after a few deltas; JSON: the plain error
    error_first=TYPE       the stream has only an error event; JSON: the plain error
    emoji=split            an emoji at the end, each half in a delta of its own, as JSON escapes; JSON: not there
    emoji=half             only its first half
    reported_input=JSON    usage has this as input tokens, such as 20.5, "many", null, -1, true, NaN, 1e999
    reported_output=JSON   likewise for output tokens
    reported_cache_write=JSON  likewise for tokens written to the cache
    reported_cache_read=JSON   likewise for tokens read from the cache
    input_factor=F         usage reports F times the counted input tokens
    usage_factor=F         usage reports F times the output tokens of the text
    slow=MS                milliseconds between the deltas of a stream
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Final

from doubles.claude.answers import (
    ERROR_KINDS,
    MAX_OUTPUT_TOKENS,
    Answer,
    Script,
    ScriptError,
    cached_prefix,
    compose,
    count_input_tokens,
    count_text_tokens,
    parse_script,
    pieces,
    text_of,
)
from doubles.loopback import LoopbackServer

__all__ = ["ClaudeDouble", "count_input_tokens", "count_text_tokens", "main"]

CONTEXT_WINDOW: Final = 1_000_000  # tokens, input and output together
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
DELTAS_BEFORE_ERROR: Final = 3
MEETING_SECONDS: Final = 120.0
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
THINKING_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "claude-haiku-5-5": ("adaptive",),
    "claude-sonnet-5-5": ("adaptive", "between_tools"),
    "claude-opus-5-5": ("adaptive",),
}


class ApiError(Exception):
    """An error as the API reports it."""

    def __init__(self, status: int, kind: str, message: str, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after

    @classmethod
    def scripted(cls, status: int, retry_after: str | None) -> ApiError:
        kind = ERROR_KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return cls(status, kind, f"Scripted failure {status}.", retry_after)

    def body(self, request_id: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": self.kind, "message": self.message}, "request_id": request_id}


# ---------------------------------------------------------------- validation


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message)


def parse_body(body: bytes) -> dict[str, Any]:
    """The request as JSON. Raises ApiError for anything but an object of well-formed Unicode."""
    try:
        request = json.loads(body.decode("utf-8"))
        if b"\\u" in body:
            json.dumps(request, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is not text
    except (ValueError, RecursionError):
        raise _invalid("The request body is not valid JSON.") from None
    if not isinstance(request, dict):
        raise _invalid("The request body must be a JSON object.")
    return request


def check_prompt(request: Mapping[str, Any]) -> None:
    """The validation that /v1/messages and count_tokens share. Raises ApiError for the first error."""
    model = request.get("model")
    if not isinstance(model, str):
        raise _invalid("model: Field required" if model is None else "model: Input should be a valid string")
    if model not in THINKING_TYPES:
        raise ApiError(404, "not_found_error", f"model: {model}")
    _check_content("system", request.get("system", ""), may_be_empty=True)
    _check_cache_control(request)
    messages = request.get("messages")
    if not isinstance(messages, list):
        raise _invalid("messages: Field required" if messages is None else "messages: Input should be a valid list")
    if not messages:
        raise _invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise _invalid(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        _check_content(f"messages.{index}.content", message.get("content"))
    if messages[0]["role"] != "user":
        raise _invalid('messages: first message must use the "user" role')
    tools = request.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise _invalid("tools: Input should be a valid list of objects")
    _check_options(request, model)


def check_message(request: Mapping[str, Any]) -> None:
    """The validation of /v1/messages only, beginning with max_tokens. Raises ApiError."""
    check_prompt(request)
    model, limit = request["model"], request.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise _invalid(f"max_tokens: {'Field required' if limit is None else 'Input should be a valid integer'}")
    if limit < 1:
        raise _invalid("max_tokens: Input should be greater than or equal to 1")
    if limit > MAX_OUTPUT_TOKENS:
        raise _invalid(f"max_tokens: {limit} > {MAX_OUTPUT_TOKENS}, the most output tokens {model} can give")
    if not isinstance(request.get("stream", False), bool):
        raise _invalid("stream: Input should be a valid boolean")
    sequences = request.get("stop_sequences")
    if sequences is not None and not (isinstance(sequences, list) and all(isinstance(s, str) for s in sequences)):
        raise _invalid("stop_sequences: Input should be a valid list of strings")
    if request["messages"][-1]["role"] == "assistant":
        raise _invalid("This model does not support assistant message prefill: end messages with a user message.")
    tokens = count_input_tokens(request)
    if tokens + limit > CONTEXT_WINDOW:
        raise _invalid(f"prompt is too long: {tokens} tokens + {limit} max_tokens > {CONTEXT_WINDOW} maximum")


def _check_content(where: str, content: Any, *, may_be_empty: bool = False) -> None:
    if isinstance(content, str):
        if not content.strip() and not (may_be_empty and not content):
            raise _invalid(f"{where}: text content must contain non-whitespace text")
    elif not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise _invalid(f"{where}: Input should be a string or a list of content blocks")
    elif not content and not may_be_empty:
        raise _invalid(f"{where}: all messages must have non-empty content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        kind, text = block.get("type"), block.get("text")
        if not isinstance(kind, str) or (where == "system" and kind != "text"):
            raise _invalid(f"{where}.{index}.type: Input should be the type of a content block")
        if kind == "text" and not (isinstance(text, str) and text.strip()):
            raise _invalid(f"{where}.{index}.text: text content blocks must contain non-whitespace text")


def _check_cache_control(request: Mapping[str, Any]) -> None:
    system = request.get("system")
    marks = (
        [block["cache_control"] for block in system if block.get("cache_control")] if isinstance(system, list) else []
    )
    if len(marks) > 4:
        raise _invalid(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    for mark in marks:
        if not isinstance(mark, dict) or mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h"):
            raise _invalid("system: cache_control: Input should be {'type': 'ephemeral'} with a ttl of '5m' or '1h'")


def _check_options(request: Mapping[str, Any], model: str) -> None:
    for name in ("temperature", "top_p", "top_k"):
        if name in request:
            raise _invalid(f"`{name}` is deprecated for this model.")
    thinking = request.get("thinking")
    if thinking is not None:
        kind = thinking.get("type") if isinstance(thinking, dict) else thinking
        if kind not in THINKING_TYPES[model]:
            raise _invalid(
                f'"thinking.type.{kind}" is not supported for this model. '
                'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
            )
    choice = request.get("tool_choice")
    if choice is not None:
        kind = choice.get("type") if isinstance(choice, dict) else choice
        if kind not in ("auto", "none"):
            raise _invalid(f"tool_choice: forced tool use ({kind}) is not supported for this model")
    config = request.get("output_config")
    if config is not None:
        effort = config.get("effort") if isinstance(config, dict) else config
        if effort is not None and effort not in EFFORTS:
            raise _invalid(f"output_config.effort: Input should be one of {', '.join(EFFORTS)}")


# ---------------------------------------------------------------- state


class _Memory:
    """Counters, cached prefixes and used-up scripts. Every method is atomic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._calls: Counter[str] = Counter(messages=0, count_tokens=0)
            self._models: Counter[str] = Counter()
            self._last_request: Any = None
            self._cached: set[str] = set()
            self._scripted: Counter[str] = Counter()
            self._refused: set[str] = set()

    def count(self, name: str) -> None:
        with self._lock:
            self._calls[name] += 1

    def note(self, request: Mapping[str, Any]) -> None:
        """Record a call, and the request without the texts of its messages."""
        messages = request.get("messages")
        if isinstance(messages, list):
            messages = [{**m, "content": _lengths(m.get("content"))} if isinstance(m, dict) else m for m in messages]
            request = {**request, "messages": messages}
        with self._lock:
            self._last_request = request
            if isinstance(model := request.get("model"), str):
                self._models[model] += 1

    def calls(self) -> dict[str, Any]:
        with self._lock:
            return {**self._calls, "messages_by_model": dict(self._models), "last_request": self._last_request}

    def is_cached(self, key: str) -> bool:
        """Cache the prefix; whether it was cached already."""
        with self._lock:
            known = key in self._cached
            self._cached.add(key)
            return known

    def refuse(self, text: str) -> None:
        """Record an answer that was refused in part."""
        with self._lock:
            self._refused.add(hashlib.sha256(text.encode()).hexdigest())

    def has_refused(self, texts: Sequence[str]) -> bool:
        """Whether one of these answers was refused in part."""
        with self._lock:
            return any(hashlib.sha256(text.encode()).hexdigest() in self._refused for text in texts)

    def occurrence(self, text: str) -> int:
        """How many times this scripted message has been received, including this one."""
        key = hashlib.sha256(text.encode()).hexdigest()
        with self._lock:
            self._scripted[key] += 1
            return self._scripted[key]


def _lengths(content: Any) -> Any:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return [_lengths(part) for part in content]
    if isinstance(content, dict):
        return {key: value if key == "type" else _lengths(value) for key, value in content.items()}
    return content


# ---------------------------------------------------------------- answers


def _model_info(model: str) -> dict[str, Any]:
    _, line, *version = model.split("-")
    return {
        "type": "model",
        "id": model,
        "display_name": f"Claude {line.capitalize()} {'.'.join(version)}",
        "created_at": "1970-01-01T00:00:00Z",  # what the API says when the date is not known
        "lifecycle": "active",
        "line": line,
        "max_input_tokens": CONTEXT_WINDOW,
        "max_tokens": MAX_OUTPUT_TOKENS,
        "capabilities": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def _usage(request: Mapping[str, Any], answer: Answer, memory: _Memory) -> dict[str, Any]:
    prefix = cached_prefix(request)
    tokens, ttl = (prefix.tokens, prefix.ttl) if prefix else (0, "5m")
    read = tokens if prefix and memory.is_cached(prefix.key) else 0
    written = tokens - read
    return {
        "input_tokens": count_input_tokens(request) - tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {f"ephemeral_{kind}_input_tokens": written if kind == ttl else 0 for kind in ("5m", "1h")},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.thinking_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
    }


def _count_status(request: Mapping[str, Any]) -> int | None:
    """The status with which counting fails. A script that is invalid is refused when the message is sent, not here."""
    try:
        return parse_script(text_of(request["messages"][-1]["content"])).count_status
    except ScriptError:
        return None


def _said(script: Script, usage: Mapping[str, Any]) -> dict[str, Any]:
    """The counted usage with the values that the script replaces."""
    raw = {
        "input_tokens": script.reported_input,
        "output_tokens": script.reported_output,
        "cache_creation_input_tokens": script.reported_cache_write,
        "cache_read_input_tokens": script.reported_cache_read,
    }
    said = {name: json.loads(text) for name, text in raw.items() if text is not None}
    if script.input_factor != 1:
        said["input_tokens"] = round(usage["input_tokens"] * script.input_factor)
    return said


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        signature = base64.b64encode(hashlib.sha256(answer.thinking.encode()).digest()).decode()
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": signature})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    return blocks


def _message(request: Mapping[str, Any], answer: Answer, memory: _Memory) -> dict[str, Any]:
    refusal = {"type": "refusal", "category": "general_harms", "explanation": "Scripted refusal."}
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": _blocks(answer),
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": refusal if answer.stop_reason == "refusal" else None,
        "usage": _usage(request, answer, memory),
    }


def _events(message: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The events of a streamed message whose content is these blocks."""
    usage = message["usage"]
    ends = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    start = {**message, "content": [], **dict.fromkeys(ends), "usage": {**usage, "output_tokens": 1}}
    start["usage"]["output_tokens_details"] = None
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(blocks):
        field = block["type"]  # a block's type is also the name of its text
        opened = {key: value if key == "type" else "" for key, value in block.items()}
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        if index == 0:
            yield {"type": "ping"}
        for piece in pieces(block[field]):
            delta = {"type": f"{field}_delta", field: piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        if "signature" in block:
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    counted = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    total = {key: usage[key] for key in (*counted, "output_tokens_details")}
    yield {"type": "message_delta", "delta": ends, "usage": total}
    yield {"type": "message_stop"}


# ---------------------------------------------------------------- HTTP


class _Meetings:
    """Calls that wait for each other. The last one releases all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Counter[int] = Counter()
        self._over: Counter[int] = Counter()

    def meet(self, number: int, closing: threading.Event) -> bool:
        """Wait until `number` calls wait, or for MEETING_SECONDS. False if the server is closing."""
        ends = time.monotonic() + MEETING_SECONDS
        with self._changed:
            ours = self._over[number]
            self._waiting[number] += 1
            if self._waiting[number] == number:
                self._over[number] += 1
                self._waiting[number] = 0
                self._changed.notify_all()
            while self._over[number] == ours and not closing.is_set() and time.monotonic() < ends:
                self._changed.wait(0.1)
            if self._over[number] == ours:
                self._waiting[number] -= 1
        return not closing.is_set()


class _Server(LoopbackServer):
    def __init__(self, address: tuple[str, int], *, retry_after: str, verbose: bool) -> None:
        self.memory = _Memory()
        self.retry_after = retry_after
        self.verbose = verbose
        self.closing = threading.Event()
        self.meetings = _Meetings()
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # header and body in one packet
    server: _Server
    request_id = ""

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of http.server itself, such as an unknown method, in the shape of the API."""
        self.request_id = f"req_{secrets.token_hex(12)}"
        self.close_connection = True
        self._fail(ApiError(code, ApiError.scripted(code, None).kind, message or HTTPStatus(code).phrase))

    def handle_expect_100(self) -> bool:
        accepted = super().handle_expect_100()
        self.wfile.flush()
        return accepted

    def log_message(self, *_: Any) -> None:
        """Prints nothing: the default would print the request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.server.verbose:
            path = getattr(self, "path", "-").partition("?")[0]
            sys.stderr.write(f"{self.command or '-'} {path} {int(code)}\n")

    def _handle(self, method: str) -> None:
        self.request_id = f"req_{secrets.token_hex(12)}"
        path = self.path.partition("?")[0]
        calls = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
        try:
            if method == "POST" and path in calls:
                self.server.memory.count(calls[path])
            self._route(method, path, self._read_body())
        except ApiError as error:
            self._fail(error)

    def _route(self, method: str, path: str, body: bytes) -> None:
        memory = self.server.memory
        if (method, path) == ("GET", "/_calls"):
            return self._send(200, memory.calls())
        if (method, path) == ("POST", "/_reset"):
            memory.reset()
            return self._send(200, memory.calls())
        bearer = self.headers.get("authorization", "").strip().removeprefix("Bearer")  # what anthropic 2.12 sends
        if not (self.headers.get("x-api-key", "").strip() or bearer.strip()):
            raise ApiError(401, "authentication_error", "x-api-key or authorization header is required")
        if not self.headers.get("anthropic-version"):
            raise _invalid("anthropic-version: header is required")
        if method == "POST" and self.headers.get_content_type() != "application/json":
            raise _invalid("content-type: application/json is required")
        if (method, path) == ("POST", "/v1/messages"):
            return self._messages(body)
        if (method, path) == ("POST", "/v1/messages/count_tokens"):
            request = parse_body(body)
            check_prompt(request)
            status = _count_status(request)
            if status is not None:
                raise ApiError.scripted(status, None)
            return self._send(200, {"input_tokens": count_input_tokens(request)})
        models = [_model_info(model) for model in THINKING_TYPES]
        if (method, path) == ("GET", "/v1/models"):
            ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]}
            return self._send(200, {"data": models, "has_more": False, **ends})
        if method == "GET" and path.startswith("/v1/models/"):
            wanted = path.removeprefix("/v1/models/")
            if wanted not in THINKING_TYPES:
                raise ApiError(404, "not_found_error", f"model: {wanted}")
            return self._send(200, _model_info(wanted))
        raise ApiError(404, "not_found_error", "Not Found")

    def _messages(self, body: bytes) -> None:
        memory = self.server.memory
        request = parse_body(body)
        memory.note(request)
        check_message(request)
        asked = text_of(request["messages"][-1]["content"])
        try:
            script = parse_script(asked)
        except ScriptError as error:
            raise _invalid(str(error)) from None
        if script.times is not None and memory.occurrence(asked) > script.times:
            script = script.recovered()
        streamed = request.get("stream", False)
        if script.status or not streamed:
            self._wait(script)
        if script.status:
            raise ApiError.scripted(script.status, script.retry_after)
        if script.error_in_stream and not streamed:
            status = next(code for code, kind in ERROR_KINDS.items() if kind == script.error_in_stream)
            raise ApiError.scripted(status, script.retry_after)
        if script.error_first and not streamed:
            status = next(code for code, kind in ERROR_KINDS.items() if kind == script.error_first)
            raise ApiError.scripted(status, script.retry_after)
        answers = [text_of(each["content"]) for each in request["messages"] if each["role"] == "assistant"]
        if memory.has_refused(answers):
            script = Script(stop_reason="refusal")
        answer = compose(request, script)
        if answer.stop_reason == "refusal" and answer.text:
            memory.refuse(answer.text)
        message = _message(request, answer, memory)
        message["usage"] |= _said(script, message["usage"])
        if streamed:
            self._stream(message, answer, script)
        else:
            self._send(200, message, cut_after=script.cut_after)

    def _stream(self, message: Mapping[str, Any], answer: Answer, script: Script) -> None:
        self._start(
            200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache", "transfer-encoding": "chunked"}
        )
        carried = answer if script.cut_after is None else answer.first(script.cut_after)
        last = sum(len(pieces(block[block["type"]])) for block in _blocks(carried))
        deltas, waited = 0, False
        if script.error_first:
            self._chunk(ApiError(200, script.error_first, "Scripted failure.").body(self.request_id))
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
            return
        for event in _events(message, _blocks(carried) or _blocks(answer)[:1]):
            kind = event["type"]
            delta = kind == "content_block_delta" and "signature" not in event["delta"]
            if script.cut_after is not None and deltas == last and kind not in ("message_start", "content_block_start"):
                self.close_connection = True  # without the last chunk, so that the client detects the truncation
                return
            if not waited and (delta or kind == "message_delta"):
                self._wait(script)
                waited = True
            elif delta:
                self._pause(script.slow / 1000)
            failing = deltas == DELTAS_BEFORE_ERROR or kind in ("content_block_stop", "message_delta")
            if script.error_in_stream and failing:
                self._chunk(ApiError(200, script.error_in_stream, "Scripted failure.").body(self.request_id))
                break
            if script.emoji and kind == "content_block_stop" and event["index"] == len(_blocks(carried)) - 1:
                for half in ("\ud83d", "\ude00")[: 2 if script.emoji == "split" else 1]:
                    delta_of_it = {"type": "text_delta", "text": half}
                    self._chunk({"type": "content_block_delta", "index": event["index"], "delta": delta_of_it})
            self._chunk(event)
            deltas += delta
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _chunk(self, event: Mapping[str, Any]) -> None:
        text = json.dumps(event, ensure_ascii=False)
        if any("\ud800" <= character <= "\udfff" for character in text):
            text = json.dumps(event)  # half of a pair can be sent as an escape only
        data = f"event: {event['type']}\ndata: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _wait(self, script: Script) -> None:
        """Wait as the script says, before the answer begins."""
        self._pause(script.delay)
        if script.together and not self.server.meetings.meet(script.together, self.server.closing):
            raise ConnectionAbortedError("the double is stopping")

    def _pause(self, seconds: float) -> None:
        if seconds and self.server.closing.wait(seconds):
            raise ConnectionAbortedError("the double is stopping")

    def _read_body(self) -> bytes:
        """The whole body, so that the next request on this connection starts where it should."""
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise ApiError(411, "invalid_request_error", "content-length: header is required")
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            remaining = min(int(length), 8 * MAX_BODY_BYTES)
            while remaining and (chunk := self.rfile.read(min(remaining, 65536))):
                remaining -= len(chunk)  # a client that is still sending would not see the answer
            raise ApiError(413, "request_too_large", f"Request exceeds the maximum size of {MAX_BODY_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError("the client left before it had sent everything")
        return body

    def _fail(self, error: ApiError) -> None:
        wait = error.retry_after or (self.server.retry_after if error.status in (429, 529) else None)
        self._send(error.status, error.body(self.request_id), headers={"retry-after": wait} if wait else {})

    def _send(
        self, status: int, payload: Any, *, headers: Mapping[str, str] | None = None, cut_after: int | None = None
    ) -> None:
        body = json.dumps(payload, ensure_ascii=False).encode()
        self._start(status, "application/json", {**(headers or {}), "content-length": str(len(body))})
        if cut_after is not None:
            self.close_connection = True
            body = body[: min(3 * cut_after, len(body) - 1)]
        self.wfile.write(body)
        self.wfile.flush()

    def _start(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"request-id": self.request_id, "content-type": content_type, **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()


class ClaudeDouble:
    """The server in this process. `start` returns once it accepts calls, `stop` once it accepts no more.

    `stop` also ends the calls that are under way and closes every connection; both may be repeated.
    """

    def __init__(
        self, port: int = 0, host: str = "127.0.0.1", *, retry_after: float = 1, verbose: bool = False
    ) -> None:
        self._address = (host, port)
        self._retry_after = f"{retry_after:g}"
        self._verbose = verbose
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for the SDK. It stays the same after `stop`."""
        return f"http://{self._address[0]}:{self._address[1]}"

    def start(self) -> ClaudeDouble:
        """Listen. Raises OSError if the port is taken. A second start after a stop takes the same port again."""
        if self._server is None:
            self._server = _Server(self._address, retry_after=self._retry_after, verbose=self._verbose)
            self._address = (self._address[0], self._server.server_port)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is None or thread is None:
            return
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
        server.hang_up()

    def __enter__(self) -> ClaudeDouble:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 1 if the port is taken."""
    about = __doc__ or ""
    parser = argparse.ArgumentParser(
        prog="python -m doubles.claude.server",
        description=about.partition("\n")[0],
        epilog=about[about.index("A directive in") :],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--retry-after", type=float, default=1, metavar="SECONDS", help="retry-after header of 429 and 529 (default: 1)"
    )
    parser.add_argument("--verbose", action="store_true", help="print one line per call on stderr, never its text")
    options = parser.parse_args(arguments)
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before the first thread, so that only sigwait receives them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        return serve(options, ends)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(options: argparse.Namespace, ends: Collection[signal.Signals]) -> int:
    double = ClaudeDouble(options.port, options.host, retry_after=options.retry_after, verbose=options.verbose)
    try:
        double.start()
    except OSError as error:
        print(f"cannot listen on {double.url}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"listening on {double.url}", flush=True)
    signal.sigwait(ends)
    double.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
