"""Functions behind the Lambda Web Adapter: a script that starts a web server, streamed through the gateway."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.backend import Backend
from local.template import read_template

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
              TimeoutInMillis: 700 }
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
export PYTHONPATH="$LAMBDA_TASK_ROOT:/opt/python"
exec python3 -m uvicorn app:web --port "$AWS_LWA_PORT" --lifespan off --no-access-log --log-level warning
"""
# Shows what it got, or writes lines that a pipe in the folder of the query lets through, one after the other.
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
        return await asyncio.to_thread((folder / name).read_text)

    match what:
        case "lines":
            await start(SSE)
            while word := (await gate("next")).strip():
                if word == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if word == "break":
                    raise RuntimeError("broken off")
                await write(word.encode() + b"\\n")
            await write(b"", more=False)
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


class Lines:
    """A streamed response whose function writes what it is given."""

    def __init__(self, client: Any, folder: Path, path: str = "/api/stream/lines") -> None:
        os.mkfifo(folder / "next")
        self.pipe = folder / "next"
        self.socket: socket.socket = client.connect()
        target = f"{path}?folder={folder}"
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())

    def let(self, word: str) -> None:
        self.pipe.write_text(word)

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


def test_what_a_function_writes_arrives_while_it_goes_on(client: Any, tmp_path: Path) -> None:
    """Head and lines, each before the function is allowed to write the next one."""
    lines = Lines(client, tmp_path)
    with lines.socket:
        head = lines.receive(b"\r\n\r\n")
        lines.let("one")
        first = lines.receive(b"4\r\none\n\r\n")
        lines.let("two")
        second = lines.receive(b"4\r\ntwo\n\r\n")
        lines.let("\n")
        end = lines.rest()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Transfer-Encoding: chunked" in head or b"transfer-encoding: chunked" in head.lower()
    assert b"text/event-stream" in head
    assert (first, second, end) == (b"4\r\none\n\r\n", b"4\r\ntwo\n\r\n", b"0\r\n\r\n")
