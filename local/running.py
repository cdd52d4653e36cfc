"""The stack that is running on this machine, for commands that work on it."""

import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.runtime import ABOUT_PATH
from local.settings import SettingsError, read_settings, state_dir
from local.state_file import read_state

ASK_SECONDS = 1.0


class NoStackError(Exception):
    """No running stack has STATE_DIR as its state folder."""

    def __init__(self, folder: Path, other: Mapping[str, Any] | None = None) -> None:
        advice = "start one with `make run`"
        if other is not None:
            advice = f"the one at {other['url']} has STATE_DIR={other['state_dir']}"
        super().__init__(f"no stack is running with its state in {folder}: {advice}")


def running() -> dict[str, Any]:
    """The state of the running stack, from its state file. Raises NoStackError."""
    folder = state_dir()
    state = read_state(folder)
    if state is None:
        raise NoStackError(folder, stack_at_port())
    return state


def stack_at_port(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """URL, STATE_DIR and token keys of the stack at PORT; None if there is none."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", read_settings(environment).runtime_port, ASK_SECONDS)
    except SettingsError:
        return None
    try:
        connection.request("GET", ABOUT_PATH)
        response = connection.getresponse()
        about = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    known = response.status == 200 and isinstance(about, dict) and {"url", "state_dir", "token_keys"} <= about.keys()
    return about if known else None


def refusal_of(key: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why the running stack refuses tokens that were signed with the key of this name (`tokens.key_id`); None if it
    accepts them, or if no stack is running."""
    folder = state_dir(environment)
    stack = read_state(folder) or stack_at_port(environment)
    if stack is None or key in stack.get("token_keys", [key]):
        return None
    if stack["state_dir"] == str(folder):
        return f"the stack at {stack['url']} was started with other AUTH_SECRETS: it refuses this token"
    return (
        f"the stack at {stack['url']} refuses this token, which is for STATE_DIR={folder}: "
        f"use STATE_DIR={stack['state_dir']}"
    )
