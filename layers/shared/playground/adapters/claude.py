"""Claude through the `anthropic` SDK. Its errors and its types stop here.

Answers are streamed even where nobody watches: an error or a cut in the middle shows itself. The SDK's own timeout is
per read, its retries know no common deadline and pings never reach its caller; so every call runs in a thread of its
own that is waited for until the deadline and no longer, and retries are made here, within it.
"""

import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import anthropic
import httpx2

from playground.domain.errors import ModelError, ModelOverloadedError, ModelTimedOutError
from playground.domain.pricing import Spent, Usage
from playground.domain.pricing import guess_tokens as tokens_of
from playground.ports import Completion, Prompt

CONNECT_TIMEOUT = 3.0  # s
RETRIES = 2
FIRST_PAUSE = 0.5  # s, doubled for the second retry, unless the provider asks for longer
LEAST_USEFUL = 2.0  # s; with less than this left a retry is not begun
BYTES_PER_TOKEN = 3  # of UTF-8, rather too few: for counting upward
LONGEST_RETRY_AFTER = 60  # s that a caller is asked to wait at most

_OVERLOADED = frozenset({"rate_limit_error", "overloaded_error"})

# What the SDK and the standard library raise at answers that are incomplete or make no sense.
_NONSENSE = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)

_T = TypeVar("_T")


class ClaudeModel:
    """`ports.Model`. `monotonic` and `sleep` are the worker's; nothing outside of one call depends on them."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._client = anthropic.Anthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            http_client=anthropic.DefaultHttpxClient(event_hooks={"response": [_note]}),
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def count_tokens(self, prompt: Prompt, *, timeout: float) -> int:
        def count() -> int:
            counted = self._client.messages.count_tokens(
                model=prompt.model.model_id, timeout=_limits(timeout), **_content(prompt)
            )
            return counted.input_tokens

        try:
            tokens = _within(timeout, count)
        except (anthropic.AnthropicError, httpx2.HTTPError, _TooLateError, *_NONSENSE):
            return guess_tokens(prompt)
        return tokens if isinstance(tokens, int) and tokens > 0 else guess_tokens(prompt)

    def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        deadline = self._monotonic() + timeout
        pause = FIRST_PAUSE
        for retries_left in reversed(range(RETRIES + 1)):
            try:
                return self._attempt(prompt, deadline)
            except _RetryableError as failure:
                wait = max(pause, failure.retry_after)
                if not retries_left or self._monotonic() + wait + LEAST_USEFUL > deadline:
                    raise failure.error from failure
                self._sleep(wait)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    def _attempt(self, prompt: Prompt, deadline: float) -> Completion:
        left = deadline - self._monotonic()
        if left <= 0:
            raise ModelTimedOutError

        streams: list[Any] = []  # the one that is being read, for what was seen of it if it breaks off

        def ask() -> Completion:
            with self._client.messages.stream(
                model=prompt.model.model_id,
                max_tokens=prompt.max_tokens,
                timeout=_limits(left),
                **_content(prompt),
                **_settings(prompt),
            ) as stream:
                streams.append(stream)
                return _completion(stream.get_final_message())

        try:
            return _within(left, ask)
        except ModelError as error:
            raise error.costing(_spent(prompt, streams)) from None
        except anthropic.APIStatusError as error:
            meaning = _meaning(error)
            if isinstance(meaning, ModelError) and _begun(streams) is not None:
                meaning.costing(_spent(prompt, streams))
            raise meaning from None
        except anthropic.APITimeoutError as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):  # nobody has been asked yet
                raise _RetryableError(ModelError("unreachable")) from None
            raise ModelTimedOutError().costing(_spent(prompt, streams)) from None
        except (httpx2.TimeoutException, _TooLateError):
            raise ModelTimedOutError().costing(_spent(prompt, streams)) from None
        except anthropic.APIConnectionError:
            raise _RetryableError(ModelError("unreachable")) from None
        except (anthropic.AnthropicError, httpx2.HTTPError, *_NONSENSE):
            raise ModelError("cut_off").costing(_spent(prompt, streams)) from None


class _TooLateError(Exception):
    """A call was not over when its time was."""


_here = threading.local()


def _note(response: httpx2.Response) -> None:
    """Remember the answer that this thread is about to read, so that it can be hung up on."""
    _here.responses.append(response)


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """What `call` returns or raises, or _TooLateError after `seconds`, however the other side keeps it waiting.

    The call runs in a thread of its own. If it is too late its connection is closed, and nobody listens any more.
    """
    outcomes: queue.SimpleQueue[Callable[[], _T]] = queue.SimpleQueue()
    responses: list[httpx2.Response] = []

    def run() -> None:
        _here.responses = responses
        try:
            result = call()
        except Exception as error:  # whatever it is, it is the waiting thread's
            outcomes.put(_raiser(error))
        else:
            outcomes.put(lambda: result)

    threading.Thread(target=run, name="claude", daemon=True).start()
    try:
        outcome = outcomes.get(timeout=max(seconds, 0))
    except queue.Empty:
        for response in responses:
            with suppress(Exception):  # it is being read at this moment
                response.close()
        raise _TooLateError from None
    return outcome()


def _raiser(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def guess_tokens(prompt: Prompt) -> int:
    """Rather too high: one token per 3 bytes of UTF-8, and some for each message."""
    texts = [prompt.system or "", *(text for _, text in prompt.messages)]
    return sum(tokens_of(text) for text in texts)


class _RetryableError(Exception):
    """Nothing was produced yet: another attempt may succeed. `error` is what it means if there is none."""

    def __init__(self, error: ModelError, *, retry_after: float = 0) -> None:
        super().__init__(error.reason)
        self.error = error
        self.retry_after = retry_after


def _limits(seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(seconds, connect=min(CONNECT_TIMEOUT, seconds))


def _content(prompt: Prompt) -> dict[str, Any]:
    """What is counted and sent alike. The package's text is marked for the provider's cache."""
    content: dict[str, Any] = {"messages": [{"role": role, "content": text} for role, text in prompt.messages]}
    if prompt.system:
        content["system"] = [{"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}]
    return content


def _settings(prompt: Prompt) -> dict[str, Any]:
    """Only what the model takes: RunPrompt has refused the rest."""
    settings: dict[str, Any] = {}
    if prompt.effort is not None:
        settings["output_config"] = {"effort": prompt.effort}
    if prompt.temperature is not None and prompt.model.accepts_temperature:
        settings["extra_body"] = {"temperature": prompt.temperature}
    return settings


def _meaning(error: anthropic.APIStatusError) -> Exception:
    """What an error answer means: told by the type in its body (a stream has one, too), then by status."""
    body = error.body if isinstance(error.body, dict) else {}
    details = body.get("error")
    kind = details.get("type") if isinstance(details, dict) else None
    status = error.status_code
    if kind in _OVERLOADED or status in (429, 529, 503):
        wait = _retry_after(error)
        reason = "rate_limited" if kind == "rate_limit_error" or status == 429 else "overloaded"
        meaning = ModelOverloadedError(reason, retry_after=min(max(int(wait), 1), LONGEST_RETRY_AFTER))
        # Inside a stream (status 200) tokens may have been billed: no second attempt.
        return meaning if status == 200 else _RetryableError(meaning, retry_after=wait)
    if status >= 500:
        return _RetryableError(ModelError("provider_error"))
    return ModelError("provider_error" if status == 200 else "rejected")


def _spent(prompt: Prompt, streams: list[Any]) -> Spent:
    """What the provider bills for a call without an answer, as far as it said so before the end.

    A message that is complete has its usage. Of one that is not, the prompt is known from its beginning, and output is
    what was seen of it, counted upward; if nothing was seen, as when the model only thinks, it is all that was allowed.
    """
    message = _begun(streams)
    reported: Usage | None = None
    if message is not None:
        with suppress(*_NONSENSE):
            reported = _usage(message.usage)
    if reported is not None and message.stop_reason is not None:
        return Spent(usage=reported, estimated=False)
    seen = sum(len(_text_of(block).encode(errors="replace")) for block in message.content) if message is not None else 0
    output = min(-(-seen // BYTES_PER_TOKEN), prompt.max_tokens) if seen else prompt.max_tokens
    if reported is None:
        return Spent(usage=prompt.model.dearest(guess_tokens(prompt), output), estimated=True)
    usage = replace(reported, output_tokens=max(reported.output_tokens, output))
    return Spent(usage=usage, estimated=True)


def _begun(streams: list[Any]) -> Any:
    """What was read of the message; None if it has not begun."""
    with suppress(AssertionError, IndexError):
        return streams[-1].current_message_snapshot
    return None


def _text_of(block: Any) -> str:
    text = getattr(block, "text", None) or getattr(block, "thinking", None)
    return text if isinstance(text, str) else ""


def _usage(usage: Any) -> Usage:
    """Raises one of _NONSENSE if it makes none."""
    classes = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_creation_input_tokens or 0,
        usage.cache_read_input_tokens or 0,
    )
    if not all(type(tokens) is int for tokens in classes):
        raise ValueError("tokens are whole numbers")
    read, written, cache_write, cache_read = classes
    return Usage(input_tokens=read, output_tokens=written, cache_write_tokens=cache_write, cache_read_tokens=cache_read)


def _retry_after(error: anthropic.APIStatusError) -> float:
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return 0
    return max(seconds, 0) if math.isfinite(seconds) else LONGEST_RETRY_AFTER


def _completion(message: Any) -> Completion:
    if message.stop_reason is None:
        raise ModelError("cut_off")
    text = "".join(block.text for block in message.content if block.type == "text")
    if not text.strip():
        if message.stop_reason == "refusal":
            raise ModelError("refused")
        if message.stop_reason == "max_tokens":
            raise ModelError("no_text")
        raise ModelError("empty")
    usage = message.usage
    return Completion(
        text=text,
        usage=Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_write_tokens=usage.cache_creation_input_tokens or 0,
            cache_read_tokens=usage.cache_read_input_tokens or 0,
        ),
        stop_reason=message.stop_reason,
        model_id=message.model,
    )
