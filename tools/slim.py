"""Makes what `sam build` built smaller and faster to start: the end of `make build`.

    python3.13 -m tools.slim [--folder .aws-sam/build]

/opt is read-only on Lambda: without compiled files in it, every cold start compiles what it imports. So the layer and
the functions get compiled files, which are never compared with a source (`unchecked-hash`). Of libraries only the
compiled form is kept, under the name that Python reads without a source; of our own code, the source too, for
tracebacks. What no function can load goes: data of AWS services that nothing calls, tests, type stubs, C headers,
scripts, and the metadata of all packages but METADATA_READERS. The methods of dataclasses are compiled here, too
(tools/dataclass_methods.py).

Prints the sizes of the layer and a digest of all files: two builds of the same source have the same. A second run
changes nothing. Must run on the functions' own version of Python.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import hashlib
import importlib.util
import json
import marshal
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.dataclass_methods import options_of, write_methods
from tools.lazy_package import lazy

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".aws-sam" / "build"
LAYER = "SharedLayer"
VERSION = (3, 13)

OURS = frozenset({"playground"})
READ_THEIR_SOURCE = frozenset({"anyio"})
"""Packages that parse their own source when they are imported."""

SERVICES = frozenset({"dynamodb", "events", "s3", "secretsmanager", "sqs"})
"""The AWS services that functions call, by botocore's names."""
METADATA_READERS = frozenset({"httpcore2", "httpx2", "opentelemetry_api"})
"""Distributions whose package looks up its own metadata when it is imported."""
UNUSED = (
    "bin",
    "boto3",  # clients are botocore's own
    "s3transfer",
    "cffi",  # cryptography loads the library _cffi_backend only
    "pycparser",
    "requirements.txt",
    "yaml",  # detect-secrets reads files with it, which we do not do
    "_yaml",
    "anthropic/lib/tools",
    "docstring_parser",  # of those
    "anthropic/resources/beta",
    "anthropic/resources/organization",
    "anyio/pytest_plugin.py",
    "dateutil/zoneinfo",  # a copy of the time zones of the system; ours is UTC
    "pydantic/mypy.py",
    "pydantic/v1",
    "stripe/params",  # types only
    "stripe/events",  # events of API v2
    "aws_lambda_powertools/event_handler/openapi/swagger_ui",
    "aws_lambda_powertools/utilities/auth_alpha",
    "aws_lambda_powertools/utilities/circuit_breaker",
    "aws_lambda_powertools/utilities/feature_flags",
    "aws_lambda_powertools/utilities/kafka",
    "aws_lambda_powertools/utilities/parser",
    "requests",  # Stripe's client is over urllib3; detect-secrets would ask services about what it finds
    "charset_normalizer",  # of requests
)
"""What no function loads; tests/infrastructure/test_built.py runs them without it."""
LAZY = (
    "anthropic/**/__init__.py",
    "anthropic/_client.py",
    "anthropic/lib/credentials/_auth.py",
    "aws_lambda_powertools/event_handler/__init__.py",
    "aws_lambda_powertools/utilities/data_classes/__init__.py",
    "botocore/docs/__init__.py",
    "botocore/docs/docstring.py",
    "cryptography/hazmat/primitives/serialization/__init__.py",
    "cryptography/x509/__init__.py",
)
"""Modules that import all of their package, whatever is used of it (tools/lazy_package.py)."""
LAZY_IMPORTS = {
    **dict.fromkeys(
        (
            *(f"anthropic/{name}.py" for name in ("_base_client", "_files", "_resource", "_response", "_tracing")),
            "anthropic/_utils/*.py",
            "anthropic/lib/_files.py",
            "anthropic/lib/_tracing/*.py",
        ),
        ("anyio", "asyncio", "opentelemetry"),
    ),
    **dict.fromkeys(
        (
            "detect_secrets/filters/common.py",
            *(f"detect_secrets/plugins/{name}.py" for name in ("aws", "base", "mailchimp", "slack", "stripe")),
            "detect_secrets/plugins/telegram_token.py",
        ),
        ("requests",),
    ),
    "stripe/_http_client.py": ("asyncio",),
}
"""Modules that import other packages for what is not used of them."""
UNREAD_ANNOTATIONS = frozenset({"anthropic/_client.py", "anthropic/_tracing.py"})
"""Of those, the ones with annotations of classes that are text, and that nobody evaluates."""
KEPT_EAGER = ("anthropic/_vendor/",)
RENAMES = (
    "anthropic/__init__.py",
    "except (TypeError, AttributeError):",
    "except (KeyError, TypeError, AttributeError):",
)
"""It gives every name of `__all__` its own `__module__`, also those that are not imported yet."""
UNUSED_FOLDERS = frozenset({"tests", "include"})
UNUSED_SUFFIXES = frozenset({".pyi", ".pyx", ".pxd", ".c", ".h", ".in", ".md", ".typed"})

METHODS = "playground/data/dataclass_methods.bin"

LEGACY_HEADER = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little")  # checked by a hash, and never compared


class SlimError(Exception):
    """The build is not what is expected; the message says what to do."""


def slim(build: Path) -> None:
    layer = build / LAYER / "python"
    if not layer.is_dir():
        raise SlimError(f"{layer} does not exist: `make build` makes it")
    strip(layer)
    shrink_descriptions(layer / "botocore" / "data")
    make_lazy(layer)
    drop_handlers(layer / "botocore" / "handlers.py")
    drop_fields(layer / "pydantic_core" / "core_schema.py")
    compile_methods(layer)
    compile_libraries(layer)
    for folder in (layer / name for name in sorted(OURS)):
        compile_ours(folder, f"/opt/python/{folder.name}")
    for app in sorted(build.glob("*/app.py")):
        compile_ours(app.parent, "/var/task")


def strip(layer: Path) -> None:
    """Remove what no function loads."""
    for name in UNUSED:
        _remove(layer / name)
    for folder in layer.glob("botocore/data/*/"):
        if folder.name not in SERVICES:
            _remove(folder)
    for folder in layer.glob("*.dist-info"):
        if folder.name.partition("-")[0].lower() not in METADATA_READERS:
            _remove(folder)
        else:
            for path in list(folder.iterdir()):
                if path.name not in ("METADATA", "entry_points.txt"):
                    _remove(path)
    for folder in layer.glob("*.data"):  # scripts of distributions
        _remove(folder)
    for parent, folders, files in os.walk(layer, topdown=True):
        for name in list(folders):
            if name in UNUSED_FOLDERS or name == "__pycache__":
                _remove(Path(parent, name))
                folders.remove(name)
        for name in files:
            if Path(name).suffix in UNUSED_SUFFIXES or name == "py.typed":
                Path(parent, name).unlink()


def shrink_descriptions(data: Path) -> None:
    """botocore reads these files in whole at every start: take what is documentation or of services that go."""
    endpoints = data / "endpoints.json"
    if endpoints.exists():
        content = json.loads(endpoints.read_bytes())
        for partition in content.get("partitions", ()):
            partition["services"] = {name: its for name, its in partition["services"].items() if name in SERVICES}
        endpoints.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    for path in data.glob("*/*/service-2.json.gz"):
        description = json.loads(gzip.decompress(path.read_bytes()), object_hook=_without_documentation)
        path.with_suffix("").write_text(json.dumps(description, separators=(",", ":")), encoding="utf-8")
        path.unlink()
    for path in data.glob("*/*/examples-1.json*"):
        path.unlink()


def _without_documentation(members: dict[str, Any]) -> dict[str, Any]:
    """Where it is a text: a shape may have a member of that name."""
    return {name: value for name, value in members.items() if name != "documentation" or not isinstance(value, str)}


def make_lazy(layer: Path) -> None:
    """Rewrite the modules that import more than they use. Those of an earlier run are compiled already."""
    patterns = {**dict.fromkeys(LAZY, ()), **LAZY_IMPORTS}
    found = {path: frozenset(others) for pattern, others in patterns.items() for path in layer.glob(pattern)}
    for path, others in sorted(found.items()):
        name = path.relative_to(layer).as_posix()
        if name.startswith(KEPT_EAGER):
            continue
        source = lazy(path, others, annotations_are_read=name not in UNREAD_ANNOTATIONS)
        if name == RENAMES[0]:
            if source.count(RENAMES[1]) != 1:
                raise SlimError(f"{name} is not as expected: see RENAMES in tools/slim.py")
            source = source.replace(*RENAMES[1:])
        path.write_text(source, encoding="utf-8")


def drop_handlers(path: Path) -> None:
    """A session of botocore registers handlers for all services, and of the documentation. Leave those of ours."""
    if not path.exists():
        return
    tree = ast.parse(path.read_bytes())
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="BUILTIN_HANDLERS")], value=ast.List() as handlers):
                handlers.elts = [each for each in handlers.elts if _is_of_ours(each)]
                path.write_text(ast.unparse(tree), encoding="utf-8")
                return
    raise SlimError(f"{path} is not as expected: see drop_handlers in tools/slim.py")


def _is_of_ours(handler: ast.expr) -> bool:
    """`("event.service.Operation", …)`, or of any service. Of an expression nothing is known: it stays."""
    match handler:
        case ast.Tuple(elts=[ast.Constant(value=str(event)), *_]):
            kind, _, rest = event.partition(".")
            return kind != "docs" and rest.partition(".")[0] in {*SERVICES, "", "*"}
    return True


def drop_fields(path: Path) -> None:
    """Of the TypedDicts: types only, each of which Python looks at when it makes the class."""
    if not path.exists():
        return
    tree = ast.parse(path.read_bytes())
    for node in tree.body:
        match node:
            case ast.ClassDef(bases=[ast.Name(id="TypedDict")]):
                node.body = [ast.Pass()]
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")


def compile_methods(layer: Path) -> None:
    """Of dataclasses, while there are sources of them: those of libraries are gone after the first run."""
    into = layer / METHODS
    if not into.exists():
        write_methods(sorted(layer.rglob("*.py")), into)


def compile_libraries(layer: Path) -> None:
    """Replace sources of libraries by compiled files."""
    for path in sorted(layer.rglob("*.py")):
        top = path.relative_to(layer).parts[0].removesuffix(".py")
        if top in OURS:
            continue
        where = f"/opt/python/{path.relative_to(layer).as_posix()}"
        if top in READ_THEIR_SOURCE:
            _write(_cached(path), _compiled(path, where))
        else:
            _write(path.with_suffix(".pyc"), _compiled(path, where, docstrings=False))
            path.unlink()


def compile_ours(folder: Path, where: str) -> None:
    for path in sorted(folder.rglob("*.py")):
        _write(_cached(path), _compiled(path, f"{where}/{path.relative_to(folder).as_posix()}"))


def _cached(path: Path) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"


def _compiled(path: Path, where: str, *, docstrings: bool = True) -> bytes:
    """The bytes of a .pyc file. Only docstrings can be left out: assertions are checked everywhere."""
    source = path.read_bytes()
    tree: ast.Module = ast.parse(source)
    if path.name == "app.py":
        _start_fast(tree)
    if not docstrings:
        _Undocumented().visit(tree)
    _Described().visit(tree)
    code = compile(tree, where, "exec", dont_inherit=True, optimize=0)
    return LEGACY_HEADER + importlib.util.source_hash(source) + marshal.dumps(code)


def _start_fast(tree: ast.Module) -> None:
    """Import `playground` behind the docstring: it makes what follows start faster, libraries included. And say when
    the start is over (playground/start.py)."""
    place = 1 if ast.get_docstring(tree) is not None else 0
    tree.body.insert(place, ast.fix_missing_locations(ast.Import([ast.alias("playground")], lineno=1, col_offset=0)))
    tree.body += ast.parse("playground.start.started()").body


class _Undocumented(ast.NodeTransformer):
    """Takes the docstrings of classes and functions away."""

    def _visit(self, node: Any) -> Any:
        self.generic_visit(node)
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body[0] = ast.copy_location(ast.Pass(), first)
        return node

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _visit  # noqa: N815 - named by ast


class _Described(ast.NodeTransformer):
    """Gives a dataclass without a docstring one: `dataclasses` would work out its signature to have one."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        if options_of(node) is not None and ast.get_docstring(node) is None:
            text = ast.Expr(ast.Constant(f"{node.name}."))
            node.body.insert(0, ast.fix_missing_locations(ast.copy_location(text, node.body[0])))
        return node


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- what came of it --------------------------------------------------------------------------------------------------


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def size(folder: Path) -> int:
    """Bytes of all files, as Lambda counts what is unzipped."""
    return sum(path.stat().st_size for path in files_of(folder))


def digest(folder: Path) -> str:
    """Of names and contents."""
    found = hashlib.sha256()
    for path in files_of(folder):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def report(build: Path, lines: int = 12) -> str:
    layer = build / LAYER / "python"
    sizes = {path.name: size(path) if path.is_dir() else path.stat().st_size for path in layer.iterdir()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:lines]
    return "\n".join(
        [
            *(f"  {number / 1e6:6.1f} MB  {name}" for name, number in largest),
            f"  {sum(sizes.values()) / 1e6:6.1f} MB  the layer, unzipped",
            f"digest {digest(build)[:16]}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3.13 -m tools.slim", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=BUILD, help="what `sam build` wrote (default: .aws-sam/build)")
    options = parser.parse_args()
    if sys.version_info[:2] != VERSION:
        print("compiled files must be of the functions' Python 3.13", file=sys.stderr)
        return 1
    try:
        slim(options.folder)
    except SlimError as error:
        print(error, file=sys.stderr)
        return 1
    print(report(options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
