"""What the HTTP side does before and after a route, without any function around it."""

import json
from typing import Any

from playground.http import Api
from playground.settings import ApiSettings

FRONTEND = "https://front.example"
SETTINGS = ApiSettings(frontend_url=FRONTEND, powertools_service_name="test")


class Countdown:
    """A Lambda context of which time goes by when a test says so."""

    def __init__(self, seconds: float = 29) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def an_event(path: str, **changes: Any) -> dict[str, Any]:
    return {
        "path": path,
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "requestContext": {"requestId": "test"},
        **changes,
    }


def test_time_that_authentication_took_is_gone() -> None:
    """A run that believed in it would go on when Lambda has ended it, with its credits held."""
    context = Countdown(29)

    def slow(_: str | None) -> str:
        context.seconds -= 3  # a key set that takes as long as it may
        return "alice"

    api = Api(SETTINGS, authenticate=slow)

    @api.app.get("/left")
    def left() -> dict[str, float]:
        return {"seconds": api.seconds_left}

    assert json.loads(api(an_event("/v1/left"), context)["body"]) == {"seconds": 26}  # type: ignore[arg-type]
