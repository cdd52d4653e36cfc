"""What the HTTP side does before and after a route, without any function around it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from aws_lambda_powertools.event_handler.openapi.params import Query

from playground.domain.errors import RateLimitedError, UnauthorizedError
from playground.domain.rates import RateStanding
from playground.http import METHODS, Api, _preferred
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


def seconds_left(requested_at: object, *, function: float = 29, at: float = 1_000_000.0) -> float:
    """What a function with so much time left has, if the gateway says that the request came then (ms)."""
    api = Api(SETTINGS, clock=lambda: datetime.fromtimestamp(at, UTC))

    @api.app.get("/left")
    def left() -> dict[str, float]:
        return {"seconds": api.seconds_left}

    context = {"requestId": "test"} | ({} if requested_at is None else {"requestTimeEpoch": requested_at})
    event = an_event("/v1/left", requestContext=context)
    seconds: float = json.loads(api(event, Countdown(function))["body"])["seconds"]  # type: ignore[arg-type]
    return seconds


@pytest.mark.parametrize(
    ("before", "function", "left"),
    [(0, 29, 29), (4, 29, 25), (4, 10, 10), (28.5, 29, 0.5), (29, 29, 0), (60, 29, -31), (300, 29, -271)],
)
def test_time_is_counted_from_when_the_gateway_took_the_request(before: float, function: float, left: float) -> None:
    """It waits 29 s, from before the function was started; after that nobody is there who could be answered."""
    assert seconds_left(int((1_000_000 - before) * 1000), function=function) == left


@pytest.mark.parametrize(
    "requested_at",
    [
        None,
        "1000000000",
        True,
        float("nan"),
        float("inf"),
        -1,
        0,
        1_000_000_001,
        2_000_000_000,
        10**400,
        [],
        999_699_999,
    ],
)
def test_a_time_of_the_request_that_makes_no_sense_takes_nothing_away(requested_at: object) -> None:
    """Nor one in the future, which clocks that differ make, nor one that is older than any request can be."""
    assert seconds_left(requested_at) == 29


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_that_a_route_adds_are_in_its_answer_whatever_that_is_and_in_no_other() -> None:
    api = Api(SETTINGS)

    @api.app.get("/limited/<how>")
    def limited(how: str) -> dict[str, str]:
        api.add_headers({"X-First": "1", "RateLimit": "replaced"})
        api.show_standing(RateStanding(name="runs", per_minute=5, remaining=2, seconds=9))
        if how == "refused":
            raise RateLimitedError(what="runs", limit=5, retry_after=9)
        if how == "broken":
            raise ZeroDivisionError
        return {}

    @api.app.get("/plain")
    def plain() -> dict[str, str]:
        return {}

    @api.app.get("/unused")
    def unused() -> dict[str, str]:
        api.show_standing(RateStanding(name="runs", per_minute=5, remaining=5, seconds=0))
        return {}

    for how, status in (("answered", 200), ("refused", 429), ("broken", 500)):
        found, _, headers = ask(api, f"/v1/limited/{how}")
        assert found == status
        assert headers["RateLimit-Policy"] == ['"runs";q=5;w=60']
        assert headers["RateLimit"] == ['"runs";r=2;t=9']
        assert headers["X-First"] == ["1"]
        assert headers.get("Retry-After") == (["9"] if status == 429 else None)
    assert not {"RateLimit", "RateLimit-Policy", "X-First"} & ask(api, "/v1/plain")[2].keys()
    assert ask(api, "/v1/unused")[2]["RateLimit"] == ['"runs";r=5']


# --- paths ------------------------------------------------------------------------------------------------------------


def nobody(_: str | None) -> str:
    raise UnauthorizedError("absent")


def an_api() -> Api:
    api = Api(
        SETTINGS,
        authenticate=nobody,
        public=frozenset({"/open/<thing>"}),
        headers={"/open/<thing>": {"X-Robots-Tag": "noindex"}},
    )

    @api.app.get("/open/<thing>")
    def opened(thing: str) -> dict[str, str]:
        return {"thing": thing}

    @api.app.get("/closed")
    def closed() -> dict[str, str]:
        return {}

    return api


def ask(api: Api, path: str, **changes: Any) -> tuple[int, Mapping[str, Any], Mapping[str, list[str]]]:
    answer = api(an_event(path, **changes), Countdown())  # type: ignore[arg-type]
    return answer["statusCode"], json.loads(answer["body"]), answer["multiValueHeaders"]


@pytest.mark.parametrize("path", ["/v1/open/a", "/api/v1/open/a"])
def test_a_path_is_that_of_the_stage_or_of_a_custom_domain(path: str) -> None:
    """API Gateway leaves the mapping of a custom domain on the path that functions see."""
    status, body, headers = ask(an_api(), path)
    assert (status, body, headers["X-Robots-Tag"]) == (200, {"thing": "a"}, ["noindex"])
    assert ask(an_api(), path.replace("open/a", "closed"))[0] == 401


@pytest.mark.parametrize("path", ["/v1open/a", "/v1/v1/open/a", "/api/open/a", "/api/v1/api/v1/open/a", "/v2/open/a"])
def test_a_base_path_is_taken_off_once_and_whole(path: str) -> None:
    assert ask(an_api(), path)[0] == 401  # not public, whatever it is


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_public_path_is_public_wherever_the_router_finds_it(slashes: str) -> None:
    """API Gateway hands a path with a slash behind it to the same route."""
    status, body, headers = ask(an_api(), f"/v1/open/a{slashes}")
    assert (status, body, headers["X-Robots-Tag"]) == (200, {"thing": "a"}, ["noindex"])
    assert ask(an_api(), f"/v1/closed{slashes}")[0] == 401


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%40scope%2Fname", "@scope/name"),
        ("%2540", "%40"),
        ("%E2%82%AC", "€"),
        ("€", "€"),
        ("%F0%9F%99%82%23%3F%22%5C", '🙂#?"\\'),
        ("%00%0A", "\0\n"),
        ("..%2F..", "../.."),
    ],
)
def test_a_part_of_a_path_is_decoded_once(sent: str, seen: str) -> None:
    assert ask(an_api(), f"/v1/open/{sent}")[:2] == (200, {"thing": seen})


@pytest.mark.parametrize("sent", ["%", "%4", "%zz", "%ff", "%C0%AF", "%ED%A0%80", "\ud800"])
def test_a_part_of_a_path_that_is_no_text_is_refused(sent: str) -> None:
    status, body, headers = ask(an_api(), f"/v1/open/{sent}")
    assert (status, body["error"], body["field"]) == (400, "validation_error", "path")
    assert headers["X-Robots-Tag"] == ["noindex"]


@pytest.mark.parametrize("path", ["/v1/open%2Fa", "/v1/open/a%2F..%2F..%2Fclosed", "/v1/open/a/%2e%2e/%2e%2e/closed"])
def test_an_encoded_slash_ends_no_part_of_a_path(path: str) -> None:
    """Who is let in without a token is decided by the path that the router sees."""
    status, body, _ = ask(an_api(), path)
    assert (status, body.get("thing")) in ((401, None), (200, "a/../../closed"))


# --- who is refused -------------------------------------------------------------------------------------------------


def test_the_log_says_why_a_token_is_refused_and_the_answer_does_not(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: str | None) -> str:
        raise UnauthorizedError("MissingRequiredClaimError: iss")

    status, body, _ = ask(Api(SETTINGS, authenticate=refuse), "/v1/closed")
    assert (status, body["error"], set(body)) == (401, "unauthorized", {"error", "message", "request_id"})
    assert "iss" not in body["message"]
    [record] = [record for record in caplog.records if record.getMessage() == "refused"]
    assert vars(record)["facts"] == {"reason": "MissingRequiredClaimError: iss"}


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; header=present", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/json, text/csv", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("application/json;q=0.5,text/csv ; Q=0.4", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("*/*;q=0.1, application/json;q=0", "text/csv"),
        ("text/csv;q=nan", "application/json"),
        ("text/csv;q=2", "application/json"),
        ("image/png", "application/json"),
        (",;,q=1;", "application/json"),
    ],
)
def test_the_type_that_a_request_weighs_most_is_chosen(accept: str, chosen: str) -> None:
    assert _preferred(accept, ["application/json", "text/csv"]) == chosen


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, FRONTEND, "https://elsewhere.example"])
def test_answers_before_routing_tell_browsers_what_all_others_do(origin: str | None) -> None:
    headers = {"Origin": origin} if origin is not None else {}
    event = {"headers": headers, "multiValueHeaders": {name: [value] for name, value in headers.items()}}
    api = an_api()
    early, late = ask(api, "/v1/closed", **event), ask(api, "/v1/open/a", **event)
    assert (early[0], late[0]) == (401, 200)
    told = [
        {name: value for name, value in it[2].items() if name.startswith("Access-Control-")} for it in (early, late)
    ]
    assert told[0] == told[1]
    exposed = ["link,retry-after,ratelimit,ratelimit-policy,x-amzn-requestid"]
    assert (told[0].get("Access-Control-Expose-Headers") == exposed) is (origin == FRONTEND)


def test_an_answer_names_the_origin_that_asked_if_it_is_one_of_ours() -> None:
    other = "http://localhost:3000"
    settings = ApiSettings(frontend_url=FRONTEND, powertools_service_name="test", extra_origins=(other,))
    api = Api(settings, authenticate=nobody)

    for origin, named in ((FRONTEND, [FRONTEND]), (other, [other]), ("http://localhost", None), (f"{other},x", None)):
        headers = {"Origin": origin}
        answer = api(
            an_event("/v1/x", headers=headers, multiValueHeaders={"Origin": [origin]}),
            Countdown(),  # type: ignore[arg-type]
        )
        assert answer["multiValueHeaders"].get("Access-Control-Allow-Origin") == named
        assert answer["multiValueHeaders"]["Vary"] == ["Origin"]


@pytest.mark.parametrize(
    ("origin", "named"), [(FRONTEND, [FRONTEND]), ("https://elsewhere.example", None), (None, None)]
)
def test_a_preflight_for_any_path_is_answered_without_a_token(origin: str | None, named: list[str] | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    multi = {name: [value] for name, value in headers.items()}
    event = an_event("/v1/no/such/%ff", httpMethod="OPTIONS", headers=headers, multiValueHeaders=multi)
    answer = Api(SETTINGS, authenticate=nobody)(event, Countdown())  # type: ignore[arg-type]
    sent = answer["multiValueHeaders"]
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert sent.get("Access-Control-Allow-Origin") == named
    assert sent["Vary"] == ["Origin"]
    if named:
        assert sent["Access-Control-Allow-Methods"] == [METHODS]
        assert "last-event-id" in sent["Access-Control-Allow-Headers"][0]


# --- names that no route declares -------------------------------------------------------------------------------------


def a_strict_api(*, raw_bodies: bool = False) -> Api:
    api = Api(SETTINGS, raw_bodies=raw_bodies)

    @api.app.get("/list")
    def listed(
        limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: Annotated[str | None, Query(max_length=9)] = None
    ) -> dict[str, str]:
        return {"limit": str(limit), "cursor": str(cursor)}

    @api.app.post("/do")
    def done() -> dict[str, str]:
        return {}

    return api


def query(**values: list[str]) -> dict[str, Any]:
    """The two forms in which API Gateway hands a query over; of a name that is there twice the first has the last."""
    return {
        "queryStringParameters": {name: its[-1] for name, its in values.items()},
        "multiValueQueryStringParameters": values,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limt": ["5"]}, "`limt` is not a query parameter of this request; did you mean `limit`?"),
        ({"LIMIT": ["5"]}, "`LIMIT` is not a query parameter of this request; did you mean `limit`?"),
        ({"offset": ["0"]}, "`offset` is not a query parameter of this request; did you mean `cursor`?"),
        ({"page": ["2"]}, "`page` is not a query parameter of this request; it has limit, cursor"),
        ({"": ["2"]}, "`` is not a query parameter of this request; it has limit, cursor"),
        ({"limit": ["5", "6"]}, "limit: must be there once; got a list of 2"),
        ({"cursor": ["a", "a"]}, "cursor: must be there once; got a list of 2"),
        ({"limit": ["0005_0"]}, 'limit: must be a whole number from 1 to 100, in digits; got "0005_0"'),
        ({"limit": ["5\n"]}, "limit: must be a whole number from 1 to 100, in digits; got a text of 2 characters"),
    ],
)
def test_a_query_parameter_that_a_route_does_not_declare_is_named(values: dict[str, list[str]], message: str) -> None:
    status, body, headers = ask(a_strict_api(), "/v1/list", headers={"origin": FRONTEND}, **query(**values))
    assert (status, body["error"], body["message"]) == (400, "validation_error", message)
    assert body["request_id"] == "test"
    assert headers["Access-Control-Allow-Origin"] == [FRONTEND]  # the page can read it


def test_a_query_that_a_route_declares_is_read() -> None:
    for event in (query(limit=["05"], cursor=["5_0"]), {"queryStringParameters": {"limit": "5", "cursor": "5_0"}}):
        assert ask(a_strict_api(), "/v1/list", **event)[:2] == (200, {"limit": "5", "cursor": "5_0"})
    assert ask(a_strict_api(), "/v1/list", queryStringParameters=None)[0] == 200


def test_a_field_where_no_body_is_declared_is_named() -> None:
    status, body, _ = ask(a_strict_api(), "/v1/do", httpMethod="POST", body='{"force": true}')
    assert (status, body["message"]) == (400, "`force` is not a field of this request; it has none")
    for nothing in (None, "", "{}"):
        assert ask(a_strict_api(), "/v1/do", httpMethod="POST", body=nothing)[0] == 200


def test_with_raw_bodies_any_query_and_body_is_accepted() -> None:
    answer = ask(a_strict_api(raw_bodies=True), "/v1/do", httpMethod="POST", body="{", **query(tag=["1", "2"]))
    assert answer[0] == 200


def test_an_unknown_path_is_404_whatever_its_query() -> None:
    assert ask(a_strict_api(), "/v1/absent", **query(offset=["5"]))[0] == 404


def test_a_preflight_request_is_answered_whatever_its_query() -> None:
    event = an_event("/v1/list", httpMethod="OPTIONS", headers={"origin": FRONTEND}, **query(offset=["5"]))
    answer = a_strict_api()(event, Countdown())  # type: ignore[arg-type]
    assert answer["statusCode"] == 204
    assert answer["multiValueHeaders"]["Access-Control-Allow-Origin"] == [FRONTEND]


def test_an_unknown_name_is_not_logged_and_is_cut_in_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    secret = "the patient is called Bob " * 4000
    for answer in (
        ask(a_strict_api(), "/v1/list", **query(**{secret: ["1"]})),
        ask(a_strict_api(), "/v1/do", httpMethod="POST", body=json.dumps({secret: 1})),
        ask(a_strict_api(), "/v1/do", httpMethod="POST", body=f'{{"{secret}": 1, "{secret}": 2}}'),
    ):
        assert answer[0] == 400
        assert len(json.dumps(answer[1])) < 500
    facts = [getattr(record, "facts", None) for record in caplog.records if record.message == "refused"]
    assert facts == [{"nearest": None}, {"nearest": None}, {"field": "body"}]
    assert not any("Bob" in str(vars(record)) for record in caplog.records)
