"""What `make build` builds: what is left out of it, its size, and that its functions answer."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cold
from local import demo
from local.built import NotBuiltError, as_on_lambda, python, unpack
from local.template import read_template
from local.till import Till
from tests.conftest import ROOT
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.kit.extent import HANG_SECONDS, whole_only
from tests.kit.ports import free_ports
from tools import slim

MAX_LAYER_MB = 45.0
"""Unzipped. Lambda allows 250 with the functions; cryptography's library alone is 13.5."""

MAX_MODULES = {
    **dict.fromkeys(("audit", "guard", "notices", "reset"), 500),
    **dict.fromkeys(("catalog",), 520),
    **dict.fromkeys(("reconcile",), 555),
    **dict.fromkeys(("credits", "sessions", "webhook"), 615),
    **dict.fromkeys(("anonymous",), 630),
    **dict.fromkeys(("estimate",), 690),
    **dict.fromkeys(("run", "stream"), 750),
}
"""That a start loads, the standard library's included. From the sources, `run` loads 3,780."""

on_the_runtimes_python = pytest.mark.skipif(sys.version_info[:2] != slim.VERSION, reason="compiled for Python 3.13")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    write(
        tmp_path,
        {
            "RunFunction/app.py": "import playground\n",
            "SharedLayer/python/playground/__init__.py": '"""Ours."""\n',
            "SharedLayer/python/playground/data/prices.json": "{}",
            "SharedLayer/python/library/__init__.py": '"""Theirs."""\nassert True\ndef f():\n    """Does."""\n',
            "SharedLayer/python/library/__pycache__/__init__.cpython-312.pyc": "another version's",
            "SharedLayer/python/library/types.pyi": "x: int",
            "SharedLayer/python/library/py.typed": "",
            "SharedLayer/python/library/cacert.pem": "certificates",
            "SharedLayer/python/library/tests/test_it.py": "",
            "SharedLayer/python/single.py": "def f():\n    'Does.'\n    return 1\n",
            "SharedLayer/python/library-1.0.dist-info/METADATA": "Name: library",
            "SharedLayer/python/httpx2-2.16.2.dist-info/METADATA": "Name: httpx2",
            "SharedLayer/python/httpx2-2.16.2.dist-info/RECORD": "",
            "SharedLayer/python/botocore/data/endpoints.json": json.dumps(
                {"version": 3, "partitions": [{"partition": "aws", "services": {"ec2": {}, "s3": {"endpoints": {}}}}]}
            ),
            "SharedLayer/python/botocore/data/ec2/2016-11-15/service-2.json.gz": "",
            "SharedLayer/python/botocore/data/s3/2006-03-01/examples-1.json": "{}",
        },
    )
    s3 = {"documentation": "<p>Long.</p>", "shapes": {"Part": {"members": {"documentation": {"shape": "Text"}}}}}
    described = tmp_path / "SharedLayer/python/botocore/data/s3/2006-03-01/service-2.json.gz"
    described.write_bytes(gzip.compress(json.dumps(s3).encode()))
    return tmp_path


def test_what_no_function_loads_is_left_out(build: Path) -> None:
    slim.slim(build)

    layer = build / "SharedLayer" / "python"
    tag = sys.implementation.cache_tag
    assert {path.relative_to(layer).as_posix() for path in slim.files_of(layer)} == {
        "botocore/data/endpoints.json",
        "botocore/data/s3/2006-03-01/service-2.json",
        "httpx2-2.16.2.dist-info/METADATA",
        "library/__init__.pyc",
        "library/cacert.pem",
        "playground/__init__.py",
        f"playground/__pycache__/__init__.{tag}.pyc",
        "playground/data/dataclass_methods.bin",
        "playground/data/prices.json",
        "single.pyc",
    }
    assert (build / "RunFunction" / "__pycache__" / f"app.{tag}.pyc").exists()


def test_descriptions_of_services_lose_what_no_client_needs(build: Path) -> None:
    slim.slim(build)

    data = build / "SharedLayer" / "python" / "botocore" / "data"
    assert json.loads((data / "s3/2006-03-01/service-2.json").read_bytes()) == {
        "shapes": {"Part": {"members": {"documentation": {"shape": "Text"}}}}
    }
    [partition] = json.loads((data / "endpoints.json").read_bytes())["partitions"]
    assert partition == {"partition": "aws", "services": {"s3": {"endpoints": {}}}}


HANDLERS = """
BUILTIN_HANDLERS = [
    ("before-call", f),
    ("before-call.s3", f),
    ("before-call.rds.CreateDBCluster", f),
    ("before-parse.*.Get", f, REGISTER_FIRST),
    ("docs.*.s3.CopyObject.complete-section", f),
    *more,
]
"""
FIELDS = (
    "class A(TypedDict, total=False):\n    a: int\nclass B(Base):\n    b: int\ndef a_schema(a: int) -> A:\n    pass\n"
)


def test_handlers_and_fields_that_nothing_needs_are_left_out(build: Path) -> None:
    layer = build / "SharedLayer" / "python"
    write(layer, {"botocore/handlers.py": HANDLERS, "pydantic_core/core_schema.py": FIELDS})

    slim.drop_handlers(layer / "botocore" / "handlers.py")
    slim.drop_fields(layer / "pydantic_core" / "core_schema.py")

    left = (layer / "botocore" / "handlers.py").read_text(encoding="utf-8")
    assert re.findall(r"'([^']+)'", left) == ["before-call", "before-call.s3", "before-parse.*.Get"]
    assert "*more" in left
    fields = (layer / "pydantic_core" / "core_schema.py").read_text(encoding="utf-8")
    assert fields == FIELDS.replace("    a: int\n", "    pass\n").replace("class B", "\nclass B").replace(
        "def a_", "\ndef a_"
    ).rstrip("\n")


def test_handlers_of_another_form_are_an_error(build: Path) -> None:
    path = build / "SharedLayer" / "python" / "botocore" / "handlers.py"
    write(path.parent, {"handlers.py": "HANDLERS = []\n"})
    with pytest.raises(slim.SlimError, match="drop_handlers"):
        slim.drop_handlers(path)


@on_the_runtimes_python
def test_a_function_says_when_its_start_is_over(build: Path) -> None:
    """Last of all, in the compiled file only."""
    write(build, {"RunFunction/app.py": '"""Runs."""\nimport json\nhandler = print\n'})
    slim.slim(build)

    folder = build / "RunFunction"
    stub = "import types, sys; ours = types.ModuleType('playground'); sys.modules['playground'] = ours; "
    stub += "ours.start = types.SimpleNamespace(started=lambda: print('started', 'app' in sys.modules)); import app"
    ended = subprocess.run(
        [sys.executable, "-c", stub], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("started True\n", "")


def test_compiled_files_are_used_without_a_look_at_a_source(build: Path) -> None:
    slim.slim(build)

    layer = build / "SharedLayer" / "python"
    (layer / "playground" / "__init__.py").write_text("raise SystemExit('the source was compiled')\n", encoding="utf-8")
    program = "import library, single, playground; print(playground.__doc__, library.f.__doc__, single.f())"
    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(layer)}, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("Ours. None 1\n", "")


def test_a_second_run_changes_nothing(build: Path) -> None:
    slim.slim(build)
    first = slim.digest(build)
    slim.slim(build)
    assert slim.digest(build) == first


def test_assertions_of_libraries_are_kept(build: Path) -> None:
    write(build, {"SharedLayer/python/checks.py": "def f(x):\n    '''Does.'''\n    assert x, 'refused'\n"})
    slim.slim(build)

    ended = subprocess.run(
        [sys.executable, "-c", "import checks; checks.f(0)"],
        env={"PYTHONPATH": str(build / "SharedLayer" / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr.endswith("AssertionError: refused\n")


def test_data_of_every_service_that_is_called_is_kept() -> None:
    """botocore cannot make a client of a service whose data is not there."""
    layer = ROOT / "layers" / "shared" / "playground"
    sources = [*layer.rglob("*.py"), *(ROOT / "functions").glob("*/app.py")]
    called = {
        name
        for path in sources
        for name in re.findall(r"client\(\s*[\"']([a-z0-9-]+)[\"']", path.read_text(encoding="utf-8"))
    }
    assert called == slim.SERVICES


@on_the_runtimes_python
def test_without_a_build_the_stack_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotBuiltError, match="nothing is built: run `make build` first"):
        unpack(tmp_path / "absent", tmp_path / "into")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, built as `make build` does it."""
    make = shutil.which("make")
    assert make is not None
    folder = tmp_path_factory.mktemp("build")
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    ended = subprocess.run(
        [make, "--no-print-directory", "build", f"BUILD_DIR={folder}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return folder


@pytest.fixture
def stack(built: Path, tmp_path: Path) -> Iterator[Stack]:
    running = start_stack(tmp_path, free_ports(5), {"BUILT": str(built)})
    yield running
    stop_stack(running)


@whole_only
@on_the_runtimes_python
def test_the_layer_is_within_its_budget(built: Path) -> None:
    assert slim.size(built / "SharedLayer") / 1e6 <= MAX_LAYER_MB
    assert not list(built.rglob("tests"))
    for app in built.glob("*/app.py"):
        assert list(app.parent.glob("__pycache__/app.*.pyc"))


def too_many_modules(build: Path, folder: Path) -> dict[str, int]:
    """Functions that load more modules than MAX_MODULES says when they start from `build`, with the number."""
    template = unpack(build, folder)
    description = as_on_lambda(read_template(template), folder)
    with cold.secrets_manager() as url:
        subjects = [each for each in cold.subjects(description, python(), url) if each.path != cold.REFERENCE]
        loaded = {each.name: len(cold.start(each).modules) for each in subjects}
    return {name: number for name, number in loaded.items() if number > MAX_MODULES.get(name, 0)}


@whole_only
@on_the_runtimes_python
def test_no_function_loads_more_modules_than_its_budget(built: Path, tmp_path: Path) -> None:
    assert too_many_modules(built, tmp_path / "unpacked") == {}


PRINT_COMPILED = """
from playground.start import CompiledMethods
find = CompiledMethods.get
compiled = []
def get(methods, text):
    code = find(methods, text)
    if code is None:
        compiled.append(text)
    return code
CompiledMethods.get = get
import atexit
atexit.register(lambda: print(compiled, file=sys.stderr))
"""


@whole_only
@on_the_runtimes_python
def test_no_start_compiles_methods_of_dataclasses(built: Path, tmp_path: Path) -> None:
    """Of three functions that together load everything."""
    folder = tmp_path / "unpacked"
    description = as_on_lambda(read_template(unpack(built, folder)), folder)
    with cold.secrets_manager() as url:
        for subject in cold.subjects(description, python(), url):
            if subject.name in ("run", "sessions", "webhook"):
                ended = subprocess.run(
                    [subject.interpreter, "-P", "-c", PRINT_COMPILED + cold.PROGRAM, str(subject.path)],
                    env=dict(subject.environment),
                    capture_output=True,
                    text=True,
                    timeout=HANG_SECONDS,
                    check=False,
                )
                assert (ended.returncode, ended.stderr.splitlines()[-1]) == (0, "[]"), subject.name


@whole_only
@on_the_runtimes_python
def test_what_is_built_answers(stack: Stack) -> None:
    """All functions start from it, without a package that is not in it; the demo calls most of them."""
    demo.show_runs(stack.client("ada"))
    demo.show_sharing(stack.client("ada"), stack.client("bob"))
    demo.show_paying(stack.client("eve"), Till(stack.stripe_url))
    assert "DOES NOT START" not in stack.log
    assert "ModuleNotFoundError" not in stack.log
