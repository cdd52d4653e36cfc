"""Lambda's recursive loop detection, which is on by default.

Lambda counts each function's invocations in the trace of a chain of requests. The function receives the trace, the
AWS SDK sends it with every request, and SQS stores it with the message as `AWSTraceHeader`, where Lambda reads it
again. After 16 invocations in one chain a function is not started: the message stays in its queue until the redrive
policy moves it to the dead-letter queue. Redelivery of a message does not count. Schedules and requests begin a new
chain; tables and their streams do not propagate it.

    Root=1-6927...;Sampled=0;Lineage=1f0c83d2:3|9a7be41c:1
"""

import hashlib
import re
import time
import uuid
from collections.abc import Iterable, Mapping

MAX_INVOCATIONS = 16  # of one function in one chain

_ROOT = re.compile(r"(?:^|;)Root=(1-[0-9a-f]{8}-[0-9a-f]{24})(?:;|$)")
_LINEAGE = re.compile(r"(?:^|;)Lineage=([^;]*)")
_COUNT = re.compile(r"([0-9a-f]{8}):([0-9]{1,5})")


def counts(traces: Iterable[str | None]) -> Mapping[str, int]:
    """Invocations so far, by function; the maximum over the traces of a batch."""
    found: dict[str, int] = {}
    for trace in traces:
        lineage = _LINEAGE.search(trace or "")
        for name, count in _COUNT.findall(lineage[1] if lineage else ""):
            found[name] = max(found.get(name, 0), int(count))
    return found


def is_stopped(trace: str | None, function: str) -> bool:
    """Whether the function has reached MAX_INVOCATIONS in this trace."""
    return counts([trace]).get(_short(function), 0) >= MAX_INVOCATIONS


def merged(traces: Iterable[str | None]) -> str:
    """The trace of a batch of messages: a new one, whose counts are the highest of theirs."""
    return _written(new_root(), counts(traces))


def entered(trace: str | None, function: str) -> str:
    """The trace that the function receives, with this invocation counted: the one that started it, or a new one."""
    so_far, root = counts([trace]), root_of(trace)
    name = _short(function)
    return _written(root or new_root(), {**so_far, name: so_far.get(name, 0) + 1})


def root_of(trace: str | None) -> str | None:
    """The id of a trace; None if it has none that is well-formed."""
    found = _ROOT.search(trace or "")
    return found[1] if found else None


def new_root() -> str:
    return f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"


def _short(function: str) -> str:
    return hashlib.sha256(function.encode()).hexdigest()[:8]


def _written(root: str, lineage: Mapping[str, int]) -> str:
    written = "|".join(f"{name}:{count}" for name, count in sorted(lineage.items()))
    trace = f"Root={root};Sampled=0"
    return f"{trace};Lineage={written}" if written else trace
