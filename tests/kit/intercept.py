"""Between an AWS client and the store: every request is shown, and may be answered, refused, or lose its reply.

    with intercepted(client, lambda request: request.error(500, "InternalServerError"), "UpdateItem"):

It sits in botocore's `before-send` event and not around `http_session.send`: the event is documented, it gets every
attempt that the SDK makes, signed and ready, and what is returned is taken for the answer. So the parsing, the retries
and the conditions of the code under test are the real ones. Safe for many threads.
"""

import http.client
import json
import select
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from tests.kit.extent import HANG_SECONDS


class PlainConnection:
    """HTTP to one server, on a connection of its own for every thread.

    A connection that was left in the middle of an answer, by a test that was ended there, is not used again.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def send(
        self, method: str, path: str, content: bytes | str, headers: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and content of the answer."""
        connection = self._connection()
        try:
            connection.request(method, path, content, dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        except BaseException:
            connection.close()  # the next request opens it again
            raise

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._address, timeout=HANG_SECONDS)
            self._all.append(connection)
        elif connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()  # nothing was asked, and there is something to read: the other side has hung up
        return connection


@dataclass(frozen=True)
class Request:
    """One attempt of a client. What is done with it is what a handler returns or raises."""

    prepared: AWSPreparedRequest
    operation: str
    store: PlainConnection

    @cached_property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.prepared.body)
        return found

    @property
    def writes(self) -> Sequence[Mapping[str, Any]]:
        """Those of a transaction; none of anything else."""
        return [next(iter(item.values())) for item in self.body.get("TransactItems", ())]

    def without_token(self) -> "Request":
        """As if the store had forgotten that it has seen it before, as it does after ten minutes."""
        body = {name: value for name, value in self.body.items() if name != "ClientRequestToken"}
        prepared = self.prepared
        content = json.dumps(body).encode()
        return replace(
            self,
            prepared=AWSPreparedRequest(
                prepared.method, prepared.url, prepared.headers, content, prepared.stream_output
            ),
        )

    def send(self) -> AWSResponse:
        """Let it take effect. The local store looks at no signature."""
        headers = {name: value for name, value in self.prepared.headers.items() if name.lower() != "content-length"}
        status, answered, content = self.store.send(self.prepared.method, "/", self.prepared.body, headers)
        return AWSResponse(self.prepared.url, status, answered, _Body(content))

    # Answers that the store did not give.

    def answer(self, status: int, body: Mapping[str, Any]) -> AWSResponse:
        headers = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(self.prepared.url, status, headers, _Body(json.dumps(body).encode()))

    def error(self, status: int, code: str, **more: Any) -> AWSResponse:
        return self.answer(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more})

    def canceled(self, code: str, place: int = 0) -> AWSResponse:
        """A transaction that did not come about because of the write at `place`; -1 is the last."""
        reasons = [{"Code": "None"} for _ in self.writes]
        reasons[place] = {"Code": code, "Message": "no"}
        return self.error(400, "TransactionCanceledException", CancellationReasons=reasons)

    def in_conflict(self) -> AWSResponse:
        """Another transaction has the first item, or the only one: a reason, or an error of its own."""
        return self.canceled("TransactionConflict") if self.writes else self.error(400, "TransactionConflictException")

    def over_capacity(self, code: str = "ProvisionedThroughputExceeded", place: int = -1) -> AWSResponse:
        if self.writes:
            return self.canceled(code, place)
        return self.error(400, "ProvisionedThroughputExceededException")

    # To be raised.

    def unreachable(self) -> EndpointConnectionError:
        return EndpointConnectionError(endpoint_url=self.prepared.url)

    def unanswered(self) -> ReadTimeoutError:
        """No answer in time; if the request takes effect nevertheless, it was sent before."""
        return ReadTimeoutError(endpoint_url=self.prepared.url)

    def hung_up(self) -> ConnectionClosedError:
        return ConnectionClosedError(endpoint_url=self.prepared.url)


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


Handler = Callable[[Request], AWSResponse | None]
"""What becomes of a request. None: it is sent as ever."""


class Interception:
    """`handler` sees what `client` sends, or only this operation of it, until `close`."""

    def __init__(self, client: Any, handler: Handler, operation: str = "") -> None:
        self._events = client.meta.events
        self._event = ".".join(filter(None, ("before-send", client.meta.service_model.service_name, operation)))
        self._handler = handler
        self._store = PlainConnection(client.meta.endpoint_url)
        self._events.register_last(self._event, self._on_request)

    def _on_request(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        return self._handler(Request(request, event_name.rpartition(".")[2], self._store))

    def close(self) -> None:
        self._events.unregister(self._event, self._on_request)
        self._store.close()


@contextmanager
def intercepted(client: Any, handler: Handler, operation: str = "") -> Iterator[None]:
    interception = Interception(client, handler, operation)
    try:
        yield
    finally:
        interception.close()
