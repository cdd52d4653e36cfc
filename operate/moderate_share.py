"""ModerateShares: what an operator decides about shared conversations that were reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from playground.domain.errors import ShareNotFoundError, StoreUnavailableError
from playground.domain.sharing import Report, Share

MAX_TRIES = 16  # when reports come in, or the owner shares or withdraws at the same moment


class Moderation(Protocol):
    """Actions that only an operator may take. Writes are conditional on what was read; False means: read again."""

    def find(self, share_id: str) -> Share | None: ...

    def reported(self, *, after: str | None) -> tuple[Sequence[Share], str | None]:
        """A page of the shares that were reported or are hidden, and the `after` of the next page, if any. A scan."""
        ...

    def reports(self, share: Share) -> Sequence[Report]:
        """The first hundred reports of the session of a share."""
        ...

    def set_hidden(self, share: Share, *, hidden: bool) -> bool:
        """Hide or show a share. Showing it forgets how many have reported it, so that it takes as many new ones."""
        ...

    def remove(self, share: Share) -> bool:
        """Kill the link for good: its session cannot be shared again."""
        ...


@dataclass(frozen=True, slots=True)
class ModerateShares:
    moderation: Moderation

    def hide(self, share_id: str) -> Share:
        """The link stops working until it is restored. Raises ShareNotFoundError."""
        return self._set_hidden(share_id, hidden=True)

    def restore(self, share_id: str) -> Share:
        """Everybody who has the link can see it again. Raises ShareNotFoundError."""
        return self._set_hidden(share_id, hidden=False)

    def remove(self, share_id: str) -> Share:
        """The link is dead, and there will be no other one of this session. Its owner keeps the conversation."""
        for _ in range(MAX_TRIES):
            share = self._find(share_id)
            if self.moderation.remove(share):
                return share
        raise StoreUnavailableError

    def _set_hidden(self, share_id: str, *, hidden: bool) -> Share:
        for _ in range(MAX_TRIES):
            share = self._find(share_id)
            if self.moderation.set_hidden(share, hidden=hidden):
                return share
        raise StoreUnavailableError

    def _find(self, share_id: str) -> Share:
        share = self.moderation.find(share_id)
        if share is None:
            raise ShareNotFoundError
        return share
