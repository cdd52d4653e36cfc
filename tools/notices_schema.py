"""The schema of notices, made from the classes of domain/notices.py. tools/openapi.py writes it."""

import json
from typing import Any

from pydantic import TypeAdapter

from local.process import ROOT
from playground.domain.notices import DETAILS, GRANTING, NULLABLE_USER, VERSION, CreditsGranted, Envelope, NoticeType

TARGET = ROOT / "docs" / "notices.schema.json"


def schema() -> str:
    """JSON Schema of the `detail` of each `detail-type`."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The detail of an event of the bus of notices, by its detail-type",
        "$defs": {type_.value: _of(type_) for type_ in NoticeType},
        "oneOf": [{"$ref": f"#/$defs/{type_}"} for type_ in NoticeType],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _of(type_: NoticeType) -> dict[str, Any]:
    kind = DETAILS[type_]
    properties = {**_properties(Envelope), **_properties(kind)}
    properties["version"]["const"] = VERSION
    properties["type"]["const"] = type_.value
    properties["user_id"] = {"type": ["string", "null"] if type_ in NULLABLE_USER else "string"}
    if kind is CreditsGranted:
        properties["kind"]["enum"] = [kind.value for kind in GRANTING]
    return {
        "title": (kind.__doc__ or "").rstrip("."),
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _properties(kind: type) -> dict[str, dict[str, Any]]:
    """The schema of each field, without titles that repeat its name."""
    properties = TypeAdapter(kind).json_schema()["properties"]
    return {name: {key: its for key, its in field.items() if key != "title"} for name, field in properties.items()}
