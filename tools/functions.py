"""Loads the template's functions into this process without a store and without AWS, for tools/openapi.py and
tools/check_routes.py.

Before its first request a function reads only its secrets from AWS. Here they are placeholders.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

from yaml import YAMLError  # type: ignore[import-untyped]

from local.apps import load_apps
from local.process import ROOT
from local.template import Description, TemplateError, read_template
from playground.adapters.secrets import SecretError

# The content of every secret: each function reads the fields that it needs.
PLACEHOLDERS = {
    "api_key": "sk_test_placeholder",
    "generated": "-" * 32,
    "secrets": ["-" * 32],
    "webhook_secrets": ["-" * 32],
}


class ToolError(Exception):
    """The command failed; the message says why."""


@contextmanager
def loaded_functions() -> Iterator[tuple[Description, Mapping[str, ModuleType]]]:
    """The template, and the module of each function by its short name. Raises ToolError if the template cannot be read
    or a function cannot be loaded.

    For a process of its own: settings of AWS in its environment are replaced, and the modules stay loaded.
    """
    try:
        description = read_template(ROOT / "template.yaml")
    except (TemplateError, YAMLError, OSError) as error:
        raise ToolError(f"template.yaml cannot be read: {_one_line(error)}") from error
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Secrets) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield description, _load(description, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def _load(description: Description, endpoint_url: str) -> Mapping[str, ModuleType]:
    try:
        return load_apps(description, endpoint_url)
    except SecretError as error:
        raise ToolError(f"tools/functions.py needs another placeholder: {str(error).partition(' yet:')[0]}") from error
    except Exception as error:
        raise ToolError(f"a function cannot be loaded: {type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class _Secrets(BaseHTTPRequestHandler):
    """Secrets Manager with placeholders. Every other operation is refused: loading a function must not need it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        content = {"SecretString": json.dumps(PLACEHOLDERS)} if known else {"__type": "AccessDeniedException"}
        body = json.dumps(content).encode()
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
