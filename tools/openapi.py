"""Generate the description of the whole API and the schema of notices from the code.

`make openapi`, after a change of a route, a body or a notice; `make check` and a test fail while a file is out of date.
Needs neither the store nor AWS. Exit status: 0, or 1 with a line on stderr that says why not.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer, Server

from local.process import ROOT
from tools.functions import ToolError, loaded_functions
from tools.notices_schema import TARGET as NOTICES
from tools.notices_schema import schema

TARGET = ROOT / "functions" / "catalog" / "openapi.json"
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
