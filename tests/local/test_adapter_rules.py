"""Unit tests of the Lambda Web Adapter's rules: options, readiness, requests, responses."""

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import h11
import pytest

from local.response_stream import ResponseStream
from local.web_adapter import (
    ApplicationError,
    BrokenOffError,
    Options,
    WebAdapter,
    break_off_text,
    prelude,
    request_of,
    reserve_port,
)


def options(port: int = 1, **variables: str) -> Options:
    return Options.read({f"AWS_LWA_{name}": value for name, value in variables.items()}, port)


def event(**fields: object) -> bytes:
    return json.dumps({"httpMethod": "GET", "path": "/", "requestContext": {}, **fields}).encode()


def header(request: Any, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key == name]


# --- options -----------------------------------------------------------------------------------------------------


def test_defaults_are_the_adapters() -> None:
    found = options(4711)
    assert (found.port, found.readiness_port, found.readiness_path) == (4711, 4711, "/")
    assert found.healthy == frozenset(range(100, 500))
    assert (found.readiness_by_connecting, found.readiness_seconds) == (False, None)
    assert (found.streams, found.async_init, found.pass_through_path) == (False, False, "/events")
    assert found.error_statuses == frozenset()


def test_options_are_read_as_the_adapter_reads_them() -> None:
    found = options(
        4711,
        PORT="8080",
        READINESS_CHECK_PORT="9000",
        READINESS_CHECK_PROTOCOL="TCP",
        READINESS_CHECK_HEALTHY_STATUS="200-202, 404,x,5-y",
        READINESS_CHECK_TIMEOUT_SECONDS="0.5",
        INVOKE_MODE="RESPONSE_STREAM",
    )
    assert (found.port, found.readiness_port) == (4711, 9000)
    assert found.healthy == {200, 201, 202, 404}
    assert (found.readiness_by_connecting, found.readiness_seconds, found.streams) == (True, 0.5, True)
    assert options(READINESS_CHECK_TIMEOUT_SECONDS="-1").readiness_seconds is None
    assert options(READINESS_CHECK_TIMEOUT_SECONDS="soon").readiness_seconds is None
    assert not options(INVOKE_MODE="other").streams


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a/b", "/a/b"),
        ("/a%20b/%40c", "/a%20b/%40c"),
        ("/a b/\u00e9", "/a%20b/%C3%A9"),
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/../../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./b/", "/a/b/"),
        ("/a\\b", "/a/b"),
        ("/a//b", "/a//b"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("", "/"),
    ],
)
def test_paths_are_normalized_as_in_a_url(path: str, target: str) -> None:
    assert request_of(event(path=path), {}, options()).target == target


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("/api", "/api/order", "/order"),
        ("/api/", "/api/order", "/order"),
        ("/api", "/api/api/order", "/api/order"),
        ("/api", "/apiorder", "/apiorder"),
        ("/api", "/api", "/"),
        ("/api", "/other", "/other"),
    ],
)
def test_a_base_path_is_removed_once(base: str, path: str, target: str) -> None:
    assert request_of(event(path=path), {}, options(REMOVE_BASE_PATH=base)).target == target


def test_the_query_has_all_values_of_a_parameter() -> None:
    repeated = event(
        queryStringParameters={"a": "2", "b": "x y"}, multiValueQueryStringParameters={"a": ["1", "2"], "b": ["x y"]}
    )
    assert request_of(repeated, {}, options()).target == "/?a=1&a=2&b=x+y"
    assert request_of(event(queryStringParameters={"a": "&"}), {}, options()).target == "/?a=%26"
    assert request_of(event(queryStringParameters=None), {}, options()).target == "/"


def test_a_single_header_replaces_the_repeated_one() -> None:
    request = request_of(
        event(headers={"X-One": "2"}, multiValueHeaders={"x-one": ["1", "2"], "X-Two": ["a", "b"]}), {}, options()
    )
    assert header(request, b"x-one") == [b"2"]
    assert header(request, b"x-two") == [b"a", b"b"]


def test_a_body_is_decoded_and_has_its_length() -> None:
    binary = request_of(event(httpMethod="POST", body="/wA=", isBase64Encoded=True), {}, options())
    assert (binary.body, header(binary, b"content-length")) == (b"\xff\x00", [b"2"])
    empty = request_of(event(httpMethod="POST", body=None), {}, options())
    assert (empty.body, header(empty, b"content-length")) == (b"", [b"0"])
    assert header(request_of(event(), {}, options()), b"content-length") == []


def test_contexts_replace_what_a_client_sent() -> None:
    forged = {"X-Amzn-Request-Context": "forged", "X-AMZN-LAMBDA-CONTEXT": "forged"}
    context = {"requestId": "r", "unknown": 1, "identity": {"sourceIp": "::1", "userAgent": "\u00e9\x7f"}}
    request = request_of(
        event(
            headers=forged, multiValueHeaders={name: [value] for name, value in forged.items()}, requestContext=context
        ),
        {"request_id": "q", "xray_trace_id": None},
        options(),
    )
    (found,) = header(request, b"x-amzn-request-context")
    assert b"\x7f" not in found
    assert json.loads(found)["requestId"] == "r"
    assert json.loads(found)["identity"]["userAgent"] == "\u00e9"
    assert "unknown" not in json.loads(found)
    assert header(request, b"x-amzn-lambda-context") == [b'{"request_id":"q","xray_trace_id":null}']


def test_another_header_can_be_the_authorization() -> None:
    headers = {"X-Token": "t", "Authorization": "other"}
    request = request_of(event(headers=headers), {}, options(AUTHORIZATION_SOURCE="x-token"))
    assert (header(request, b"authorization"), header(request, b"x-token")) == ([b"t"], [])


# --- responses ---------------------------------------------------------------------------------------------------


def test_the_prelude_is_what_the_runtime_writes() -> None:
    response = h11.Response(
        status_code=200,
        headers=[("Set-Cookie", "a=1"), ("X-One", "1"), ("Transfer-Encoding", "chunked"), ("Set-Cookie", "b=2")],
    )
    assert prelude(response) == (
        b'{"statusCode":200,"headers":{"x-one":"1","content-type":"application/octet-stream"},"cookies":["a=1","b=2"]}'
    )


def test_the_text_of_a_broken_response() -> None:
    text = break_off_text("why").decode()
    assert text.splitlines() == [
        "Lambda-Runtime-Function-Error-Type: Runtime.StreamError",
        f"Lambda-Runtime-Function-Error-Body: {base64.b64encode(b'why').decode()}",
    ]


Reply = Callable[[int], bytes]


async def with_server(reply: Reply, test: Callable[[int], Awaitable[object]]) -> object:
    """Run `test` with the port of a server that answers its n-th connection with `reply(n)` and closes it."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        with closing(writer), suppress(asyncio.IncompleteReadError):  # whoever only connects sends nothing
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply(count))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await test(server.sockets[0].getsockname()[1])


def answer(status: int, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n%s" % (status, size, body)


def handled(reply: Reply, **variables: str) -> bytes:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)

    async def test(port: int) -> None:
        adapter = WebAdapter(options(port, **variables))
        await adapter.start()
        await adapter.handle(event(), {}, write)

    asyncio.run(with_server(reply, test))
    return b"".join(written)


def after_ready(response: bytes) -> Reply:
    return lambda number: answer(200) if number == 1 else response


def test_readiness_waits_until_the_application_is_healthy() -> None:
    """A reset connection and a status of 500 are not healthy; a redirect is, unless it is excluded."""
    statuses: list[int] = []

    def reply(number: int) -> bytes:
        statuses.append([0, 500, 503, 302, 200][number - 1])
        return answer(statuses[-1]) if statuses[-1] else b""

    async def test(port: int) -> None:
        await WebAdapter(options(port)).start()

    asyncio.run(with_server(reply, test))
    assert statuses == [0, 500, 503, 302]

    async def strictly(port: int) -> None:
        await WebAdapter(options(port, READINESS_CHECK_HEALTHY_STATUS="200-299")).start()

    statuses.clear()
    asyncio.run(with_server(reply, strictly))
    assert statuses == [0, 500, 503, 302, 200]


def test_readiness_has_a_time_limit() -> None:
    async def test(port: int) -> None:
        with pytest.raises(TimeoutError):
            await WebAdapter(options(port, READINESS_CHECK_TIMEOUT_SECONDS="0.05")).start()

    asyncio.run(with_server(lambda number: answer(500), test))


def test_readiness_by_tcp_connection() -> None:
    async def test(port: int) -> None:
        await WebAdapter(options(port, READINESS_CHECK_PROTOCOL="tcp")).start()

    asyncio.run(with_server(lambda number: answer(500), test))


@pytest.mark.parametrize("response", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte"])
def test_a_missing_response_is_an_error(response: bytes) -> None:
    with pytest.raises(ApplicationError):
        handled(after_ready(response), INVOKE_MODE="response_stream")


def test_an_application_that_exited_is_an_error() -> None:
    async def nowhere(data: bytes) -> None:
        raise AssertionError(data)

    async def test(port: int) -> WebAdapter:
        adapter = WebAdapter(options(port))
        await adapter.start()
        return adapter

    adapter = asyncio.run(with_server(lambda number: answer(200), test))
    assert isinstance(adapter, WebAdapter)
    with pytest.raises(ApplicationError):
        asyncio.run(adapter.handle(event(), {}, nowhere))


def test_a_truncated_response_is_an_error() -> None:
    with pytest.raises(BrokenOffError):
        handled(after_ready(answer(200, b"half", length=8)), INVOKE_MODE="response_stream")


def test_a_status_can_be_an_error() -> None:
    with pytest.raises(ApplicationError, match=r'\{"statusCode": 503, "body": "why"\}'):
        handled(after_ready(answer(503, b"why")), INVOKE_MODE="response_stream", ERROR_STATUS_CODES="500,502-504")


def test_without_streaming_the_answer_is_that_of_a_proxy_integration() -> None:
    found = json.loads(handled(after_ready(answer(200, b"text"))))
    assert (found["statusCode"], found["body"], found["isBase64Encoded"]) == (200, "text", False)
    assert found["multiValueHeaders"]["content-type"] == ["text/plain"]


def test_a_reserved_port_cannot_be_taken() -> None:
    with reserve_port() as holder:
        port = holder.getsockname()[1]
        with reserve_port() as other:
            assert other.getsockname()[1] != port
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()


# --- the bytes between an instance and a reader -------------------------------------------------------------------


def test_a_writer_waits_for_its_reader_until_it_disconnects() -> None:
    async def test() -> None:
        stream = ResponseStream(limit=10)
        await stream.write(b"x" * 10)
        writing = asyncio.create_task(stream.write(b"y"))
        await asyncio.sleep(0)
        assert not writing.done()
        assert await stream.read() == b"x" * 10 + b"y"
        await writing
        writing = asyncio.create_task(stream.write(b"z" * 11))
        await asyncio.sleep(0)
        assert not writing.done()
        stream.abandon()
        await writing
        await stream.write(b"z" * 100)
        stream.close()
        assert await stream.read() == b""

    asyncio.run(test())


def test_a_reader_gets_the_buffer_and_then_the_end() -> None:
    async def test() -> None:
        stream = ResponseStream()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        await stream.write(b"a")
        await stream.write(b"b")
        assert await reading == b"ab"
        await stream.write(b"c")
        stream.close()
        await stream.write(b"d")
        assert [await stream.read(), await stream.read(), await stream.read()] == [b"c", b"", b""]

    asyncio.run(test())
