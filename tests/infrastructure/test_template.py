"""template.yaml against the code: what is described is what the functions need, and no more."""

import ast
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.cron import next_time
from local.settings import read_settings
from local.stack import laptop_only
from local.template import Function, read_template
from playground import settings as settings_module
from playground.adapters.dynamo_keys import guard_key
from playground.adapters.dynamo_ledger import FILTERS_OF_RUNS, INDEX_OF_RUNS
from playground.adapters.prices import load_prices
from playground.asgi import READY_PATH, RESTORED_PATH
from playground.http import BASE_PATH, IDLE_TIMEOUT, MAPPED_PATH, METHODS, STREAM_TIMEOUT
from playground.observability import Metric, metrics
from playground.settings import GuardFunctionSettings, Settings
from playground.usecases.run_anonymously import STORE_RESERVE_SECONDS
from playground.usecases.run_prompt import COUNT_TIMEOUT_SECONDS, LEDGER_RESERVE_SECONDS
from tests.kit.template import template_description, template_source

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "unit" / "stored"
SOURCE = template_source()
RESOURCES: dict[str, dict[str, Any]] = SOURCE["Resources"]
DESCRIPTION = template_description()
FUNCTIONS = sorted(DESCRIPTION.functions.values(), key=lambda function: function.logical_id)
TABLES = sorted(DESCRIPTION.tables.values(), key=lambda table: table.logical_id)
MAX_REST_INTEGRATION_SECONDS = 29  # s, for a buffered answer

WEB_FUNCTIONS = {"RunFunction", "StreamFunction"}  # behind the Web Adapter
ADAPTER = {
    "AWS_LAMBDA_EXEC_WRAPPER",
    "AWS_LWA_INVOKE_MODE",
    "AWS_LWA_PORT",
    "AWS_LWA_READINESS_CHECK_PATH",
    "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH",
}
LAPTOP_ONLY = {"PAY_PAGE_URL"}
POWERTOOLS = {"POWERTOOLS_LOG_LEVEL"}  # read by Powertools itself, never by our settings
COMMON = set(SOURCE["Globals"]["Function"]["Environment"]["Variables"])
# Services that a function may be allowed to use, and what in them.
ACTIONS = {
    "AWS::DynamoDB::Table": {
        "dynamodb:GetItem",
        "dynamodb:BatchGetItem",
        "dynamodb:Query",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:ConditionCheckItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:Scan",
    },
    "AWS::S3::Bucket": {
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:ListBucket",
    },
    "AWS::SQS::Queue": {"sqs:SendMessage"},
    "AWS::Events::EventBus": {"events:PutEvents"},
    "AWS::SecretsManager::Secret": {"secretsmanager:GetSecretValue"},
}

each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.short_name)
each_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.logical_id)


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def app_of(function: Function) -> ast.Module:
    return ast.parse((function.code / "app.py").read_text(encoding="utf-8"))


def settings_of(function: Function) -> type[Settings]:
    """The class whose `load` the function calls."""
    [name] = {
        node.func.value.id
        for node in ast.walk(app_of(function))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "load"
        and isinstance(node.func.value, ast.Name)
    }
    found = getattr(settings_module, name)
    assert issubclass(found, Settings)
    return found  # type: ignore[no-any-return]


def variables_of(kind: type[Settings]) -> set[str]:
    return {name.upper() for name in kind.model_fields}


# --- functions and their code -----------------------------------------------------------------------------------------


def test_every_folder_is_a_function_and_every_function_has_a_folder() -> None:
    folders = {path.parent for path in (ROOT / "functions").glob("*/app.py")}

    assert {function.code for function in FUNCTIONS} == folders
    assert {function.short_name for function in FUNCTIONS} == {folder.name for folder in folders}


@each_function
def test_the_handler_is_in_the_app(function: Function) -> None:
    if function.logical_id in WEB_FUNCTIONS:
        assert function.handler == "run.sh"
        assert os.access(function.code / "run.sh", os.X_OK)
        assert " app:web " in (function.code / "run.sh").read_text(encoding="utf-8")
    else:
        assert function.handler == "app.handler"
    body = app_of(function).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    assert "handler" in names | {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assert function.layers == ((ROOT / "layers/shared").resolve(),)


@each_function
def test_runtime_and_layer_are_of_one_python(function: Function) -> None:
    common = SOURCE["Globals"]["Function"]
    layer = RESOURCES["SharedLayer"]

    assert "Runtime" not in RESOURCES[function.logical_id]["Properties"]
    assert [common["Runtime"]] == layer["Properties"]["CompatibleRuntimes"] == [layer["Metadata"]["BuildMethod"]]
    assert common["Architectures"] == layer["Properties"]["CompatibleArchitectures"]


@each_function
def test_its_settings_accept_its_environment(function: Function) -> None:
    settings_of(function).load(function.environment)


def test_every_global_variable_is_read_by_a_function() -> None:
    assert set().union(*(variables_of(settings_of(function)) for function in FUNCTIONS)) >= COMMON - POWERTOOLS


def test_what_is_for_a_laptop_is_set_there_and_nowhere_else() -> None:
    settings = read_settings({})
    read = set().union(*(variables_of(settings_of(function)) for function in FUNCTIONS))

    assert set(laptop_only(settings)) == LAPTOP_ONLY
    assert read >= LAPTOP_ONLY
    assert not any(LAPTOP_ONLY & set(function.environment) for function in FUNCTIONS)
    for function in FUNCTIONS:
        settings_of(function).load({**function.environment, **laptop_only(settings)})
    assert "PAY_PAGE_URL" not in laptop_only(read_settings({"STRIPE_SECRET_KEY": "sk_test_1"}))


@each_function
def test_it_has_the_variables_that_it_reads_and_no_others(function: Function) -> None:
    variables = RESOURCES[function.logical_id]["Properties"]["Environment"]["Variables"]
    own = set(variables) - (ADAPTER if function.logical_id in WEB_FUNCTIONS else set())
    read = variables_of(settings_of(function)) - LAPTOP_ONLY

    assert set(function.environment) == set(variables) | COMMON
    assert own <= read <= own | COMMON


@each_function
def test_its_service_name_is_its_own(function: Function) -> None:
    """Metrics and alarms are told apart by it."""
    assert function.environment["POWERTOOLS_SERVICE_NAME"] == function.short_name


@each_function
def test_no_variable_holds_a_secret(function: Function) -> None:
    text = "\n".join(function.environment.values())

    assert "resolve:secretsmanager" not in text
    for name in function.environment:
        assert not re.search(r"(API_KEY|PASSWORD|TOKEN|SECRET)$", name), name


@pytest.mark.parametrize("algorithm", SOURCE["Parameters"]["AuthAlgorithm"]["AllowedValues"])
def test_settings_accept_every_algorithm_that_can_be_deployed(algorithm: str) -> None:
    description = read_template(ROOT / "template.yaml", {"AuthAlgorithm": algorithm})
    run = description.functions["RunFunction"]

    assert settings_of(run).load(run.environment).model_dump()["auth_algorithm"] == algorithm


# --- time -------------------------------------------------------------------------------------------------------------


def events_of(function: str) -> list[dict[str, Any]]:
    return [event["Properties"] for event in RESOURCES[function]["Properties"]["Events"].values()]


def test_what_is_behind_the_api_ends_before_the_gateway_gives_up() -> None:
    [api] = DESCRIPTION.apis

    for name in {route.function for route in api.routes} - WEB_FUNCTIONS:
        assert 0 < DESCRIPTION.functions[name].timeout <= MAX_REST_INTEGRATION_SECONDS
        assert not any("ResponseTransferMode" in event for event in events_of(name))


@pytest.mark.parametrize("name", sorted(WEB_FUNCTIONS))
def test_of_a_streamed_answer_each_part_ends_before_what_waits_for_it(name: str) -> None:
    """The gateway after the function, which ends after model and ledger if there is time."""
    function = DESCRIPTION.functions[name]
    for event in events_of(name):
        assert event["ResponseTransferMode"] == "RESPONSE_STREAM"
        assert function.timeout < event["TimeoutInMillis"] / 1000 <= STREAM_TIMEOUT.total_seconds()
    assert function.environment["AWS_LWA_READINESS_CHECK_PATH"] == READY_PATH
    assert function.environment["AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH"] == RESTORED_PATH
    assert function.environment["AWS_LWA_INVOKE_MODE"] == "response_stream"


SNAPSHOTS = {"RunFunction", "StreamFunction", "EstimateFunction"}


def test_snapshots_are_of_published_versions_and_only_if_the_parameter_says_so() -> None:
    """Requests go to the alias in either case. A changed setting or layer makes a version, too: the alias would go on
    with the former one."""
    for function in FUNCTIONS:
        properties = RESOURCES[function.logical_id]["Properties"]
        if function.logical_id in SNAPSHOTS:
            assert properties["AutoPublishAlias"] == "live"
            assert properties["AutoPublishAliasAllProperties"] is True
            assert properties["SnapStart"] == {"ApplyOn": {"Fn::If": ["TakesSnapshots", "PublishedVersions", "None"]}}
            # Lambda takes no snapshots of functions with these.
            assert not {"EphemeralStorage", "FileSystemConfigs", "ProvisionedConcurrencyConfig"} & set(properties)
        else:
            assert not {"AutoPublishAlias", "SnapStart"} & set(properties)
    assert SOURCE["Conditions"]["TakesSnapshots"] == {"Fn::Equals": [{"Ref": "SnapStart"}, "true"]}


def test_with_snapshots_the_same_functions_answer() -> None:
    [api], [other] = DESCRIPTION.apis, read_template(ROOT / "template.yaml", {"SnapStart": "true"}).apis
    assert api.routes == other.routes


def test_the_model_has_its_whole_time_where_the_answer_is_streamed() -> None:
    """Where it is not, an answer of which nothing comes for 5 min is ended by the gateway: the function's timeout, and
    with it the time of the model, is shorter."""
    stream, run = DESCRIPTION.functions["StreamFunction"], DESCRIPTION.functions["RunFunction"]
    model = float(stream.environment["MODEL_TIMEOUT_SECONDS"])

    assert model == float(run.environment["MODEL_TIMEOUT_SECONDS"]) == 300
    assert COUNT_TIMEOUT_SECONDS + model + LEDGER_RESERVE_SECONDS < stream.timeout
    assert model - 20 < run.timeout - LEDGER_RESERVE_SECONDS < run.timeout < IDLE_TIMEOUT.total_seconds()


def test_an_anonymous_run_has_time_for_the_model_and_for_the_store() -> None:
    anonymous = DESCRIPTION.functions["AnonymousFunction"]
    model = float(anonymous.environment["MODEL_TIMEOUT_SECONDS"])

    assert model + STORE_RESERVE_SECONDS < anonymous.timeout < MAX_REST_INTEGRATION_SECONDS


def test_an_estimate_has_time_to_guess_when_the_count_does_not_come() -> None:
    estimate = DESCRIPTION.functions["EstimateFunction"]

    assert float(estimate.environment["MODEL_TIMEOUT_SECONDS"]) + LEDGER_RESERVE_SECONDS < estimate.timeout


def test_a_count_leaves_most_of_a_run_to_the_answer() -> None:
    run = DESCRIPTION.functions["RunFunction"]

    assert float(run.environment["MODEL_TIMEOUT_SECONDS"]) > 4 * COUNT_TIMEOUT_SECONDS


# --- permissions ------------------------------------------------------------------------------------------------------


def statements(function: Function) -> Iterator[dict[str, Any]]:
    for policy in RESOURCES[function.logical_id]["Properties"]["Policies"]:
        assert set(policy) == {"Version", "Statement"}  # no managed policy, no SAM template
        yield from policy["Statement"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def target_of(resource: Any) -> tuple[str, str]:
    """Which resource of this template an ARN is of, and what follows it."""
    match resource:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Ref": name}:
            return name, ""
        case {"Fn::Sub": str(text)}:
            found = re.fullmatch(r"\$\{(\w+)\.Arn\}(/.*)", text)
            assert found is not None, text
            return found[1], found[2]
    raise AssertionError(f"not an ARN of this template: {resource}")


CONDITIONS = {
    ("guard", "Guard"): {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["CONTROL"]}},
    ("credits", "Usage"): {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["USER#*"]}},
    ("catalog", "Usage"): {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["PACKAGE#*", "PACKAGES#*", "RATINGS#*"]}
    },
    ("sessions", "Ratings"): {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["RATINGS#*"]}},
}
"""Of a table that several functions share, each may touch the items that are its own."""


@each_function
def test_it_may_do_named_things_with_named_resources(function: Function) -> None:
    for statement in statements(function):
        assert set(statement) - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
        assert statement.get("Condition") == CONDITIONS.get((function.short_name, statement["Sid"]))
        assert statement["Effect"] == "Allow"
        for resource in listed(statement["Resource"]):
            name, suffix = target_of(resource)
            kind = RESOURCES[name]["Type"]
            assert set(listed(statement["Action"])) <= ACTIONS[kind]
            if kind == "AWS::S3::Bucket":
                assert suffix in ("", "/packages/*", "/sessions/*")
                assert (suffix == "") is (statement["Action"] == "s3:ListBucket")
                assert suffix in ("", "/sessions/*") or statement["Action"] == "s3:GetObject"
            elif kind == "AWS::DynamoDB::Table":
                assert suffix == "" or re.fullmatch(r"/index/[a-z_]+", suffix)
            else:
                assert suffix == ""


@each_function
def test_a_reader_of_objects_may_list_the_bucket(function: Function) -> None:
    """Without s3:ListBucket, S3 answers 403 AccessDenied for it, which the code takes for a store that is not there."""
    allowed = {action for statement in statements(function) for action in listed(statement["Action"])}

    assert ("s3:GetObject" in allowed) is ("s3:ListBucket" in allowed)


@each_function
def test_it_may_use_what_its_variables_name_and_nothing_else(function: Function) -> None:
    variables = RESOURCES[function.logical_id]["Properties"]["Environment"]["Variables"]
    named = {value["Ref"] for value in variables.values() if isinstance(value, dict)} - SOURCE["Parameters"].keys()
    allowed = {target_of(item)[0] for statement in statements(function) for item in listed(statement["Resource"])}

    assert allowed == named


def test_who_scans_the_ledger_is_named() -> None:
    """A scan reads the whole table: an audit of everybody, and the weekly comparison of all purchases."""
    allowed = {
        function.short_name
        for function in FUNCTIONS
        for statement in statements(function)
        if "dynamodb:Scan" in listed(statement["Action"])
    }

    assert allowed == {"audit", "reconcile"}


def test_an_audit_reads_and_nothing_else() -> None:
    reads = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"}
    allowed = {
        action
        for statement in statements(DESCRIPTION.functions["AuditFunction"])
        for action in listed(statement["Action"])
    }

    assert allowed == reads
    assert not set(RESOURCES["AuditFunction"]["Properties"]) & {"Events", "FunctionUrlConfig", "EventInvokeConfig"}


def test_scheduled_work_cannot_read_more_than_the_accounts_it_finds() -> None:
    """Entries, receipts and conversations are for audits; who runs every five minutes has no rights on them."""
    reset = DESCRIPTION.functions["ResetFunction"]
    on_tables = {
        (target_of(resource), action)
        for statement in statements(reset)
        for resource in listed(statement["Resource"])
        for action in listed(statement["Action"])
        if action.startswith("dynamodb:")
    }

    assert {name for (name, _), _ in on_tables} == {"LedgerTable"}
    assert {action for (_, suffix), action in on_tables if not suffix} == {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
    }


def test_strangers_reach_packages_and_counters_and_nothing_else() -> None:
    allowed = {
        (target_of(resource)[0], action)
        for statement in statements(DESCRIPTION.functions["AnonymousFunction"])
        for resource in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }

    assert allowed == {
        ("VisitorsTable", "dynamodb:PutItem"),
        ("VisitorsTable", "dynamodb:UpdateItem"),
        ("VisitorsTable", "dynamodb:DeleteItem"),
        ("CatalogTable", "dynamodb:GetItem"),
        ("ContentBucket", "s3:GetObject"),
        ("ContentBucket", "s3:ListBucket"),
        ("VisitorSecret", "secretsmanager:GetSecretValue"),
        ("AnthropicSecret", "secretsmanager:GetSecretValue"),
    }


def test_anonymous_runs_are_off_unless_they_are_switched_on() -> None:
    assert DESCRIPTION.parameters["AnonymousRuns"] == "false"
    assert DESCRIPTION.functions["AnonymousFunction"].environment["ANONYMOUS_RUNS"] == "false"


def test_the_throttle_of_anonymous_runs_is_on_their_route() -> None:
    """A path is written with ~1 for its slashes there; one that is misspelt would throttle nothing."""
    settings = RESOURCES["Api"]["Properties"]["MethodSettings"]
    [throttled] = [item for item in settings if item["ResourcePath"].endswith("anonymous-run")]
    [api] = DESCRIPTION.apis
    [route] = [route for route in api.routes if route.function == "AnonymousFunction"]

    assert throttled["ResourcePath"] == "/" + route.path.replace("/", "~1")
    assert throttled["HttpMethod"] == route.method
    assert throttled["ThrottlingRateLimit"] <= throttled["ThrottlingBurstLimit"] <= 20


def test_the_guard_can_touch_no_account() -> None:
    """Of the ledger it reads and writes the items that control runs: the condition is on their partition key."""
    guard = {statement["Sid"]: statement for statement in statements(DESCRIPTION.functions["GuardFunction"])}

    assert set(guard) == {"Guard", "Spend"}
    assert guard["Guard"]["Resource"] == {"Fn::GetAtt": ["LedgerTable", "Arn"]}
    assert guard["Guard"]["Action"] == ["dynamodb:GetItem", "dynamodb:PutItem"]
    [(operator, keys)] = guard["Guard"]["Condition"].items()
    assert (operator, keys) == ("ForAllValues:StringEquals", {"dynamodb:LeadingKeys": [guard_key("").pk]})
    assert guard["Spend"]["Resource"] == {"Fn::GetAtt": ["SpendTable", "Arn"]}
    assert "dynamodb:DeleteItem" not in guard["Spend"]["Action"]


def test_a_shard_of_a_stream_has_two_readers_at_most() -> None:
    tables = [source["Stream"]["Fn::GetAtt"][0] for _, source in STREAMED.values()]

    assert max(tables.count(table) for table in tables) <= 2


def test_the_alarms_of_the_ceiling_are_raised_at_what_the_description_says() -> None:
    raised = {
        name: alarm["Threshold"]
        for name, alarm in ALARMS.items()
        if alarm.get("MetricName") == Metric.SPEND_PERCENT.value
    }

    assert raised == {f"Spend{percent}Alarm": percent for percent in (50, 80, 100)}
    assert {ALARMS[name]["ComparisonOperator"] for name in raised} == {"GreaterThanOrEqualToThreshold"}
    assert {ALARMS[name]["Statistic"] for name in raised} == {"Maximum"}
    assert read_settings_of_guard().daily_ceiling_dollars == 100
    assert read_settings_of_guard().pause_free_runs is False


def read_settings_of_guard() -> GuardFunctionSettings:
    return GuardFunctionSettings.load(DESCRIPTION.functions["GuardFunction"].environment)


def test_no_request_can_scan_a_table() -> None:
    [api] = DESCRIPTION.apis
    for name in {route.function for route in api.routes}:
        for statement in statements(DESCRIPTION.functions[name]):
            assert "dynamodb:Scan" not in listed(statement["Action"])


@each_function
def test_a_role_is_not_brought_along(function: Function) -> None:
    assert "Role" not in RESOURCES[function.logical_id]["Properties"]


@pytest.mark.parametrize("name", ["EstimateFunction", "CatalogFunction", "CreditsFunction"])
def test_who_only_reads_conversations_and_packages_may_only_read_them(name: str) -> None:
    for statement in statements(DESCRIPTION.functions[name]):
        if statement["Sid"] in ("Sessions", "Catalog"):
            assert set(listed(statement["Action"])) <= {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"}


# --- what is kept -----------------------------------------------------------------------------------------------------


@each_function
def test_its_log_has_an_end(function: Function) -> None:
    groups = of_type("AWS::Logs::LogGroup").values()
    [group] = [
        group for group in groups if group["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{{function.logical_id}}}"}
    ]

    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert 1 <= int(DESCRIPTION.parameters["LogRetentionDays"]) <= 400


@each_table
def test_a_table_survives_mistakes(table: Any) -> None:
    assert table.properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table.properties["DeletionProtectionEnabled"] is True
    assert table.properties["SSESpecification"] == {"SSEEnabled": True}
    assert table.properties["BillingMode"] == "PAY_PER_REQUEST"


def test_what_outlives_the_stack_does_not_outlive_a_first_deployment_that_failed() -> None:
    """UpdateReplacePolicy knows no such value. CloudFormation cannot delete a table that is protected, so the first
    deployment does not protect any."""
    retained = {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in RESOURCES.items()
        if "DeletionPolicy" in resource or "UpdateReplacePolicy" in resource
    }
    data = {name for name, it in RESOURCES.items() if it["Type"] in ("AWS::DynamoDB::Table", "AWS::S3::Bucket")}
    assert retained == dict.fromkeys(
        data | {"GatewayLogsRole", "GatewayLogsAccount"}, ("RetainExceptOnCreate", "Retain")
    )
    first = read_template(ROOT / "template.yaml", {"ProtectTables": "false"})
    assert {table.properties["DeletionProtectionEnabled"] for table in first.tables.values()} == {False}


@each_table
def test_a_table_defines_the_attributes_of_its_keys_and_no_others(table: Any) -> None:
    schemas = [table.properties, *table.properties.get("GlobalSecondaryIndexes", [])]
    keys = {key["AttributeName"] for schema in schemas for key in schema["KeySchema"]}

    assert {attribute["AttributeName"] for attribute in table.properties["AttributeDefinitions"]} == keys


def test_an_index_projects_what_its_queries_filter_by() -> None:
    """An attribute that is not projected is absent for a filter, which then finds nothing; the local engine would look
    into the table."""
    properties = RESOURCES["LedgerTable"]["Properties"]
    [by_end] = [index for index in properties["GlobalSecondaryIndexes"] if index["IndexName"] == INDEX_OF_RUNS]
    assert set(by_end["Projection"]["NonKeyAttributes"]) == set(FILTERS_OF_RUNS)


def test_receipts_of_every_version_are_in_the_index_of_runs() -> None:
    """It is filled from what is stored when it is added. Of other items only subscriptions have its attribute, at most
    one for each user."""
    stored = {path: json.loads(path.read_text(encoding="utf-8")) for path in STORED.glob("*/*.json")}
    kinds = {path: path.name.partition(" ")[0] for path in stored}
    found = {path for path, item in stored.items() if "ended_at" in item}
    assert {path for path in stored if kinds[path] == "run"} <= found
    assert {kinds[path] for path in found} == {"run", "subscription"}
    assert {kind for path in found for kind in stored[path]["ended_at"]} == {"S"}


def test_nothing_in_the_bucket_is_public() -> None:
    for name, properties in of_type("AWS::S3::Bucket").items():
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(properties["PublicAccessBlockConfiguration"]) == 4
        if name != "PageBucket":  # has nothing that is not in web/
            assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert "BucketEncryption" in properties


# --- routes -----------------------------------------------------------------------------------------------------------


def routes_in_code(function: Function) -> set[tuple[str, str]]:
    """(method, path) of every `@app.get("…")` and the like."""
    return {
        (decorator.func.attr.upper(), BASE_PATH + str(decorator.args[0].value))
        for node in ast.walk(app_of(function))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Attribute)
        and isinstance(decorator.func.value, ast.Name)
        and decorator.func.value.id == "app"
        and isinstance(decorator.args[0], ast.Constant)
    }


@each_function
def test_every_route_of_the_template_is_one_of_the_code_and_the_other_way_round(function: Function) -> None:
    [api] = DESCRIPTION.apis
    described = {(route.method, route.path) for route in api.routes if route.function == function.logical_id}
    described -= {("OPTIONS", f"{BASE_PATH}/{{proxy+}}")}  # preflights, which the frame of the routes answers
    in_code = {(method, re.sub(r"<(\w+)>", r"{\1}", path)) for method, path in routes_in_code(function)}

    assert described == in_code
    assert bool(described) is (function.logical_id not in UNATTENDED | ON_DEMAND)


def test_the_stage_and_the_base_path_make_that_of_the_contract() -> None:
    [api] = DESCRIPTION.apis

    assert f"/{api.stage}{BASE_PATH}" == MAPPED_PATH == "/api/v1"
    assert SOURCE["Outputs"]["ApiUrl"]["Value"]["Fn::Sub"].endswith("/api/v1")


def test_a_route_is_waited_for_as_long_as_its_function_runs() -> None:
    [api] = DESCRIPTION.apis

    for route in api.routes:
        assert route.timeout >= DESCRIPTION.functions[route.function].timeout


def test_browsers_may_send_what_the_functions_take() -> None:
    """The gateway answers preflight requests, the functions everything else: both have to allow the same."""
    [api] = DESCRIPTION.apis
    for mock in api.mocks:
        headers = {name.lower(): value for name, value in mock.headers.items()}
        assert headers["access-control-allow-origin"] == DESCRIPTION.parameters["FrontendUrl"]
        assert set(headers["access-control-allow-headers"].split(",")) == {
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
        }
        assert headers["access-control-allow-methods"] == METHODS
    answered = {mock.path for mock in api.mocks} | {route.path for route in api.routes if route.method == "OPTIONS"}
    assert answered == {route.path for route in api.routes}


def test_preflights_of_unknown_paths_are_answered() -> None:
    """By the one function that any path leads to; the request that follows gets the gateway's 404."""
    [api] = DESCRIPTION.apis
    [(path, function)] = [(route.path, route.function) for route in api.routes if route.method == "OPTIONS"]
    assert (path, function) == (f"{BASE_PATH}/{{proxy+}}", "CatalogFunction")


@pytest.mark.parametrize(
    ("extra", "named"), [("", "https://prpm.dev"), ("https://a.example,http://localhost:5173", "*")]
)
def test_the_gateway_names_one_origin_or_any(extra: str, named: str) -> None:
    """It cannot tell one of several from another. The functions can, and name only those that are listed."""
    description = read_template(ROOT / "template.yaml", {"ExtraOrigins": extra})
    [api] = description.apis
    said = [mock.headers for mock in api.mocks] + [response.headers for response in api.responses.values()]
    assert {headers["Access-Control-Allow-Origin"] for headers in said} == {named}
    assert {function.environment["EXTRA_ORIGINS"] for function in description.functions.values()} == {extra}


@pytest.mark.parametrize("value", ["*", "https://a.example/", "https://*.example", "https://a.example,", "a.example"])
def test_what_is_no_list_of_origins_is_refused(value: str) -> None:
    pattern = SOURCE["Parameters"]["ExtraOrigins"]["AllowedPattern"]
    assert re.fullmatch(pattern, value) is None


def test_every_route_is_throttled_by_itself() -> None:
    """A method's settings replace those of the stage altogether, so each has all of them. What the API of Claude and
    Stripe limits for all of us together has lower limits than what only reads our own store."""
    [api] = DESCRIPTION.apis
    settings = of_type("AWS::Serverless::Api")["Api"]["MethodSettings"]
    found = {(each["HttpMethod"], each["ResourcePath"]): each for each in settings}
    assert len(found) == len(settings), "a method has two settings"
    default = found.pop(("*", "/*"))

    routes = {(route.method, f"/{route.path.replace('/', '~1')}") for route in api.routes}
    assert found.keys() == routes
    for each in settings:
        assert each["MetricsEnabled"] is True
        assert 0 < each["ThrottlingRateLimit"] <= default["ThrottlingRateLimit"]
        assert each["ThrottlingRateLimit"] <= each["ThrottlingBurstLimit"] <= default["ThrottlingBurstLimit"]
    reads = found["GET", "/~1v1~1playground~1credits"]["ThrottlingRateLimit"]
    assert found["POST", "/~1v1~1playground~1estimate"]["ThrottlingRateLimit"] < reads
    assert found["POST", "/~1v1~1playground~1credits~1purchase"]["ThrottlingRateLimit"] < reads


GATEWAY_RESPONSES: dict[str, dict[str, Any]] = RESOURCES["Api"]["Properties"]["GatewayResponses"]


@pytest.mark.parametrize("kind", GATEWAY_RESPONSES)
def test_what_the_gateway_says_itself_has_the_form_of_every_error_and_words_of_ours(kind: str) -> None:
    """Its own messages may repeat what was sent: the Authorization header, for one."""
    [(content_type, text)] = GATEWAY_RESPONSES[kind]["ResponseTemplates"].items()
    body = json.loads(text)

    assert content_type == "application/json"
    assert set(body) == {"error", "message", "request_id"}
    assert re.findall(r"\$[a-zA-Z.{]+", text) == ["$context.requestId"]
    assert body["request_id"] == "$context.requestId"
    assert f"`{body['error']}`" in (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", GATEWAY_RESPONSES)
def test_browsers_may_read_what_the_gateway_says_itself(kind: str) -> None:
    [api] = DESCRIPTION.apis
    headers = {name.lower(): value for name, value in api.responses[kind].headers.items()}

    assert headers["access-control-allow-origin"] == DESCRIPTION.parameters["FrontendUrl"]
    assert "retry-after" in headers["access-control-expose-headers"].split(",")
    assert headers["cache-control"] == "no-store"


# --- schedules --------------------------------------------------------------------------------------------------------


def started_by(kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Events of a kind, with the function that each starts."""
    return {
        event_name: (name, event["Properties"])
        for name, properties in of_type("AWS::Serverless::Function").items()
        for event_name, event in properties.get("Events", {}).items()
        if event["Type"] == kind
    }


SCHEDULES, QUEUED, STREAMED = started_by("ScheduleV2"), started_by("SQS"), started_by("DynamoDB")
ON_DEMAND = {"AuditFunction"}  # an operator invokes it; it has no other way in
UNATTENDED = {name for name, _ in (*SCHEDULES.values(), *QUEUED.values(), *STREAMED.values())}
QUEUES = of_type("AWS::SQS::Queue")


@pytest.mark.parametrize(("name", "schedule"), SCHEDULES.values(), ids=list(SCHEDULES))
def test_scheduled_work_knows_its_task_and_time_and_is_not_lost(name: str, schedule: dict[str, Any]) -> None:
    """The time is that of the schedule, not of the call, so that a late or repeated one does the same."""
    event = json.loads(schedule["Input"])
    texts = {node.value for node in ast.walk(app_of(DESCRIPTION.functions[name])) if isinstance(node, ast.Constant)}

    assert event["task"] in texts
    assert event["at"] == "<aws.scheduler.scheduled-time>"
    assert schedule["RetryPolicy"]["MaximumRetryAttempts"] >= 1
    queue, attribute = schedule["DeadLetterConfig"]["Arn"]["Fn::GetAtt"]
    assert (RESOURCES[queue]["Type"], attribute) == ("AWS::SQS::Queue", "Arn")


def test_two_stacks_fit_into_one_account_and_region() -> None:
    """No name is fixed: generated by CloudFormation, or made of the stack's own."""
    names = {"TableName", "QueueName", "BucketName", "FunctionName", "AlarmName", "DashboardName", "TopicName", "Name"}
    for logical_id, resource in RESOURCES.items():
        for name, value in resource.get("Properties", {}).items():
            if name in names:
                assert not isinstance(value, str), f"{logical_id} {name}"
                assert "AWS::StackName" in json.dumps(value), f"{logical_id} {name}"
    assert all(schedule["OmitName"] is True for _, schedule in SCHEDULES.values())  # SAM would name them by their ids


def test_a_queue_of_failures_is_watched() -> None:
    dimensions = [
        dimension for alarm in ALARMS.values() for metric in watched(alarm) for dimension in metric["Dimensions"]
    ]
    queues = {item["Value"]["Fn::GetAtt"][0] for item in dimensions if item["Name"] == "QueueName"}

    assert queues == set(QUEUES)


def test_boundaries_are_crossed_every_hour_and_at_midnight_utc() -> None:
    begun = datetime(2027, 1, 30, 23, 30, tzinfo=UTC)
    advancing = [item["ScheduleExpression"] for _, item in SCHEDULES.values() if '"advance"' in item["Input"]]
    times = []
    for _ in range(25):
        begun = min(next_time(expression, begun) for expression in advancing)
        times.append(begun)

    assert times == [datetime(2027, 1, 31, tzinfo=UTC) + timedelta(hours=number) for number in range(25)]


@pytest.mark.parametrize(("name", "source"), QUEUED.values(), ids=list(QUEUED))
def test_a_message_that_always_fails_does_not_block_others_and_is_kept(name: str, source: dict[str, Any]) -> None:
    queue = QUEUES[source["Queue"]["Fn::GetAtt"][0]]

    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert queue["VisibilityTimeout"] >= 6 * DESCRIPTION.functions[name].timeout
    failures, attribute = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
    assert attribute == "Arn"
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5  # Lambda's advice, for messages that were only throttled
    assert QUEUES[failures]["MessageRetentionPeriod"] == 14 * 86_400  # as long as there is


@pytest.mark.parametrize(("name", "source"), STREAMED.values(), ids=list(STREAMED))
def test_a_record_that_always_fails_does_not_block_others_and_is_kept(name: str, source: dict[str, Any]) -> None:
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["BisectBatchOnFunctionError"] is True
    assert 1 <= source["MaximumRetryAttempts"] <= 20
    assert source["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] in QUEUES
    assert source["StartingPosition"] == "TRIM_HORIZON"


def test_the_age_of_what_waits_is_watched() -> None:
    ages = {alarm["MetricName"] for alarm in ALARMS.values() if "MetricName" in alarm}

    assert {"ApproximateAgeOfOldestMessage", "IteratorAge"} <= ages


# --- access log -------------------------------------------------------------------------------------------------------

# Nothing of these names a person or opens a page.
MAY_BE_LOGGED = {
    "requestId",
    "integration.requestId",
    "requestTimeEpoch",
    "httpMethod",
    "resourcePath",
    "status",
    "error.responseType",
    "responseLatency",
    "integration.latency",
    "integration.status",
    "responseLength",
}


def test_the_access_log_has_routes_and_times_and_nothing_of_a_person() -> None:
    condition, setting, otherwise = RESOURCES["Api"]["Properties"]["AccessLogSetting"]["Fn::If"]
    line = json.loads(setting["Format"])

    assert {"request_id", "route", "status", "latency_ms", "integration_latency_ms"} <= set(line)
    assert {value.removeprefix("$context.") for value in line.values()} == MAY_BE_LOGGED
    assert (condition, otherwise) == ("HasAccessLogs", {"Ref": "AWS::NoValue"})
    assert RESOURCES["AccessLog"]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_the_stage_waits_for_the_role_of_its_log_which_outlives_the_stack() -> None:
    assert RESOURCES["AccessLog"]["DependsOn"] == "GatewayLogsAccount"
    assert (
        "${AccessLog}" in RESOURCES["Api"]["Properties"]["AccessLogSetting"]["Fn::If"][1]["DestinationArn"]["Fn::Sub"]
    )
    for name in ("GatewayLogsRole", "GatewayLogsAccount"):
        assert RESOURCES[name]["Condition"] == "HasAccessLogs"
        assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    [policy] = RESOURCES["GatewayLogsRole"]["Properties"]["ManagedPolicyArns"]
    assert policy["Fn::Sub"].endswith(":policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs")


# --- alarms -----------------------------------------------------------------------------------------------------------

ALARMS = of_type("AWS::CloudWatch::Alarm")


def watched(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of an alarm: one, or those that its expression is made of."""
    return [item["MetricStat"]["Metric"] for item in alarm.get("Metrics", []) if "MetricStat" in item] or [alarm]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_metrics_that_exist(name: str) -> None:
    for metric in watched(ALARMS[name]):
        [dimension] = metric["Dimensions"]
        if metric["Namespace"] == "AWS/Lambda":
            assert dimension["Name"] == "FunctionName"
            assert dimension["Value"]["Ref"] in DESCRIPTION.functions
        elif not metric["Namespace"].startswith("AWS/"):
            assert metric["Namespace"] == metrics.namespace
            assert metric["MetricName"] in {item.value for item in Metric}
            assert dimension["Name"] == "service"
            assert dimension["Value"] in {function.short_name for function in FUNCTIONS}


COMPOSITES = of_type("AWS::CloudWatch::CompositeAlarm")
ACTION = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}


def parts_of(composite: dict[str, Any]) -> list[str]:
    return re.findall(r"\$\{(\w+)\}", composite["AlarmRule"]["Fn::Sub"])


PARTS = {part for composite in COMPOSITES.values() for part in parts_of(composite)}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_has_an_action_unless_it_is_a_part_of_another(name: str) -> None:
    assert ALARMS[name].get("AlarmActions") == (None if name in PARTS else ACTION)
    assert ALARMS[name]["TreatMissingData"] == "notBreaching"


BURN = {"Fast": (14.4, 3600, 300), "Slow": (6, 21600, 1800)}  # times too fast; seconds of both windows
BUDGET_PERCENT = {"RunSuccess": 0.5, "AddedLatency": 1}


def test_an_objective_is_watched_in_two_windows_at_two_speeds() -> None:
    assert set(COMPOSITES) == {f"{objective}{speed}Alarm" for objective in BUDGET_PERCENT for speed in BURN}
    for objective, budget in BUDGET_PERCENT.items():
        for speed, (times, long, short) in BURN.items():
            name = f"{objective}{speed}"
            both = COMPOSITES[f"{name}Alarm"]
            assert both["AlarmRule"]["Fn::Sub"] == f'ALARM("${{{name}LongAlarm}}") AND ALARM("${{{name}ShortAlarm}}")'
            assert both["AlarmActions"] == ACTION
            for window, period in (("Long", long), ("Short", short)):
                alarm = ALARMS[f"{name}{window}Alarm"]
                assert {each["MetricStat"]["Period"] for each in alarm["Metrics"] if "MetricStat" in each} == {period}
                assert alarm["Threshold"] == pytest.approx(times * budget)
                least = re.search(r">= (\d+),", alarm["Metrics"][0]["Expression"])
                assert least is not None
                assert int(least[1]) == (10 if window == "Long" else 1)


def test_the_margin_is_at_the_cheapest_price_of_a_credit() -> None:
    expression = ALARMS["MarginAlarm"]["Metrics"][0]["Expression"]

    assert f"FILL(charged, 0) * {int(load_prices().credit_value_nano)} - " in expression


def test_errors_of_every_function_behind_the_api_raise_an_alarm() -> None:
    [api] = DESCRIPTION.apis
    services = {
        metric["Dimensions"][0]["Value"]
        for alarm in ALARMS.values()
        for metric in watched(alarm)
        if metric["MetricName"] == Metric.UNHANDLED_ERROR.value
    }

    assert services == {DESCRIPTION.functions[route.function].short_name for route in api.routes}


def test_an_expression_adds_up_all_of_its_metrics() -> None:
    for alarm in ALARMS.values():
        parts = {item["Id"]: item for item in alarm.get("Metrics", [])}
        for item in parts.values():
            if "Expression" in item:
                used = set(re.findall(r"FILL\((\w+), 0\)", item["Expression"]))
                assert len(used) <= 10  # that CloudWatch admits in an alarm
                assert used == {id_ for id_, part in parts.items() if "MetricStat" in part}


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_outputs_name_what_an_operator_needs() -> None:
    kinds = (
        "AWS::DynamoDB::Table",
        "AWS::Events::EventBus",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    )
    named = {value["Value"]["Ref"] for value in SOURCE["Outputs"].values() if "Ref" in value["Value"]}

    assert named - set(QUEUES) == {name for name, resource in RESOURCES.items() if resource["Type"] in kinds}


# --- web ACL and reserved concurrency ---------------------------------------------------------------------------------


def acl_rules(*, page: bool) -> list[dict[str, Any]]:
    rules = RESOURCES["ApiAcl"]["Properties"]["Rules"]
    chosen = [rule["Fn::If"][1 if page else 2] if "Fn::If" in rule else rule for rule in rules]
    return [rule for rule in chosen if "Name" in rule]


def test_the_web_acl_and_its_association_are_a_choice() -> None:
    for name in ("ApiAcl", "ApiAclAssociation"):
        assert RESOURCES[name]["Condition"] == "HasWebAcl"
    assert SOURCE["Parameters"]["WebAcl"]["Default"] == "false"
    assert "/stages/" in json.dumps(RESOURCES["ApiAclAssociation"]["Properties"]["ResourceArn"])


def test_stripe_is_let_through_before_any_rule_can_block_it() -> None:
    first = min(acl_rules(page=False), key=lambda rule: rule["Priority"])
    match = first["Statement"]["ByteMatchStatement"]
    assert first["Action"] == {"Allow": {}}
    assert (match["PositionalConstraint"], match["SearchString"]) == ("EXACTLY", "/api/v1/webhooks/stripe/credits")
    assert RESOURCES["ApiAcl"]["Properties"]["DefaultAction"] == {"Allow": {}}


def test_a_rate_by_address_is_there_unless_all_addresses_are_those_of_cloudfront() -> None:
    rates = [rule for rule in acl_rules(page=False) if "RateBasedStatement" in rule["Statement"]]
    assert [rule["Action"] for rule in rates] == [{"Block": {}}]
    assert rates[0]["Statement"]["RateBasedStatement"]["Limit"] == {"Ref": "RequestsPerAddress"}
    assert not any("RateBasedStatement" in rule["Statement"] for rule in acl_rules(page=True))


def test_no_managed_rule_blocks_a_prompt() -> None:
    """Prompts may be about attacks. Core rules look at bodies in many ways; of the others, those that do only count."""
    groups = {
        rule["Statement"]["ManagedRuleGroupStatement"]["Name"]: rule["Statement"]["ManagedRuleGroupStatement"]
        for rule in acl_rules(page=False)
        if "ManagedRuleGroupStatement" in rule["Statement"]
    }
    assert set(groups) == {"AWSManagedRulesAmazonIpReputationList", "AWSManagedRulesKnownBadInputsRuleSet"}
    overrides = groups["AWSManagedRulesKnownBadInputsRuleSet"]["RuleActionOverrides"]
    assert {each["Name"] for each in overrides} == {
        "JavaDeserializationRCE_BODY",
        "Log4JRCE_BODY",
        "ReactJSRCE_BODY",
    }
    assert all(each["ActionToUse"] == {"Count": {}} for each in overrides)


def test_the_web_acl_keeps_no_request() -> None:
    """A sample or a log would have the Authorization header."""
    configs = [RESOURCES["ApiAcl"]["Properties"], *acl_rules(page=False)]
    assert not any(config["VisibilityConfig"]["SampledRequestsEnabled"] for config in configs)
    assert not of_type("AWS::WAFv2::LoggingConfiguration")


def test_a_flood_of_runs_cannot_take_the_concurrency_of_webhook_and_reset() -> None:
    """If the operator says so: an account with a small quota could not be deployed to. Reset has what its queues may
    take, or their messages would be throttled."""
    reserved = {}
    for function in FUNCTIONS:
        choice = RESOURCES[function.logical_id]["Properties"].get("ReservedConcurrentExecutions")
        if choice is not None:
            condition, reserved[function.logical_id], otherwise = choice["Fn::If"]
            assert (condition, otherwise) == ("ReservesConcurrency", {"Ref": "AWS::NoValue"})
    assert set(reserved) == {"WebhookFunction", "ResetFunction"}
    assert SOURCE["Parameters"]["ReserveConcurrency"]["Default"] == "false"
    assert sum(reserved.values()) <= 100  # of the 200 that the parameter's description asks for
    events = RESOURCES["ResetFunction"]["Properties"]["Events"].values()
    queues = [each["Properties"]["ScalingConfig"]["MaximumConcurrency"] for each in events if each["Type"] == "SQS"]
    assert len(queues) == 2
    assert reserved["ResetFunction"] > sum(queues)
