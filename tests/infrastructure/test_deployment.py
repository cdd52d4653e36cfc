"""The first deployment, the next ones, one that fails and the last one, in an emulator of AWS."""

import copy
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.kit.deployment import STACK, Emulator, Package, Template, emulator, package
from tests.kit.extent import HANG_SECONDS, whole_only

ROOT = Path(__file__).parents[2]
ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
DATA = {"AWS::DynamoDB::Table", "AWS::S3::Bucket"}
# All that a deployment may switch on but the web ACL, which the emulator does not have. The address of a topic and a
# certificate as AWS has them.
PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "with everything": {
        "Page": "true",
        "StripePublishableKey": "pk_test_emulated",
        "PageCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000000",
        "FrontendUrl": "https://playground.example",
        "AlarmTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
        "AuthAlgorithm": "RS256",
        "AuthJwksUrl": "https://registry.example/.well-known/jwks.json",
        "ProtectTables": "true",
        "Tracing": "everything",
        "ReserveConcurrency": "true",
    },
}
pytestmark = whole_only


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package(ROOT / "template.yaml", tmp_path_factory.mktemp("package"))


@pytest.fixture
def region(packaged: Package, tmp_path: Path) -> Iterator[Emulator]:
    with emulator(tmp_path) as region:
        packaged.upload(region)
        yield region


@pytest.fixture
def template(packaged: Package) -> Template:
    return packaged.template


def cannot_be_emulated(template: Template) -> set[str]:
    """The only resources that are left out: the emulator has no alarms on metric math (docs/deploy.md), and so none
    that are composed of them."""
    return {
        name
        for name, resource in template["Resources"].items()
        if resource["Type"] == COMPOSITE or (resource["Type"] == ALARM and "Metrics" in resource["Properties"])
    }


def without(template: Template, names: set[str]) -> Template:
    return {**template, "Resources": {name: each for name, each in template["Resources"].items() if name not in names}}


def with_changed_function(template: Template, region: Emulator, function: str, comment: bytes) -> Template:
    """`comment`: what its archive gets."""
    changed = copy.deepcopy(template)
    address = changed["Resources"][function]["Properties"]["Code"]
    s3 = region.client("s3")
    archive = s3.get_object(Bucket=address["S3Bucket"], Key=address["S3Key"])["Body"].read()
    file = io.BytesIO(archive)
    with zipfile.ZipFile(file, "a") as opened:
        opened.comment = comment
    address["S3Key"] += f"-{comment.decode()}"
    s3.put_object(Bucket=address["S3Bucket"], Key=address["S3Key"], Body=file.getvalue())
    return changed


def order(region: Emulator, *words: str) -> Any:
    """What an operator's command prints, as JSON."""
    environment = {**os.environ, **region.environment, "PYTHONPATH": str(ROOT / "layers" / "shared")}
    ended = subprocess.run(
        [sys.executable, "-m", "operate", *words, "--stack", STACK, "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def hash_of(region: Emulator, function: str) -> str:
    found: str = region.client("lambda").get_function(FunctionName=region.resources[function][1])["Configuration"][
        "CodeSha256"
    ]
    return found


@pytest.mark.parametrize("given", PARAMETERS.values(), ids=list(PARAMETERS))
def test_a_stack_is_created_updated_and_deleted_and_its_data_stay(
    region: Emulator, template: Template, given: Mapping[str, str]
) -> None:
    deployed = without(template, cannot_be_emulated(template))
    assert region.create(deployed, given) == "CREATE_COMPLETE", region.failures()
    created = region.resources
    order(region, "grant", "alice", "50", "--ref", "ticket-1", "--reason", "Hello", "--new")
    before = hash_of(region, "CreditsFunction")

    changed = with_changed_function(deployed, region, "CreditsFunction", b"changed")
    assert region.update(changed, given) == "UPDATE_COMPLETE", region.failures()
    assert hash_of(region, "CreditsFunction") != before
    assert region.resources == created
    assert order(region, "user", "alice")["balance"] == 55

    broken = with_an_alarm_that_fails(with_changed_function(changed, region, "CreditsFunction", b"broken"), set())
    changed_to = hash_of(region, "CreditsFunction")
    assert region.update(broken, given) == "UPDATE_ROLLBACK_COMPLETE"
    assert (hash_of(region, "CreditsFunction"), region.resources) == (changed_to, created)

    data = {name for kind, name in created.values() if kind in DATA}
    role = created["GatewayLogsRole"][1]  # of all APIs of the account
    # The table's stream and schedules may call functions once more while the stack goes, and a call makes the log group
    # of its function.
    late = {f"/aws/lambda/{physical}" for kind, physical in created.values() if kind == "AWS::Lambda::Function"}
    region.delete()
    left = dict(region.inventory())
    assert {*left.pop("tables"), *left.pop("buckets")} == data
    assert set(left.pop("logs", ())) <= late
    assert left == {"roles": [role]}


def with_an_alarm_that_fails(template: Template, after: set[str]) -> Template:
    """The emulator refuses it, and not before what is `after` has been created."""
    alarm = {
        "Type": ALARM,
        "DependsOn": sorted(after),
        "Properties": {
            "ComparisonOperator": "GreaterThanThreshold",
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "Metrics": [{"Id": "sum", "Expression": "1 + 1"}],
        },
    }
    return {**template, "Resources": {**template["Resources"], "FailingAlarm": alarm}}


def test_a_first_deployment_that_fails_leaves_nothing_behind(region: Emulator, template: Template) -> None:
    """So that it can be repeated. It fails when all else has been made."""
    possible = without(template, cannot_be_emulated(template))
    conditional = {name for name, each in possible["Resources"].items() if "Condition" in each}
    assert region.create(with_an_alarm_that_fails(possible, set(possible["Resources"]) - conditional), {}) == (
        "ROLLBACK_COMPLETE"
    )
    assert [failure.partition(":")[0] for failure in region.failures()] == ["FailingAlarm"]
    assert region.inventory() == {}
    region.delete()
    assert region.create(possible, {}) == "CREATE_COMPLETE", region.failures()


def test_what_is_left_out_is_what_the_emulator_refuses(region: Emulator, template: Template) -> None:
    left_out = cannot_be_emulated(template)
    possible = without(template, left_out)
    composites = json.dumps([each for each in template["Resources"].values() if each["Type"] == COMPOSITE])
    left_out = {  # a deployment for each: those that others are composed of are of the same kind
        name for name in left_out if template["Resources"][name]["Type"] == ALARM and name not in composites
    }
    assert left_out
    for name in sorted(left_out):
        alone = {**possible, "Resources": {**possible["Resources"], name: template["Resources"][name]}}
        assert region.create(alone, {}) == "ROLLBACK_COMPLETE"
        failure = region.failures()[0]
        assert failure.startswith(f"{name}: ")
        assert "metric math" in failure
        region.delete()


def test_a_web_acl_is_left_out_because_the_emulator_has_no_association_of_one(
    region: Emulator, template: Template
) -> None:
    possible = without(template, cannot_be_emulated(template))
    with pytest.raises(ClientError, match=r"Unrecognized resource types: \[AWS::WAFv2::WebACLAssociation\]$"):
        region.create(possible, {"WebAcl": "true"})


def test_limits_of_cloudformation_are_kept(template: Template) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"""
    assert len(json.dumps(template)) < 1_000_000
    assert len(template["Resources"]) < 500
    assert len(template["Parameters"]) < 200
    assert len(template["Outputs"]) < 200
