"""PublishNotices: changes of the ledger are published as notices, in order, at least once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from playground.domain.errors import PlaygroundError
from playground.domain.notices import Notice
from playground.ports import Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One change of the ledger. `number` is its position in the stream; `notices` reads it, and raises PlaygroundError
    if it is damaged."""

    number: str
    notices: Callable[[], Sequence[Notice]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`failed` is the number of the first record that is not published; all before it are. `trace_ids`: of what is
    published, each once."""

    notices: int = 0
    trace_ids: Sequence[str] = ()
    failed: str | None = None
    error: PlaygroundError | None = None


@dataclass(frozen=True, slots=True)
class PublishNotices:
    publisher: Publisher

    def __call__(self, records: Sequence[Record]) -> Published:
        """Publish the notices of `records`, up to the first record that is damaged or whose notices are refused."""
        notices: list[Notice] = []
        of_record: list[str] = []  # for each notice, where it came from
        failed: str | None = None
        error: PlaygroundError | None = None
        for record in records:
            try:
                found = record.notices()
            except PlaygroundError as damage:
                failed, error = record.number, damage
                break
            notices += found
            of_record += [record.number] * len(found)
        untaken = self.publisher.publish(notices) if notices else None
        if untaken is not None:
            return Published(notices=untaken, trace_ids=_trace_ids(notices[:untaken]), failed=of_record[untaken])
        return Published(notices=len(notices), trace_ids=_trace_ids(notices), failed=failed, error=error)


def _trace_ids(notices: Sequence[Notice]) -> Sequence[str]:
    return tuple(dict.fromkeys(notice.trace_id for notice in notices if notice.trace_id is not None))
