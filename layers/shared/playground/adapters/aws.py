"""Clients of AWS services, made by botocore: boto3 makes the same ones, and loads S3's transfer manager first.

All of a process come from one session, which reads the descriptions that services share once.
"""

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config


def make_client(service: str, config: Config, **options: Any) -> Any:
    """A client of `service`. `options` as botocore's `create_client` takes them."""
    return _session().create_client(service, config=config, **options)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()
