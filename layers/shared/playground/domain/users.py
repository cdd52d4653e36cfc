"""Ids of users."""

# Characters, so 512 bytes at most: an id is a part of keys (2,048 bytes) and of metadata (500 characters).
MAX_USER_ID_CHARACTERS = 128


def is_user_id(text: str) -> bool:
    """Whether `text` may be the id of a user: 1 to 128 printable characters of any script, not all of them spaces.

    Printable excludes controls, NUL, surrogates and invisible characters (direction marks, zero-width characters): such
    an id would look like another one in a log or a command. Ids are compared byte by byte, never trimmed or normalized.
    """
    return 0 < len(text) <= MAX_USER_ID_CHARACTERS and text.isprintable() and bool(text.strip())
