"""Calls one function of the running stack with an event from a file: `make invoke FN=run EVENT=events/run/ok.json`.

Anywhere in the file `{{token}}` stands for a fresh token of the user demo, `{{token:alice}}` for one of alice, so
that the files stay valid. AT replaces the time `at` of an event for scheduled work: `AT=2027-01-31T00:00:00Z`.
"""

import http.client
import json
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from local.settings import TEMPLATE, state_dir
from local.template import TemplateError
from local.tokens import Issuer, TokenError, issuer
from operate.command import command, full_time
from operate.where import NowhereError, running

DEMO_USER = "demo"
TOKEN_LIFETIME = timedelta(hours=1)
TIMEOUT_SECONDS = 960  # Lambda's longest function, and a minute
_TOKEN = re.compile(r"\{\{token(?::([^{}]+))?\}\}")


class UnknownFunctionError(Exception):
    """The stack has no such function."""


def with_tokens(text: str, tokens: Issuer) -> str:
    """The event with its placeholders replaced."""
    return _TOKEN.sub(lambda match: tokens.token(match[1] or DEMO_USER, TOKEN_LIFETIME), text)


def main() -> int:
    parser = command(
        "invoke", "FN=run EVENT=file [AT=time]", "Call one function of the running stack with an event from a file."
    )
    parser.add_argument("function", help="run, or RunFunction")
    parser.add_argument("event", type=Path, help="a JSON file; {{token}} and {{token:alice}} in it become tokens")
    parser.add_argument(
        "--at", type=full_time, help="the time of scheduled work, instead of that in the file: 2027-01-31T00:00:00Z"
    )
    arguments = parser.parse_args()
    if not arguments.function.strip() or not arguments.event.name:
        parser.error("which function, and with what? make invoke FN=run EVENT=events/run/ok.json")
    try:
        state = running()
        check_function(arguments.function, state["functions"])
        event = json.loads(with_tokens(arguments.event.read_text(encoding="utf-8"), issuer(TEMPLATE, state_dir())))
    except (NowhereError, UnknownFunctionError, OSError, TokenError, TemplateError) as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"{arguments.event} is not JSON: {error}", file=sys.stderr)
        return 1
    if arguments.at:
        if not isinstance(event, dict) or "at" not in event:
            print(f"{arguments.event} has no time `at` that AT could replace", file=sys.stderr)
            return 1
        event["at"] = arguments.at
    return call(str(state["runtime_url"]), arguments.function, event)


def check_function(name: str, functions: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises UnknownFunctionError."""
    known = {str(function["short_name"]) for function in functions.values()}
    if name not in known and name not in functions:
        raise UnknownFunctionError(f"there is no function {name}: FN is one of {', '.join(sorted(known))}")


def call(runtime_url: str, function: str, event: object) -> int:
    """Call and print the answer; 0 if the function gave one, 1 if it failed."""
    connection = http.client.HTTPConnection(urlsplit(runtime_url).netloc, timeout=TIMEOUT_SECONDS)
    try:
        path = f"/2015-03-31/functions/{quote(function, safe='')}/invocations"
        connection.request("POST", path, json.dumps(event).encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        payload = response.read()
    except OSError as error:
        print(f"the stack does not answer at {runtime_url}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(json.dumps(json.loads(payload), indent=2, ensure_ascii=False))
    return 0 if response.status == 200 and response.headers.get("X-Amz-Function-Error") is None else 1


if __name__ == "__main__":
    sys.exit(main())
