"""Checks what a deployment needs and a build does not: `make deploy` runs it before the long build.

    .venv-sam/bin/python tools/deploy_check.py [option of sam deploy ...]

Looks for the region and the credentials where `sam deploy` does, and checks them with AWS. Exit status 1, and what to
do, if one of them is missing or refused.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parent.parent
BUILD_PYTHON = "python3.13"  # the functions' runtime: `sam build` starts it by this name
CONNECT_SECONDS = 10


class NotReadyError(Exception):
    """The deployment would fail; the message says what to do."""


class Target(NamedTuple):
    """Where a deployment goes, as far as the options and samconfig.toml say it."""

    stack_name: str | None
    region: str | None
    profile: str | None

    def session(self) -> botocore.session.Session:
        return botocore.session.Session(profile=self.profile)


def target_of(arguments: Sequence[str], config: Path = ROOT / "samconfig.toml") -> Target:
    """By the options of `sam deploy`; those that are none of ours are ignored."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--region")
    parser.add_argument("--profile")
    parser.add_argument("--stack-name")
    parser.add_argument("--config-env", default="default")
    given, _ = parser.parse_known_args(arguments)
    defaults = _configured(config, given.config_env)

    def option(name: str) -> str | None:
        return getattr(given, name) or defaults.get(name)

    return Target(option("stack_name"), option("region"), option("profile"))


def check(arguments: Sequence[str], config: Path = ROOT / "samconfig.toml") -> str:
    """Where the deployment goes. Raises NotReadyError."""
    target = target_of(arguments, config)
    session = target.session()
    try:
        region = target.region or session.get_config_variable("region")
        if region is None:
            raise NotReadyError(
                'no AWS region is set: AWS_REGION=us-east-1 make deploy, ARGS="--region us-east-1", or `aws configure`'
            )
        if session.get_credentials() is None:
            raise NotReadyError("no AWS credentials were found: set AWS_PROFILE, or run `aws configure` or `aws login`")
        config_of_client = Config(connect_timeout=CONNECT_SECONDS, retries={"total_max_attempts": 2})
        identity = session.create_client("sts", region_name=region, config=config_of_client).get_caller_identity()
    except ClientError as error:
        raise NotReadyError(f"AWS refuses the credentials: {error.response['Error'].get('Message', error)}") from error
    except BotoCoreError as error:
        raise NotReadyError(f"the credentials cannot be checked: {error}") from error
    return f"deploying {target.stack_name} to {region}, account {identity['Account']}, as {identity['Arn']}"


def _configured(config: Path, environment: str) -> dict[str, str]:
    """Defaults of `sam deploy`: parameters of all its commands, and its own."""
    tables = tomllib.loads(config.read_text(encoding="utf-8")).get(environment, {})
    return {
        name: str(value)
        for command in ("global", "deploy")
        for name, value in tables.get(command, {}).get("parameters", {}).items()
    }


def main() -> int:
    if shutil.which(BUILD_PYTHON) is None:
        print(f"sam build needs {BUILD_PYTHON} on PATH: install Python 3.13", file=sys.stderr)
        return 1
    try:
        print(check(sys.argv[1:]))
    except NotReadyError as error:
        print(f"nothing was built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
