"""A deployed stack for operators' commands: a CloudFormation stack in the engine whose outputs name the tables of the
tests, and the environment in which the AWS SDK finds it."""

import itertools
import json
from collections.abc import Mapping

import pytest

from local.engine import CREDENTIALS, Engine
from local.resources import client

_numbers = itertools.count(1)


def deploy(
    engine: Engine,
    outputs: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """The name of a new stack with these outputs and values of parameters."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": engine.endpoint_url}.items():
        monkeypatch.setenv(name, value)
    stack_name = f"playground-{next(_numbers)}"
    values = parameters or {}
    template = {
        **({"Parameters": {name: {"Type": "String"} for name in values}} if values else {}),
        "Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    cloudformation = client("cloudformation", engine.endpoint_url)
    try:
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        )
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
    finally:
        cloudformation.close()
    return stack_name
