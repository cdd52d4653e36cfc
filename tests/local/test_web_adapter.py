"""Functions behind the Lambda Web Adapter: a script that starts a web server, streamed through the gateway."""

import base64
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import local.runtime
from local.backend import Backend
from local.invoke import call
from local.template import read_template
from tests.kit.extent import HANG_SECONDS

Eventually = Callable[[Callable[[], object]], None]

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: { Runtime: python3.13, Handler: app.handler, Timeout: 250, Architectures: [arm64], Layers: [!Ref Layer] }
Resources:
  Layer:
    Type: AWS::Serverless::LayerVersion
    Properties: { ContentUri: layer, CompatibleRuntimes: [python3.13] }
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: api
      EndpointConfiguration: { Type: REGIONAL }
      BinaryMediaTypes: [application/octet-stream]
      Cors: { AllowOrigin: "'https://front.example'", AllowMethods: "'GET'" }
  WebFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/web
      Handler: run.sh
      Layers: [!Sub "arn:${AWS::Partition}:lambda:${AWS::Region}:753240598075:layer:LambdaAdapterLayerArm64:30"]
      Environment:
        Variables:
          AWS_LAMBDA_EXEC_WRAPPER: /opt/bootstrap
          AWS_LWA_INVOKE_MODE: response_stream
          AWS_LWA_PORT: 8080
          AWS_LWA_READINESS_CHECK_PATH: /_ready
      Events:
        Stream:
          Type: Api
          Properties:
            { RestApiId: !Ref Api, Method: ANY, Path: "/stream/{what+}", ResponseTransferMode: RESPONSE_STREAM,
              TimeoutInMillis: 300000 }
        Hurried:
          Type: Api
          Properties:
            { RestApiId: !Ref Api, Method: GET, Path: "/hurried/{what+}", ResponseTransferMode: RESPONSE_STREAM,
              TimeoutInMillis: 1500 }
        Buffered: { Type: Api, Properties: { RestApiId: !Ref Api, Method: GET, Path: "/buffered/{what+}" } }
  PlainFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/plain
      Events:
        Stream:
          Type: Api
          Properties: { RestApiId: !Ref Api, Method: GET, Path: /plain, ResponseTransferMode: RESPONSE_STREAM }
"""
RUN = """#!/bin/sh
export PYTHONPATH="$LAMBDA_TASK_ROOT:/opt/python${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m uvicorn app:web --port "$AWS_LWA_PORT" --lifespan off --no-access-log --log-level warning
"""
# Returns its request, or writes one line for each release through a pipe in the folder of the query.
WEB = """
import asyncio, json, os, signal
from pathlib import Path
from urllib.parse import parse_qs
from shared import WORD

SSE = [(b"content-type", b"text/event-stream")]

async def web(scope, receive, send):
    assert scope["type"] == "http"
    query = parse_qs(scope["query_string"].decode())
    what = scope["path"].rpartition("/")[2]
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]

    async def start(headers, status=200):
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(data, more=True):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def gate(name):
        folder = Path(query["folder"][0])
        text = await asyncio.to_thread((folder / name).read_text)
        await asyncio.to_thread((folder / "taken").write_text, "x")
        return text

    match what:
        case "lines":
            gone = asyncio.create_task(receive())
            await start(SSE)
            while word := (await gate("next")).strip():
                if word == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if word == "break":
                    raise RuntimeError("broken off")
                await write(word.encode() + b"\\n")
            (Path(query["folder"][0]) / "end").write_text("disconnected" if gone.done() else "connected")
            await write(b"", more=False)
        case "late":
            await gate("next")
            await start([])
            await write(b"late", more=False)
        case "flood":
            await start([(b"content-type", b"application/octet-stream")])
            size = int(query["size"][0])
            sent = Path(query["folder"][0]) / "sent"
            for number in range(size):
                await write(b"x" * 65536)
                sent.write_text(str(number + 1))
            await write(b"", more=False)
        case "empty":
            await start([], 204)
            await write(b"", more=False)
        case "headers":
            await start([(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X-One", b"1")], 201)
            await write(b"ok", more=False)
        case "twice":
            await start([(b"x-one", b"1"), (b"x-one", b"2")])
            await write(b"ok", more=False)
        case "refused":
            await start([(b"content-type", b"application/json")], 402)
            await write(b'{"error": "insufficient_credits"}', more=False)
        case "large":
            await start([(b"x-large", b"x" * 17_000)])
            await write(b"", more=False)
        case "exit":
            os._exit(3)
        case "_ready":
            await start([])
            await write(b"", more=False)
        case _:
            await start([(b"content-type", b"application/json")])
            await write(json.dumps({
                "method": scope["method"],
                "path": scope["raw_path"].decode(),
                "query": scope["query_string"].decode(),
                "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
                "body": body.hex(),
                "pid": os.getpid(),
                "word": WORD,
                "environment": dict(os.environ),
            }).encode(), more=False)
"""
PLAIN = """
def handler(event, context):
    return {"statusCode": 200, "body": "whole"}
"""


class Project:
    def __init__(self, folder: Path, template: str = TEMPLATE) -> None:
        self.lines: list[str] = []
        self.folder = folder
        self.run, self.web = folder / "functions/web/run.sh", folder / "functions/web/app.py"
        plain, layer = folder / "functions/plain/app.py", folder / "layer/shared.py"
        for path, text in ((self.run, RUN), (self.web, WEB), (plain, PLAIN), (layer, 'WORD = "first"\n')):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.run.chmod(0o755)
        (folder / "template.yaml").write_text(template)

    def backend(self, **options: Any) -> Backend:
        show = lambda name, line: self.lines.append(f"[{name}] {line}")  # noqa: E731
        return Backend(read_template(self.folder / "template.yaml"), show=show, **options)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("web") / "project")


@pytest.fixture(scope="module")
def backend(project: Project) -> Iterator[Backend]:
    with project.backend(warm=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(backend: Backend, client_of: Callable[[str], Any]) -> Any:
    return client_of(backend.url)


@pytest.fixture
def begin(client: Any, tmp_path: Path) -> Iterator[Callable[..., "Lines"]]:
    """Open a stream, which is closed after the test."""
    begun: list[Lines] = []

    def start(path: str = "/api/stream/lines", client: Any = client) -> Lines:
        folder = tmp_path / str(len(begun))
        folder.mkdir()
        begun.append(Lines(client, folder, path))
        return begun[-1]

    yield start
    for each in begun:
        each.socket.close()


class Lines:
    """A streamed response whose function writes the words that it is given."""

    def __init__(self, client: Any, folder: Path, path: str = "/api/stream/lines") -> None:
        self.pipe, self.taken = folder / "next", folder / "taken"
        for pipe in (self.pipe, self.taken):
            os.mkfifo(pipe)
        self.end = folder / "end"
        self.socket: socket.socket = client.connect()
        target = f"{path}?folder={folder}"
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())

    def let(self, word: str) -> None:
        """Give the function a word, and wait until it has received it."""
        self.pipe.write_text(word)
        self.taken.read_text()

    def receive(self, until: bytes) -> bytes:
        received = b""
        while not received.endswith(until):
            data = self.socket.recv(65_536)
            assert data, f"the connection was closed after {received!r}"
            received += data
        return received

    def rest(self) -> bytes:
        received = b""
        while data := self.socket.recv(65_536):
            received += data
        return received

    def leave(self) -> None:
        """Reset the connection, so that the very next write to it fails: after a plain close a first one succeeds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


END = b"0\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


# --- streams -----------------------------------------------------------------------------------------------------


def test_bytes_arrive_while_the_function_writes(begin: Callable[..., Lines]) -> None:
    """The client has the head and each line before the function may write the next."""
    lines = begin()
    head = lines.receive(b"\r\n\r\n")
    lines.let("one")
    first = lines.receive(b"one\n\r\n")
    lines.let("two")
    second = lines.receive(b"two\n\r\n")
    lines.let("\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head.lower()
    assert b"\r\ncontent-type: text/event-stream\r\n" in head.lower()
    assert b"content-length" not in head.lower()
    assert (first, second, lines.rest()) == (chunk(b"one\n"), chunk(b"two\n"), END)


def test_the_line_of_a_stream_is_shown_at_its_end(
    project: Project, begin: Callable[..., Lines], eventually: Eventually
) -> None:
    project.lines.clear()
    lines = begin()
    lines.receive(b"\r\n\r\n")
    for word in ("event: done", 'data: {"response": "Hello", "credits_spent": 2}'):
        lines.let(word)
        lines.receive(b"\r\n")
    assert not project.said("/api/stream/lines")
    lines.let("\n")
    lines.rest()
    eventually(lambda: project.said("/api/stream/lines"))
    (line,) = project.lines
    assert re.fullmatch(r"\[api\] GET /api/stream/lines 200 \d+ ms 2 credits", line)


def test_an_error_that_is_no_stream_has_its_status_and_its_line(
    project: Project, client: Any, eventually: Eventually
) -> None:
    project.lines.clear()
    answer = client("POST", "/api/stream/refused", b"{}")
    assert (answer.status, answer.json()) == (402, {"error": "insufficient_credits"})
    assert answer.headers["Content-Type"] == "application/json"
    eventually(lambda: project.said("ms insufficient_credits"))


def test_status_headers_and_cookies_are_the_functions(client: Any) -> None:
    answer = client("GET", "/api/stream/headers")
    assert (answer.status, answer.body) == (201, b"ok")
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert answer.headers["X-One"] == "1"
    assert answer.headers["Content-Type"] == "application/octet-stream"  # the runtime's default
    assert answer.headers["x-amzn-RequestId"]


def test_answers_without_a_body(client: Any) -> None:
    empty = client("GET", "/api/stream/empty")
    assert (empty.status, empty.body, empty.headers["Transfer-Encoding"]) == (204, b"", None)
    head = client("HEAD", "/api/stream/echo")
    assert (head.status, head.body) == (200, b"")


def test_preflight_of_a_route_that_streams_is_answered_from_the_template(client: Any) -> None:
    answer = client("OPTIONS", "/api/hurried/lines")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://front.example")
    assert answer.headers["Transfer-Encoding"] is None


def test_a_connection_is_kept_after_a_stream(client: Any) -> None:
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=HANG_SECONDS)
    try:
        connection.connect()
        first = connection.sock
        for method in ("GET", "HEAD", "POST"):
            connection.request(method, "/api/stream/echo")
            connection.getresponse().read()
            assert connection.sock is first
    finally:
        connection.close()


def test_a_client_of_http_1_0_gets_the_body_until_the_connection_ends(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(b"GET /api/stream/headers HTTP/1.0\r\nHost: h\r\n\r\n")
        received = b""
        while data := connection.recv(65_536):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"ok"


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_request_reaches_the_application(client: Any) -> None:
    """The undecoded path without the stage, the whole query, and the last value of repeated headers."""
    with client.connect() as connection:
        connection.sendall(
            b"GET /api/stream/a%20b/%40c?x=1&x=2%26&y=%C3%A9+z HTTP/1.1\r\nHost: h:1\r\nX-One: 1\r\nx-one: 2\r\n"
            b"Connection: close\r\n\r\n"
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        seen = json.loads(response.read())
        response.close()
    headers = seen["headers"]
    assert (seen["method"], seen["path"]) == ("GET", "/stream/a%20b/%40c")
    assert seen["query"] == "x=1&x=2%26&y=%C3%A9+z"
    assert [value for name, value in headers if name == "x-one"] == ["2"]
    assert [value for name, value in headers if name == "host"] == ["h:1"]
    assert not {"connection", "content-length"} & {name for name, _ in headers}


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
def test_bodies_arrive_as_they_were_sent(client: Any, kind: str) -> None:
    body = "Zo\u00eb \u2028".encode() if kind == "text/plain" else b"\xff\x00\xfe"
    seen = client("POST", "/api/stream/echo", body, {"Content-Type": kind}).json()
    assert bytes.fromhex(seen["body"]) == body
    assert ["content-length", str(len(body))] in seen["headers"]


def test_contexts_are_the_adapters_and_cannot_be_forged(backend: Backend, client: Any) -> None:
    forged = {"X-Amzn-Request-Context": "{}", "x-amzn-lambda-context": "{}", "X-Amzn-Trace-Id": "Root=1"}
    before = int(time.time() * 1000)
    answer = client("GET", "/api/stream/echo", headers={**forged, "User-Agent": "tests"})
    seen = answer.json()["headers"]
    (request_text,) = (value for name, value in seen if name == "x-amzn-request-context")
    (lambda_text,) = (value for name, value in seen if name == "x-amzn-lambda-context")
    request, lambda_context = json.loads(request_text), json.loads(lambda_text)

    assert list(request) == [
        *("accountId", "resourceId", "stage", "domainName", "domainPrefix", "requestId", "protocol", "identity"),
        *("resourcePath", "path", "httpMethod", "requestTime", "requestTimeEpoch", "apiId"),
    ]
    assert request["requestId"] == answer.headers["x-amzn-RequestId"]
    assert (request["path"], request["resourcePath"]) == ("/api/stream/echo", "/stream/{what+}")
    assert (request["identity"]["sourceIp"], request["identity"]["userAgent"]) == ("127.0.0.1", "tests")
    assert request["identity"]["cognitoIdentityPoolId"] is None
    assert ": " not in request_text
    assert list(lambda_context) == [
        *("request_id", "deadline", "invoked_function_arn", "xray_trace_id", "client_context", "identity"),
        *("tenant_id", "env_config"),
    ]
    assert before + 240_000 < lambda_context["deadline"] < before + 310_000
    assert lambda_context["invoked_function_arn"] == backend.description.functions["WebFunction"].arn
    assert lambda_context["env_config"]["function_name"] == "playground-WebFunction"
    assert lambda_context["env_config"]["memory"] == 128
    assert ["x-amzn-trace-id", lambda_context["xray_trace_id"]] in seen


def test_the_application_sees_its_own_environment(client: Any) -> None:
    seen = client("GET", "/api/stream/echo").json()
    environment = seen["environment"]
    assert seen["word"] == "first"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "playground-WebFunction"
    assert environment["AWS_LWA_PORT"] != "8080"  # each instance has a port of its own
    assert environment["HOME"] == "/nonexistent"
    assert not {"LOCAL_PYTHON", "LOCAL_LAYERS", "VIRTUAL_ENV"} & set(environment)


def test_an_event_that_is_no_request_is_posted_to_the_application(
    backend: Backend, client_of: Callable[[str], Any]
) -> None:
    invoked = client_of(backend.runtime_url)("POST", "/2015-03-31/functions/web/invocations", b'{"some": "event"}')
    metadata, _, body = invoked.body.partition(bytes(8))
    assert json.loads(metadata)["statusCode"] == 200
    seen = json.loads(body)
    assert (seen["method"], seen["path"], bytes.fromhex(seen["body"])) == ("POST", "/events", b'{"some": "event"}')
    assert ["x-amzn-request-context", "null"] in seen["headers"]


def test_an_invoked_function_that_streams_shows_metadata_and_body(backend: Backend) -> None:
    event = {"httpMethod": "POST", "path": "/stream/refused", "requestContext": {}}
    status, error, answer = call(backend.runtime_url, "web", event)
    assert (status, error) == (200, None)
    assert isinstance(answer, dict)
    assert (answer["statusCode"], json.loads(answer["body"])) == (402, {"error": "insufficient_credits"})


@pytest.mark.parametrize("event", [{"httpMethod": "GET", "requestContext": {}, "headers": [1]}, {"httpMethod": "G T"}])
def test_an_event_that_cannot_be_a_request_fails_alone(
    backend: Backend, client_of: Callable[[str], Any], event: dict[str, object]
) -> None:
    lambda_api = client_of(backend.runtime_url)
    path = "/2015-03-31/functions/web/invocations"
    failed = lambda_api("POST", path, json.dumps({"requestContext": {}, **event}).encode())
    assert failed.headers["X-Amz-Function-Error"] == "Unhandled"
    assert lambda_api("POST", path, b"{}").headers["X-Amz-Function-Error"] is None


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_function_that_dies_in_mid_stream_ends_it_without_the_last_chunk(
    project: Project, client: Any, begin: Callable[..., Lines], eventually: Eventually
) -> None:
    lines = begin()
    lines.receive(b"\r\n\r\n")
    lines.let("one")
    lines.receive(b"one\n\r\n")
    lines.let("die")
    assert lines.rest() == b""
    eventually(lambda: project.said("(broken off: Runtime.ExitError: "))
    assert client("GET", "/api/stream/echo").status == 200


def test_an_aborted_response_has_the_error_in_its_body(project: Project, begin: Callable[..., Lines]) -> None:
    """As the runtime under the adapter does: the client gets a complete response with the error at its end."""
    lines = begin()
    lines.receive(b"\r\n\r\n")
    lines.let("one")
    lines.receive(b"one\n\r\n")
    lines.let("break")
    rest = lines.rest()
    assert rest.endswith(END)
    encoded = re.search(rb"Runtime.StreamError\r\nLambda-Runtime-Function-Error-Body: (\S+)\r\n", rest)
    assert encoded is not None
    assert base64.b64decode(encoded[1]) == b"error reading a body from connection"
    assert project.said("[web] the application broke off its response")


def test_a_function_that_dies_before_its_response_is_the_gateways_error(project: Project, client: Any) -> None:
    answer = client("GET", "/api/stream/exit")
    assert (answer.status, answer.json()) == (502, {"message": "Internal server error"})
    assert project.said("WebFunction gave no usable answer: ")
    assert project.said("exit status 3")
    assert client("GET", "/api/stream/echo").status == 200


@pytest.mark.parametrize("what", ["large", "twice"])
def test_invalid_metadata_is_a_gateway_error(client: Any, what: str) -> None:
    """More than 16 KB; a repeated header, which the runtime writes as a list instead of a string."""
    assert client("GET", f"/api/stream/{what}").status == 502


def test_a_function_that_does_not_stream_has_no_answer_for_an_integration_that_does(
    project: Project, client: Any
) -> None:
    assert client("GET", "/api/plain").status == 502
    assert project.said("PlainFunction gave no usable answer: a streamed response begins with metadata")


def test_a_function_that_streams_has_no_answer_for_an_integration_that_does_not(client: Any) -> None:
    assert client("GET", "/api/buffered/echo").status == 502


def test_the_integrations_timeout_ends_a_stream_and_not_the_function(
    project: Project, begin: Callable[..., Lines], eventually: Eventually
) -> None:
    lines = begin("/api/hurried/lines")
    lines.receive(b"\r\n\r\n")
    assert lines.rest() == b""
    eventually(lambda: project.said("(broken off: Endpoint request timed out)"))
    lines.let("one")
    lines.let("\n")
    eventually(lambda: lines.end.exists() and lines.end.read_text())
    assert lines.end.read_text() == "connected"


def test_the_integrations_timeout_before_the_first_byte_is_504(begin: Callable[..., Lines]) -> None:
    lines = begin("/api/hurried/late")
    assert lines.rest().startswith(b"HTTP/1.1 504 ")
    lines.let("go on")  # the function does, for nobody


def test_a_stream_that_is_silent_for_too_long_is_ended(tmp_path: Path, client_of: Callable[[str], Any]) -> None:
    project = Project(tmp_path / "project")
    with project.backend(warm=True) as backend:
        assert backend._gateway is not None
        object.__setattr__(backend._gateway.api, "idle_timeout", 2.0)
        lines = Lines(client_of(backend.url), tmp_path)
        with lines.socket:
            lines.let("one")
            assert lines.rest().partition(b"\r\n\r\n")[2] == chunk(b"one\n")


def test_the_functions_timeout_ends_a_stream_and_the_instance(
    tmp_path: Path, client_of: Callable[[str], Any], eventually: Eventually
) -> None:
    project = Project(tmp_path / "project", TEMPLATE.replace("Timeout: 250", "Timeout: 2"))
    with project.backend(warm=True) as backend:
        lines = Lines(client_of(backend.url), tmp_path)
        with lines.socket:
            lines.receive(b"\r\n\r\n")
            assert lines.rest() == b""
        assert project.said("[web] Task timed out after 2.00 seconds")
        eventually(lambda: project.said("(broken off: Sandbox.Timedout: "))
        eventually(lambda: backend.instance_count("WebFunction") == 0)


def test_a_response_may_not_be_larger_than_lambda_allows(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.runtime, "MAX_STREAM_BYTES", 1_000_000)
    with pytest.raises(http.client.IncompleteRead):
        client("GET", f"/api/stream/flood?folder={tmp_path}&size=20")


# --- clients -----------------------------------------------------------------------------------------------------


def test_the_function_does_not_notice_a_disconnect(
    project: Project, begin: Callable[..., Lines], eventually: Eventually
) -> None:
    project.lines.clear()
    lines = begin()
    lines.receive(b"\r\n\r\n")
    lines.let("one")
    lines.leave()
    for word in ("two", "three", "four", "\n"):
        lines.let(word)
    eventually(lambda: lines.end.exists() and lines.end.read_text())
    assert lines.end.read_text() == "connected"
    eventually(lambda: project.said("/api/stream/lines 200 "))
    assert project.lines[0].endswith(" (the client has gone)")


def test_a_slow_client_slows_the_function_down(client: Any, tmp_path: Path, eventually: Eventually) -> None:
    """Of 100 MB the function can write only as much as two connections buffer, until the client reads."""
    size, sent = 1_600, tmp_path / "sent"

    def written() -> int:
        return int(sent.read_text() or 0) if sent.exists() else 0

    def settled() -> int:
        before, count, since = -1, written(), time.monotonic()
        while count != before or time.monotonic() - since < 0.5:
            if count != before:
                since = time.monotonic()
            time.sleep(0.02)
            before, count = count, written()
        return count

    with client.connect() as connection:
        connection.sendall(f"GET /api/stream/flood?folder={tmp_path}&size={size} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert connection.recv(1) == b"H"
        eventually(lambda: written() > 0, HANG_SECONDS / 2)
        assert settled() < size / 2
        for _ in range(20):
            assert connection.recv(1)
        assert settled() < size / 2
        connection.sendall(b"GET /api/stream/headers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        received = 0
        while data := connection.recv(1_048_576):
            received += len(data)
    assert written() == size
    assert received > size * 65_536


def test_a_function_continues_after_a_slow_client_disconnects(
    client: Any, tmp_path: Path, eventually: Eventually
) -> None:
    size, sent = 400, tmp_path / "sent"
    with client.connect() as connection:
        connection.sendall(f"GET /api/stream/flood?folder={tmp_path}&size={size} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert connection.recv(1) == b"H"
    eventually(lambda: sent.exists() and sent.read_text() == str(size), 30)


def test_each_instance_has_one_event_at_a_time(backend: Backend, client: Any, begin: Callable[..., Lines]) -> None:
    streams = [begin(), begin(), begin()]
    for lines in streams:
        lines.receive(b"\r\n\r\n")
    assert backend.instance_count("WebFunction") >= 3
    for number, lines in enumerate(reversed(streams)):
        lines.let(str(number))
        assert lines.receive(b"\n\r\n") == chunk(b"%d\n" % number)
        lines.let("\n")
        assert lines.rest() == END


# --- starts and ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "mode", "said"),
    [
        (RUN.replace(":/opt/python", ""), 0o755, "No module named 'shared'"),
        (RUN, 0o644, "Permission denied"),
        ("#!/bin/sh\nexit 7\n", 0o755, "exit status 7"),
        ("#!/bin/sh\nkill -9 $$\n", 0o755, "signal: SIGKILL"),
    ],
    ids=["layers are not on the path", "not executable", "ends", "is killed"],
)
def test_a_script_that_does_not_start_the_application(
    tmp_path: Path, client_of: Callable[[str], Any], script: str, mode: int, said: str
) -> None:
    project = Project(tmp_path / "project")
    project.run.write_text(script)
    project.run.chmod(mode)
    with project.backend() as backend:
        answer = client_of(backend.url)("GET", "/api/stream/echo")
    assert answer.status == 502
    assert answer.json()["message"].startswith("WebFunction does not start: Runtime.ExitError")
    assert project.said(said)


def test_an_edited_application_is_served_and_a_stream_is_finished_by_the_old_one(
    tmp_path: Path, client_of: Callable[[str], Any], eventually: Eventually
) -> None:
    project = Project(tmp_path / "project")
    with project.backend(warm=True, reload=True) as backend:
        client = client_of(backend.url)
        lines = Lines(client, tmp_path)
        with lines.socket:
            lines.receive(b"\r\n\r\n")
            (project.folder / "layer/shared.py").write_text('WORD = "other"\n')
            eventually(lambda: client("GET", "/api/stream/echo").json()["word"] == "other")
            lines.let("old")
            assert lines.receive(b"\n\r\n") == chunk(b"old\n")
            lines.let("\n")
            assert lines.rest() == END
        eventually(lambda: backend.outdated_count("WebFunction") == 0)
        project.run.write_text("#!/bin/sh\nexit 9\n")
        eventually(lambda: project.said("[web] DOES NOT START, its requests fail: Runtime.ExitError"))
        assert client("GET", "/api/stream/echo").status == 502


def test_nothing_is_left_of_a_stopped_backend(
    tmp_path: Path, client_of: Callable[[str], Any], alive: Callable[[int], bool]
) -> None:
    """Also not of a function in mid-stream."""
    project = Project(tmp_path / "project")
    with project.backend() as backend:
        client = client_of(backend.url)
        pid = client("GET", "/api/stream/echo").json()["pid"]
        lines = Lines(client, tmp_path)
        lines.receive(b"\r\n\r\n")
        assert alive(pid)
    assert lines.rest() == b""
    lines.socket.close()
    assert not alive(pid)


ORPHANS = """
import sys
from pathlib import Path
from local.backend import Backend
from local.template import read_template
with Backend(read_template(Path(sys.argv[1]))) as backend:
    print(backend.url, flush=True)
    sys.stdin.read()
"""


def test_applications_end_with_a_killed_stack(
    tmp_path: Path,
    client_of: Callable[[str], Any],
    script_environment: dict[str, str],
    alive: Callable[[int], bool],
    eventually: Eventually,
) -> None:
    """Also in mid-response, which its server would finish after a SIGTERM."""
    project = Project(tmp_path / "project")
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(project.folder / "template.yaml")],
        env=script_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        client = client_of(process.stdout.readline().decode().strip())
        pid = client("GET", "/api/stream/echo").json()["pid"]
        lines = Lines(client, tmp_path)
        with lines.socket:
            lines.receive(b"\r\n\r\n")
            assert alive(pid)
            process.kill()
    eventually(lambda: not alive(pid))
