"""The stand-in for Claude with timestamps: the text of every delta is the time at which it was sent.

    python -m bench.stamped_claude --port 8082

Everything else is as in doubles/claude. The text is `time.monotonic_ns()`, which all processes of a machine share, and
a space.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from doubles.claude.server import _Handler, _Server


class _StampedHandler(_Handler):
    def _chunk(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
            event = {**event, "delta": {"type": "text_delta", "text": f"{time.monotonic_ns()} "}}
        super()._chunk(event)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stamped_claude")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    server = _Server(("127.0.0.1", options.port), retry_after="1", verbose=False)
    server.RequestHandlerClass = _StampedHandler
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
