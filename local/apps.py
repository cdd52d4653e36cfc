"""Loads the functions' modules into this process, for the API's description and for tests of handlers.

Each is loaded as on Lambda, with the environment of the template, under a unique module name.
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

from local.engine import CREDENTIALS
from local.template import Description, Function


def load_apps(description: Description, endpoint_url: str) -> Mapping[str, ModuleType]:
    """Modules by the short name of their function. Their clients use `endpoint_url`, where the resources must exist.

    The credentials and the address stay in this process's environment, because clients are created on first use.
    """
    os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url})
    return {function.short_name: _load(function) for function in description.functions.values()}


def _load(function: Function) -> ModuleType:
    # A function behind the Web Adapter names a script; its application is in app.py like that of all others.
    spec = importlib.util.spec_from_file_location(f"{function.short_name}_app", function.code / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _environment(function.environment):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
