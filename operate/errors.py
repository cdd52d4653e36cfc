"""How a command says that it did not do what it was called for."""

from collections.abc import Mapping

DONE, REFUSED, CANNOT, ABSENT = 0, 1, 2, 4

STATUSES: Mapping[int, str] = {
    DONE: "done",
    REFUSED: "refused, or something was found that is not as it should be",
    CANNOT: "it could not be done: no stack, no answer, wrong command line",
    ABSENT: "what it names is not there: no such user, package, share, reference",
}
"""The exit statuses of all commands. Their help may say more of one; no status means anything else."""


class RefusedError(Exception):
    """The order was refused (exit status 1). The message says why, with the value."""


class CannotDoError(Exception):
    """The order could not be tried, or not completed (exit status 2). The message says what is missing."""


class NotThereError(Exception):
    """The order names something that does not exist (exit status 4). The message names it; nothing was done."""


def no_account(user_id: str, described: str) -> NotThereError:
    """That a stack has no account of this user; `described`: which stack."""
    return NotThereError(f"there is no account {user_id} in {described}")


def cause(error: BaseException) -> str:
    """What the store said, for an operator who can do something about it."""
    return f" ({error.__cause__})" if error.__cause__ else ""
