"""The built page on a laptop: which file answers, with which headers."""

import gzip
import json
from pathlib import Path

import pytest

from local.http_server import Request, Response
from local.page import STAMP, Page
from local.page_files import IMMUTABLE, REVALIDATE, content_security_policy, served_path
from local.settings import SettingsError, read_settings
from local.stack import front_end, in_a_browser
from local.template import Description

INDEX = b"<!doctype html><title>The playground</title>"
SCRIPT = b"export {}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A build, beside something that is not for everybody."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (dist / "index.html").write_bytes(INDEX)
    (dist / "favicon.svg").write_bytes(b"<svg/>")
    (dist / "assets" / "index-1f2e.js").write_bytes(SCRIPT)
    (dist / "assets" / "index-1f2e.css").write_bytes(b"body {}")
    (dist / STAMP).write_bytes(b"1")
    return dist


def get(page: Page, target: str, method: str = "GET", **headers: str) -> Response:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    response = page.answer(Request(method, target, named, b"", "HTTP/1.1", "127.0.0.1"))
    assert response is not None
    return response


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?checkout=success",
        "/playground/credits",
        "/playground/shared/token",
        "/try/@playground/code-reviewer/1.0.2",
        "/nothing",
        "/nothing/",
    ],
)
def test_every_page_path_is_the_index(folder: Path, target: str) -> None:
    response = get(Page(folder), target)

    assert (response.status, response.body) == (200, INDEX)
    headers = dict(response.headers)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == REVALIDATE


@pytest.mark.parametrize(
    ("target", "body", "content_type", "cache_control"),
    [
        ("/assets/index-1f2e.js", SCRIPT, "text/javascript; charset=utf-8", IMMUTABLE),
        ("/assets/index-1f2e.css", b"body {}", "text/css; charset=utf-8", IMMUTABLE),
        ("/favicon.svg?x=1", b"<svg/>", "image/svg+xml", REVALIDATE),
        ("/index.html", INDEX, "text/html; charset=utf-8", REVALIDATE),
    ],
)
def test_files_have_their_type_and_are_cached_by_their_name(
    folder: Path, target: str, body: bytes, content_type: str, cache_control: str
) -> None:
    response = get(Page(folder), target)

    assert (response.status, response.body) == (200, body)
    headers = dict(response.headers)
    assert (headers["Content-Type"], headers["Cache-Control"]) == (content_type, cache_control)


@pytest.mark.parametrize("target", ["/assets/index-0000.js", "/assets/", "/assets", "/robots.txt"])
def test_a_file_that_is_missing_is_not_the_index(folder: Path, target: str) -> None:
    """Or a browser would run HTML as a script, and a cache keep it for a year."""
    response = get(Page(folder), target)

    if target == "/assets":  # names no file
        assert response.body == INDEX
    else:
        assert response.status == 404
        assert dict(response.headers)["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "target",
    [
        "/assets/../../secret.txt",
        "/../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "//secret.txt",
        "/.built",
        "/assets/\\..\\..\\secret.txt",
        "/assets/%00index-1f2e.js",
    ],
)
def test_only_the_files_of_the_build_are_served(folder: Path, target: str) -> None:
    response = get(Page(folder), target)

    assert response.status == 404 or response.body == INDEX


def test_a_file_outside_is_not_read_through_a_link(folder: Path) -> None:
    (folder / "assets" / "out").symlink_to(folder.parent)

    assert get(Page(folder), "/assets/out/secret.txt").status == 404


def test_who_has_the_file_does_not_get_it_again(folder: Path) -> None:
    page = Page(folder)
    etag = dict(get(page, "/assets/index-1f2e.js").headers)["ETag"]

    for tags in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        response = get(page, "/assets/index-1f2e.js", if_none_match=tags)
        assert (response.status, response.body) == (304, b"")
        assert dict(response.headers)["Cache-Control"] == IMMUTABLE
    assert get(page, "/assets/index-1f2e.js", if_none_match='"other"').status == 200


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("deflate, GZIP", True),
        ("br", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("x-gzip2", False),
    ],
)
def test_text_is_compressed_for_clients_that_take_it(folder: Path, accepted: str, is_compressed: bool) -> None:
    script = b"export const text = 'a';" * 100
    (folder / "assets" / "index-1f2e.js").write_bytes(script)
    page = Page(folder)
    response = get(page, "/assets/index-1f2e.js", accept_encoding=accepted)
    headers = dict(response.headers)

    assert headers["Vary"] == "Accept-Encoding"
    assert ("Content-Encoding" in headers) == is_compressed == headers["ETag"].startswith("W/")
    assert (gzip.decompress(response.body) if is_compressed else response.body) == script
    again = get(page, "/assets/index-1f2e.js", accept_encoding=accepted, if_none_match=headers["ETag"])
    assert (again.status, "Content-Encoding" in dict(again.headers)) == (304, False)


def test_it_is_only_read(folder: Path) -> None:
    page = Page(folder)

    assert get(page, "/", "HEAD").status == 200
    assert page.answer(Request("POST", "/", (), b"", "HTTP/1.1", "127.0.0.1")) is None


def test_the_page_is_told_where_it_is(folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    page = Page(folder, publishable_key="pk_test_1", pay_page="http://127.0.0.1:3004/pay", anonymous_runs=True)

    response = get(page, "/config.json")

    assert json.loads(response.body) == {
        "api": "/api/v1",
        "stripe_publishable_key": "pk_test_1",
        "pay_page": "http://127.0.0.1:3004/pay",
        "anonymous_runs": True,
        "laptop": True,
    }
    assert dict(response.headers)["Cache-Control"] == REVALIDATE


@pytest.mark.parametrize("target", ["/", "/assets/index-1f2e.js", "/assets/missing.js", "/playground/shared/t"])
def test_nothing_inline_runs_and_nobody_frames_it(folder: Path, target: str) -> None:
    headers = dict(get(Page(folder), target).headers)

    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "stripe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(
        policy.split("; ")
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert ("X-Robots-Tag" in headers) == target.startswith("/playground/shared/")


def test_stripe_is_allowed_where_its_form_is_shown(folder: Path) -> None:
    policy = dict(get(Page(folder, publishable_key="pk_test_1"), "/").headers)["Content-Security-Policy"]

    assert policy == content_security_policy(with_stripe=True)
    directives = dict(each.partition(" ")[::2] for each in policy.split("; "))
    assert "https://js.stripe.com" in directives["script-src"]
    assert "https://api.stripe.com" in directives["connect-src"]
    assert "https://hooks.stripe.com" in directives["frame-src"]
    assert "unsafe" not in policy


def test_a_new_build_is_served_when_it_is_complete(folder: Path) -> None:
    page = Page(folder)
    (folder / STAMP).unlink()
    (folder / "index.html").write_bytes(b"half of it")
    assert get(page, "/").body == INDEX

    (folder / "index.html").write_bytes(b"all of it")
    (folder / STAMP).write_bytes(b"2")
    assert get(page, "/").body == b"all of it"


def test_the_token_of_a_share_is_not_logged(folder: Path) -> None:
    assert Page(folder).loggable("/playground/shared/secret") == "/playground/shared/{token}"
    assert Page(folder).loggable("/playground/credits") == "/playground/credits"


def test_names_in_the_root_are_files_and_deeper_ones_are_pages() -> None:
    assert served_path("/robots.txt") == "/robots.txt"
    assert served_path("/packages/@acme/tidy.md") == "/index.html"


def test_the_page_is_there_when_it_is_built(folder: Path, description: Description) -> None:
    def made(**variables: str) -> object:
        return front_end(read_settings({"PAGE_DIR": str(folder), **variables}), description)

    for variables, expected in (({}, False), ({"ANONYMOUS_RUNS": "true"}, True)):
        page = made(**variables)
        assert isinstance(page, Page)
        assert json.loads(get(page, "/config.json").body)["anonymous_runs"] is expected
    assert made(FRONTEND_URL="http://localhost:5173") is None
    (folder / STAMP).unlink()
    assert not isinstance(made(), Page)


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({}, None),
        ({"STRIPE_PUBLISHABLE_KEY": "pk_test_1"}, None),
        ({"STRIPE_SECRET_KEY": "sk_test_1"}, None),
        ({"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_PUBLISHABLE_KEY": "pk_test_1"}, "pk_test_1"),
    ],
)
def test_the_form_of_the_real_stripe_and_the_page_of_the_stand_in_exclude_each_other(
    folder: Path, description: Description, variables: dict[str, str], key: str | None
) -> None:
    page = front_end(read_settings({"PAGE_DIR": str(folder), **variables}), description)
    assert isinstance(page, Page)

    config = json.loads(get(page, "/config.json").body)

    assert config["stripe_publishable_key"] == key
    assert (config["pay_page"] is None) == ("STRIPE_SECRET_KEY" in variables)


@pytest.mark.parametrize("key", ["sk_live_1", "pk_test_", "pk_test_1'; script-src *"])
def test_a_secret_key_is_never_taken_for_a_publishable_one(key: str) -> None:
    with pytest.raises(SettingsError, match="STRIPE_PUBLISHABLE_KEY must begin with pk_test_ or pk_live_"):
        read_settings({"STRIPE_PUBLISHABLE_KEY": key})


def test_a_token_is_in_the_link_to_a_page_on_this_machine_only(folder: Path) -> None:
    def line(**variables: str) -> str:
        return in_a_browser(read_settings({"PAGE_DIR": str(folder), **variables}), "t1")

    assert line() == "in a browser: http://127.0.0.1:3000/#token=t1"
    assert line(FRONTEND_URL="http://localhost:5173") == "in a browser: http://localhost:5173/#token=t1"
    assert line(FRONTEND_URL="https://front.example") == "in a browser: https://front.example/"
    (folder / STAMP).unlink()
    assert line() == "in a browser: http://127.0.0.1:3000/ (no page is built: `make web`)"
