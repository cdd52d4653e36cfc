"""What a cold start loads: each function the libraries that it needs, none of the others."""

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from local.template import Description, read_template
from tests.kit.extent import HANG_SECONDS

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
DOMAIN = sorted((LAYER / "playground" / "domain").glob("*.py"))
APPS = sorted((ROOT / "functions").glob("*/app.py"))
# Listed by name of the folder: whoever adds a function says here what it may load.
NEEDS_ANTHROPIC = {
    "run": True,
    "estimate": True,
    "credits": False,
    "sessions": False,
    "catalog": False,
    "reset": False,
    "audit": False,
    "webhook": False,
    "notices": False,
    "reconcile": False,
}
NEEDS_STRIPE = {"webhook", "reconcile"}  # credits loads it when somebody wants to pay
NEVER = {"aws_xray_sdk", "moto", "pytest", "hypothesis", "local", "tests", "ministack"}
REPORT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@cache
def described() -> Description:
    return read_template(ROOT / "template.yaml")


def imported_by(path: Path) -> tuple[str, ...]:
    """Modules that `path` imports at its top, in order; `from package import module` is the module, too."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an app.py is no package"
            assert node.module is not None
            names.append(node.module)
            folder = LAYER / node.module.replace(".", "/")
            names += [f"{node.module}.{alias.name}" for alias in node.names if (folder / f"{alias.name}.py").exists()]
    return tuple(names)


@cache
def loaded(modules: tuple[str, ...], environment: tuple[tuple[str, str], ...] = ()) -> frozenset[str]:
    """Top-level modules of a fresh interpreter after importing these, with nothing in the environment but this."""
    result = subprocess.run(
        [sys.executable, "-c", REPORT, str(LAYER), *modules],
        env={"PATH": os.environ["PATH"], **dict(environment)},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        cwd=LAYER,
    )
    assert result.returncode == 0, result.stderr
    return frozenset(json.loads(result.stdout))


def loaded_by(app: Path) -> frozenset[str]:
    function = described().function(app.parent.name)
    assert function is not None
    environment = {**function.environment, "AWS_DEFAULT_REGION": "us-east-1"}
    return loaded(imported_by(app), tuple(sorted(environment.items())))


each_app = pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)


def test_every_function_is_looked_at() -> None:
    assert {app.parent.name for app in APPS} == set(NEEDS_ANTHROPIC)


@each_app
def test_only_who_asks_the_model_loads_its_library(app: Path) -> None:
    """It takes a second of a cold start, and half of the memory."""
    assert ("anthropic" in loaded_by(app)) == NEEDS_ANTHROPIC[app.parent.name]


@each_app
def test_only_who_is_asked_by_stripe_loads_its_library(app: Path) -> None:
    assert ("stripe" in loaded_by(app)) == (app.parent.name in NEEDS_STRIPE)


@each_app
def test_no_function_loads_what_it_has_no_use_for(app: Path) -> None:
    assert loaded_by(app) & NEVER == set()
    assert "aws_lambda_powertools" in loaded_by(app)


@each_app
def test_an_app_imports_the_layer_the_router_and_the_standard_library(app: Path) -> None:
    roots = {name.partition(".")[0] for name in imported_by(app)}

    assert roots - set(sys.stdlib_module_names) == {"playground"} | roots & {"aws_lambda_powertools"}


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: path.stem)
def test_the_domain_is_the_standard_library_and_itself(path: Path) -> None:
    """Seen twice: in the source, imports within functions included, and in what an interpreter really loads."""
    name = "playground.domain" if path.stem == "__init__" else f"playground.domain.{path.stem}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            assert module.startswith("playground.domain") or module.partition(".")[0] in sys.stdlib_module_names

    assert loaded((name,)) - loaded(()) - set(sys.stdlib_module_names) == {"playground"}


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        path.relative_to(LAYER / "playground").as_posix()
        for path in (LAYER / "playground").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
    }

    assert readers == {"settings.py"}
