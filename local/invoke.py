"""Calls one function of the running stack with an event from a file: `make invoke FN=run EVENT=events/run/ok.json`.

Anywhere in the file `{{token}}` stands for a fresh token of the user demo, `{{token:alice}}` for one of alice, so
that the files stay valid. AT replaces the time `at` of an event for scheduled work: `AT=2027-01-31T00:00:00Z`.
"""

import argparse
import http.client
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from local.settings import TEMPLATE, state_dir
from local.state_file import read_state
from local.template import TemplateError
from local.tokens import Issuer, TokenError, issuer

DEMO_USER = "demo"
TOKEN_LIFETIME = timedelta(hours=1)
TIMEOUT_SECONDS = 960  # Lambda's longest function, and a minute
_TOKEN = re.compile(r"\{\{token(?::([^{}]+))?\}\}")


def with_tokens(text: str, tokens: Issuer) -> str:
    """The event with its placeholders replaced."""
    return _TOKEN.sub(lambda match: tokens.token(match[1] or DEMO_USER, TOKEN_LIFETIME), text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.invoke", description="Call one function of the running stack with an event from a file."
    )
    parser.add_argument("function", help="run, or RunFunction")
    parser.add_argument("event", type=Path, help="a JSON file; {{token}} and {{token:alice}} in it become tokens")
    parser.add_argument("--at", help="the time of scheduled work, instead of that in the file: 2027-01-31T00:00:00Z")
    arguments = parser.parse_args()
    folder = state_dir()
    state = read_state(folder)
    if state is None:
        print(f"no stack is running with its state in {folder}: `make run` first", file=sys.stderr)
        return 1
    try:
        event = json.loads(with_tokens(arguments.event.read_text(encoding="utf-8"), issuer(TEMPLATE, folder)))
    except (OSError, TokenError, TemplateError) as error:
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
