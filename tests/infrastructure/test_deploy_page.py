"""The page of a deployed stack: what is uploaded, in which order, with which headers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import boto3
import pytest
from moto import mock_aws

from local.page_files import IMMUTABLE, REVALIDATE
from tests.conftest import ROOT
from tools import deploy_page
from tools.deploy_check import Target
from tools.deploy_page import Stack, files_of, upload
from tools.web import WebError

BUCKET = "playground-page"
ADDRESS = "https://d1.cloudfront.net"
ANSWER = """<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult>
<Stacks><member><StackName>{name}</StackName><StackId>1</StackId><CreationTime>2026-11-28T00:00:00Z</CreationTime>
<StackStatus>UPDATE_COMPLETE</StackStatus>
<Parameters><member><ParameterKey>FrontendUrl</ParameterKey><ParameterValue>{front_end}</ParameterValue></member>
</Parameters><Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
OUTPUT = "<member><OutputKey>{}</OutputKey><OutputValue>{}</OutputValue></member>"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    dist = tmp_path / "web" / "dist"
    (dist / "assets").mkdir(parents=True)
    for name in ("index.html", "robots.txt", "config.json", "assets/index-1.js", ".built"):
        (dist / name).write_text(name, encoding="utf-8")
    return tmp_path


def test_the_index_is_last_and_the_stack_says_what_the_page_must_know(project: Path) -> None:
    files = files_of(project / "web" / "dist", Stack({"StripePublishableKey": "pk_test_1"}, {}))

    assert [file.path for file in files] == ["/assets/index-1.js", "/config.json", "/robots.txt", "/index.html"]
    assert json.loads(files[1].body) == {
        "api": "/api/v1",
        "stripe_publishable_key": "pk_test_1",
        "pay_page": None,
        "anonymous_runs": False,
        "laptop": False,
    }
    visitors = files_of(project / "web" / "dist", Stack({"AnonymousRuns": "true"}, {}))
    assert json.loads(visitors[1].body)["anonymous_runs"] is True


def test_what_is_uploaded_has_its_headers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="assets/index-0.js", Body=b"of an open tab")
        upload(s3, BUCKET, files_of(project / "web" / "dist", Stack({}, {})))
        stored = {each["Key"]: s3.head_object(Bucket=BUCKET, Key=each["Key"]) for each in listed(s3)}

    assert set(stored) == {"assets/index-0.js", "assets/index-1.js", "config.json", "index.html", "robots.txt"}
    script, index = stored["assets/index-1.js"], stored["index.html"]
    assert (script["ContentType"], script["CacheControl"]) == ("text/javascript; charset=utf-8", IMMUTABLE)
    assert (index["ContentType"], index["CacheControl"]) == ("text/html; charset=utf-8", REVALIDATE)


def listed(s3) -> list[dict[str, str]]:  # type: ignore[no-untyped-def]
    return s3.list_objects_v2(Bucket=BUCKET)["Contents"]  # type: ignore[no-any-return]


class Aws(BaseHTTPRequestHandler):
    """CloudFormation, which describes one stack, and S3, which takes everything."""

    outputs: tuple[tuple[str, str], ...] = (("PageBucketName", BUCKET), ("PageUrl", ADDRESS))
    front_end = "https://prpm.dev"
    uploaded: list[str]

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        outputs = "".join(OUTPUT.format(*each) for each in self.outputs)
        self.answer(ANSWER.format(name=asked["StackName"][0], front_end=self.front_end, outputs=outputs).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.uploaded.append(self.path)
        self.answer(b"")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Aws]]:
    class Handler(Aws):
        uploaded: list[str] = []  # noqa: RUF012 - one handler's

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name, value in {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        yield Handler
        server.shutdown()
        thread.join()


TARGET = Target("mine", "eu-west-1", None)


def test_a_deployed_page_is_built_and_uploaded(project: Path, aws: type[Aws], monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []
    monkeypatch.setattr(deploy_page, "build", built.append)

    said = deploy_page.deploy(TARGET, project)

    assert built == [project]
    assert [path.rpartition(BUCKET)[2] for path in aws.uploaded][-1] == "/index.html"
    assert said.startswith(f"the page is at {ADDRESS}\nits links lead elsewhere")
    assert said.endswith(f'make deploy STACK=mine ARGS="--parameter-overrides FrontendUrl={ADDRESS}"')

    aws.front_end = ADDRESS
    assert deploy_page.deploy(TARGET, project) == f"the page is at {ADDRESS}"


def test_a_stack_without_a_page_needs_no_build(project: Path, aws: type[Aws], monkeypatch: pytest.MonkeyPatch) -> None:
    aws.outputs = (("ApiUrl", "https://api.example"),)
    monkeypatch.setattr(deploy_page, "build", lambda _: pytest.fail("built"))

    assert deploy_page.deploy(TARGET, project) == "the stack has no page (parameter Page)"
    assert aws.uploaded == []


def test_a_page_that_cannot_be_built_is_not_uploaded(
    aws: type[Aws], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise WebError("there is no Node.js")

    monkeypatch.setattr(deploy_page, "build", fail)

    assert deploy_page.main(["--stack-name", "mine", "--region", "eu-west-1"]) == 1
    assert capsys.readouterr().err == "the stack is deployed, but its page is not: there is no Node.js\n"
    assert aws.uploaded == []


def test_make_deploy_uploads_after_deploying() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ndeploy:")[2].partition("\n\n")[0]

    assert recipe.index("$(SAM) deploy") < recipe.index("tools.deploy_page")
