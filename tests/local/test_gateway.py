"""The gateway and the functions behind it: events, responses and errors."""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from local.backend import Backend
from local.front_end import PlaceholderPages
from local.gateway import Router
from local.template import Api, Description, Route
from tests.kit.extent import HANG_SECONDS

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MEGABYTE = 1024 * 1024


def echoed(answer: Any) -> Any:
    assert answer.status == 200, answer.body
    return answer.json()["event"]


# --- events ------------------------------------------------------------------------------------------------------


def test_a_request_becomes_a_rest_proxy_event(client: Any) -> None:
    event = echoed(client("GET", "/stage/items/42?q=x", headers={"X-Mixed-Case": "yes", "User-Agent": "tests"}))

    assert event["resource"] == "/items/{id}"
    assert event["path"] == "/items/42"
    assert event["httpMethod"] == "GET"
    assert event["headers"]["X-Mixed-Case"] == "yes"
    assert event["multiValueHeaders"]["X-Mixed-Case"] == ["yes"]
    assert event["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert event["headers"]["X-Forwarded-Proto"] == "http"
    assert event["queryStringParameters"] == {"q": "x"}
    assert event["multiValueQueryStringParameters"] == {"q": ["x"]}
    assert event["pathParameters"] == {"id": "42"}
    assert event["stageVariables"] is None
    assert event["body"] is None
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert context["stage"] == "stage"
    assert context["path"] == "/stage/items/42"
    assert context["resourcePath"] == "/items/{id}"
    assert context["httpMethod"] == "GET"
    assert context["protocol"] == "HTTP/1.1"
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert context["identity"]["userAgent"] == "tests"
    assert isinstance(context["requestTimeEpoch"], int)
    assert UUID.fullmatch(context["requestId"])
    assert {"apiId", "accountId", "domainName", "requestTime"} <= set(context)


def test_a_request_without_a_trace_gets_one_and_that_of_a_client_is_passed_on(client: Any) -> None:
    made = echoed(client("GET", "/stage/items/42"))["headers"]["X-Amzn-Trace-Id"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", made)
    sent = echoed(client("GET", "/stage/items/42", headers={"x-amzn-trace-id": "Root=anything"}))
    assert sent["headers"]["x-amzn-trace-id"] == "Root=anything"
    assert sent["multiValueHeaders"]["x-amzn-trace-id"] == ["Root=anything"]
    assert "X-Amzn-Trace-Id" not in sent["headers"]


def test_every_answer_names_its_request(client: Any) -> None:
    """The function and the client get the same id."""
    answer = client("GET", "/stage/items/42")
    assert answer.headers["x-amzn-RequestId"] == echoed(answer)["requestContext"]["requestId"]
    assert UUID.fullmatch(client("GET", "/stage/nowhere").headers["x-amzn-RequestId"])


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/items/special", "/items/special", None),
        ("/items/other", "/items/{id}", {"id": "other"}),
        ("/items/a%20b%C3%A9", "/items/{id}", {"id": "a%20b%C3%A9"}),
        ("/items/a+b", "/items/{id}", {"id": "a+b"}),
        ("/items/%40scope%2Fname", "/items/{id}", {"id": "%40scope%2Fname"}),
        ("/items/%2540scope", "/items/{id}", {"id": "%2540scope"}),
        ("/items/%ff%zz", "/items/{id}", {"id": "%ff%zz"}),
        ("/files/a%2Fb/c%20d", "/files/{path+}", {"path": "a%2Fb/c%20d"}),
        ("/items/@scope/name", "/items/{id}/{part}", {"id": "@scope", "part": "name"}),
        ("/items/special/part", "/items/{id}/{part}", {"id": "special", "part": "part"}),
        ("/files/a/b/c.txt", "/files/{path+}", {"path": "a/b/c.txt"}),
        ("/items/42/", "/items/{id}", {"id": "42"}),
    ],
)
def test_finds_the_most_specific_route(
    client: Any, path: str, resource: str, parameters: dict[str, str] | None
) -> None:
    """Path and path parameters are not decoded, as in a REST API."""
    event = echoed(client("GET", f"/stage{path}"))
    assert (event["resource"], event["pathParameters"]) == (resource, parameters)
    assert (event["path"], event["requestContext"]["path"]) == (path, f"/stage{path}")


def test_a_literal_segment_takes_precedence() -> None:
    paths = ["/{a}/x", "/b/{c}", "/b/{rest+}", "/{a}/{c}"]
    routes = tuple(Route("GET", path, path, 1.0) for path in paths)
    router = Router(Api("Api", "stage", routes, (), {}, ()))

    def find(path: str) -> str:
        found = router.find("GET", path)
        assert found is not None
        return found[0].path

    assert find("/b/x") == "/b/{c}"
    assert find("/q/x") == "/{a}/x"
    assert find("/q/y") == "/{a}/{c}"
    assert find("/b/x/y") == "/b/{rest+}"


def test_repeated_parameters_and_headers_keep_all_values(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"GET /stage/echo?a=1&b=&a=2%263&c=x+y&d HTTP/1.1\r\nHost: h:1\r\nX-One: 1\r\nx-one: 2\r\n"
            b"Connection: close\r\n\r\n"
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        event = json.loads(response.read())["event"]
        response.close()
    assert event["queryStringParameters"] == {"a": "2&3", "b": "", "c": "x y", "d": ""}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2&3"], "b": [""], "c": ["x y"], "d": [""]}
    assert event["headers"]["X-One"] == "2"
    assert event["multiValueHeaders"]["X-One"] == ["1", "2"]
    assert "Connection" not in event["headers"]


def test_answers_carry_single_and_repeated_headers(client: Any) -> None:
    answer = client("GET", "/stage/echo")
    assert answer.headers["X-Single"] == "one"
    assert answer.headers.get_all("X-Many") == ["a", "b"]
    assert answer.headers["Content-Type"] == "application/json"


# --- bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", "text/plain", (None, False)),
        ("Zoë 🎼 \u2028".encode(), "application/json", ("Zoë 🎼 \u2028", False)),
        (b"a\x00b", "text/plain", ("a\x00b", False)),
        (b"\xff\xfe", "text/plain", ("\ufffd\ufffd", False)),
        (b"\xff\xfe", "application/octet-stream", ("//4=", True)),
    ],
)
def test_bodies_are_text_unless_the_template_calls_them_binary(
    client: Any, body: bytes, content_type: str, expected: tuple[str | None, bool]
) -> None:
    event = echoed(client("POST", "/stage/echo", body, {"Content-Type": content_type}))
    assert (event["body"], event["isBase64Encoded"]) == expected


def test_binary_answers_are_decoded_for_clients_that_accept_them(client: Any) -> None:
    answer = {"statusCode": 200, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    body = json.dumps(answer).encode()
    assert client("POST", "/stage/answer", body, {"Accept": "application/octet-stream"}).body == b"\x00\xff"
    assert client("POST", "/stage/answer", body, {"Accept": "text/plain"}).body == b"AP8="


def test_a_chunked_body_arrives_whole(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert json.loads(response.read())["event"]["body"] == "abcdefg"
        response.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_refuses_20_megabytes_so_that_the_client_sees_it(client: Any, chunked: bool) -> None:
    """A client that sends everything before it reads gets the answer, not a reset connection."""
    headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(20 * MEGABYTE)}
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=HANG_SECONDS)
    try:
        pieces = (b"x" * MEGABYTE for _ in range(20))
        connection.request("POST", "/stage/echo", pieces, headers, encode_chunked=chunked)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 413
    assert json.loads(body) == {"message": "Request Entity Too Large"}
    assert response.headers["Connection"] == "close"


def test_refuses_a_large_body_before_it_is_sent_after_expect(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20000000\r\n\r\n"
        )
        assert connection.recv(1024).startswith(b"HTTP/1.1 413 ")


def test_answers_expect_100_continue_for_small_bodies(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ok")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert json.loads(response.read())["event"]["body"] == "ok"
        response.close()


def test_refuses_payloads_above_lambdas_limit(client: Any) -> None:
    """Seven megabytes pass the gateway (10 MB), not the function (6 MB)."""
    assert client("POST", "/stage/echo", b"x" * 7 * MEGABYTE).status == 413


# --- CORS and gateway responses ----------------------------------------------------------------------------------


def test_preflight_is_answered_from_the_template(client: Any) -> None:
    answer = client("OPTIONS", "/stage/items/42")
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://front.example"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-token"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/stage/nowhere"),
        ("DELETE", "/stage/items/42"),
        ("GET", "/stage/items"),
        ("GET", "/stage"),
        ("GET", "/"),
        ("GET", "/items/42"),
        ("GET", "/stagecoach/items/42"),
        ("GET", "/stage//items/42"),
    ],
)
def test_routes_outside_the_template_are_refused(client: Any, method: str, path: str) -> None:
    answer = client(method, path)
    assert answer.status == 404
    assert answer.json() == {
        "error": "route_not_found",
        "message": "Missing Authentication Token",
        "request_id": answer.headers["x-amzn-RequestId"],
    }


def test_head_of_an_unknown_path_has_no_body(client: Any) -> None:
    answer = client("HEAD", "/stage/nowhere")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("how", ["raise", "exit", "killed", "large"])
def test_a_crash_is_the_templates_internal_error(client: Any, how: str) -> None:
    answer = client("POST", "/stage/crash", how.encode())
    assert answer.status == 500
    assert answer.json() == {"error": "internal_error", "request_id": answer.headers["x-amzn-RequestId"]}
    assert answer.headers["Access-Control-Allow-Origin"] == "https://front.example"
    assert answer.headers["Cache-Control"] == "no-store"
    assert client("POST", "/stage/crash", b"fine").status == 200


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        "text",
        None,
        {"statusCode": "many"},
        {"statusCode": True},
        {"statusCode": 42},
        {"statusCode": 200, "body": {"an": "object"}},
        {"statusCode": 200, "headers": "none"},
        {"statusCode": 200, "headers": {"X-A": ["list"]}},
        {"statusCode": 200, "multiValueHeaders": {"X-A": "text"}},
        {"statusCode": 200, "headers": {"X-A": "a\r\nX-Injected: b"}},
        {"statusCode": 200, "headers": {"X A": "space"}},
    ],
)
def test_an_answer_of_another_shape_is_the_templates_internal_error(client: Any, answer: object) -> None:
    got = client("POST", "/stage/answer", json.dumps(answer).encode())
    assert got.status == 500
    assert got.json()["error"] == "internal_error"
    assert got.headers["X-Injected"] is None


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ({"statusCode": 204}, 204, b""),
        ({"statusCode": "201", "body": "text"}, 201, b"text"),
        ({"statusCode": 200, "body": None, "headers": None}, 200, b""),
        ({"statusCode": 200, "headers": {"Content-Length": "1", "X-Number": 7}, "body": "long"}, 200, b"long"),
    ],
)
def test_an_answer_may_leave_things_out(client: Any, answer: object, status: int, body: bytes) -> None:
    got = client("POST", "/stage/answer", json.dumps(answer).encode())
    assert (got.status, got.body) == (status, body)


def test_a_function_is_killed_at_its_timeout(
    backend: Backend, client: Any, log: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    answer = client("GET", "/stage/slow")
    assert answer.status == 500
    assert answer.json()["error"] == "internal_error"
    assert "[slow] Task timed out after 1.00 seconds" in log.lines
    eventually(lambda: backend.instance_count("SlowFunction") == 0)


def test_a_timeout_has_lambdas_message(backend: Backend) -> None:
    outcome = backend.invoke("SlowFunction", b"{}")
    error = json.loads(outcome.payload)
    assert outcome.error == "Unhandled"
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"] == f"RequestId: {outcome.request_id} Error: Task timed out after 1.00 seconds"


def test_the_gateway_does_not_wait_longer_than_the_integration_says(client: Any) -> None:
    """Without an entry for INTEGRATION_TIMEOUT, the body is that of DEFAULT_5XX and the status API Gateway's."""
    answer = client("GET", "/stage/late")
    assert answer.status == 504
    assert answer.json()["error"] == "default_5xx"
    assert answer.json()["message"] == "Endpoint request timed out"


def test_a_function_that_cannot_be_imported_is_tried_once_per_call(backend: Backend, client: Any, log: Any) -> None:
    def attempts() -> int:
        return sum(line.startswith("[broken] [ERROR] Runtime.ImportModuleError") for line in log.lines)

    for expected in (1, 2):
        assert client("GET", "/stage/broken").status == 500
        assert attempts() == expected
    error = json.loads(backend.invoke("BrokenFunction", b"{}").payload)
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "a_module_that_does_not_exist" in error["errorMessage"]


def test_output_of_a_function_is_shown(client: Any, log: Any, eventually: Callable[[Any], None]) -> None:
    client("GET", "/stage/items/printed")
    eventually(lambda: "[echo] echo /items/printed" in log.lines)


# --- the function's environment ----------------------------------------------------------------------------------


def test_a_function_sees_its_own_environment_only(
    description: Description, client_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN", "VIRTUAL_ENV", "SOME_SECRET"):
        monkeypatch.setenv(name, "of the developer")
    extra = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    with Backend(description, extra_environment=extra) as backend:
        client = client_of(backend.url)
        echo = client("GET", "/stage/echo").json()
        other = client("GET", "/stage/other").json()

    seen = echo["environment"]
    assert "of the developer" not in seen.values()
    assert seen["HOME"] != os.environ.get("HOME")
    assert seen["COMMON"] == "everywhere"
    assert seen["ONLY_ECHO"] == "1"
    assert "ONLY_OTHER" not in seen
    assert other["environment"]["ONLY_OTHER"] == "1"
    assert "ONLY_ECHO" not in other["environment"]
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "playground-EchoFunction"
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["_HANDLER"] == "app.handler"
    assert seen["AWS_REGION"] == "us-east-1"
    assert seen["LAMBDA_TASK_ROOT"] == echo["folder"]


def test_a_function_imports_from_its_folder_and_its_layers(client: Any, fixtures: Path) -> None:
    """Neither the project's root nor local/ is importable."""
    path = client("GET", "/stage/echo").json()["path"]
    assert path[:2] == [str(fixtures / "functions" / "echo"), str(fixtures / "layer")]
    root = fixtures.parents[2]
    assert not {str(root), str(root / "local"), ""} & set(path)


def test_a_function_knows_how_much_time_is_left(client: Any) -> None:
    answer = client("GET", "/stage/echo").json()
    assert 15_000 < answer["remaining"] <= 20_000
    assert UUID.fullmatch(answer["request_id"])


def test_the_time_of_a_request_is_that_of_the_gateway_and_not_of_the_function(client: Any) -> None:
    """As on AWS: the gateway's timeout includes the start of an instance, the function's does not."""
    before = time.time()

    reported = client("GET", "/stage/sluggish").json()

    assert type(reported["requested"]) is int
    assert before - 0.001 <= reported["requested"] / 1000 <= reported["begun"]
    assert reported["called"] - reported["requested"] / 1000 > 1.2
    assert reported["remaining"] > 9_000


# --- concurrency -------------------------------------------------------------------------------------------------


class Meeting:
    """A barrier for functions; see fixtures/functions/meet."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(HANG_SECONDS)
        self.address = str(self.listener.getsockname()[1]).encode()

    def arrival(self) -> socket.socket:
        connection, _ = self.listener.accept()
        assert connection.recv(4) == b"here"
        return connection

    @staticmethod
    def release(connection: socket.socket) -> None:
        connection.sendall(b"go")
        connection.close()


def test_each_concurrent_request_has_its_own_instance(
    description: Description, client_of: Callable[[str], Any], eventually: Callable[[Callable[[], object]], None]
) -> None:
    """All requests are in their handlers at the same time, each in its own process; later ones reuse these."""
    meeting = Meeting()
    with Backend(description, concurrency=5) as backend, ThreadPoolExecutor(5) as threads, meeting.listener:
        client = client_of(backend.url)

        def round_of(count: int) -> set[int]:
            answers = [threads.submit(client, "POST", "/stage/meet", meeting.address) for _ in range(count)]
            together = [meeting.arrival() for _ in range(count)]
            for connection in together:
                meeting.release(connection)
            return {answer.result().json()["pid"] for answer in answers}

        first = round_of(5)
        assert len(first) == 5
        eventually(lambda: backend.idle_count("MeetFunction") == 5)
        assert round_of(3) <= first
        assert backend.instance_count("MeetFunction") == 5


def test_requests_beyond_the_concurrency_are_queued(description: Description, client_of: Callable[[str], Any]) -> None:
    meeting = Meeting()
    with Backend(description, concurrency=2) as backend, ThreadPoolExecutor(6) as threads, meeting.listener:
        client = client_of(backend.url)
        answers = [threads.submit(client, "POST", "/stage/meet", meeting.address) for _ in range(6)]
        inside = [meeting.arrival(), meeting.arrival()]
        for _ in range(4):
            assert backend.instance_count("MeetFunction") == 2
            meeting.release(inside.pop(0))
            inside.append(meeting.arrival())
        for connection in inside:
            meeting.release(connection)
        assert len({answer.result().json()["pid"] for answer in answers}) == 2


def test_two_hundred_connections_at_once(client: Any, log: Any) -> None:
    with ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(lambda number: client("GET", f"/stage/items/{number}"), range(200)))
    assert {answer.status for answer in answers} == {200}, "\n".join(
        line for line in log.lines if " 200 " not in line and "echo /" not in line
    )
    assert [echoed(answer)["pathParameters"]["id"] for answer in answers] == [str(number) for number in range(200)]


# --- HTTP --------------------------------------------------------------------------------------------------------


def test_a_connection_is_kept(client: Any) -> None:
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=HANG_SECONDS)
    try:
        connection.connect()
        first = connection.sock
        for number in range(3):
            connection.request("GET", f"/stage/items/{number}")
            response = connection.getresponse()
            assert json.loads(response.read())["event"]["pathParameters"] == {"id": str(number)}
            assert connection.sock is first
    finally:
        connection.close()


def test_pipelined_requests_are_answered_in_order(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(
            b"POST /stage/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n"
            b'{"statusCode": 200, "body": "one"}'
            b"GET /stage/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404"]
    assert b"\r\n\r\none" in received


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"GET /stage/echo HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /stage/echo HTTP/1.1\r\n\r\n",
        b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(client: Any, nonsense: bytes) -> None:
    with client.connect() as connection:
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"x-amzn-RequestId" in received


def test_a_disconnected_client_has_no_effect_on_others(client: Any) -> None:
    with client.connect() as connection:
        connection.sendall(b"POST /stage/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    with client.connect() as connection:
        connection.sendall(b"GET /stage/items/42 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client("GET", "/stage/items/42").status == 200


# --- the Invoke API, and the end ---------------------------------------------------------------------------------


def test_invokes_as_lambda_does(backend: Backend, client_of: Callable[[str], Any]) -> None:
    lambda_api = client_of(backend.runtime_url)

    def invoke(name: str, event: bytes) -> Any:
        return lambda_api("POST", f"/2015-03-31/functions/{name}/invocations", event)

    fine = invoke("answer", b'{"body": "[1]"}')
    assert (fine.status, fine.json(), fine.headers["X-Amz-Function-Error"]) == (200, [1], None)
    assert invoke("AnswerFunction", b'{"body": "2"}').json() == 2
    arn = backend.description.functions["AnswerFunction"].arn
    assert invoke(quote(arn, safe=""), b'{"body": "3"}').json() == 3
    failed = invoke("playground-CrashFunction", b'{"body": "raise"}')
    assert (failed.status, failed.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert failed.json()["errorType"] == "RuntimeError"
    assert failed.json()["errorMessage"] == "out of order"
    assert invoke("nobody", b"{}").status == 404
    assert invoke("answer", b"{").status == 400
    assert invoke("answer", json.dumps("x" * 7 * MEGABYTE).encode()).status == 413


ORPHANS = """
import json, sys, urllib.request
from pathlib import Path
from local.backend import Backend
from local.template import read_template
with Backend(read_template(Path(sys.argv[1]))) as backend:
    answer = json.load(urllib.request.urlopen(backend.url + "/stage/echo"))
    print(answer["pid"], flush=True)
    sys.stdin.read()
"""


def test_functions_end_with_a_killed_stack(
    fixtures: Path,
    script_environment: dict[str, str],
    alive: Callable[[int], bool],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(fixtures / "template.yaml")],
        env=script_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    eventually(lambda: not alive(pid))


def test_nothing_is_left_of_a_stopped_backend(
    description: Description, client_of: Callable[[str], Any], alive: Callable[[int], bool]
) -> None:
    with Backend(description) as backend:
        pid = client_of(backend.url)("GET", "/stage/echo").json()["pid"]
        assert pid != os.getpid()
        assert alive(pid)
    assert not alive(pid)


def test_functions_that_are_named_start_first_and_the_others_at_their_first_event(
    description: Description, client_of: Callable[[str], Any]
) -> None:
    answers = next(name for name, function in description.functions.items() if function.short_name == "answer")
    with Backend(description, warm={"answer"}) as backend:
        assert {name: backend.instance_count(name) for name in description.functions} == {
            name: int(name == answers) for name in description.functions
        }
        assert client_of(backend.url)("GET", "/stage/echo").status == 200


# --- pages of the laptop -------------------------------------------------------------------------------------------


def test_pages_are_outside_the_stage(description: Description, client_of: Callable[[str], Any]) -> None:
    lines: list[str] = []
    pages = PlaceholderPages("http://127.0.0.1:3000/stage/v1")
    with Backend(description, front_end=pages, show=lambda _, line: lines.append(line)) as backend:
        client = client_of(backend.url)
        page = client("GET", "/playground/shared/a-secret")
        outside = client("GET", "/playground/elsewhere")

    assert (page.status, b"Here your front end shows" in page.body) == (200, True)
    assert outside.status == 404
    assert any("GET /playground/shared/{token} 200" in line for line in lines)
    assert not any("a-secret" in line for line in lines)
