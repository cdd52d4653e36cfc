"""Rewrites a module so that it imports what it needs from its own package when that is first used.

A package that imports all of its submodules makes everyone pay for all of them. Such an import at the top becomes an
entry in a table that the module's `__getattr__` (PEP 562) looks into, so `from package import A` and `package.A` mean
what they meant before; functions of the module itself ask it, too. Left as they are: names that are used while the
module is imported, in classes' annotations included, names that are bound a second time, names that are also those of
submodules (unless the package imports just these from itself), and whatever is not `from … import` at the top.

The same is done for imports of other packages that are named, `import package` included.
"""

import ast
from collections import Counter
from collections.abc import Set
from pathlib import Path

TABLE, GETTER = "_lazy_names", "__getattr__"
TAIL = f"""
def {GETTER}(name):
    if name in globals():
        return globals()[name]
    try:
        module, attribute = {TABLE}[name]
    except KeyError:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}") from None
    import importlib

    if attribute is None:
        value = __import__(module)
    else:
        value = importlib.import_module(module, __spec__.parent)
        if attribute:
            try:
                value = getattr(value, attribute)
            except AttributeError:
                value = importlib.import_module(f"{{value.__name__}}.{{attribute}}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({{*globals(), *{TABLE}}})
"""


def lazy(path: Path, others: Set[str] = frozenset(), *, annotations_are_read: bool = True) -> str:
    """The source of `path`, rewritten, also for the packages `others`. Raises ValueError if that cannot be done.

    `annotations_are_read`: somebody may evaluate those of its classes, as pydantic does.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.FunctionDef) and node.name == GETTER for node in tree.body):
        raise ValueError(f"{path} has a {GETTER} of its own")
    is_package = path.name == "__init__.py"
    own_name = _full_name(path) if is_package else None
    submodules = {each.stem for each in path.parent.iterdir()} if is_package else set()
    kept = _read_early(tree, annotations_are_read) | _bound_twice(tree)
    names: dict[str, tuple[str, str | None]] = {}
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import) and {_top(alias.name) for alias in node.names} <= others:
            for alias in node.names:
                if alias.asname is not None or _top(alias.name) in kept:
                    raise ValueError(f"{path} needs {alias.name} while it is imported, or by another name")
                names[_top(alias.name)] = (alias.name, None)
            continue
        found = _names(node, path, others) if isinstance(node, ast.ImportFrom) else {}
        is_own = isinstance(node, ast.ImportFrom) and node.module == own_name
        now = kept if is_own else kept | submodules
        eager = [] if not found else [alias for alias in _aliases(node, found) if _bound(alias) in now]
        if not found:
            body.append(node)
            continue
        for name, (module, attribute) in found.items():
            if name not in now:
                itself = is_own and attribute in submodules
                names[name] = (f"{module}.{attribute}", "") if itself else (module, attribute)
        if eager:
            assert isinstance(node, ast.ImportFrom)
            body.append(ast.ImportFrom(node.module, eager, node.level))
    tree.body = body + ast.parse(f"{TABLE} = {names!r}").body + ast.parse(TAIL).body
    for each in body:
        _Asking(frozenset(names)).visit(each)
    return ast.unparse(ast.fix_missing_locations(tree))


class _Asking(ast.NodeTransformer):
    """Replaces a lazy name in a function by a question to the module."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._names or not isinstance(node.ctx, ast.Load):
            return node
        return ast.Call(ast.Name(GETTER, ast.Load()), [ast.Constant(node.id)], [])

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        """Annotations are text, and stay it."""
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node


def _names(node: ast.ImportFrom, path: Path, others: Set[str]) -> dict[str, tuple[str, str]]:
    """The names that an import binds, with their modules; none if they are not of a submodule, or of `others`."""
    if node.module is None or (node.level == 0 and _top(node.module) not in {_package(path), *others}):
        return {}
    module = "." * node.level + node.module
    if [alias.name for alias in node.names] == ["*"]:
        return {name: (module, name) for name in _exported(path, node)}
    return {_bound(alias): (module, alias.name) for alias in node.names}


def _top(module: str) -> str:
    return module.partition(".")[0]


def _package(path: Path) -> str:
    """The name of the outermost package that `path` is in."""
    folder = path.parent
    while (folder.parent / "__init__.py").exists():
        folder = folder.parent
    return folder.name


def _full_name(path: Path) -> str:
    """The dotted name of the package whose file `path` is."""
    parts = [path.parent.name]
    folder = path.parent.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name


def _aliases(node: ast.stmt, found: dict[str, tuple[str, str]]) -> list[ast.alias]:
    return [ast.alias(attribute, None if name == attribute else name) for name, (_, attribute) in found.items()]


def _exported(path: Path, node: ast.ImportFrom) -> list[str]:
    """What `from … import *` binds."""
    folder = path.parents[node.level - 1]
    target = folder.joinpath(*(node.module or "").split("."))
    file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
    names: list[str] = []
    for each in ast.parse(file.read_text(encoding="utf-8")).body:
        match each:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=elements)):
                return [str(element.value) for element in elements if isinstance(element, ast.Constant)]
            case ast.ImportFrom(names=aliases):
                if any(alias.name == "*" for alias in aliases):
                    raise ValueError(f"{file} imports whatever there is")
                names += [_bound(alias) for alias in aliases]
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                names.append(name)
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.append(name)
    return [name for name in names if not name.startswith("_")]


def _read_early(tree: ast.Module, annotations_are_read: bool) -> set[str]:
    """Names that are read while the module is imported, or that somebody may look up in its dictionary."""
    annotations_are_text = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
        for node in tree.body
    )
    found: set[str] = set()

    def read(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            parts: list[ast.AST | None] = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults]
            if not annotations_are_text:
                parts += [node.returns, *ast.walk(arguments)]
            for part in parts:
                if part is not None:
                    read(part)
            return
        if isinstance(node, ast.Name):
            found.add(node.id)
        if isinstance(node, ast.AnnAssign) and annotations_are_text and not annotations_are_read:
            if node.value is not None:
                read(node.value)
            return
        for child in ast.iter_child_nodes(node):
            read(child)

    for node in tree.body:
        read(node)
    return found


def _bound_twice(tree: ast.Module) -> set[str]:
    """Names with more than one meaning in the file."""
    bound: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                bound[name] += 2
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound[name] += 1
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound[name] += 2
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                bound.update(dict.fromkeys(names, 2))
            case ast.ImportFrom(names=aliases):
                bound.update(_bound(alias) for alias in aliases)
            case ast.Import(names=aliases):  # of a package and of its submodules, it binds the same
                bound.update({_top(_bound(alias)) for alias in aliases} - bound.keys())
    return {name for name, times in bound.items() if times > 1}
