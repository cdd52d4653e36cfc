"""Fresh ids: the kind, the time in milliseconds and 80 random bits, in an alphabet that sorts by time."""

import secrets

from playground.domain.runs import base32
from playground.ports import Clock, NewId


def id_maker(clock: Clock) -> NewId:
    def new_id(kind: str) -> str:
        milliseconds = int(clock().timestamp() * 1000)
        return f"{kind}_{base32(milliseconds << 80 | secrets.randbits(80), 26)}"

    return new_id
