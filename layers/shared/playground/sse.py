"""Server-sent events of a run: `run`, `delta`, and at the end `done` or `error`. Those of a comparison name the variant
by its `index`, and `end` is the last.

The id of a delta is the character of the answer that it ends before, so that a reader who was cut off can go on there.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from playground.domain.sessions import Turn
from playground.schemas.run import RunAnswer
from playground.usecases.compare_prompts import Compared
from playground.usecases.live_events import LiveEvents
from playground.usecases.run_prompt import PaidAnswer
from playground.usecases.stream_comparison import ComparisonEvent, OfVariant
from playground.usecases.stream_run import Delta, Done, Event, Failed, KeepAlive, Started

KEEP_ALIVE = b": keep-alive\n\n"


Earlier = Callable[[PaidAnswer], Sequence[Turn]]
"""Reads the turns that `done` has before the answer's own."""


def encoded(
    events: Iterable[Event], failure: Callable[[Exception], str], earlier: Earlier | None = None
) -> Iterator[bytes]:
    """Each event as it is sent; LiveEvents, if they are and there is no `earlier`, for which one has to wait. `failure`
    is the body of an error."""

    def encode(event: Event) -> bytes:
        return _of_run(event, failure, {}, earlier)

    if isinstance(events, LiveEvents) and earlier is None:
        return events.map(encode)
    return map(encode, events)


def encoded_comparison(events: Iterable[ComparisonEvent], failure: Callable[[Exception], str]) -> Iterator[bytes]:
    """The same, of a comparison."""

    def encode(event: ComparisonEvent) -> bytes:
        match event:
            case OfVariant(index, its):
                return _of_run(its, failure, {"index": index})
            case Compared():
                return _event("end", {"comparison_id": event.comparison_id, "credits_spent": event.credits_spent})
            case _:
                return _of_run(event, failure, {})

    return map(encode, events)


def _of_run(
    event: Event, failure: Callable[[Exception], str], of: Mapping[str, int], earlier: Earlier | None = None
) -> bytes:
    match event:
        case Started():
            about = {
                "run_id": event.run_id,
                "session_id": event.session_id,
                "ceiling": event.ceiling,
                "max_tokens": event.max_tokens or None,
            }
            return _event("run", {**of, **about})
        case Delta() if not of:
            return f'event: delta\nid: {event.end}\ndata: {{"text": {json.dumps(event.text)}}}\n\n'.encode()
        case Delta():
            return _event("delta", {**of, "text": event.text}, event.end)
        case KeepAlive():
            return KEEP_ALIVE
        case Done():
            return _event(
                "done",
                {**of, **RunAnswer.of(event.answer, earlier(event.answer) if earlier else ()).model_dump(mode="json")},
            )
        case Failed():
            return _event("error", {**of, **json.loads(failure(event.error))})


def _event(name: str, data: Mapping[str, Any], id_: int | None = None) -> bytes:
    """In ASCII: many clients end a line at U+2028 or U+0085, too."""
    lines = [f"event: {name}", *([f"id: {id_}"] if id_ is not None else []), f"data: {json.dumps(data)}"]
    return ("\n".join(lines) + "\n\n").encode()
