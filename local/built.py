"""What `make build` built, unpacked so that this machine can run it: `make run BUILT=1`.

The layer is what a deployment would get: nothing that was stripped from it is there, and its compiled files are used.
Native libraries are the exception, because they are built for Lambda's processor. Where this machine has another one,
they are replaced by those of our own environment, which has the same versions from the same lock.

Functions run on the interpreter that the environment was made with, without the environment's packages. Besides the
layer there is only what Lambda's runtime itself brings: its client.
"""

import shutil
import sys
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import files
from pathlib import Path

from local.template import Description

VERSION = (3, 13)
TEMPLATE = "template.yaml"
LAYER = "SharedLayer"
RUNTIME = "runtime"
RUNTIME_DISTRIBUTIONS = ("awslambdaric", "simplejson", "snapshot-restore-py")


class NotBuiltError(Exception):
    """There is no build that can be run; the message says what to do."""


def unpack(build: Path, folder: Path) -> Path:
    """Copy a build to `folder`, in place of what is there; the path of its template. Raises NotBuiltError."""
    if sys.version_info[:2] != VERSION:
        raise NotBuiltError("the functions' compiled files are for Python 3.13, which this environment does not have")
    if not (build / TEMPLATE).is_file() or not (build / LAYER / "python").is_dir():
        raise NotBuiltError("nothing is built: run `make build` first")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in build.iterdir():
        if path.name == LAYER:
            shutil.copytree(path / "python", folder / LAYER)
        elif path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder / path.name)
    for path in list((folder / LAYER).rglob("*.so")):
        _replace(path, folder / LAYER)
    runtime = folder / RUNTIME
    runtime.mkdir()
    for distribution in RUNTIME_DISTRIBUTIONS:
        for packaged in files(distribution) or ():
            if packaged.suffix in (".py", ".so"):
                target = runtime / packaged
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(packaged.locate()), target)
    return folder / TEMPLATE


def as_on_lambda(description: Description, folder: Path) -> Description:
    """The functions of the unpacked build, with Lambda's client behind their layers."""
    return replace(
        description,
        functions={
            name: replace(function, layers=(*function.layers, folder / RUNTIME))
            for name, function in description.functions.items()
        },
    )


def python() -> str:
    """The interpreter without the packages of our environment."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _replace(path: Path, layer: Path) -> None:
    """Put the library of our environment in place of one that this machine cannot load."""
    if any(path.name.endswith(suffix) for suffix in EXTENSION_SUFFIXES if suffix.count("-") > 1):
        return  # it is for this machine
    module = path.name.partition(".")[0]
    site = Path(str(_site()))
    found = [
        site / path.parent.relative_to(layer) / f"{module}{suffix}"
        for suffix in EXTENSION_SUFFIXES
        if (site / path.parent.relative_to(layer) / f"{module}{suffix}").is_file()
    ]
    if not found:
        raise NotBuiltError(f"{path.relative_to(layer)} is for another processor, and our environment has no such file")
    path.unlink()
    shutil.copy2(found[0], path.parent / found[0].name)


def _site() -> Path:
    [ours] = {str(each.locate()) for each in files("pydantic-core") or () if each.name == "__init__.py"}
    return Path(ours).parent.parent
