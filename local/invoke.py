"""Calls one function of the running stack with an event from a file: `./playground invoke run events/run/ok.json`.

`{{token}}` in the file is replaced by a new token of the user demo, `{{token:alice}}` by one of alice.
"""

import http.client
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from local.tokens import Issuer
from local.web_adapter import DELIMITER

DEMO_USER = "demo"
TOKEN_LIFETIME = timedelta(hours=1)
TIMEOUT_SECONDS = 960  # Lambda's longest function, and a minute
_TOKEN = re.compile(r"\{\{token(?::([^{}]+))?\}\}")


class UnknownFunctionError(Exception):
    """The stack has no such function."""


def with_tokens(text: str, tokens: Issuer) -> str:
    """The event with its placeholders replaced."""
    return _TOKEN.sub(lambda match: tokens.token(match[1] or DEMO_USER, TOKEN_LIFETIME), text)


def check_function(name: str, functions: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UnknownFunctionError."""
    known = {str(function["short_name"]) for function in functions.values()}
    if name not in known and name not in functions:
        raise UnknownFunctionError(f"there is no function {name}: FUNCTION must be one of {', '.join(sorted(known))}")


def call(runtime_url: str, function: str, event: object) -> tuple[int, str | None, object]:
    """Call a function of the running stack: status, kind of error if it failed, and its answer. Raises OSError.

    A streamed answer is shown like one of a proxy integration: its metadata with the body.
    """
    connection = http.client.HTTPConnection(urlsplit(runtime_url).netloc, timeout=TIMEOUT_SECONDS)
    try:
        path = f"/2015-03-31/functions/{quote(function, safe='')}/invocations"
        connection.request("POST", path, json.dumps(event).encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.headers.get("X-Amz-Function-Error"), _answer(response.read())
    finally:
        connection.close()


def _answer(payload: bytes) -> object:
    metadata, delimiter, body = payload.partition(DELIMITER)
    answer = json.loads(metadata)
    return {**answer, "body": body.decode("utf-8", errors="replace")} if delimiter else answer
