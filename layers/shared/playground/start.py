"""A function's start, as `make build` prepares it. Without a build nothing is changed.

`dataclasses` writes the methods of a class as a text and compiles it each time the class is made. A cold start makes
160 of them, which takes a fifth of it. The build puts the compiled form of these texts into the layer
(tools/dataclass_methods.py): the same code, found by the text itself. A text that is not there is compiled as usual, so
a class that the build did not foresee costs time and nothing else.

What is imported stays: looking through it for garbage takes another tenth of a start, so the collector begins when the
start is over, and never looks at what that has made. A request leaves few cycles; after some dozens of requests it runs
as before.
"""

import builtins
import dataclasses
import gc
import marshal
from collections.abc import Mapping
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import CodeType
from typing import Any

PATH = Path(__file__).with_name("data") / "dataclass_methods.bin"
YOUNG_OBJECTS = 50_000  # that are made before the collector looks at them; without a build, 2,000
SIZE_BYTES = 4  # of the number in front: the bytes of the index behind it


def key(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


class CompiledMethods:
    """A file of compiled texts, mapped into memory: what is used of it is read. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._content = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        codes = SIZE_BYTES + int.from_bytes(self._content[:SIZE_BYTES], "big")
        places = marshal.loads(self._content[SIZE_BYTES:codes])  # noqa: S302 - a file of our own build # nosec B302
        self._places: Mapping[bytes, int] = places
        self._codes = self._content[codes:]

    def get(self, text: str) -> CodeType | None:
        place = self._places.get(key(text))
        if place is None:
            return None
        code: CodeType = marshal.loads(self._codes[place:])  # noqa: S302 - a file of our own build # nosec B302
        return code


def start_fast(path: Path = PATH) -> None:
    """Have `dataclasses` take methods from the file at `path`, and the collector wait for `started`, if there is such a
    file."""
    if not path.exists():
        return
    gc.disable()
    compiled = CompiledMethods(path)

    def run(source: Any, globals_: Any = None, locals_: Any = None, /) -> None:
        code = compiled.get(source) if isinstance(source, str) else None
        builtins.exec(source if code is None else code, globals_, locals_)  # noqa: S102 - as dataclasses does

    dataclasses.exec = run  # type: ignore[attr-defined]  # its module finds this before the built-in function


def started() -> None:
    """The last statement of a function's module, in a build: what there is stays, the collector begins."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()
