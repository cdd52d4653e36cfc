"""Texts that are too large for an item: objects in the content bucket, each of one turn.

    sessions/<session id>/<turn number>-<nonce>

An object is written before the transaction that names it, and belongs to one attempt only. Its writer removes it again
if the turn is not written; `orphans` finds those whose writer died in between.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from playground.domain.errors import StoreUnavailableError, UnreadableError
from playground.domain.sessions import Turn
from playground.ports import TextRef

PREFIX = "sessions/"
MAX_BYTES = 16_000_000  # that are read back


class TurnTexts:
    """Safe to share between threads. `s3` is a function that gives a client: hardly any turn needs one."""

    def __init__(self, s3: Callable[[], Any], bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def put(self, session_id: str, turn: Turn, nonce: str) -> TextRef:
        content = zlib.compress(json.dumps({"input": turn.input, "answer": turn.answer}).encode(), 9)
        name = f"{PREFIX}{session_id}/{turn.number:06d}-{nonce}"
        answer = self._call("put_object", Key=name, Body=content, ContentType="application/zlib")
        return TextRef(name=name, version=answer.get("VersionId"), digest=hashlib.sha256(content).hexdigest())

    def get(self, kept: TextRef) -> Mapping[str, str]:
        """The texts. Raises UnreadableError if they are not what was stored."""
        try:
            answer = self._s3().get_object(Bucket=self._bucket, Key=kept.name)
            content: bytes = answer["Body"].read(MAX_BYTES + 1)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":  # needs s3:ListBucket
                raise UnreadableError(f"the texts {kept.name} are not in the bucket") from None
            raise StoreUnavailableError from error
        except BotoCoreError as error:
            raise StoreUnavailableError from error
        if hashlib.sha256(content).hexdigest() != kept.digest:
            raise UnreadableError(f"the texts {kept.name} are not those that were stored")
        try:
            texts: dict[str, str] = json.loads(zlib.decompress(content))
        except (ValueError, zlib.error):
            raise UnreadableError(f"the texts {kept.name} are no texts") from None
        return texts

    def delete(self, kept: TextRef) -> None:
        """Remove the object for good, not only its newest version. Removing what is not there is fine."""
        version = {"VersionId": kept.version} if kept.version is not None else {}
        self._call("delete_object", Key=kept.name, **version)

    def versions(self, session_id: str) -> Sequence[tuple[str, str]]:
        """Names and versions of objects of a conversation, also of those that no turn names, and of what was deleted
        or written over; at most a page of them. Empty if nothing is left."""
        found = self._call("list_object_versions", Prefix=f"{PREFIX}{session_id}/")
        listed = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
        return [(each["Key"], each["VersionId"]) for each in listed]

    def delete_version(self, name: str, version: str) -> None:
        """Remove it for good. An older version becomes what is read, so all of them have to go."""
        self._call("delete_object", Key=name, VersionId=version)

    def page(self, after: str | None, *, limit: int) -> tuple[Sequence[tuple[str, datetime]], str | None]:
        """Names and times of the objects of turns, in order, after a name; and the `after` of the next page, if any."""
        start = {"StartAfter": after} if after is not None else {}
        answer = self._call("list_objects_v2", Prefix=PREFIX, MaxKeys=limit, **start)
        found = [(item["Key"], item["LastModified"]) for item in answer.get("Contents", ())]
        return found, found[-1][0] if found and answer.get("IsTruncated") else None

    def _call(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = getattr(self._s3(), operation)(Bucket=self._bucket, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailableError from error
        return answer
