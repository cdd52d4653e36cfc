"""Claude through the `anthropic` SDK. Its errors and its types stop here.

Answers are always streamed, so that an error or a cut in the middle is detected. Their events are parsed here from
JSON: the SDK coerces strings and booleans to numbers, but usage must be validated as it was sent. The SDK's own timeout
is per read, its retries have no common deadline and pings never reach its caller; so every call runs in a thread of its
own, which is awaited until the deadline and no longer, and retries are made here, within it. Requests are made with the
client's `post`: `client.messages` would load a thousand modules of types first, to build answers that are not used.
"""

import json
import math
import queue
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard, TypeVar

import anthropic
import httpx2

from playground.adapters.http_transport import Call, Transport
from playground.domain.errors import (
    INVALID_USAGE,
    ModelError,
    ModelOverloadedError,
    ModelTimedOutError,
    RunCancelledError,
)
from playground.domain.pricing import Spent, Usage, is_count
from playground.domain.text import is_blank, sent_bytes, whole_characters
from playground.ports import CANCELLED, UNWATCHED, Completion, Progress, Prompt, TokenCount

CONNECT_TIMEOUT = 3.0  # s
STOP_SECONDS = 0.2  # s between two looks whether to end a call
RETRIES = 2
FIRST_PAUSE = 0.5  # s, doubled for the second retry, unless the provider asks for longer
MIN_USEFUL_SECONDS = 2.0  # s; with less than this left a retry is not begun
BYTES_PER_TOKEN = 3  # of UTF-8, rather too few: for counting upward
MAX_RETRY_AFTER_SECONDS = 60  # s that a caller is asked to wait at most
FRAME_TOKENS = 2_000  # of a prompt besides its texts, at most: what the provider puts around them
MESSAGE_FRAME_TOKENS = 100  # of each message, likewise
MAX_NAME_CHARACTERS = 100  # characters of a model's id or a stop reason
MAX_EVENT_BYTES = 4_000_000  # of a stream; the largest that Claude sends are some thousands
MAX_LAST_CHUNKS = 8  # that are read behind an answer
LAST_SECONDS = 1.0  # for each of them
MAX_TOKEN_BYTES = 1_024  # of text: no tokenizer has longer ones
MAX_ANSWER_BYTES = 2_500_000  # as it leaves the function, which has it twice; Lambda gives 6 MB back at most
MAX_BODY_BYTES = 65_536  # of an error and of a count, as they are sent; the rest is not read

_OVERLOADED = frozenset({"rate_limit_error", "overloaded_error"})

# What the SDK and the standard library raise at answers that are incomplete or make no sense.
_NONSENSE = (AssertionError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)

_T = TypeVar("_T")


class ClaudeModel:
    """`ports.Model`. `retries`: further attempts after one that gave no answer and may give one; an attempt may be
    billed although it gave none. `monotonic` and `sleep` are injected for tests."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        retries: int = RETRIES,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._retries = retries
        self._monotonic = monotonic
        self._sleep = sleep
        self._transport = Transport(base_url)
        # A redirect would take the key and the prompt elsewhere. The API has none.
        http = anthropic.DefaultHttpxClient(
            transport=self._transport, follow_redirects=False, event_hooks={"response": [_bound]}
        )
        self._client = anthropic.Anthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            http_client=http,
            open_telemetry={"traces": False},  # nobody collects spans here, and making them loads OpenTelemetry
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def begin_anew(self, api_key: str) -> None:
        """Use this key from now on, and other connections: those that there are may have ended. Only while no call is
        made."""
        self._client.api_key = api_key
        self._transport.close()

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> TokenCount:
        def count(deliver: Callable[[int], None]) -> None:
            counted: Any = self._client.post(
                "/v1/messages/count_tokens",
                cast_to=object,
                body={"model": prompt.model.model_id, **_content(prompt)},
                options={"timeout": _limits(timeout)},
            )
            deliver(counted["input_tokens"])

        try:
            tokens = _within(timeout, count) if timeout > 0 else 0
        except (anthropic.AnthropicError, httpx2.HTTPError, _TooLateError, *_NONSENSE):
            return TokenCount(prompt.guessed_tokens, guessed=True)
        if not is_count(tokens) or not 0 < tokens <= _most_bytes(prompt):
            return TokenCount(prompt.guessed_tokens, guessed=True)
        return TokenCount(tokens)

    def complete(self, prompt: Prompt, *, timeout: float, progress: Progress = UNWATCHED) -> Completion:
        deadline = self._monotonic() + timeout
        pause = FIRST_PAUSE
        lost: list[Spent] = []  # by attempts that were followed by another
        for retries_left in reversed(range(self._retries + 1)):
            try:
                return replace(self._attempt(prompt, deadline, progress), lost=tuple(lost))
            except _RetryableError as failure:
                wait = max(pause, failure.retry_after)
                if not retries_left or self._monotonic() + wait + MIN_USEFUL_SECONDS > deadline:
                    raise failure.error.after(lost) from failure
                if failure.error.spent is not None:
                    lost.append(failure.error.spent)
            except ModelError as error:
                raise error.after(lost) from error.__cause__
            if self._stops_in(wait, progress):
                raise RunCancelledError().after(lost)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _stops_in(self, seconds: float, progress: Progress) -> bool:
        """Wait so long; whether the call is to end."""
        if self._sleep is None:
            return progress.stopping(seconds)
        self._sleep(seconds)
        return False

    def _attempt(self, prompt: Prompt, deadline: float, progress: Progress) -> Completion:
        left = deadline - self._monotonic()
        if progress.stopping():
            raise RunCancelledError
        if left <= 0:
            raise ModelTimedOutError

        answer = _Answer(progress)  # what was read of it, also if it breaks off

        def ask(deliver: Callable[[Completion], None]) -> None:
            body = {"model": prompt.model.model_id, "max_tokens": prompt.max_tokens, "stream": True}
            with self._client.post(
                "/v1/messages",
                cast_to=object,
                body={**body, **_content(prompt), **_settings(prompt)},
                options={"timeout": _limits(left)},
                stream=True,
                stream_cls=anthropic.Stream[object],
            ) as stream:
                chunks = _chunks(stream.response)
                deliver(_completion(_read(_events(chunks), answer, prompt), prompt))
                _read_on(chunks)

        try:
            return _within(left, ask, progress.stopping)
        except _StoppedError:
            answer.stop()
        except ModelError as error:
            raise error.costing(_spent(prompt, answer)) from None
        except _StreamError as error:
            meaning = _meaning(error.kind, 200, 0, begun=answer.begun)
            if isinstance(meaning, ModelError) and answer.begun:
                meaning.costing(_spent(prompt, answer))
            raise meaning from None
        except anthropic.APIStatusError as error:
            raise _meaning(_kind(error.body), error.status_code, _retry_after(error), begun=False) from None
        except anthropic.APITimeoutError as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):  # nothing was sent yet
                raise _RetryableError(ModelError("unreachable")) from None
            raise ModelTimedOutError().costing(_spent(prompt, answer)) from None
        except (httpx2.TimeoutException, _TooLateError):
            raise ModelTimedOutError().costing(_spent(prompt, answer)) from None
        except anthropic.APIConnectionError as error:
            unreachable = ModelError("unreachable")
            if not isinstance(error.__cause__, httpx2.ConnectError):  # it was sent, and may have been billed
                unreachable.costing(_spent(prompt, answer))
            raise _RetryableError(unreachable) from None
        except (anthropic.AnthropicError, httpx2.HTTPError, *_NONSENSE):
            raise ModelError("cut_off").costing(_spent(prompt, answer)) from None
        try:
            return _cut(prompt, answer)
        except ModelError as error:
            raise error.costing(_spent(prompt, answer)) from None


class _TooLateError(Exception):
    """A call did not end in time."""


class _StoppedError(Exception):
    """A call was to end before it was over."""


class _Bounded(httpx2.SyncByteStream):
    """A body that ends after MAX_BODY_BYTES."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MAX_BODY_BYTES
        for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx2.Response) -> None:
    """Bound what the SDK reads whole; an answer's stream is bounded in `_events`."""
    is_stream = response.status_code == 200 and not response.request.url.path.endswith("/count_tokens")
    if not is_stream and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream)


def _within(
    seconds: float, call: Callable[[Callable[[_T], None]], None], stopping: Callable[[], bool] = lambda: False
) -> _T:
    """What `call` delivers or raises; _TooLateError after `seconds`, _StoppedError soon after `stopping`, whatever the
    server does.

    The call runs in a thread of its own, and may go on after it has delivered. When it is given up its connection ends,
    its thread with it, and its result is dropped.
    """
    outcomes: queue.SimpleQueue[Callable[[], _T]] = queue.SimpleQueue()
    the_call = Call()

    def run() -> None:
        the_call.begin()
        try:
            call(lambda result: outcomes.put(lambda: result))
        except Exception as error:  # every error before the result is raised in the waiting thread
            outcomes.put(_raiser(error))

    ends = time.monotonic() + seconds
    threading.Thread(target=run, name="claude", daemon=True).start()
    while True:
        left = ends - time.monotonic()
        try:
            return outcomes.get(timeout=max(min(left, STOP_SECONDS), 0))()
        except queue.Empty:
            if left > STOP_SECONDS and not stopping():
                continue
        the_call.give_up()
        raise _StoppedError if stopping() else _TooLateError


def _raiser(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


class _RetryableError(Exception):
    """Nothing was produced yet: another attempt may succeed. `error` is what it means if there is none."""

    def __init__(self, error: ModelError, *, retry_after: float = 0) -> None:
        super().__init__(error.reason)
        self.error = error
        self.retry_after = retry_after


def _limits(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds))


def _content(prompt: Prompt) -> dict[str, Any]:
    """What counting and completing have in common. The package's text is marked for the provider's cache."""
    content: dict[str, Any] = {"messages": [{"role": role, "content": text} for role, text in prompt.messages]}
    if prompt.system:
        content["system"] = [{"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}]
    return content


def _settings(prompt: Prompt) -> dict[str, Any]:
    """Only settings that the model takes: RunPrompt has refused the others."""
    settings: dict[str, Any] = {}
    if prompt.effort is not None:
        settings["output_config"] = {"effort": prompt.effort}
    if prompt.temperature is not None and prompt.model.accepts_temperature:
        settings["temperature"] = prompt.temperature
    return settings


class _StreamError(Exception):
    """An error event inside an answer. `kind`: its type, if it has one."""

    def __init__(self, kind: str | None) -> None:
        super().__init__(kind)
        self.kind = kind


def _kind(body: object) -> str | None:
    """The type of an error, from the body or the event that has it."""
    details = body.get("error") if isinstance(body, dict) else None
    kind = details.get("type") if isinstance(details, dict) else None
    return kind if isinstance(kind, str) else None


def _meaning(kind: str | None, status: int, wait: float, *, begun: bool) -> Exception:
    """The meaning of an error, by its type (all that there is inside a stream), then by status. `wait`: the seconds
    after which the provider allows another request. Once an answer has `begun` its tokens may have been billed: no
    second attempt."""
    if kind in _OVERLOADED or status in (429, 529, 503):
        reason = "rate_limited" if kind == "rate_limit_error" or status == 429 else "overloaded"
        meaning = ModelOverloadedError(reason, retry_after=min(max(int(wait), 1), MAX_RETRY_AFTER_SECONDS))
        return meaning if begun else _RetryableError(meaning, retry_after=wait)
    if status >= 500 or (kind == "api_error" and not begun):
        return _RetryableError(ModelError("provider_error"))
    return ModelError("provider_error" if status == 200 else "rejected")


def _spent(prompt: Prompt, answer: "_Answer") -> Spent:
    """What the provider bills for a call without an answer, as far as it said so before the end.

    A message that is complete has its usage. Of one that is not, the prompt is known from its beginning, and output is
    what was seen of it, counted upward; if nothing was seen, as when the model only thinks, it is all that was allowed.
    Usage that cannot be true counts as none.
    """
    message = answer.message
    reported: Usage | None = None
    if message is not None:
        with suppress(ModelError):
            reported = believable_usage(message.usage, prompt)
    if reported is not None and message is not None and message.stop_reason is not None:
        return Spent(usage=reported, estimated=False)
    seen = answer.bytes_seen
    output = min(-(-seen // BYTES_PER_TOKEN), prompt.max_tokens) if seen else prompt.max_tokens
    if reported is None:
        return Spent(usage=prompt.model.most_expensive(prompt.guessed_tokens, output), estimated=True)
    usage = replace(reported, output_tokens=max(reported.output_tokens, output))
    return Spent(usage=usage, estimated=True)


def _retry_after(error: anthropic.APIStatusError) -> float:
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return 0
    return max(seconds, 0) if math.isfinite(seconds) else MAX_RETRY_AFTER_SECONDS


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    """The body as it comes. httpx2's own iteration costs as much as the rest of reading it."""
    if "content-encoding" in response.headers or not isinstance(response.stream, httpx2.SyncByteStream):
        return response.iter_bytes()
    return iter(response.stream)


def _events(chunks: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    """The JSON of each event of a stream. Raises ValueError for what is none, or larger than MAX_EVENT_BYTES."""
    rest = b""
    data: list[bytes] = []
    size = 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:])
                size += len(line)
            elif data and line in _BLANK:
                yield _decoded(b"\n".join(data))
                data, size = [], 0
            if size > MAX_EVENT_BYTES:
                break
        if size + len(rest) > MAX_EVENT_BYTES:
            raise ValueError("an event is too large")


_BLANK = (b"", b"\r")
_scanned = json.JSONDecoder().raw_decode


def _decoded(data: bytes) -> Any:
    """As `json.loads`, which looks for the encoding and twice for blanks."""
    text = data.decode("utf-8", "surrogatepass").strip(" \t\r\n")
    value, end = _scanned(text)
    if end != len(text):
        raise ValueError("more than one value")
    return value


def _read_on(chunks: Iterator[bytes]) -> None:
    """Read what follows an answer, so that its connection can be used again; not much, and not for long."""
    Call.current().hurry(LAST_SECONDS)
    for _ in zip(range(MAX_LAST_CHUNKS), chunks, strict=False):
        pass


@dataclass(slots=True)
class _Message:
    """An answer as it was sent, not validated yet."""

    model: object
    stop_reason: object
    usage: dict[str, object]
    texts: dict[int, list[str]] = field(default_factory=dict)
    """Pieces of the blocks of text, by the block's position. Blocks of other types are left out."""

    def begin_text(self, index: object, text: str) -> None:
        if type(index) is not int or index < 0 or index <= max(self.texts, default=-1):
            raise ValueError("a block begins once, after those before it")
        self.texts[index] = [text]

    def add_text(self, index: object, text: str) -> None:
        last = max(self.texts)
        if index != last:
            raise ValueError("text belongs to the last block that has begun")
        self.texts[last].append(text)

    @property
    def text(self) -> str:
        return whole_characters("".join(piece for pieces in self.texts.values() for piece in pieces))


@dataclass(slots=True)
class _Answer:
    """What was read so far. `begun`: with its first block. `bytes_seen`: of text and of thinking."""

    progress: Progress = UNWATCHED
    message: _Message | None = None
    begun: bool = False
    bytes_seen: int = 0
    half: str = ""
    """The first half of a character whose other half is not there yet."""
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, text: object) -> None:
        if isinstance(text, str):
            self.bytes_seen += len(text.encode(errors="replace"))

    def pass_on(self, text: str) -> None:
        """Text that follows all text before it."""
        text = self.half + text
        self.half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        if text := text.removesuffix(self.half):
            self.progress.write(whole_characters(text))

    def end(self) -> None:
        if self.half:
            self.progress.write(whole_characters(self.half))
            self.half = ""

    def stop(self) -> None:
        """Take no more events: the thread that reads them may still be at work."""
        self.stopped = True
        with self.lock:
            return  # the event that was being noted is noted; no other will be


def _read(events: Iterable[Mapping[str, Any]], answer: _Answer, prompt: Prompt) -> _Message:
    """The whole answer, noted in `answer` while it comes; what follows its end is not read. Raises _StreamError, or one
    of _NONSENSE if an event lacks what it must have, if text comes before text that is there already, or if there is
    more text than `prompt` allows tokens."""
    for event in events:
        with answer.lock:
            if answer.stopped:
                raise _StoppedError
            if not _take(event, answer):
                break
        if answer.bytes_seen > MAX_TOKEN_BYTES * prompt.max_tokens:
            raise ValueError("no text has so many bytes to a token")
    answer.end()
    return _started(answer)


def _take(event: Mapping[str, Any], answer: _Answer) -> bool:
    """Note one event. False if it was the last one."""
    match event["type"]:
        case "error":
            raise _StreamError(_kind(event))
        case "message_start":
            if answer.begun:
                raise ValueError("an answer begins once")
            start = event["message"]
            # Only its end says why it ended, and how long it was.
            answer.message = _Message(start["model"], None, dict(start["usage"]))
        case "content_block_start":
            answer.begun = True
            if event["content_block"]["type"] == "text":
                text = "" + event["content_block"]["text"]
                _started(answer).begin_text(event["index"], text)
                answer.see(text)
                answer.pass_on(text)
        case "content_block_delta" if event["delta"]["type"] == "text_delta":
            text = "" + event["delta"]["text"]
            _started(answer).add_text(event["index"], text)
            answer.see(text)
            answer.pass_on(text)
        case "content_block_delta":
            answer.see(event["delta"].get("thinking"))
        case "message_delta":
            message = _started(answer)
            told = event["usage"]  # totals; what is left out stays as it was, other than the length of the answer
            message.usage |= {name: value for name, value in told.items() if value is not None}
            message.usage["output_tokens"] = told.get("output_tokens")
            message.stop_reason = event["delta"]["stop_reason"]
        case "message_stop":
            return False
    return True


def _started(answer: _Answer) -> _Message:
    if answer.message is None:
        raise ValueError("an answer begins with message_start")
    return answer.message


def _completion(message: _Message, prompt: Prompt) -> Completion:
    stop_reason, model_id = message.stop_reason, message.model
    if not (_is_name(stop_reason) and _is_name(model_id)):
        raise ModelError("cut_off")
    text = message.text
    if is_blank(text):
        if stop_reason == "refusal":
            raise ModelError("refused")
        if stop_reason == "max_tokens":
            raise ModelError("no_text")
        raise ModelError("empty")
    if sent_bytes(text) > MAX_ANSWER_BYTES:
        raise ModelError("cut_off")
    usage = believable_usage(message.usage, prompt)
    return Completion(text=text, usage=usage, stop_reason=stop_reason, model_id=model_id)


def _cut(prompt: Prompt, answer: _Answer) -> Completion:
    """The answer as far as it was written when its owner ended it. Its output is what was seen of it, counted upward.
    Raises RunCancelledError if no text was written, ModelError if the provider's count of the prompt is impossible."""
    message = answer.message
    if message is None or is_blank(message.text):
        raise RunCancelledError
    answer.end()
    if message.stop_reason is not None:
        return _completion(message, prompt)  # it was whole; only its last event had not come yet
    if not _is_name(message.model) or sent_bytes(message.text) > MAX_ANSWER_BYTES:
        raise ModelError("cut_off")
    believable_usage(message.usage, prompt)
    return Completion(
        text=message.text, usage=_spent(prompt, answer).usage, stop_reason=CANCELLED, model_id=message.model
    )


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS and value.isprintable()


def believable_usage(told: Mapping[str, object], prompt: Prompt) -> Usage:
    """The usage that the provider reports, if it is possible for this prompt. Raises ModelError (INVALID_USAGE).

    The provider leaves out the classes of the cache, or says null, if there is no cache; the others are always there.
    """
    cache = [told.get(name) for name in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    values = [told.get("input_tokens"), told.get("output_tokens"), *(0 if value is None else value for value in cache)]
    counts = [value for value in values if is_count(value)]
    if len(counts) < len(values):
        raise ModelError(INVALID_USAGE)
    read, written, cache_write, cache_read = counts
    usage = Usage(
        input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read
    )
    if usage.output_tokens > prompt.max_tokens or usage.prompt_tokens > most_prompt_tokens(prompt):
        raise ModelError(INVALID_USAGE)
    return usage


def most_prompt_tokens(prompt: Prompt) -> int:
    """More tokens than any tokenizer makes of `prompt`: one per byte, and what the provider puts around the texts; and
    never more than the model takes."""
    return min(_most_bytes(prompt), prompt.model.context_tokens)


def _most_bytes(prompt: Prompt) -> int:
    """A tokenizer may spell compatibility characters out first, which makes some of them longer."""
    texts = [prompt.system or "", *(text for _, text in prompt.messages)]
    sizes = (max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode())) for text in texts)
    return sum(sizes) + FRAME_TOKENS + MESSAGE_FRAME_TOKENS * len(prompt.messages)
