"""Reading a template: resolved values, and errors for what is not supported."""

from pathlib import Path

import pytest

from local.settings import TEMPLATE
from local.template import REGION, Description, TemplateError, read_parameters, read_template


def test_the_projects_template_is_resolved_to_plain_strings() -> None:
    described = read_template(TEMPLATE, {"FrontendUrl": "http://127.0.0.1:3000"})
    assert described.functions
    for function in described.functions.values():
        assert function.code == TEMPLATE.parent / "functions" / function.short_name
        assert function.layers == (TEMPLATE.parent / "layers" / "shared",)
        for name, value in function.environment.items():
            assert isinstance(value, str), name
            assert "${" not in value
            assert "{'" not in value, f"{name} was not resolved"
    routes = {(route.method, route.path): route.function for api in described.apis for route in api.routes}
    assert routes["POST", "/v1/playground/run"] == "RunFunction"
    assert all(function in described.functions for function in routes.values())
    assert {"LedgerTable", "SessionsTable", "CatalogTable"} <= set(described.tables)
    assert described.apis[0].stage == "api"
    assert described.apis[0].responses["REQUEST_TOO_LARGE"].status == 413


def test_intrinsic_functions_are_resolved(description: Description) -> None:
    environment = description.functions["EchoFunction"].environment
    table = f"arn:aws:dynamodb:{REGION}:000000000000:table/playground-ThingsTable"
    assert environment == {
        "COMMON": "everywhere",
        "ONLY_ECHO": "1",
        "TABLE": "playground-ThingsTable",
        "TABLE_ARN": table,
        "BUCKET": "playground-filesbucket",
        "SECRET": f"arn:aws:secretsmanager:{REGION}:000000000000:secret:playground-MadeSecret",
        "JOINED": f"a-plain-{REGION}",
        "SUBSTITUTED": f"plain/https://front.example/${{literal}}/{table}",
        "CHOSEN": "no",
        "NUMBER": "7",
        "SWITCH": "true",
    }


def test_conditions_follow_the_parameters(fixtures: Path, description: Description) -> None:
    assert "FancyFunction" not in description.functions
    fancy = read_template(fixtures / "template.yaml", {"Mode": "fancy"})
    assert "FancyFunction" in fancy.functions
    environment = fancy.functions["EchoFunction"].environment
    assert (environment["CHOSEN"], environment["LEFT_OUT"]) == ("yes", "here")


def test_functions_are_described(fixtures: Path, description: Description) -> None:
    echo = description.functions["EchoFunction"]
    assert echo.code == fixtures / "functions" / "echo"
    assert echo.layers == (fixtures / "layer",)
    assert (echo.handler, echo.timeout, echo.memory) == ("app.handler", 20, 256)
    assert echo.short_name == "echo"
    for name in ("echo", "EchoFunction", "playground-EchoFunction", echo.arn):
        assert description.function(name) is echo
    assert description.function("nobody") is None


def test_routes_are_described(description: Description) -> None:
    (api,) = description.apis
    timeouts = {route.path: route.timeout for route in api.routes}
    assert (timeouts["/late"], timeouts["/slow"]) == (0.2, 29.0)
    assert ("ANY", "/echo") in {(route.method, route.path) for route in api.routes}
    assert api.binary_types == ("application/octet-stream",)
    assert {mock.method for mock in api.mocks} == {"OPTIONS"}


def test_other_resources_are_described(description: Description) -> None:
    assert description.buckets["FilesBucket"].versioned
    assert description.secrets["PlainSecret"].value == "as written"
    generate = description.secrets["MadeSecret"].generate
    assert generate is not None
    assert generate["PasswordLength"] == 40


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"Nothing": "x"}, "no parameter Nothing"),
        ({"Mode": "strange"}, "'strange' is none of plain, fancy"),
        ({"Origin": "ftp://x"}, "does not match"),
    ],
)
def test_parameters_are_checked(fixtures: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        read_parameters(fixtures / "template.yaml", given)


FUNCTION = """
Transform: AWS::Serverless-2016-10-31
Resources:
  OneFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      CodeUri: {code}
      Environment: {{ Variables: {{ VALUE: {value} }} }}
"""


@pytest.mark.parametrize(
    ("code", "value", "said"),
    [
        ("s3://bucket/key", "x", "CodeUri must name a folder"),
        ("code", "!Ref Nobody", "Nobody"),
        ("code", "!GetAtt OneFunctionRole.RoleId", "does not know OneFunctionRole.RoleId"),
        ("code", "!ImportValue x", "Fn::ImportValue is not supported"),
    ],
)
def test_unsupported_templates_are_reported(tmp_path: Path, code: str, value: str, said: str) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(FUNCTION.format(code=code, value=value), encoding="utf-8")
    with pytest.raises(TemplateError, match=said):
        read_template(path)


WEB = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties: {{ StageName: api, EndpointConfiguration: {{ Type: {endpoint} }} }}
  WebFunction:
    Type: AWS::Serverless::Function
    Properties:
      Handler: run.sh
      Runtime: python3.13
      CodeUri: code
      Architectures: [{architecture}]
      Layers: [{layer}]
      Environment: {{ Variables: {{ {wrapper} }} }}
      Events:
        Get:
          Type: Api
          Properties:
            {{ RestApiId: !Ref Api, Method: GET, Path: /x, ResponseTransferMode: {mode}, TimeoutInMillis: {timeout} }}
"""
WEB_VALUES = {
    "endpoint": "REGIONAL",
    "architecture": "arm64",
    "layer": '!Sub "arn:${AWS::Partition}:lambda:${AWS::Region}:753240598075:layer:LambdaAdapterLayerArm64:30"',
    "wrapper": "AWS_LAMBDA_EXEC_WRAPPER: /opt/bootstrap",
    "mode": "RESPONSE_STREAM",
    "timeout": "900000",
}


def read_web(folder: Path, **values: str) -> Description:
    path = folder / "template.yaml"
    path.write_text(WEB.format(**{**WEB_VALUES, **values}), encoding="utf-8")
    return read_template(path)


def test_a_function_behind_the_web_adapter_and_an_integration_that_streams(tmp_path: Path) -> None:
    described = read_web(tmp_path)
    function, (api,) = described.functions["WebFunction"], described.apis
    (route,) = api.routes
    assert (function.is_web, function.handler, function.layers) == (True, "run.sh", ())
    assert (route.streams, route.timeout, api.idle_timeout) == (True, 900.0, 300.0)


def test_an_edge_optimized_api_ends_silent_streams_earlier(tmp_path: Path) -> None:
    assert read_web(tmp_path, endpoint="EDGE").apis[0].idle_timeout == 30.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"layer": ""}, "the Lambda Web Adapter needs its layer and"),
        ({"wrapper": ""}, "the Lambda Web Adapter needs its layer and"),
        ({"wrapper": "AWS_LAMBDA_EXEC_WRAPPER: /opt/other"}, "the Lambda Web Adapter needs its layer and"),
        ({"wrapper": WEB_VALUES["wrapper"] + ", AWS_LWA_PORT: http"}, "AWS_LWA_PORT must be the number of a port"),
        ({"architecture": "x86_64"}, "the Lambda Web Adapter's layer is not for x86_64"),
        ({"layer": "arn:aws:lambda:us-east-1:123456789012:layer:Other:1"}, "is not a folder of this project"),
        ({"timeout": "900001"}, "a stream may take 50 to 900000"),
        ({"timeout": "49"}, "a stream may take 50 to 900000"),
    ],
)
def test_templates_that_fail_on_lambda_are_refused(tmp_path: Path, values: dict[str, str], said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        read_web(tmp_path, **values)
