"""template.yaml as the laptop stack needs it: plain values, nothing left to resolve.

SAM's own translator turns the template into CloudFormation (offline), so that routes, CORS answers and defaults are
what a deployment would have. What remains (Ref, Fn::GetAtt, Fn::Sub, Fn::Join, Fn::If, ...) is resolved here with the
names that the resources have locally. What the template does not mention does not exist.
"""

import copy
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

REGION = "us-east-1"
ACCOUNT = "000000000000"  # the store's own
STACK_NAME = "playground"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK_NAME}/local",
    "AWS::StackName": STACK_NAME,
    "AWS::URLSuffix": "amazonaws.com",
}
DEFAULT_INTEGRATION_TIMEOUT = 29.0  # seconds: API Gateway's limit for a REST integration, unless one is given
MIN_INTEGRATION_TIMEOUT_MS = 50
MAX_STREAM_TIMEOUT_MS = 900_000
# For how long a stream may be silent before API Gateway ends it, in seconds by type of endpoint.
IDLE_TIMEOUTS = {"EDGE": 30.0, "REGIONAL": 300.0, "PRIVATE": 300.0}
LOCAL_CODE = "s3://local/"  # the translator insists on S3 addresses; the key is the resource's own name

FUNCTION = "AWS::Lambda::Function"
EVENT_SOURCE = "AWS::Lambda::EventSourceMapping"

# The AWS Lambda Web Adapter: its layer, as its publisher names it, and the script in it that makes it the entry point.
ADAPTER_LAYER = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:layer:LambdaAdapterLayer(Arm64|X86):\d+")
ADAPTER_ARCHITECTURES = {"Arm64": "arm64", "X86": "x86_64"}
ADAPTER_BOOTSTRAP = "/opt/bootstrap"
EXEC_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
ADAPTER_PORTS = ("AWS_LWA_PORT", "AWS_LWA_READINESS_CHECK_PORT")


class TemplateError(Exception):
    """The template has something that the laptop stack does not support."""


@dataclass(frozen=True, slots=True)
class Function:
    logical_id: str
    name: str
    code: Path
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    environment: Mapping[str, str]
    layers: tuple[Path, ...]
    is_web: bool = False  # the handler is a script that starts a web server, behind the Lambda Web Adapter

    @property
    def short_name(self) -> str:
        """`RunFunction` is `run`, `MonthlyResetFunction` is `monthly-reset`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", self.logical_id.removesuffix("Function")).lower()

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"

    def is_called(self, name: str) -> bool:
        """Whether `name` is its logical id, physical name, ARN or short name."""
        return name in (self.logical_id, self.name, self.arn, self.short_name)


@dataclass(frozen=True, slots=True)
class Route:
    method: str  # ANY stands for all
    path: str  # as in the template: /v1/things/{id}
    function: str  # logical id
    timeout: float  # seconds
    streams: bool = False  # the response is passed on while the function writes it


@dataclass(frozen=True, slots=True)
class MockRoute:
    """An answer that the gateway gives by itself: the preflight requests of CORS."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """How the gateway words one kind of refusal."""

    status: int | None
    headers: Mapping[str, str]
    templates: Mapping[str, str]  # content type → text with $context variables


@dataclass(frozen=True, slots=True)
class Api:
    logical_id: str
    stage: str
    routes: tuple[Route, ...]
    mocks: tuple[MockRoute, ...]
    responses: Mapping[str, GatewayResponse]
    binary_types: tuple[str, ...]
    idle_timeout: float = IDLE_TIMEOUTS["EDGE"]  # seconds that a stream may be silent


@dataclass(frozen=True, slots=True)
class Table:
    logical_id: str
    name: str
    properties: Mapping[str, Any]  # as CloudFormation spells them


@dataclass(frozen=True, slots=True)
class Bucket:
    logical_id: str
    name: str
    versioned: bool


@dataclass(frozen=True, slots=True)
class Secret:
    logical_id: str
    name: str
    value: str | None  # the template's own text
    generate: Mapping[str, Any] | None  # GenerateSecretString


@dataclass(frozen=True, slots=True)
class Queue:
    logical_id: str
    name: str
    visibility_timeout: int  # seconds
    retention: int  # seconds
    redrive: tuple[str, int] | None  # logical id of the queue for what failed, and after how many times

    @property
    def url(self) -> str:
        """As on AWS; the store looks at the end of it only."""
        return queue_url(self.logical_id)


@dataclass(frozen=True, slots=True)
class Bus:
    logical_id: str
    name: str


@dataclass(frozen=True, slots=True)
class QueueSource:
    """A queue whose messages start a function."""

    function: str  # logical id, as are the others
    queue: str
    batch_size: int
    concurrency: int
    partial: bool  # whether the function says which messages failed


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A table whose changes start a function, in their order."""

    function: str
    table: str
    batch_size: int
    attempts: int
    bisect: bool
    partial: bool
    failures: str | None  # the queue for what was given up
    patterns: tuple[Mapping[str, Any], ...]  # a record that none of them matches is left out


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    function: str
    expression: str
    input: str
    attempts: int
    failures: str | None


@dataclass(frozen=True, slots=True)
class Description:
    parameters: Mapping[str, str]
    functions: Mapping[str, Function]
    apis: tuple[Api, ...]
    tables: Mapping[str, Table]
    buckets: Mapping[str, Bucket]
    secrets: Mapping[str, Secret]
    queues: Mapping[str, Queue]
    buses: Mapping[str, Bus]
    queue_sources: tuple[QueueSource, ...]
    stream_sources: tuple[StreamSource, ...]
    schedules: tuple[Schedule, ...]

    def function(self, name: str) -> Function | None:
        """A function by any of its names."""
        return next((function for function in self.functions.values() if function.is_called(name)), None)


def read_template(path: Path, parameters: Mapping[str, str] | None = None) -> Description:
    """Describe a template. `parameters` override the template's defaults. Raises TemplateError."""
    source = load_yaml(path.read_text(encoding="utf-8"))
    values = _parameter_values(source, parameters or {})
    folders = _take_folders(source, path.parent)
    translated = _translate(source, values)
    resources: dict[str, dict[str, Any]] = translated.get("Resources", {})
    resolver = _Resolver(values, translated, resources)
    present = {
        logical_id: {**resource, "Properties": resolver.resolve(resource.get("Properties", {}), logical_id)}
        for logical_id, resource in resources.items()
        if resource["Type"] in _READERS and resolver.condition(resource.get("Condition"))
    }
    names = {physical_name(name): name for name in resources}
    sources = [p for _, p in _of(present, EVENT_SOURCE)]
    return Description(
        parameters=values,
        functions={name: _function(name, p, folders) for name, p in _of(present, FUNCTION)},
        apis=tuple(_api(name, p, present) for name, p in _of(present, "AWS::ApiGateway::RestApi")),
        tables={name: Table(name, physical_name(name), p) for name, p in _of(present, "AWS::DynamoDB::Table")},
        buckets={name: _bucket(name, p) for name, p in _of(present, "AWS::S3::Bucket")},
        secrets={name: _secret(name, p) for name, p in _of(present, "AWS::SecretsManager::Secret")},
        queues={name: _queue(name, p, names) for name, p in _of(present, "AWS::SQS::Queue")},
        buses={name: Bus(name, p["Name"]) for name, p in _of(present, "AWS::Events::EventBus")},
        queue_sources=tuple(_queue_source(p, names) for p in sources if ":sqs:" in p["EventSourceArn"]),
        stream_sources=tuple(_stream_source(p, names) for p in sources if ":sqs:" not in p["EventSourceArn"]),
        schedules=tuple(_schedule(name, p, names) for name, p in _of(present, "AWS::Scheduler::Schedule")),
    )


def read_parameters(path: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of the template's parameters only. Raises TemplateError."""
    return _parameter_values(load_yaml(path.read_text(encoding="utf-8")), given or {})


def physical_name(logical_id: str) -> str:
    return f"{STACK_NAME}-{logical_id}"


def queue_url(logical_id: str) -> str:
    return f"https://sqs.{REGION}.{PSEUDO_PARAMETERS['AWS::URLSuffix']}/{ACCOUNT}/{physical_name(logical_id)}"


def bucket_name(logical_id: str) -> str:
    return physical_name(logical_id).lower()


_READERS = frozenset(
    {
        FUNCTION,
        "AWS::ApiGateway::RestApi",
        "AWS::ApiGateway::Stage",
        "AWS::DynamoDB::Table",
        "AWS::Events::EventBus",
        "AWS::S3::Bucket",
        "AWS::SQS::Queue",
        "AWS::Scheduler::Schedule",
        "AWS::SecretsManager::Secret",
        EVENT_SOURCE,
    }
)


# --- reading -----------------------------------------------------------------------------------------------------


# libyaml reads template.yaml in a tenth of the time; not every platform has it.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with CloudFormation's short tags (`!Ref x` is `{"Ref": "x"}`); dates stay text."""


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    value = loader.construct_scalar(node)
    return {name: value.split(".", 1) if suffix == "GetAtt" else value}


_Loader.add_multi_constructor("!", _short_tag)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))


def load_yaml(text: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader # nosec B506
    return document


def _parameter_values(source: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    declared: Mapping[str, Mapping[str, Any]] = source.get("Parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise TemplateError(f"the template has no parameter {', '.join(unknown)}")
    values = {}
    for name, parameter in declared.items():
        value = given.get(name, parameter.get("Default"))
        if value is None:
            raise TemplateError(f"parameter {name} has no default and was given no value")
        text = _text(value)
        allowed = [_text(item) for item in parameter.get("AllowedValues", [])]
        if allowed and text not in allowed:
            raise TemplateError(f"parameter {name}: {text!r} is none of {', '.join(allowed)}")
        pattern = parameter.get("AllowedPattern")
        if pattern is not None and re.fullmatch(pattern, text) is None:
            raise TemplateError(f"parameter {name}: {text!r} does not match {pattern}")
        values[name] = text
    return values


def _take_folders(source: dict[str, Any], root: Path) -> dict[str, Path]:
    """Where the code of functions and layers is, by S3 key; in `source` it becomes an S3 address."""
    folders = {}
    fallback = source.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    for logical_id, resource in source.get("Resources", {}).items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            key, folder = "CodeUri", properties.get("CodeUri", fallback)
        elif resource["Type"] == "AWS::Serverless::LayerVersion":
            key, folder = "ContentUri", properties.get("ContentUri")
        else:
            continue
        if not isinstance(folder, str) or "://" in folder:
            raise TemplateError(f"{logical_id}: {key} must name a folder of this project")
        folders[logical_id] = (root / folder).resolve()
        resource["Properties"] = {**properties, key: LOCAL_CODE + logical_id}
    return folders


def as_cloudformation(source: dict[str, Any], given: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the transform of CloudFormation makes of a packaged SAM template. Raises TemplateError."""
    return _translate(source, _parameter_values(source, given or {}))


def _translate(source: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    # Imported here because it takes 0.7 s, and reading the parameters does not need it.
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.arn_generator import ArnGenerator
    from samtranslator.translator.translator import Translator

    # The translator asks boto3's session for the region of the machine; here it is always the same one.
    ArnGenerator.BOTO_SESSION_REGION_NAME = REGION
    logger = logging.getLogger("samtranslator")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it announces every feature toggle that it does not find
    logging.getLogger("samtranslator.feature_toggle.feature_toggle").setLevel(logging.CRITICAL)
    try:
        translated: dict[str, Any] = Translator(None, Parser(), boto_session=_FixedRegion()).translate(
            copy.deepcopy(source), dict(values), get_managed_policy_map=dict
        )
    except Exception as error:
        raise TemplateError(_translator_message(error)) from error
    finally:
        logger.setLevel(level)
    return translated


class _FixedRegion:
    """As much of a boto3 session as the translator looks at."""

    region_name = REGION


def _translator_message(error: Exception) -> str:
    causes = getattr(error, "causes", None) or [error]
    return "; ".join(str(getattr(cause, "message", cause)) for cause in causes)


# --- resolving ---------------------------------------------------------------------------------------------------

_NO_VALUE = object()
_SUB_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")


class _Resolver:
    def __init__(
        self, parameters: Mapping[str, str], template: Mapping[str, Any], resources: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.parameters = parameters
        self.conditions: Mapping[str, Any] = template.get("Conditions", {})
        self.mappings: Mapping[str, Any] = template.get("Mappings", {})
        self.resources = resources

    def resolve(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            if len(value) == 1:
                ((name, argument),) = value.items()
                if name in ("Ref", "Condition") or name.startswith("Fn::"):
                    return self._intrinsic(name, argument, where)
            pairs = ((key, self.resolve(item, f"{where}.{key}")) for key, item in value.items())
            return {key: item for key, item in pairs if item is not _NO_VALUE}
        if isinstance(value, list | tuple):
            items = (self.resolve(item, where) for item in value)
            return [item for item in items if item is not _NO_VALUE]
        return value

    def condition(self, name: str | None) -> bool:
        return name is None or bool(self._logic(self.conditions[name], name))

    def _logic(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping) and len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Condition":
                return self.condition(argument)
            if name == "Fn::Not":
                return not self._logic(argument[0], where)
            if name == "Fn::And":
                return all(self._logic(item, where) for item in argument)
            if name == "Fn::Or":
                return any(self._logic(item, where) for item in argument)
            if name == "Fn::Equals":
                left, right = (_text(self.resolve(item, where)) for item in argument)
                return left == right
        raise TemplateError(f"condition {where} is not understood")

    def _intrinsic(self, name: str, argument: Any, where: str) -> Any:
        if name == "Ref":
            return self._ref(argument, where)
        if name == "Fn::If":
            chosen = argument[1] if self.condition(argument[0]) else argument[2]
            return self.resolve(chosen, where)
        if name == "Fn::GetAtt":
            resource, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
            return self._attribute(resource, attribute, where)
        if name == "Fn::Sub":
            return self._sub(argument, where)
        arguments = self.resolve(argument, where)
        if name == "Fn::Join":
            return _text(arguments[0]).join(_text(item) for item in arguments[1])
        if name == "Fn::Select":
            return arguments[1][int(arguments[0])]
        if name == "Fn::Split":
            return arguments[1].split(arguments[0])
        if name == "Fn::FindInMap":
            return self.mappings[arguments[0]][arguments[1]][arguments[2]]
        raise TemplateError(f"{where}: {name} is not supported by the laptop stack")

    def _ref(self, name: str, where: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self.parameters:
            return self.parameters[name]
        if name not in self.resources:
            raise TemplateError(f"{where}: nothing is called {name}")
        match self.resources[name]["Type"]:
            case "AWS::S3::Bucket":
                return bucket_name(name)
            case "AWS::SecretsManager::Secret":
                return self._attribute(name, "Id", where)
            case "AWS::Serverless::LayerVersion" | "AWS::Lambda::LayerVersion":
                return name
            case "AWS::ApiGateway::RestApi":
                return name.lower()
            case "AWS::SQS::Queue":
                return queue_url(name)
            case "AWS::Lambda::Alias":  # on a laptop a function has one version
                return self._attribute(self.resources[name]["Properties"]["FunctionName"]["Ref"], "Arn", where)
            case "AWS::Events::EventBus":
                return self.resolve(self.resources[name]["Properties"]["Name"], name)
            case _:
                return physical_name(name)

    def _attribute(self, name: str, attribute: str, where: str) -> str:
        if name not in self.resources:
            raise TemplateError(f"{where}: nothing is called {name}")
        kind = self.resources[name]["Type"]
        arns = {
            FUNCTION: f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{physical_name(name)}",
            "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{physical_name(name)}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{bucket_name(name)}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{physical_name(name)}",
            "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{physical_name(name)}",
        }
        if attribute == "Arn" and kind in arns:
            return arns[kind]
        if attribute == "Arn" and kind == "AWS::Events::EventBus":
            return f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{self._ref(name, where)}"
        # A real stream's ARN ends with the time at which it was made; who reads it here asks the store for that.
        if attribute == "StreamArn" and kind == "AWS::DynamoDB::Table":
            return f"{arns[kind]}/stream/local"
        # The random end of a real secret's ARN is not known before it exists; the store takes an ARN without it.
        if attribute == "Id" and kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{physical_name(name)}"
        raise TemplateError(f"{where}: the laptop stack does not know {name}.{attribute}")

    def _sub(self, argument: Any, where: str) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument

        def replacement(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in extra:
                return _text(self.resolve(extra[name], where))
            if "." in name:
                resource, attribute = name.split(".", 1)
                return self._attribute(resource, attribute, where)
            return _text(self._ref(name, where))

        return _SUB_VARIABLE.sub(replacement, text)


def _text(value: Any) -> str:
    """As CloudFormation turns values into strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return str(value)


# --- resources ---------------------------------------------------------------------------------------------------


def _of(resources: Mapping[str, Mapping[str, Any]], kind: str) -> Iterable[tuple[str, dict[str, Any]]]:
    return ((name, resource["Properties"]) for name, resource in sorted(resources.items()) if resource["Type"] == kind)


def _function(logical_id: str, properties: Mapping[str, Any], folders: Mapping[str, Path]) -> Function:
    variables = properties.get("Environment", {}).get("Variables", {})
    layers: list[str] = properties.get("Layers", [])
    return Function(
        logical_id=logical_id,
        name=physical_name(logical_id),
        code=folders[properties["Code"]["S3Key"]],
        handler=properties["Handler"],
        timeout=int(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
        environment={name: _text(value) for name, value in variables.items()},
        layers=tuple(_layer_folder(name, folders) for name in layers if ADAPTER_LAYER.fullmatch(name) is None),
        is_web=_is_web(logical_id, properties, variables, layers),
    )


def _is_web(
    logical_id: str, properties: Mapping[str, Any], variables: Mapping[str, Any], layers: Iterable[str]
) -> bool:
    """Whether the function is a web server behind the Lambda Web Adapter. Raises TemplateError for half of it: without
    its layer there is no script to start, and without the script Lambda looks for a Python handler."""
    adapters = [match[1] for match in map(ADAPTER_LAYER.fullmatch, layers) if match is not None]
    wrapper = variables.get(EXEC_WRAPPER)
    if not adapters and wrapper is None:
        return False
    if wrapper != ADAPTER_BOOTSTRAP or len(adapters) != 1:
        raise TemplateError(
            f"{logical_id}: the Lambda Web Adapter needs its layer and {EXEC_WRAPPER}={ADAPTER_BOOTSTRAP}"
        )
    architecture = properties.get("Architectures", ["x86_64"])[0]
    if ADAPTER_ARCHITECTURES[adapters[0]] != architecture:
        raise TemplateError(f"{logical_id}: the Lambda Web Adapter's layer is not for {architecture}")
    for name in ADAPTER_PORTS:
        if not _text(variables.get(name, "0")).isdigit():
            raise TemplateError(f"{logical_id}: {name} must be the number of a port")
    return True


def _layer_folder(name: str, folders: Mapping[str, Path]) -> Path:
    # The translator gives a layer's logical id a hash for an end; the S3 key kept the original.
    stem = re.sub(r"[0-9a-f]{10}$", "", name)
    if stem not in folders:
        raise TemplateError(f"layer {name} is not a folder of this project")
    return folders[stem]


def _api(logical_id: str, properties: Mapping[str, Any], resources: Mapping[str, Mapping[str, Any]]) -> Api:
    stages = [
        p["StageName"] for _, p in _of(resources, "AWS::ApiGateway::Stage") if p["RestApiId"] == logical_id.lower()
    ]
    body = properties["Body"]
    functions = {
        f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{physical_name(name)}": name
        for name, _ in _of(resources, FUNCTION)
    }
    routes, mocks = [], []
    for path, operations in body.get("paths", {}).items():
        for name, operation in operations.items():
            integration = operation.get("x-amazon-apigateway-integration")
            if integration is None:
                continue
            method = "ANY" if name == "x-amazon-apigateway-any-method" else name.upper()
            if integration["type"].lower() == "mock":
                mocks.append(_mock(method, path, integration))
            else:
                routes.append(_route(method, path, integration, functions))
    return Api(
        logical_id=logical_id,
        stage=stages[0] if stages else "",
        routes=tuple(routes),
        mocks=tuple(mocks),
        responses={
            kind: _gateway_response(response)
            for kind, response in body.get("x-amazon-apigateway-gateway-responses", {}).items()
        },
        binary_types=tuple(
            kind.replace("~1", "/")
            for kind in (body.get("x-amazon-apigateway-binary-media-types") or properties.get("BinaryMediaTypes") or ())
        ),
        idle_timeout=IDLE_TIMEOUTS[properties.get("EndpointConfiguration", {}).get("Types", ["EDGE"])[0]],
    )


def _route(method: str, path: str, integration: Mapping[str, Any], functions: Mapping[str, str]) -> Route:
    match = re.search(r"functions/(arn:.+?)/(?:invocations|response-streaming-invocations)$", integration["uri"])
    if integration["type"].lower() != "aws_proxy" or match is None or match[1] not in functions:
        raise TemplateError(f"{method} {path}: only proxy integrations with a function of this template are supported")
    streams = integration.get("responseTransferMode", "BUFFERED") == "STREAM"
    if streams != integration["uri"].endswith("/response-streaming-invocations"):
        raise TemplateError(f"{method} {path}: the integration's URI does not fit its response transfer mode")
    milliseconds = integration.get("timeoutInMillis")
    if milliseconds is None:
        return Route(method, path, functions[match[1]], DEFAULT_INTEGRATION_TIMEOUT, streams)
    # What is allowed without streaming depends on a quota of the account.
    if int(milliseconds) < MIN_INTEGRATION_TIMEOUT_MS or (streams and int(milliseconds) > MAX_STREAM_TIMEOUT_MS):
        limits = f"{MIN_INTEGRATION_TIMEOUT_MS} to {MAX_STREAM_TIMEOUT_MS}"
        raise TemplateError(f"{method} {path}: TimeoutInMillis is {milliseconds}; a stream may take {limits}")
    return Route(method, path, functions[match[1]], int(milliseconds) / 1000, streams)


def _mock(method: str, path: str, integration: Mapping[str, Any]) -> MockRoute:
    answer = integration["responses"]["default"]
    headers = {
        name.removeprefix("method.response.header."): _unquote(value)
        for name, value in answer.get("responseParameters", {}).items()
    }
    return MockRoute(
        method=method,
        path=path,
        status=int(answer["statusCode"]),
        headers=headers,
        body=answer.get("responseTemplates", {}).get("application/json", ""),
    )


def _gateway_response(response: Mapping[str, Any]) -> GatewayResponse:
    status = response.get("statusCode")
    prefix = "gatewayresponse.header."
    return GatewayResponse(
        status=None if status is None else int(status),
        headers={
            name.removeprefix(prefix): _unquote(value)
            for name, value in response.get("responseParameters", {}).items()
            if name.startswith(prefix)
        },
        templates=response.get("responseTemplates", {}),
    )


def _unquote(value: str) -> str:
    """Static values are written in single quotes."""
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == "'" else value


def _bucket(logical_id: str, properties: Mapping[str, Any]) -> Bucket:
    versioning = properties.get("VersioningConfiguration", {})
    return Bucket(logical_id, bucket_name(logical_id), versioned=versioning.get("Status") == "Enabled")


def _secret(logical_id: str, properties: Mapping[str, Any]) -> Secret:
    value = properties.get("SecretString")
    return Secret(
        logical_id,
        physical_name(logical_id),
        value=value if value is None or isinstance(value, str) else json.dumps(value),
        generate=properties.get("GenerateSecretString"),
    )


def _queue(logical_id: str, properties: Mapping[str, Any], names: Mapping[str, str]) -> Queue:
    redrive = properties.get("RedrivePolicy")
    return Queue(
        logical_id,
        physical_name(logical_id),
        visibility_timeout=int(properties.get("VisibilityTimeout", 30)),
        retention=int(properties.get("MessageRetentionPeriod", 345_600)),
        redrive=(_named(redrive["deadLetterTargetArn"], names), int(redrive["maxReceiveCount"])) if redrive else None,
    )


def _named(arn: str, names: Mapping[str, str]) -> str:
    """The logical id of a queue, table or function by its ARN or physical name."""
    name = arn.rpartition(":")[2].removeprefix("table/").partition("/")[0]
    if name not in names:
        raise TemplateError(f"{arn} is nothing of this template")
    return names[name]


def _queue_source(properties: Mapping[str, Any], names: Mapping[str, str]) -> QueueSource:
    return QueueSource(
        function=_named(properties["FunctionName"], names),
        queue=_named(properties["EventSourceArn"], names),
        batch_size=int(properties.get("BatchSize", 10)),
        concurrency=int(properties.get("ScalingConfig", {}).get("MaximumConcurrency", 5)),
        partial="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", ()),
    )


def _stream_source(properties: Mapping[str, Any], names: Mapping[str, str]) -> StreamSource:
    failures = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    filters = properties.get("FilterCriteria", {}).get("Filters", ())
    return StreamSource(
        function=_named(properties["FunctionName"], names),
        table=_named(properties["EventSourceArn"], names),
        batch_size=int(properties.get("BatchSize", 100)),
        attempts=1 + int(properties.get("MaximumRetryAttempts", 10)),
        bisect=bool(properties.get("BisectBatchOnFunctionError", False)),
        partial="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", ()),
        failures=_named(failures, names) if failures else None,
        patterns=tuple(json.loads(item["Pattern"]) for item in filters),
    )


def _schedule(name: str, properties: Mapping[str, Any], names: Mapping[str, str]) -> Schedule:
    target = properties["Target"]
    failures = target.get("DeadLetterConfig", {}).get("Arn")
    return Schedule(
        name=name,
        function=_named(target["Arn"], names),
        expression=properties["ScheduleExpression"],
        input=target.get("Input", "{}"),
        attempts=1 + int(target.get("RetryPolicy", {}).get("MaximumRetryAttempts", 2)),
        failures=_named(failures, names) if failures else None,
    )
