"""Write functions/catalog/openapi.json: the description of the whole API, made from the routes of all functions.

Run it after a change of a route or a body: `make openapi`. A test fails while the file is out of date.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer, Server

from local.apps import load_apps
from local.engine import Engine
from local.process import ROOT
from local.resources import create_resources
from local.template import read_template

TARGET = ROOT / "functions" / "catalog" / "openapi.json"
# What functions ask of their secrets before they start.
PLACEHOLDERS = {
    "AnthropicSecret": json.dumps({"api_key": "sk-none"}),
    "AuthSecret": json.dumps({"secrets": ["-" * 32]}),
    "StripeSecret": json.dumps({"api_key": "sk_test_placeholder", "webhook_secrets": ["-" * 32]}),
}
DESCRIPTION = """Run published prompt packages against Claude for credits. Every error has the same body: `error` (a
code), `message` (for a person), `request_id`, and the numbers that explain it."""


def document(apps: Mapping[str, ModuleType]) -> str:
    """The OpenAPI 3.1 document of all functions, as JSON that is the same for the same code."""
    merge = OpenAPIMerge(
        title="PRPM+ Playground",
        version="1",
        description=DESCRIPTION,
        servers=[Server(url="/api/v1")],
        security_schemes={"token": HTTPBearer(bearerFormat="JWT")},
        on_conflict="error",
    )
    for name in sorted(apps):
        if hasattr(apps[name], "app"):  # not of what only schedules start
            merge.add_schema(_schema(apps[name]))
    merged = json.loads(merge.get_openapi_json_schema())
    return json.dumps(merged, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _schema(module: ModuleType) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(module.app.get_openapi_json_schema())
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            # Powertools adds its own 422 for bodies that do not fit; ours is a 400 and listed by the route.
            responses = operation["responses"]
            if "HTTPValidationError" in json.dumps(responses.get("422", {})):
                del responses["422"]
            if not module.handler.is_public(path):
                operation["security"] = [{"token": []}]
    schemas = schema.get("components", {}).get("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        schemas.pop(unused, None)
    return schema


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the description of the API to functions/catalog/openapi.json.")
    parser.add_argument("--output", type=Path, default=TARGET, help="another file to write to")
    output: Path = parser.parse_args().output
    description = read_template(ROOT / "template.yaml")
    with Engine() as engine:
        create_resources(description, engine.endpoint_url, PLACEHOLDERS)
        text = document(load_apps(description, engine.endpoint_url))
    output.write_text(text, encoding="utf-8")
    print(f"wrote {output.relative_to(ROOT) if output.is_relative_to(ROOT) else output}")


if __name__ == "__main__":
    main()
