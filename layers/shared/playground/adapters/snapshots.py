"""Instances that begin from a snapshot of a started one (Lambda SnapStart).

Whatever a start made is in the snapshot, and every instance has the same: connections that have ended meanwhile, a
state of `random` that all share, secrets and keys as they were weeks ago. What must be made anew is registered here.
Lambda's runtime calls `restored` before the first request; for a function behind the Web Adapter, the adapter does
(asgi.py). Ids and nonces need nothing: their bits come from the operating system.
"""

import random
from collections.abc import Callable
from contextlib import suppress

_hooks: list[Callable[[], None]] = [random.seed]


def after_restore(hook: Callable[[], None]) -> None:
    """Have `hook` called once in each instance that begins from a snapshot, in the order of registration."""
    _hooks.append(hook)


def restored() -> None:
    """Make anew what is registered. Raises what a hook raises: Lambda then ends the instance before any request."""
    for hook in _hooks:
        hook()


with suppress(ImportError):  # the runtime brings it; on a laptop there are no snapshots
    from snapshot_restore_py import register_after_restore  # type: ignore[import-untyped]

    register_after_restore(restored)
