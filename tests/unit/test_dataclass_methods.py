"""Methods of dataclasses, compiled by the build: which ones, and that a start uses them and nothing else changes."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from playground.start import CompiledMethods
from tests.conftest import ROOT
from tests.kit.extent import HANG_SECONDS
from tools.dataclass_methods import texts, write_methods

FORMS = """
import dataclasses
from abc import ABC
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import ClassVar, Generic, TypeVar

T = TypeVar("T")

@dataclass
class Plain:
    a: int
    b: str = "b"

@dataclass(frozen=True, slots=True)
class Frozen:
    a: "int"
    b: list[int] = field(default_factory=list)
    c: int = field(default=1, repr=False, compare=False)
    d: int = field(init=False, default=2)
    e: ClassVar[int] = 3

@dataclasses.dataclass(order=True, kw_only=True)
class Ordered(Generic[T]):
    a: T
    b: InitVar[int]

    def __post_init__(self, b: int) -> None:
        self.a = self.a

@dataclass(eq=False)
class Child(Plain, ABC):
    _: KW_ONLY
    c: int = 0

    def __repr__(self) -> str:
        return "Child"

@dataclass(frozen=True, init=False)
class Own:
    a: int
    __hash__ = None

    def __init__(self, a: int) -> None:
        object.__setattr__(self, "a", a)

class Outer:
    @dataclass(unsafe_hash=True)
    class Inner:
        a: int = field(hash=False)

@dataclass
class Empty:
    pass
"""

PRINT_WRITTEN = """
import builtins, dataclasses, importlib, json, pkgutil, sys
written = {}
def run(source, globals_=None, locals_=None, /):
    written[source] = globals_["__name__"] if "__name__" in (globals_ or {}) else ""
    builtins.exec(source, globals_, locals_)
dataclasses.exec = run
import playground.domain, playground.ports, playground.usecases
for package in playground.domain, playground.usecases:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(json.dumps([text for text, module in written.items() if module.startswith("playground")]))
"""


def written_by(source: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What `dataclasses` executes when the source is executed."""
    found: set[str] = set()

    def run(text: str, *spaces: dict[str, object]) -> None:
        found.add(text)
        exec(text, *spaces)  # noqa: S102 - as dataclasses does it

    with monkeypatch.context() as patched:
        patched.setattr(dataclasses, "exec", run, raising=False)
        exec(source, {"__name__": __name__})  # noqa: S102
    return found


def test_the_texts_of_all_forms_of_classes_are_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "forms.py"
    source.write_text(FORMS, encoding="utf-8")

    assert texts([source]) == written_by(FORMS, monkeypatch)


def test_making_them_leaves_dataclasses_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "forms.py"
    source.write_text(FORMS, encoding="utf-8")
    before = dict(vars(dataclasses))
    texts([source])

    assert dict(vars(dataclasses)) == before


def test_a_base_may_be_in_another_file_that_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = "from dataclasses import dataclass\n@dataclass\nclass Base:\n    a: int\n"
    child = "@dataclass\nclass Child(Base):\n    b: int\n"
    (tmp_path / "a.py").write_text(f"from dataclasses import dataclass\nfrom z import Base\n{child}", encoding="utf-8")
    (tmp_path / "z.py").write_text(base, encoding="utf-8")

    assert texts(sorted(tmp_path.glob("*.py"))) == written_by(base + child, monkeypatch)


def test_every_class_of_domain_and_use_cases_is_foreseen() -> None:
    """tests/infrastructure/test_built.py sees the same of everything that a function loads."""
    layer = ROOT / "layers" / "shared"
    ended = subprocess.run(
        [sys.executable, "-c", PRINT_WRITTEN],
        env={"PYTHONPATH": str(layer)},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    written = set(json.loads(ended.stdout))
    assert written
    assert written - texts(sorted((layer / "playground").rglob("*.py"))) == set()


def test_the_same_sources_give_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "forms.py"
    source.write_text(FORMS, encoding="utf-8")
    number = write_methods([source], tmp_path / "one.bin")
    write_methods([source], tmp_path / "two.bin")

    assert number == len(texts([source]))
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    assert CompiledMethods(tmp_path / "one.bin").get("def another(): pass") is None


def test_a_start_takes_what_is_compiled_and_compiles_the_rest(tmp_path: Path) -> None:
    """Seen from outside: the file has another code under the text of one class, and nothing of another class."""
    known = "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\nclass Known:\n    a: int\n"
    (tmp_path / "known.py").write_text(known, encoding="utf-8")
    file = tmp_path / "methods.bin"
    write_methods([tmp_path / "known.py"], file)
    program = textwrap.dedent(
        """
        import builtins, gc, pickle, sys
        from pathlib import Path
        from playground import start
        start.start_fast(Path(sys.argv[1]))
        seen = []
        find = start.CompiledMethods.get
        start.CompiledMethods.get = lambda self, text: seen.append(find(self, text)) or seen[-1]
        sys.path.insert(0, sys.argv[2])
        from known import Known
        of_known = len(seen)  # one for each method, or for all of them, by the version of Python
        from dataclasses import dataclass, replace
        @dataclass
        class Unknown:
            a: int
            b: int = 2
        first = Known(1)
        assert of_known and None not in seen[:of_known] and None in seen[of_known:]
        assert first == Known(1) != Known(2) and hash(first) == hash(Known(1)) and repr(first) == "Known(a=1)"
        assert replace(first, a=3) == Known(3) and pickle.loads(pickle.dumps(first)) == first
        try:
            first.a = 2
        except AttributeError as error:
            assert type(error).__name__ == "FrozenInstanceError"
        assert Unknown(1) == Unknown(a=1, b=2)
        assert not gc.isenabled()
        start.started()
        assert gc.isenabled() and gc.get_threshold()[0] == start.YOUNG_OBJECTS
        assert gc.get_freeze_count() > len(gc.get_objects())
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(file), str(tmp_path)],
        env={"PYTHONPATH": str(ROOT / "layers" / "shared")},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_without_a_build_nothing_is_changed() -> None:
    assert "exec" not in vars(dataclasses)
