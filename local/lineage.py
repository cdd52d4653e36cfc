"""How often an event has come back to a function: Lambda's detection of recursive loops, which is on by default.

Lambda keeps a count of each function's invocations in the trace of a chain of requests. It hands the trace to the
function; the AWS SDK in there sends it along with every request; SQS keeps it with a message, as `AWSTraceHeader`, and
Lambda reads it there when the message starts a function. What has started a function 16 times does not start it again:
the message stays in its queue until the redrive policy has it in the dead-letter queue. A repeat of the same message
counts no further. Schedules and requests begin a chain of their own; tables and their streams do not carry it on.

    Root=1-6927...;Sampled=0;Lineage=1f0c83d2:3|9a7be41c:1
"""

import hashlib
import re
import time
import uuid
from collections.abc import Iterable, Mapping

MAX_INVOCATIONS = 16  # of one function in one chain

_LINEAGE = re.compile(r"(?:^|;)Lineage=([^;]*)")
_COUNT = re.compile(r"([0-9a-f]{8}):([0-9]{1,5})")


def counts(traces: Iterable[str | None]) -> Mapping[str, int]:
    """Invocations so far, by function. Of several traces the highest of each: a batch is as old as its oldest."""
    found: dict[str, int] = {}
    for trace in traces:
        lineage = _LINEAGE.search(trace or "")
        for name, count in _COUNT.findall(lineage[1] if lineage else ""):
            found[name] = max(found.get(name, 0), int(count))
    return found


def is_stopped(trace: str | None, function: str) -> bool:
    """Whether what carries this trace has started the function as often as it may."""
    return counts([trace]).get(_short(function), 0) >= MAX_INVOCATIONS


def merged(traces: Iterable[str | None]) -> str:
    """One trace for a batch of messages."""
    return _written(counts(traces))


def entered(trace: str | None, function: str) -> str:
    """The trace that a function gets: with this invocation counted."""
    so_far = counts([trace])
    name = _short(function)
    return _written({**so_far, name: so_far.get(name, 0) + 1})


def _short(function: str) -> str:
    return hashlib.sha256(function.encode()).hexdigest()[:8]


def _written(lineage: Mapping[str, int]) -> str:
    written = "|".join(f"{name}:{count}" for name, count in sorted(lineage.items()))
    root = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0"
    return f"{root};Lineage={written}" if written else root
