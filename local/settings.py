"""Settings of the laptop stack from environment variables. Other variables are read in process.py and stack.py only."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local.process import ROOT
from local.runtime import DEFAULT_CONCURRENCY

TEMPLATE = ROOT / "template.yaml"
DEFAULT_PORT = 3000
DEFAULT_CEILING_DOLLARS = 100
DEFAULT_STATE_DIR = ROOT / ".local"
DEFAULT_BUILD = ROOT / ".aws-sam" / "build"
DEFAULT_PAGE_DIR = ROOT / "web" / "dist"
PUBLISHABLE_KEY = r"pk_(?:test|live)_[0-9A-Za-z]+"


class SettingsError(Exception):
    """A variable has a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    port: int
    state_dir: Path
    frontend_url: str
    page_dir: Path
    concurrency: int
    rate_limit_factor: int
    anthropic_api_key: str | None
    anthropic_base_url: str | None
    stripe_secret_key: str | None
    stripe_publishable_key: str | None
    stripe_webhook_secret: str | None
    log_as_json: bool
    custom_prompts: str
    whole_conversation: bool
    anonymous_runs: bool
    anonymous_budget_cents: int | None
    """None: as in the template."""
    daily_ceiling_dollars: int
    pause_free_runs: bool
    warm: frozenset[str] = frozenset()
    """The functions that are started before the stack is ready, by their short names; none: all. The others start at
    their first event, as on Lambda."""
    built: Path | None = None
    """What `make build` wrote, to run it instead of the sources."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def extra_origins(self) -> tuple[str, ...]:
        """The front end's origin with the other name of this machine: to browsers, localhost and 127.0.0.1 differ."""
        address = urlsplit(self.frontend_url)
        other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(address.hostname or "")
        if other is None:
            return ()
        port = "" if address.port is None else f":{address.port}"
        return (f"{address.scheme}://{other}{port}",)

    @property
    def has_front_end(self) -> bool:
        """Whether another program serves the front end, not this stack."""
        return self.url not in (self.frontend_url, *self.extra_origins)

    @property
    def engine_port(self) -> int:
        return self.port + 1

    @property
    def claude_port(self) -> int:
        return self.port + 2

    @property
    def runtime_port(self) -> int:
        return self.port + 3

    @property
    def stripe_port(self) -> int:
        return self.port + 4


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError."""
    port = _integer(environment, "PORT", DEFAULT_PORT, 1, 65_531)
    return Settings(
        port=port,
        state_dir=state_dir(environment),
        frontend_url=(environment.get("FRONTEND_URL") or f"http://127.0.0.1:{port}").rstrip("/"),
        page_dir=Path(environment.get("PAGE_DIR") or DEFAULT_PAGE_DIR).resolve(),
        concurrency=_integer(environment, "LOCAL_CONCURRENCY", DEFAULT_CONCURRENCY, 1, 1_000),
        rate_limit_factor=_integer(environment, "RATE_LIMIT_FACTOR", 1, 1, 600),
        anthropic_api_key=environment.get("ANTHROPIC_API_KEY") or None,
        anthropic_base_url=environment.get("ANTHROPIC_BASE_URL") or None,
        stripe_secret_key=environment.get("STRIPE_SECRET_KEY") or None,
        stripe_publishable_key=_publishable_key(environment),
        stripe_webhook_secret=environment.get("STRIPE_WEBHOOK_SECRET") or None,
        log_as_json=_choice(environment, "LOG", "text", "json") == "json",
        custom_prompts=_choice(environment, "CUSTOM_PROMPTS", "plans", "everybody", "off"),
        whole_conversation=_choice(environment, "WHOLE_CONVERSATION", "false", "true") == "true",
        anonymous_runs=_choice(environment, "ANONYMOUS_RUNS", "false", "true") == "true",
        anonymous_budget_cents=_integer(environment, "ANONYMOUS_BUDGET_CENTS", 0, 1, 100_000)
        if environment.get("ANONYMOUS_BUDGET_CENTS")
        else None,
        daily_ceiling_dollars=_integer(environment, "DAILY_CEILING_DOLLARS", DEFAULT_CEILING_DOLLARS, 1, 1_000_000),
        pause_free_runs=_choice(environment, "PAUSE_FREE_RUNS", "false", "true") == "true",
        warm=frozenset(environment.get("WARM", "").replace(",", " ").split()),
        built=_built(environment),
    )


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    return Path(environment.get("STATE_DIR") or DEFAULT_STATE_DIR).resolve()


def _built(environment: Mapping[str, str]) -> Path | None:
    text = environment.get("BUILT") or "0"
    return {"0": None, "1": DEFAULT_BUILD}.get(text, Path(text).resolve())


def _publishable_key(environment: Mapping[str, str]) -> str | None:
    """Every browser gets it: a secret key in its place must not get that far."""
    text = environment.get("STRIPE_PUBLISHABLE_KEY") or None
    if text is not None and re.fullmatch(PUBLISHABLE_KEY, text) is None:
        raise SettingsError("STRIPE_PUBLISHABLE_KEY must begin with pk_test_ or pk_live_")
    return text


def _integer(environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
        raise SettingsError(f"{name} must be a number from {lowest} to {highest}, not {text!r}")
    return int(text)


def _choice(environment: Mapping[str, str], name: str, default: str, *others: str) -> str:
    text = environment.get(name) or default
    if text not in (default, *others):
        raise SettingsError(f"{name} must be {' or '.join((default, *others))}, not {text!r}")
    return text
