"""Compiles the methods of the dataclasses of a layer, so that no cold start has to.

`dataclasses` itself writes the texts of these methods: from the names of a class's fields, from whether they have
defaults, and from its options. All of that is read from the sources without importing them, and a class of the same
form is made here. If that guess is wrong the text is another one, which a start does not find in the file and compiles
as ever (playground/start.py): a guess can cost time, but never change a method.
"""

import ast
import builtins
import dataclasses
import itertools
import marshal
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playground.start import SIZE_BYTES, key

MAX_CANDIDATES = 4  # classes of one name that a base may be


def write_methods(sources: Iterable[Path], into: Path) -> int:
    """Compile what the dataclasses in `sources` need; the number of texts."""
    index: dict[bytes, int] = {}
    codes = bytearray()
    for text in sorted(texts(sources)):
        index[key(text)] = len(codes)
        codes += marshal.dumps(compile(text, "<string>", "exec"))
    packed = marshal.dumps(index)
    into.parent.mkdir(exist_ok=True)
    into.write_bytes(len(packed).to_bytes(SIZE_BYTES, "big") + packed + codes)
    return len(index)


def texts(sources: Iterable[Path]) -> set[str]:
    """The texts that `dataclasses` writes for the classes in `sources`."""
    found: dict[str, list[_Class]] = defaultdict(list)
    for path in sources:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and (options := options_of(node)) is not None:
                found[node.name].append(_Class(node, options))
    with _written() as written:
        for same_name in found.values():
            for each in same_name:
                each.make(found)
    return written


@contextmanager
def _written() -> Iterator[set[str]]:
    """Collects what `dataclasses` has executed."""
    written: set[str] = set()

    def run(source: str, globals_: Any = None, locals_: Any = None, /) -> None:
        written.add(source)
        builtins.exec(source, globals_, locals_)  # noqa: S102 - as dataclasses does

    before = vars(dataclasses).get("exec")
    dataclasses.exec = run  # type: ignore[attr-defined]
    try:
        yield written
    finally:
        if before is None:
            del dataclasses.exec  # type: ignore[attr-defined]
        else:
            dataclasses.exec = before  # type: ignore[attr-defined]


class _Class:
    """A dataclass of a source. `make` gives classes of its form: several if several may be its base."""

    def __init__(self, node: ast.ClassDef, options: dict[str, Any]) -> None:
        self._node = node
        self._options = options
        self._made: list[type] | None = None

    def make(self, others: "dict[str, list[_Class]]") -> Sequence[type]:
        if self._made is None:
            self._made = []  # also while its bases are made, should one have its own name
            bases = [
                [made for each in others[name][:MAX_CANDIDATES] for made in each.make(others)]
                for name in map(_last_name, self._node.bases)
                if name in others
            ]
            for chosen in itertools.islice(itertools.product(*bases), MAX_CANDIDATES):
                try:
                    plain = type(self._node.name, chosen, self._namespace())
                    self._made.append(dataclasses.dataclass(**self._options)(plain))
                except TypeError:  # no such class can be: it has other bases than those
                    continue
        return self._made

    def _namespace(self) -> dict[str, Any]:
        annotations: dict[str, Any] = {}
        space: dict[str, Any] = {"__annotations__": annotations, "__doc__": "Of the same form.", "__module__": __name__}
        for node in self._node.body:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                    annotations[name] = _kind(ast.unparse(annotation))
                    if value is not None:
                        space[name] = _default(value)
                case ast.FunctionDef(name=name) if name.startswith("__"):
                    space[name] = lambda *_: None
                case ast.Assign(targets=[ast.Name(id="__hash__")]):
                    space["__hash__"] = None
        return space


def options_of(node: ast.ClassDef) -> dict[str, Any] | None:
    """What the decorator says; None if the class has no such decorator. Options that are not written out are of slots,
    on which no method depends."""
    for decorator in node.decorator_list:
        called = isinstance(decorator, ast.Call)
        if _last_name(decorator.func if isinstance(decorator, ast.Call) else decorator) == "dataclass":
            return _constants(decorator.keywords) if called and isinstance(decorator, ast.Call) else {}
    return None


def _constants(keywords: Sequence[ast.keyword]) -> dict[str, Any]:
    return {each.arg: each.value.value for each in keywords if each.arg and isinstance(each.value, ast.Constant)}


def _last_name(node: ast.expr) -> str:
    """`C` of `C`, `a.C`, `C[T]` and `a.C[T]`."""
    match node:
        case ast.Subscript(value=value):
            return _last_name(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _kind(annotation: str) -> Any:
    if "KW_ONLY" in annotation:
        return dataclasses.KW_ONLY
    if "InitVar" in annotation:
        return dataclasses.InitVar[object]
    return typing.ClassVar[object] if "ClassVar" in annotation else object


def _default(value: ast.expr) -> Any:
    if not (isinstance(value, ast.Call) and _last_name(value.func) in ("field", "_field")):
        return 0
    options: dict[str, Any] = _constants(value.keywords)
    given = {each.arg for each in value.keywords}
    options.pop("metadata", None)
    options |= {"default": 0} if "default" in given else {}
    options |= {"default_factory": list} if "default_factory" in given else {}
    return dataclasses.field(**options)
