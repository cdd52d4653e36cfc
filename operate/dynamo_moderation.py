"""What an operator sees and decides of shares. In no function: `python -m operate.moderate` uses it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pynamodb.expressions.operand import Path
from pynamodb.expressions.update import Action

from playground.adapters.dynamo_items import SessionItem
from playground.adapters.dynamo_keys import session_key, share_key
from playground.adapters.dynamo_shares import ShareItem, find_share, report_of
from playground.adapters.dynamo_store import Delete, DynamoStore, RawItem, TransactionRefused, Update
from playground.domain.errors import CorruptLedgerError
from playground.domain.sharing import Report, Share
from playground.ports import ReportUnreadable

MAX_REPORTS = 100

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DynamoModeration:
    """`moderate.Moderation`."""

    store: DynamoStore
    sessions_table: str
    report: ReportUnreadable = lambda error: None

    def find(self, share_id: str) -> Share | None:
        return find_share(self.store, self.sessions_table, share_id)

    def reported(self, *, after: str | None) -> tuple[Sequence[Share], str | None]:
        page, following = self.store.scan(
            self.sessions_table,
            after=after,
            condition={
                "FilterExpression": "sk = :share AND (reports > :none OR #hidden = :yes)",
                "ExpressionAttributeNames": {"#hidden": "hidden"},
                "ExpressionAttributeValues": {":share": {"S": "SHARE"}, ":none": {"N": "0"}, ":yes": {"BOOL": True}},
            },
        )
        shares = self._readable(page, lambda raw: self.find(raw["pk"]["S"].removeprefix("SHARE#")))
        return [share for share in shares if share is not None], following

    def reports(self, share: Share) -> Sequence[Report]:
        page, _ = self.store.query(
            self.sessions_table,
            session_key("", share.session_id).pk,
            first="REPORT#",
            last="REPORT$",
            limit=MAX_REPORTS,
        )
        return self._readable(page, report_of)

    def _readable(self, page: Iterable[RawItem], read: Callable[[RawItem], _T]) -> Sequence[_T]:
        """What can be read of a page; the rest is reported."""
        found: list[_T] = []
        for raw in page:
            try:
                found.append(read(raw))
            except CorruptLedgerError as error:
                self.report(error)
        return found

    def set_hidden(self, share: Share, *, hidden: bool) -> bool:
        reports = share.reports if hidden else 0
        return self._write(
            share,
            [SessionItem.hidden.set(hidden), SessionItem.reports.set(reports)],
            Update(
                share_key(self.sessions_table, share.share_id),
                actions=[ShareItem.hidden.set(hidden), ShareItem.reports.set(reports)],
                condition=ShareItem.reports == share.reports,
            ),
        )

    def remove(self, share: Share) -> bool:
        gone: list[Action] = [
            SessionItem.removed.set(True),
            Path(SessionItem.share).remove(),
            SessionItem.former_shares.add({share.share_id}),
        ]
        return self._write(share, gone, Delete(share_key(self.sessions_table, share.share_id), Path("pk").exists()))

    def _write(self, share: Share, actions: Sequence[Action], write: Update | Delete) -> bool:
        """Session and share together, while they belong together."""
        theirs = (Path(SessionItem.share)["id"] == share.share_id) & SessionItem.deleted_at.does_not_exist()
        session = Update(session_key(self.sessions_table, share.session_id), actions=actions, condition=theirs)
        try:
            self.store.transact(session, write)
        except TransactionRefused:
            return False
        return True
