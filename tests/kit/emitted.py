"""Which function can write which metric, as its code says: what app.py refers to, what that refers to, and so on.

A name is followed to where it is defined in the layer, a class as a whole, so the answer may name too much, and never
too little: metrics are named as members of `Metric` only.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from playground.observability import Metric

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "shared"
Place = tuple[str, str]  # a module, and a name in it: "" is what runs when it is imported


@cache
def emitted_by(function: str) -> set[str]:
    """Names of the metrics that the function in this folder can write."""
    found: set[str] = set()
    tree = ast.parse((ROOT / "functions" / function / "app.py").read_text(encoding="utf-8"))
    seen: set[Place] = set()
    waiting = [place for node in tree.body for place in _refers_to(node, _imports(tree))]
    found |= _metrics(tree)
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        module, name = place
        definitions = _definitions(module)
        if name in definitions:
            found |= _metrics(definitions[name])
            waiting += _refers_to(definitions[name], {**_imports(_tree(module)), **_own(module)})
        elif name in (imported := _imports(_tree(module))):  # passed on
            waiting.append(imported[name])
    return found


def _metrics(node: ast.AST) -> set[str]:
    return {
        Metric[each.attr].value
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "Metric"
    }


@cache
def _tree(module: str) -> ast.Module:
    path = LAYER.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _definitions(module: str) -> Mapping[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


@cache
def _own(module: str) -> Mapping[str, Place]:
    return {name: (module, name) for name in _definitions(module)}


@cache
def _imports(tree: ast.AST) -> dict[str, Place]:
    """What names of the layer mean: (module, name), or (module, "") for a module."""
    found: dict[str, Place] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "playground":
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                is_module = LAYER.joinpath(*inner.split(".")).with_suffix(".py").exists()
                found[each.asname or each.name] = (inner, "") if is_module else (node.module, each.name)
    return found


def _refers_to(node: ast.AST, meaning: Mapping[str, Place]) -> Iterator[Place]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id in meaning and meaning[each.id][1]:
            yield meaning[each.id]
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            module, name = meaning.get(each.value.id, ("", "?"))
            if not name:
                yield module, each.attr
