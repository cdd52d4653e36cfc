"""The laptop stack's placeholder pages for a front end."""

import re
from pathlib import Path

import pytest

from local.front_end import OUTCOMES, PAGES, SHARED, PlaceholderPages
from local.http_server import Request, Response
from local.settings import read_settings

API = "http://127.0.0.1:3000/api/v1"
PAGE = Path(__file__).parents[2] / "docs" / "front-end.md"


def get(target: str, method: str = "GET") -> Response | None:
    return PlaceholderPages(API).answer(Request(method, target, (), b"", "HTTP/1.1", "127.0.0.1"))


def text(target: str) -> str:
    response = get(target)
    assert response is not None
    assert response.status == 200
    return response.body.decode()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_explains_the_front_end_page_it_replaces(path: str) -> None:
    page = text(path.replace("{token}", "t1"))

    assert "Here your front end shows" in page
    assert f"curl -sS {API}" in page or f"curl -sS -X POST {API}" in page


def test_the_result_of_a_checkout_is_shown() -> None:
    for path, parameters in OUTCOMES.items():
        for parameter, texts in parameters.items():
            for value, meaning in texts.items():
                assert meaning.replace("'", "&#x27;") in text(f"{path}?x=1&{parameter}={value}&{parameter}=other")
            assert text(f"{path}?{parameter}=%3Cscript%3E") == text(path)


def test_link_parameters_are_escaped() -> None:
    page = text("/playground/shared/%22%3E<script>'$(id)'")

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert (
        """'"'"'$(id)'"'"'""".replace("'", "&#x27;").replace('"', "&quot;") in page
    )  # and it is not executed when pasted


@pytest.mark.parametrize(
    "target", ["/nothing", "/playground/shared/", "/playground/shared/a/b", "/api/v1/openapi.json"]
)
def test_other_paths_are_not_handled(target: str) -> None:
    assert get(target) is None


def test_only_get_and_head_are_allowed() -> None:
    assert get("/playground/credits", "POST") is None
    assert get("/playground/credits", "HEAD") is not None


def test_pages_may_load_and_run_nothing() -> None:
    response = get("/")
    assert response is not None
    assert dict(response.headers)["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert dict(response.headers)["Referrer-Policy"] == "no-referrer"


def test_the_token_of_a_share_is_not_logged() -> None:
    assert PlaceholderPages(API).loggable("/playground/shared/secret") == SHARED
    assert PlaceholderPages(API).loggable("/playground/credits") == "/playground/credits"


def test_every_page_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(/[^`?]*)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == set(PAGES)


@pytest.mark.parametrize(
    ("front_end", "origins", "is_there"),
    [
        (None, ("http://localhost:3000",), False),
        ("http://localhost:3000", ("http://127.0.0.1:3000",), False),
        ("http://localhost:5173/", ("http://127.0.0.1:5173",), True),
        ("http://localhost", ("http://127.0.0.1",), True),
        ("https://front.example", (), True),
    ],
)
def test_an_origin_on_this_machine_has_two_names(
    front_end: str | None, origins: tuple[str, ...], is_there: bool
) -> None:
    settings = read_settings({"FRONTEND_URL": front_end} if front_end else {})

    assert (settings.extra_origins, settings.has_front_end) == (origins, is_there)
