"""How a command says that it did not do what it was called for."""


class RefusedError(Exception):
    """The order was refused (exit status 1). The message says why, with the value."""


class CannotDoError(Exception):
    """The order could not be tried, or not completed (exit status 2). The message says what is missing."""


def cause(error: BaseException) -> str:
    """What the store said, for an operator who can do something about it."""
    return f" ({error.__cause__})" if error.__cause__ else ""
