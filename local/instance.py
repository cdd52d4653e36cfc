"""One instance of a function: the runtime loop that Lambda itself uses, against the local Runtime API.

    python -P local/die_with_parent.py local/instance.py app.handler        (started by local/runtime.py, never by hand)

All instances share one Runtime API server, so each has its own path prefix in AWS_LAMBDA_RUNTIME_API:
`127.0.0.1:3003/<instance>`. The loop's native client takes that as it is; only the report of a failed start goes
through http.client, which wants a bare address, hence the small subclass.
"""

import os
import sys
from typing import Any

from awslambdaric import bootstrap  # type: ignore[import-untyped]
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient  # type: ignore[import-untyped]


class InstanceClient(LambdaRuntimeClient):  # type: ignore[misc]  # awslambdaric has no type information
    def __init__(self, address: str, prefix: str) -> None:
        # Polling in a second thread, as Lambda does from Python 3.12 on, lets the main thread handle signals.
        super().__init__(address, use_thread_for_polling_next=True)
        self.prefix = prefix

    def call_rapid(self, http_method: str, endpoint: str, *rest: Any, **options: Any) -> None:
        super().call_rapid(http_method, self.prefix + endpoint, *rest, **options)


def main() -> None:
    address, _, instance = os.environ["AWS_LAMBDA_RUNTIME_API"].partition("/")
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    bootstrap.run(sys.argv[1], InstanceClient(address, f"/{instance}"))


if __name__ == "__main__":
    main()
