"""The rewriting of packages that import more than is used of them: what names mean stays the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.lazy_package import lazy


def package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "library"


def run(folder: Path, program: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


SUBMODULE = "print('loaded')\nclass A: pass\nclass B: pass\n"


@pytest.mark.parametrize(
    "statement",
    ["from .x import A", "from .x import A as A", "from library.x import A", "from .x import *"],
)
def test_a_submodule_is_loaded_when_its_name_is_used(tmp_path: Path, statement: str) -> None:
    library = package(tmp_path, {"__init__.py": f"{statement}\n", "x.py": SUBMODULE})
    (library / "__init__.py").write_text(lazy(library / "__init__.py"), encoding="utf-8")

    assert run(tmp_path, "import library; print('imported'); library.A") == "imported\nloaded"
    assert run(tmp_path, "from library import A; from library.x import A as same; print(A is same)") == "loaded\nTrue"
    assert "'A'" in run(tmp_path, "import library; print(dir(library))")
    assert run(tmp_path, "import library; print(hasattr(library, 'C'))") == "False"


@pytest.mark.parametrize("statement", ["from library import x, y", "from library import x as x"])
def test_a_submodule_that_a_package_imports_from_itself_is_loaded_when_it_is_used(
    tmp_path: Path, statement: str
) -> None:
    library = package(tmp_path, {"__init__.py": f"{statement}\n", "x.py": SUBMODULE, "y.py": ""})
    (library / "__init__.py").write_text(lazy(library / "__init__.py"), encoding="utf-8")

    assert run(tmp_path, "import library; print('imported'); print(library.x.A.__name__)") == "imported\nloaded\nA"
    assert run(tmp_path, "from library import x; print(x.__name__)") == "loaded\nlibrary.x"


@pytest.mark.parametrize(
    "use",
    [
        "C = A",
        "class C(A): pass",
        "class C:\n    a: A",
        "def f(a=A): pass",
        "@A\ndef f(): pass",
        "def f(a: A): pass",  # evaluated: no `from __future__ import annotations`
        "x = lambda: A",
        "def f():\n    A = 1",
        "def f(A): pass",
    ],
)
def test_a_name_that_the_module_needs_at_once_is_imported_at_once(tmp_path: Path, use: str) -> None:
    library = package(tmp_path, {"__init__.py": f"from .x import A, B\n{use}\n", "x.py": SUBMODULE})
    text = lazy(library / "__init__.py")

    assert "from .x import A\n" in f"{text}\n"
    assert "'B': ('.x', 'B')" in text


def test_functions_of_the_module_load_what_they_use(tmp_path: Path) -> None:
    source = (
        "from __future__ import annotations\nfrom .x import A, B as C\n\ndef f(a: A = None) -> C:\n    return A, C\n"
    )
    library = package(tmp_path, {"__init__.py": "", "m.py": source, "x.py": SUBMODULE})
    (library / "m.py").write_text(lazy(library / "m.py"), encoding="utf-8")

    program = "from library import m; print('imported'); print([each.__name__ for each in m.f()], m.A is m.f()[0])"
    assert run(tmp_path, program) == "imported\nloaded\n['A', 'B'] True"


def test_a_name_that_is_a_submodules_too_is_left_alone(tmp_path: Path) -> None:
    """When the submodule is imported, Python puts it into its package under that name."""
    library = package(tmp_path, {"__init__.py": "from .x import x\n", "x.py": "x = 1\n"})
    assert "from .x import x" in lazy(library / "__init__.py")


def test_a_module_with_a_getattr_of_its_own_is_refused(tmp_path: Path) -> None:
    library = package(tmp_path, {"__init__.py": "def __getattr__(name): ...\n"})
    with pytest.raises(ValueError, match="has a __getattr__ of its own"):
        lazy(library / "__init__.py")


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("import other", "other.NAME"),
        ("import other\nimport other.part", "other.part.NAME"),
        ("from other import NAME", "NAME"),
        ("from other import part", "part.NAME"),
        ("from other.part import NAME as it", "it"),
    ],
)
def test_other_packages_are_loaded_when_they_are_used(tmp_path: Path, statement: str, use: str) -> None:
    module = tmp_path / "module.py"
    package(tmp_path, {"../other/__init__.py": "print('loaded')\nNAME = 'n'\n", "../other/part.py": "NAME = 'n'\n"})
    module.write_text(f"{statement}\n\ndef f():\n    return {use}\n", encoding="utf-8")
    module.write_text(lazy(module, {"other"}), encoding="utf-8")

    assert run(tmp_path, "import module; print('imported', module.f())") == "loaded\nimported n"
    assert run(tmp_path, "import module; print('imported')") == "imported"


@pytest.mark.parametrize("text", ["import other\nX = other.NAME\n", "import other as it\n"])
def test_a_package_that_cannot_wait_is_an_error(tmp_path: Path, text: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="needs other while it is imported"):
        lazy(module, {"other"})


@pytest.mark.parametrize(("are_read", "printed"), [(True, "loaded\nimported"), (False, "imported")])
def test_annotations_that_nobody_evaluates_load_nothing(tmp_path: Path, are_read: bool, printed: str) -> None:
    text = "from __future__ import annotations\nfrom .x import A\nclass C:\n    a: A = None\n"
    library = package(tmp_path, {"__init__.py": "", "y.py": text, "x.py": SUBMODULE})
    source = lazy(library / "y.py", annotations_are_read=are_read)
    (library / "y.py").write_text(source, encoding="utf-8")

    assert run(tmp_path, "import library.y; print('imported')") == printed
