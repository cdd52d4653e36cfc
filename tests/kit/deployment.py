"""An emulator of AWS, into which the project is deployed as it would be there: packaged by SAM, by CloudFormation.

ministack with all of its services, in a process of its own, which checks what CloudFormation and the services check
of a template. It runs none of the functions.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from local.engine import CREDENTIALS, engine_python
from local.template import REGION, as_cloudformation, load_yaml
from tests.kit.extent import HANG_SECONDS
from tests.kit.ports import free_ports

ROOT = Path(__file__).parents[2]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
ARTIFACTS = "artifacts"
STACK = "playground"
Template = dict[str, Any]


class Emulator:
    """A region of AWS. `client` makes clients for it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}
        self._session = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(service, endpoint_url=self.url)
        return self._clients[service]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    # --- stacks ------------------------------------------------------------------------------------------------------

    def create(self, template: Template, parameters: Mapping[str, str]) -> str:
        """The status in which the creation ends."""
        self.client("cloudformation").create_stack(**self._request(template, parameters))
        return self._status_at_the_end()

    def update(self, template: Template, parameters: Mapping[str, str]) -> str:
        self.client("cloudformation").update_stack(**self._request(template, parameters))
        return self._status_at_the_end()

    def delete(self) -> None:
        """Returns when the stack is gone, or its deletion has failed."""
        cloudformation = self.client("cloudformation")
        stack_id = self.stack["StackId"]
        cloudformation.delete_stack(StackName=STACK)
        found = _until(lambda: self._described(stack_id), lambda stack: not stack["StackStatus"].endswith("PROGRESS"))
        assert found["StackStatus"] == "DELETE_COMPLETE", self.failures(stack_id)

    @property
    def stack(self) -> Mapping[str, Any]:
        return self._described(STACK)

    @property
    def outputs(self) -> Mapping[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.stack["Outputs"]}

    @property
    def resources(self) -> Mapping[str, tuple[str, str]]:
        """Type and physical name, by logical id."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=STACK)
        return {
            each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"])
            for page in pages
            for each in page["StackResourceSummaries"]
        }

    def failures(self, stack: str = STACK) -> Sequence[str]:
        """What failed, and why, the first one first."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack)
        events = [event for page in pages for event in page["StackEvents"]]  # the newest first
        return [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
            for event in reversed(events)
            if event["ResourceStatus"].endswith("_FAILED")
        ]

    def _request(self, template: Template, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Through S3, as `sam deploy` does: what is sent directly may have 51,200 bytes."""
        self.client("s3").put_object(Bucket=ARTIFACTS, Key="template.json", Body=json.dumps(template).encode())
        return {
            "StackName": STACK,
            "TemplateURL": f"{self.url}/{ARTIFACTS}/template.json",
            "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            "Capabilities": ["CAPABILITY_IAM"],
        }

    def _described(self, stack: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return found

    def _status_at_the_end(self) -> str:
        stack = _until(lambda: self.stack, lambda stack: not stack["StackStatus"].endswith("IN_PROGRESS"))
        return str(stack["StackStatus"])

    # --- what there is -----------------------------------------------------------------------------------------------

    def inventory(self) -> Mapping[str, Sequence[str]]:
        """The names of all that costs money, holds data or would be in the way of another deployment, without the
        artifacts' bucket. Kinds of which there is nothing are left out."""
        lists: Mapping[str, tuple[str, str, Callable[[Any], Sequence[str]]]] = {
            "tables": ("dynamodb", "list_tables", lambda found: found["TableNames"]),
            "buckets": ("s3", "list_buckets", lambda found: [each["Name"] for each in found["Buckets"]]),
            "secrets": ("secretsmanager", "list_secrets", lambda found: [each["Name"] for each in found["SecretList"]]),
            "queues": ("sqs", "list_queues", lambda found: found.get("QueueUrls", [])),
            "functions": ("lambda", "list_functions", lambda found: [e["FunctionName"] for e in found["Functions"]]),
            "layers": ("lambda", "list_layers", lambda found: [each["LayerName"] for each in found["Layers"]]),
            "sources": (
                "lambda",
                "list_event_source_mappings",
                lambda found: [each["UUID"] for each in found["EventSourceMappings"]],
            ),
            "apis": ("apigateway", "get_rest_apis", lambda found: [each["name"] for each in found["items"]]),
            "roles": ("iam", "list_roles", lambda found: [each["RoleName"] for each in found["Roles"]]),
            "buses": (
                "events",
                "list_event_buses",
                lambda found: [each["Name"] for each in found["EventBuses"] if each["Name"] != "default"],
            ),
            "schedules": ("scheduler", "list_schedules", lambda found: [each["Name"] for each in found["Schedules"]]),
            "alarms": (
                "cloudwatch",
                "describe_alarms",
                lambda found: [each["AlarmName"] for each in found["MetricAlarms"]],
            ),
            "dashboards": (
                "cloudwatch",
                "list_dashboards",
                lambda found: [each["DashboardName"] for each in found["DashboardEntries"]],
            ),
            "logs": (
                "logs",
                "describe_log_groups",
                lambda found: [each["logGroupName"] for each in found["logGroups"]],
            ),
        }
        names = {
            kind: sorted(name for name in read(getattr(self.client(service), operation)()) if name != ARTIFACTS)
            for kind, (service, operation, read) in lists.items()
        }
        return {kind: found for kind, found in names.items() if found}


@contextmanager
def emulator(folder: Path) -> Iterator[Emulator]:
    """`folder` gets its log."""
    port = free_ports(1)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
    }
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [str(engine_python().absolute()), "-m", "ministack"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            _until(lambda: _answers(process, port), bool)
            region = Emulator(port)
            region.client("s3").create_bucket(Bucket=ARTIFACTS)
            yield region
            region.close()
        finally:
            process.terminate()
            process.wait(HANG_SECONDS)


@dataclass(frozen=True, slots=True)
class Package:
    """What `sam deploy` sends, as CloudFormation's transform makes it, and the code that it has uploaded before."""

    template: Template
    code: Mapping[str, bytes]

    def upload(self, region: Emulator) -> None:
        for key, archive in self.code.items():
            region.client("s3").put_object(Bucket=ARTIFACTS, Key=key, Body=archive)


def package(template: Path, folder: Path) -> Package:
    """By SAM itself."""
    with emulator(folder) as region:
        translated = _package(region, template, folder)
        s3 = region.client("s3")
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=ARTIFACTS)["Contents"]]
        code = {key: s3.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read() for key in keys}
    return Package(translated, code)


def _package(region: Emulator, template: Path, folder: Path) -> Template:
    assert SAM.exists(), "SAM is not installed: `make check` does it"
    packaged = folder / "packaged.yaml"
    options = ["--template-file", str(template), "--s3-bucket", ARTIFACTS, "--output-template-file", str(packaged)]
    environment = {**os.environ, **region.environment, "SAM_CLI_TELEMETRY": "0"}
    ended = subprocess.run(
        [str(SAM), "package", *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert ended.returncode == 0, ended.stderr
    return as_cloudformation(load_yaml(packaged.read_text(encoding="utf-8")))


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    assert process.poll() is None, "the emulator has ended"
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        found = look()
        if good(found):
            return found
        assert time.monotonic() < deadline, f"it did not end: {found}"
        time.sleep(0.05)
