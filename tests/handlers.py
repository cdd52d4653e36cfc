"""Calls handlers in this process, with the same event files that `make invoke` uses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from local.invoke import with_tokens
from local.tokens import Issuer

EVENTS = Path(__file__).parent.parent / "events"


class Context:
    """As much of a Lambda context as handlers look at."""

    aws_request_id = "test"
    function_name = "test"

    def __init__(self, seconds_left: float = 29) -> None:
        self._seconds_left = seconds_left

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds_left * 1000)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Handlers:
    """The functions of template.yaml, loaded."""

    apps: Mapping[str, ModuleType]
    tokens: Issuer

    def file(self, name: str, *, user_id: str, changes: Mapping[str, Any] | None = None) -> Answer:
        """Send events/<name>.json as `user_id`; `changes` replace fields of its body, or headers as `header:Name`."""
        text = (EVENTS / f"{name}.json").read_text(encoding="utf-8").replace("{{token}}", f"{{{{token:{user_id}}}}}")
        event = json.loads(with_tokens(text, self.tokens))
        body = dict(json.loads(event["body"])) if changes and event["body"] else {}
        for field, value in (changes or {}).items():
            if field.startswith("header:"):
                event["headers"][field.removeprefix("header:")] = value
                event["multiValueHeaders"][field.removeprefix("header:")] = [value]
            else:
                body[field] = value
        if body:
            event["body"] = json.dumps(body)
        return self.event(name.partition("/")[0], event)

    def event(self, function: str, event: Mapping[str, Any], *, seconds_left: float = 29) -> Answer:
        answer = self.apps[function].handler(event, Context(seconds_left))
        assert answer["isBase64Encoded"] is False
        headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        return Answer(answer["statusCode"], headers, json.loads(answer["body"]))
