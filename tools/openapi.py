"""Generate the description of the whole API and the schema of notices from the code.

`make openapi`, after a change of a route, a body or a notice; `make check` and a test fail while a file is out of date.
Needs neither the store nor AWS. Exit status: 0, or 1 with a line on stderr that says why not.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Route
from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.models import Contact, HTTPBearer, License, SecurityScheme, Server, Tag

from local.process import ROOT
from playground.domain import errors
from playground.http import CSV, Answers, Api
from tools.functions import ToolError, loaded_functions
from tools.notices_schema import TARGET as NOTICES
from tools.notices_schema import schema
from tools.openapi_errors import CODES, by_status, example_of, schema_name, schema_of
from tools.openapi_events import stream_of

TARGET = ROOT / "functions" / "catalog" / "openapi.json"
EXAMPLES = ROOT / "tools" / "openapi_examples.json"
DESCRIPTION = """Run published prompt packages against Claude for credits. Every error has the same body: `error` (a
code), `message` (for a person), `request_id`, and the facts that explain it. Each code has a schema; each route lists
the codes that it can answer. A path or method that does not exist is 404 `route_not_found`."""
TAGS = {
    "runs": "Run a package, read the answer and the receipt",
    "sessions": "Conversations of the caller",
    "sharing": "Links to conversations, and what others may do with them",
    "credits": "Balance, history and prices",
    "payments": "Packs, PRPM+ and what Stripe reports",
    "packages": "The catalogue",
    "about": "This description",
}
SECURITY: dict[str, SecurityScheme] = {
    "token": HTTPBearer(bearerFormat="JWT", description="Issued by the registry, signed, with an expiry")
}
BEFORE_ACCOUNT = (400, 401, 413)  # these answers are made before the account is read

HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Link": {"description": 'The next page of an answer in CSV, as `rel="next"`; absent at the end', "type": "string"},
    "x-amzn-RequestId": {"description": "Names this request in logs; `request_id` of an error", "type": "string"},
    "Retry-After": {"description": "Seconds after which to try again", "type": "integer"},
    "WWW-Authenticate": {"description": "How to authenticate", "type": "string", "const": "Bearer"},
    "RateLimit-Policy": {
        "description": 'The limit of the caller: `"runs";q=5;w=60` is 5 in 60 seconds (draft-ietf-httpapi-ratelimit-'
        "headers, version 10). Only if the account was read",
        "type": "string",
    },
    "RateLimit": {
        "description": 'What is left of it now, and the seconds until one more is admitted: `"runs";r=2;t=9`',
        "type": "string",
    },
}

STRIPE_EVENT: Mapping[str, Any] = {
    "type": "object",
    "title": "StripeEvent",
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "const": "event"},
        "api_version": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "type": {"type": "string"},
        "created": {"type": "integer", "description": "Seconds since 1970"},
        "livemode": {"type": "boolean"},
        "data": {"type": "object"},
    },
    "required": ["id", "object", "type", "data"],
}

# What a route that takes raw bodies reads: it has no model, because the signature is over the bytes.
RAW_BODIES: Mapping[str, Mapping[str, Any]] = {
    "receiveStripeEvent": {
        "parameters": [
            {
                "name": "Stripe-Signature",
                "in": "header",
                "required": True,
                "description": "The time of sending and a signature over it and the bytes of the body: `t=…,v1=…`",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "description": "An event of Stripe, as Stripe signed it",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StripeEvent"}}},
        },
    }
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A route, as it is in the code. `path` is as OpenAPI spells it."""

    path: str
    route: Route
    api: Api

    @property
    def name(self) -> str:
        return f"{self.route.method} {self.path}"

    @property
    def is_public(self) -> bool:
        return self.api.is_public(self.path)

    @property
    def docstring(self) -> str:
        return inspect.getdoc(self.route.func) or ""

    @property
    def answers(self) -> Answers:
        answers = self.route.responses
        assert isinstance(answers, Answers), f"{self.name} has answers, which `problems` has checked"
        return answers

    @property
    def errors(self) -> list[type[errors.PlaygroundError]]:
        """Those that the route names, and those that any such route can answer."""
        found = [*self.answers.errors]
        if not self.api.takes_raw_bodies:
            found.append(errors.InvalidRequestError)  # also for a query parameter that no route has
        if not self.is_public:  # the keys that a token is verified with may have to be fetched
            found += [errors.UnauthorizedError, errors.StoreUnavailableError]
        return found

    def problems(self) -> Iterator[str]:
        """What is missing."""
        if not re.fullmatch("[a-z]+([A-Z][a-z]+)*", self.route.operation_id):  # Powertools makes another kind
            yield 'an id for generated clients: operation_id="getThing"'
        if not self.docstring:
            yield "a docstring, whose first sentence is the summary"
        if not self.route.tags:
            yield f'tags=["…"], of {", ".join(TAGS)}'
        for tag in self.route.tags or []:
            if str(tag) not in TAGS:
                yield f"a description of the tag {tag}, in TAGS of tools/openapi.py"
        if not isinstance(self.route.responses, Answers):
            yield "responses=answers(Body, SomeError, …), with the errors of its own"
            return
        for error in self.answers.errors:
            if not (isinstance(error, type) and issubclass(error, errors.PlaygroundError)):
                yield f"the types of its errors in answers(…), not {error!r}"
            elif error.code not in CODES:
                yield f"a description of the error code {error.code}, in CODES of tools/openapi_errors.py"
        if self.api.takes_raw_bodies and self.route.operation_id not in RAW_BODIES:
            yield "what its body is, in RAW_BODIES of tools/openapi.py"


def operations_of(apps: Mapping[str, ModuleType]) -> list[Operation]:
    """Every route of the functions, by path and method. Raises ToolError for one that does not explain itself."""
    found = [
        Operation(route.openapi_path, route, module.handler)
        for module in apps.values()
        if hasattr(module, "app")  # not of what only schedules start
        for route in (*module.app._static_routes, *module.app._dynamic_routes)
    ]
    found.sort(key=lambda operation: (operation.path, operation.route.method))
    problems = [f"{operation.name} lacks {problem}" for operation in found for problem in operation.problems()]
    ids = [operation.route.operation_id for operation in found]
    problems += [
        f"{id_} is the operation_id of two routes" for id_ in sorted({id_ for id_ in ids if ids.count(id_) > 1})
    ]
    if problems:
        raise ToolError("; ".join(problems))
    return found


def document(apps: Mapping[str, ModuleType]) -> str:
    """The OpenAPI 3.1 document of all functions, as JSON that is the same for the same code. Raises ToolError."""
    operations = operations_of(apps)
    merge = OpenAPIMerge(
        title="PRPM+ Playground",
        version="1",
        description=DESCRIPTION,
        contact=Contact(name="PRPM", url="https://prpm.dev"),
        license_info=License(name="MIT", identifier="MIT"),
        servers=[Server(url="/api/v1")],
        tags=[Tag(name=name, description=about) for name, about in TAGS.items()],
        security_schemes=SECURITY,
        on_conflict="error",
    )
    for name in sorted(apps):
        if hasattr(apps[name], "app"):
            merge.add_schema(json.loads(apps[name].app.get_openapi_json_schema(security_schemes=SECURITY)))
    merged = json.loads(merge.get_openapi_json_schema())
    _tidy(merged)
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    run = examples["runPackage"]["answer"]
    for operation in operations:
        described = merged["paths"][operation.path][operation.route.method.lower()]
        _describe(described, operation, merged["components"]["schemas"])
        if "text/event-stream" in described["responses"]["200"]["content"]:
            codes = sorted({kind.code for kind in operation.errors})
            described["responses"]["200"] |= stream_of(codes, run, compared=operation.answers.compared)
        _illustrate(described, examples.get(operation.route.operation_id, {}))
    for path in [path for path in merged["paths"] if public_path(path) != path]:
        merged["paths"][public_path(path)] = _with_scope(merged["paths"].pop(path))
    codes = sorted(
        {code for operation in operations for codes in by_status(operation.errors).values() for code in codes}
    )
    components = merged["components"]
    for unused in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"] |= {schema_name(code): schema_of(code) for code in codes} | {"StripeEvent": STRIPE_EVENT}
    components["examples"] = {code: {"value": example_of(code)} for code in codes}
    components["headers"] = {
        name: {
            "description": header["description"],
            "schema": {key: value for key, value in header.items() if key != "description"},
        }
        for name, header in HEADERS.items()
    }
    components["responses"] = _share_responses(merged["paths"])
    return json.dumps(merged, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _describe(described: dict[str, Any], operation: Operation, schemas: Mapping[str, Any]) -> None:
    first, _, _ = operation.docstring.replace("\n", " ").partition(". ")
    described["summary"] = first.removesuffix(".")
    described["description"] = operation.docstring
    if not operation.is_public:
        described["security"] = [{"token": []}]
    else:
        described.setdefault("security", [])
    if operation.api.takes_raw_bodies:
        described |= RAW_BODIES[described["operationId"]]
    for parameter in described.get("parameters", ()):
        _without_null(parameter["schema"])  # which cannot be sent in a query or a header
        title = parameter["schema"].get("title", "")
        if parameter["in"] == "header" and title.lower() == parameter["name"]:
            parameter["name"] = title  # Powertools puts it into lower case
    body = described.get("requestBody")
    if body is not None and not operation.api.takes_raw_bodies:
        schema = _resolved(body["content"]["application/json"]["schema"], schemas)
        body["required"] = bool(schema.get("required"))  # without a body, a route reads {}
    limited = errors.RateLimitedError in operation.errors
    standing = ["RateLimit-Policy", "RateLimit"] if limited else []
    ok = described["responses"]["200"]
    paged = ["Link"] if CSV in ok["content"] else []
    ok["headers"] = _headers(["x-amzn-RequestId", *standing, *paged])
    described["responses"] = {"200": ok}
    for status, codes in by_status(operation.errors).items():
        retry = ["Retry-After"] if any(_has_retry_after(code) for code in codes) else []
        names = ["x-amzn-RequestId", *retry, *(["WWW-Authenticate"] if status == 401 else [])]
        if status not in BEFORE_ACCOUNT:
            names += standing
        refs = [{"$ref": f"#/components/schemas/{schema_name(code)}"} for code in codes]
        described["responses"][str(status)] = {
            "description": "\n".join(f"- `{code}`: {CODES[code].description}" for code in codes),
            "headers": _headers(names),
            "content": {
                "application/json": {
                    "schema": refs[0] if len(refs) == 1 else {"oneOf": refs},
                    "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
                }
            },
        }


def _illustrate(described: dict[str, Any], examples: Mapping[str, Any]) -> None:
    """Add the examples of an operation, as tools/openapi_examples.json has them."""
    if "request" in examples:
        for media in described["requestBody"]["content"].values():
            media["example"] = examples["request"]
    if "answer" in examples:
        described["responses"]["200"]["content"]["application/json"]["example"] = examples["answer"]


def _share_responses(paths: Mapping[str, Any]) -> Mapping[str, Any]:
    """Replace errors that several operations answer alike by references, and return what these name."""
    places: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for methods in paths.values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status != "200":
                    places.setdefault(json.dumps(response, sort_keys=True), []).append((operation["responses"], status))
    shared: dict[str, Any] = {}
    for text, its in places.items():
        if len(its) == 1:
            continue
        response, status = json.loads(text), its[0][1]
        codes = [*response["content"]["application/json"]["examples"]]
        name = ".".join([status, *codes, *(["limited"] if "RateLimit" in response["headers"] else [])])
        shared[name] = response
        for responses, at in its:
            responses[at] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _has_retry_after(code: str) -> bool:
    return code == "rate_limited" or "retry_after" in CODES[code].facts


def _headers(names: Iterable[str]) -> Mapping[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def public_path(path: str) -> str:
    """The path of a route as the document has it. API Gateway wants one name for the variable of
    `/packages/{package_id}` and the first one of `/packages/{package_id}/{name}`, which is a scope."""
    return path.replace("/{package_id}/{name}", "/{scope}/{name}")


def _with_scope(methods: Mapping[str, Any]) -> Mapping[str, Any]:
    for operation in methods.values():
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" and parameter["name"] == "package_id":
                parameter["name"] = "scope"
    return methods


def _tidy(node: Any) -> None:
    """Put an `enum` into the branch that it is about, and leave out bounds of length beside it: generators of clients
    do not understand these."""
    if isinstance(node, dict):
        if isinstance(node.get("enum"), list):
            for branch in node.get("anyOf", ()):
                if branch.get("type") == "string":
                    branch["enum"] = [value for value in node["enum"] if value is not None]
                    for bound in ("minLength", "maxLength", "pattern"):
                        branch.pop(bound, None)
            if "anyOf" in node:
                del node["enum"]
            else:
                for bound in ("minLength", "maxLength", "pattern"):
                    node.pop(bound, None)
        for value in node.values():
            _tidy(value)
    elif isinstance(node, list):
        for value in node:
            _tidy(value)


def _without_null(schema: dict[str, Any]) -> None:
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        del schema["anyOf"]
        schema |= branches[0]
        if schema.get("default", ...) is None:
            del schema["default"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write functions/catalog/openapi.json and docs/notices.schema.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one of them is out of date")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="write both files into another folder")
    options = parser.parse_args()
    targets = [options.into / path.name if options.into is not None else path for path in (TARGET, NOTICES)]
    try:
        with loaded_functions() as (_, apps):
            texts = (document(apps), schema())
        for path, text in zip(targets, texts, strict=True):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            if not options.check:
                path.write_text(text, encoding="utf-8")
                print(f"wrote {name}")
            elif path.read_text(encoding="utf-8") != text:
                raise ToolError(f"{name} is out of date: run `make openapi`")
    except (ToolError, OSError) as error:
        print(f"openapi: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
