"""Idempotency keys as Stripe has them: the first answer to a key is the answer to it for a day."""

import json
from typing import Any, Final

from doubles.stripe.wire import ApiError
from doubles.stripe.world import World

KIND: Final = "idempotency_key"
KEEP_SECONDS: Final = 86_400
MAX_KEY_CHARACTERS: Final = 255


class Keys:
    """Called with the world locked. Between `begin` and `end` or `forget` a key is in use."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.in_use: set[tuple[bool, str]] = set()

    def begin(self, key: str, path: str, params: dict[str, Any]) -> tuple[int, Any, str] | None:
        """The answer that was given, with its request id; None: this is the first request, so go on.

        Raises ApiError: 400 for other parameters or another address, 409 while the first request is under way.
        """
        if len(key) > MAX_KEY_CHARACTERS:
            message = f"Idempotency keys must be at most {MAX_KEY_CHARACTERS} characters."
            raise ApiError(400, "idempotency_error", message)
        asked = json.dumps(params, sort_keys=True)
        if (self.world.livemode, key) in self.in_use:
            raise ApiError(
                409,
                "idempotency_error",
                "There is currently another in-progress request using this Idempotent Key (that probably means you "
                f"submitted twice, and the other request is still going through): {key}. Please try again later.",
                code="idempotency_key_in_use",
                headers={"Stripe-Should-Retry": "true"},
            )
        record = self._record(key)
        if record is None:
            self.in_use.add((self.world.livemode, key))
            return None
        if record["path"] != path:
            raise ApiError(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{path}' vs '{record['path']}'). Try using a key other than '{key}' if you meant to execute a "
                "different request.",
            )
        if record["params"] != asked:
            raise ApiError(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
            )
        return record["status"], record["body"], record["request_id"]

    def end(self, key: str, path: str, params: dict[str, Any], status: int, body: Any, request_id: str) -> None:
        """Store the answer."""
        self.forget(key)
        self._forget_old_ones()
        self.world.add(
            {
                "id": self._id(key),
                "object": KIND,
                "path": path,
                "params": json.dumps(params, sort_keys=True),
                "status": status,
                "body": body,
                "request_id": request_id,
                "expires_at": self.world.now + KEEP_SECONDS,
                "_livemode": self.world.livemode,
            }
        )

    def forget(self, key: str) -> None:
        """The request failed before it did anything: the key can be used again."""
        self.in_use.discard((self.world.livemode, key))

    def _record(self, key: str) -> dict[str, Any] | None:
        record = self.world.objects.get(self._id(key))
        if record is not None and record["expires_at"] <= self.world.now:
            self.world.remove(record)
            return None
        return record

    def _forget_old_ones(self) -> None:
        while (oldest := next(iter(self.world.all(KIND)[:1]), None)) and oldest["expires_at"] <= self.world.now:
            self.world.remove(oldest)

    def _id(self, key: str) -> str:
        return f"key_{'live' if self.world.livemode else 'test'}_{key}"
