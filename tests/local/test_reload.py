"""Hot reload: an edited function or layer is served without a restart, and errors in it are reported."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.backend import Backend
from local.runtime import Runtime
from local.template import read_template

Eventually = Callable[[Callable[[], object]], None]

TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: { Runtime: python3.13, Handler: app.handler, Timeout: 250, Layers: [!Ref Layer] }
Resources:
  Layer:
    Type: AWS::Serverless::LayerVersion
    Properties: { ContentUri: layer, CompatibleRuntimes: [python3.13] }
  Api:
    Type: AWS::Serverless::Api
    Properties: { StageName: api }
  OneFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/one
      Events: { Get: { Type: Api, Properties: { RestApiId: !Ref Api, Method: GET, Path: /one } } }
  TwoFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/two
      Events: { Get: { Type: Api, Properties: { RestApiId: !Ref Api, Method: GET, Path: /two } } }
"""
ONE = """
import os
from shared import WORD

def handler(event, context):
    return {"statusCode": 200, "body": f"one {WORD} v1 {os.getpid()}"}
"""
# Reports its start on a pipe, and answers when the other pipe is written to.
TWO = """
from pathlib import Path
from shared import WORD

def handler(event, context):
    query = event["queryStringParameters"] or {}
    if "folder" in query:
        folder = Path(query["folder"])
        with (folder / "begun").open("w") as begun:
            begun.write("x")
        (folder / "go").read_text()
    return {"statusCode": 200, "body": f"two {WORD} v1"}
"""


class Project:
    """A template with two functions and a layer, in a folder of its own, running."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.one, self.two = folder / "functions/one/app.py", folder / "functions/two/app.py"
        self.layer = folder / "layer/shared.py"
        for path, text in ((self.one, ONE), (self.two, TWO), (self.layer, 'WORD = "first"\n')):
            path.parent.mkdir(parents=True)
            path.write_text(text)
        (folder / "template.yaml").write_text(TEMPLATE)
        self.backend = Backend(
            read_template(folder / "template.yaml"),
            warm=True,
            reload=True,
            show=lambda name, line: self.lines.append(f"[{name}] {line}"),
        )

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def edit(path: Path, old: str, new: str) -> None:
    """Replaces the file as an editor does, with a modification time in the same second."""
    before = path.stat()
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(path.read_text().replace(old, new))
    os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    draft.replace(path)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path / "project")
    with found.backend:
        yield found


@pytest.fixture
def get(project: Project, client_of: Callable[[str], Any]) -> Callable[[str], Any]:
    client = client_of(project.backend.url)
    return lambda path: client("GET", f"/api/{path}")


def test_an_edited_function_is_served_and_others_go_on(
    project: Project, get: Callable[[str], Any], eventually: Eventually
) -> None:
    """Also with the same size and modification second, for which Python's cache would keep the old code."""
    assert get("one").body.startswith(b"one first v1")
    edit(project.one, "v1", "v2")
    eventually(lambda: get("one").body.startswith(b"one first v2"))
    eventually(lambda: project.said("[reload] started after"))
    assert project.said("app.py changed: one restarts")
    eventually(lambda: project.backend.outdated_count("OneFunction") == 0)
    edit(project.one, "v2", "v3")  # while no event is open
    eventually(lambda: sum("[reload] started after" in line for line in project.lines) == 2)
    eventually(lambda: project.backend.instance_count("OneFunction") == 1)
    assert get("one").body.startswith(b"one first v3")
    assert not project.said("two start")


def test_an_edited_layer_is_served_by_all_of_its_functions(
    project: Project, get: Callable[[str], Any], eventually: Eventually
) -> None:
    edit(project.layer, "first", "other")
    eventually(lambda: get("one").body.startswith(b"one other v1"))
    eventually(lambda: get("two").body == b"two other v1")


@pytest.mark.parametrize(
    ("broken", "said", "answered"),
    [
        ("def handler(:", "[reload] CANNOT BE COMPILED, requests fail: ", "Runtime.UserCodeSyntaxError: "),
        (
            "import no_such_module",
            "[one] DOES NOT START, its requests fail: Runtime.ImportModuleError",
            "no_such_module",
        ),
        ("1 / 0", "[one] DOES NOT START, its requests fail: ZeroDivisionError", "division by zero"),
    ],
)
def test_broken_code_is_reported_and_the_old_code_is_not_served(
    project: Project, get: Callable[[str], Any], eventually: Eventually, broken: str, said: str, answered: str
) -> None:
    good = project.one.read_text()
    project.one.write_text(broken + "\n")
    eventually(lambda: project.said(said))
    answer = get("one")
    assert answer.status == 502
    assert answer.json()["message"].startswith("OneFunction does not start: ")
    assert answered in answer.json()["message"]
    assert get("two").status == 200

    project.one.write_text(good.replace("v1", "v3"))
    eventually(lambda: get("one").body.startswith(b"one first v3"))


def test_an_open_event_is_finished_by_the_code_that_began_it(
    project: Project, get: Callable[[str], Any], eventually: Eventually, tmp_path: Path
) -> None:
    for name in ("begun", "go"):
        os.mkfifo(tmp_path / name)
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(get(f"two?folder={tmp_path}").body))
    waiting.start()
    try:
        (tmp_path / "begun").read_text()
        edit(project.layer, "first", "other")
        eventually(lambda: get("two").body == b"two other v1")
    finally:
        (tmp_path / "go").write_text("go")
        waiting.join()
    assert answers == [b"two first v1"]
    assert get("two").body == b"two other v1"
    eventually(lambda: project.backend.outdated_count("TwoFunction") == 0)


def test_an_instance_that_was_being_started_when_its_code_changed_is_replaced(tmp_path: Path) -> None:
    """The old instance never becomes ready; a new one must show whether the new code starts."""
    project = Project(tmp_path / "project")
    functions = read_template(tmp_path / "project/template.yaml").functions

    async def restart() -> tuple[bool, int]:
        runtime = Runtime({"TwoFunction": functions["TwoFunction"]}, show=lambda name, line: project.lines.append(line))
        await runtime.start()
        try:
            pool = runtime._pools["TwoFunction"]
            pool.launch()
            pool.retire()
            return await pool.try_start(), sum(each.ready for each in pool.instances.values())
        finally:
            await runtime.stop()

    assert asyncio.run(restart()) == (True, 1)
