"""What the description of the API says about streams: a schema and an example of each event.

OpenAPI 3.1 does not say what the `schema` of `text/event-stream` is about; here it is one event, as later versions have
it in `itemSchema`. `data` is a text, whose JSON `contentSchema` describes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tools.openapi_errors import INTEGER, TEXT, example_of, schema_name

Schema = Mapping[str, Any]

INDEX: Schema = {"type": "integer", "minimum": 0, "description": "Of the variant"}
ABOUT = """Server-sent events, each as

    event: delta
    id: 12
    data: {"text": "…"}

with an empty line behind it. First `run`, then a `delta` for each piece of text, and at the end `done` with the body of
POST /playground/run, or `error` with the body of an error. The `id` of a `delta` is how many characters of the answer
there are with it. Lines that begin with a colon keep the connection open. The schema is of one event."""
ABOUT_COMPARED = f"""{ABOUT} Every event has the `index` of its variant; the last one is `end`."""


def stream_of(codes: Sequence[str], run: Mapping[str, Any], *, compared: bool) -> Mapping[str, Any]:
    """The 200 of a stream, whose `error` has one of `codes`. `run`: an answer of POST /playground/run."""
    of_variant: Mapping[str, Any] = {"index": INDEX} if compared else {}
    place = {"index": 0} if compared else {}
    text = {"type": "string", "description": "The next piece of the answer"}
    about = {
        "run_id": TEXT,
        "session_id": TEXT,
        "ceiling": {"type": "integer", "description": "The most credits that it can cost: what is held"},
        "max_tokens": {"anyOf": [INTEGER, {"type": "null"}]},
    }
    failed = [{"$ref": f"#/components/schemas/{schema_name(code)}"} for code in (*codes, "internal_error")]
    events = [
        _event("run", _object({**of_variant, **about})),
        _event("delta", _object({**of_variant, "text": text}), has_id=True),
        _event("done", _with(of_variant, {"$ref": "#/components/schemas/RunAnswer"})),
        _event("error", _with(of_variant, {"oneOf": failed})),
    ]
    examples = {
        "run": _sent(
            "run",
            {
                **place,
                "run_id": run["run_id"],
                "session_id": run["session_id"],
                "ceiling": 2,
                "max_tokens": run["max_tokens"],
            },
        ),
        "delta": {**_sent("delta", {**place, "text": run["response"][:12]}), "id": "12"},
        "done": _sent("done", {**place, **run}),
        "error": _sent("error", {**place, **example_of("model_failed")}),
    }
    if compared:
        events.append(_event("end", _object({"comparison_id": TEXT, "credits_spent": INTEGER})))
        examples["end"] = _sent("end", {"comparison_id": "cmp_01m8h5y3f3fhwar1rhqxm63dkp", "credits_spent": 2})
    return {
        "description": ABOUT_COMPARED if compared else ABOUT,
        "content": {
            "text/event-stream": {
                "schema": {"oneOf": events},
                "examples": {name: {"value": value} for name, value in examples.items()},
            }
        },
    }


def _event(name: str, data: Schema, *, has_id: bool = False) -> Schema:
    properties: dict[str, Any] = {
        "event": {"type": "string", "const": name},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
    }
    if has_id:
        properties["id"] = {"type": "string", "pattern": "^[0-9]+$"}
    return {
        "type": "object",
        "title": f"{name.title()}Event",
        "properties": properties,
        "required": sorted(properties),
    }


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _with(properties: Mapping[str, Schema], schema: Schema) -> Schema:
    return {"allOf": [schema, _object(properties)]} if properties else schema


def _sent(name: str, data: Mapping[str, Any]) -> Mapping[str, str]:
    return {"event": name, "data": json.dumps(data, ensure_ascii=False)}
