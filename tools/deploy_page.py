"""Builds the page and uploads it to a deployed stack, if it has one (parameter `Page`): the end of `make deploy`.

    .venv-sam/bin/python -m tools.deploy_page [option of sam deploy ...]

The assets go first and index.html last, so that no index names an asset that is not there yet. Assets of earlier builds
stay: an open tab may still load them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from local.page_files import ASSETS, INDEX, PageFile, config, read_files
from tools.deploy_check import Target, target_of
from tools.web import ROOT, WEB, WebError, build


class Stack(NamedTuple):
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def bucket(self) -> str | None:
        """None for a stack without a page."""
        return self.outputs.get("PageBucketName")


def read_stack(cloudformation: Any, name: str) -> Stack:
    [found] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return Stack(
        {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])},
        {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
    )


def files_of(folder: Path, stack: Stack) -> list[PageFile]:
    """What is uploaded, in this order."""
    about = config(
        publishable_key=stack.parameters.get("StripePublishableKey") or None,
        pay_page=None,
        anonymous_runs=stack.parameters.get("AnonymousRuns") == "true",
    )
    files = {**read_files(folder), about.path: about}
    return sorted(files.values(), key=lambda file: (file.path == INDEX, not file.path.startswith(ASSETS), file.path))


def upload(s3: Any, bucket: str, files: Iterable[PageFile]) -> None:
    for file in files:
        s3.put_object(
            Bucket=bucket,
            Key=file.path[1:],
            Body=file.body,
            ContentType=file.content_type,
            CacheControl=file.cache_control,
        )


def deploy(target: Target, root: Path = ROOT) -> str:
    """What was done. Raises WebError, ClientError, BotoCoreError."""
    session = target.session()
    assert target.stack_name is not None  # samconfig.toml has one
    stack = read_stack(session.create_client("cloudformation", region_name=target.region), target.stack_name)
    if stack.bucket is None:
        return "the stack has no page (parameter Page)"
    build(root)
    files = files_of(root / WEB / "dist", stack)
    upload(session.create_client("s3", region_name=target.region), stack.bucket, files)
    address = stack.outputs["PageUrl"]
    said = f"the page is at {address}"
    if stack.parameters.get("FrontendUrl") != address:
        said += (
            f"\nits links lead elsewhere, to FrontendUrl: "
            f'make deploy STACK={target.stack_name} ARGS="--parameter-overrides FrontendUrl={address}"'
        )
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        print(deploy(target_of(sys.argv[1:] if arguments is None else arguments)))
    except (WebError, ClientError, BotoCoreError) as error:
        print(f"the stack is deployed, but its page is not: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
