"""One time limit for all requests to AWS while a request is handled.

botocore's timeouts are for one attempt, and attempts add up: a store that accepts connections and says nothing takes
three times two seconds for each call. Within `time_limit` no attempt, repeat or pause goes on beyond its end; what is
asked after that raises TimeIsUpError, which adapters report as StoreUnavailableError like any other.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

ATTEMPT_SECONDS = 3.0  # of the clients: 1 s to connect, 2 s for an answer
MIN_REPEAT_SECONDS = 2.5  # an SDK that was throttled pauses for up to 2 s before it repeats

_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


class TimeIsUpError(BotoCoreError):  # type: ignore[misc]  # botocore has no types
    fmt = "there was no time left to send the request"


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """`ports.TimeLimit`. Counts for the thread that enters it, by the monotonic clock."""
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


def time_left() -> float:
    """Seconds, infinite without a limit."""
    return _ends_at.get() - time.monotonic()


def obey_time_limit(client: Any) -> None:
    """Make a botocore client end its attempts and repeats in time."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register_first(f"before-send.{service}", _send_in_time)
    client.meta.events.register_first(f"needs-retry.{service}", _may_repeat)


def _send_in_time(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
    """The answer, if the client's own timeouts are too long for what is left. A connection of its own is slower, but
    timeouts belong to connections."""
    left = time_left()
    if left >= ATTEMPT_SECONDS:
        return None
    if left <= 0:
        raise TimeIsUpError
    session = URLLib3Session(timeout=(left / 3, left * 2 / 3))
    try:
        answer: AWSResponse = session.send(request)
        return answer
    finally:
        session.close()


def _may_repeat(**_: Any) -> bool | None:
    """False: do not repeat. None: as the client would."""
    return None if time_left() >= MIN_REPEAT_SECONDS else False
