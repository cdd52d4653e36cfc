"""Server-sent events of a run: `run`, `delta`, and at the end `done` or `error`.

The id of a delta is the character of the answer that it ends before, so that a reader who was cut off can go on there.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
from collections.abc import Callable, Iterable, Iterator

from playground.schemas.run import RunAnswer
from playground.usecases.stream_run import Delta, Done, Event, Failed, KeepAlive, Started

KEEP_ALIVE = b": keep-alive\n\n"
# Allowed in JSON and in a line of this format, but many clients end a line there: `str.splitlines` of Python, for one.
_LINE_ENDS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def encoded(events: Iterable[Event], failure: Callable[[Exception], str]) -> Iterator[bytes]:
    """Each event as it is sent. `failure` is the body of an error."""
    for event in events:
        match event:
            case Started():
                about = {
                    "run_id": event.run_id,
                    "session_id": event.session_id,
                    "ceiling": event.ceiling,
                    "max_tokens": event.max_tokens or None,
                }
                yield _event("run", json.dumps(about))
            case Delta():
                yield _event("delta", json.dumps({"text": event.text}), event.end)
            case KeepAlive():
                yield KEEP_ALIVE
            case Done():
                yield _event("done", RunAnswer.of(event.answer).model_dump_json().translate(_LINE_ENDS))
            case Failed():
                yield _event("error", failure(event.error))


def _event(name: str, data: str, id_: int | None = None) -> bytes:
    """`data` is JSON of one line."""
    lines = [f"event: {name}", *([f"id: {id_}"] if id_ is not None else []), f"data: {data}"]
    return ("\n".join(lines) + "\n\n").encode()
