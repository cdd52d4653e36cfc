"""A warm function under Lambda's own runtime loop, compared with a call of its handler in this process."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from local.apps import load_apps
from local.backend import Backend
from local.process import ROOT
from local.template import Description

FUNCTION = "CatalogFunction"
EVENT = ROOT / "events" / "catalog" / "by_name.json"


class _Context:
    """The part of a Lambda context that handlers use."""

    aws_request_id = function_name = "bench"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


@dataclass(frozen=True, slots=True)
class Invocations:
    """Median seconds of one call."""

    function: float
    handler: float


def invocations(description: Description, endpoint_url: str, times: int) -> Invocations:
    """Call the catalogue's function `times` times in both ways, after one warm-up call."""
    event = json.loads(EVENT.read_text(encoding="utf-8"))
    payload = json.dumps(event).encode()
    only = replace(description, functions={FUNCTION: description.functions[FUNCTION]}, apis=())
    [app] = load_apps(only, endpoint_url).values()
    handler: Callable[[dict[str, Any], _Context], dict[str, Any]] = app.handler
    with Backend(only, extra_environment={"AWS_ENDPOINT_URL": endpoint_url}) as backend:

        def invoke() -> None:
            outcome = backend.invoke(FUNCTION, payload)
            assert outcome.error is None, outcome.payload
            assert json.loads(outcome.payload)["statusCode"] == 200

        def call() -> None:
            assert handler(event, _Context())["statusCode"] == 200

        return Invocations(function=_median(invoke, times), handler=_median(call, times))


def _median(action: Callable[[], None], times: int) -> float:
    action()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return median(taken)
