"""What configs may name, read from the sources of this package, mmengine and torch.

Importing a class means importing torch, which takes seconds, before a mistyped key is
said. What can't be told from the text alone is left to those who import.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OPTIMIZERS = 'torch.optim'  # mmengine registers all classes of it
#: Bases that take nothing by name.
PLAIN_BASES = {'ABC', 'Generic', 'Module', 'NamedTuple', 'Protocol', 'object'}
# a decorator, its arguments, further ones, and what they decorate
DECORATED = re.compile(
    r'^@\w+\.register_module\(([^)]*)\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE
)
CLASS = re.compile(r'^class (\w+)', re.MULTILINE)

Place = tuple[Path, str]  # a file, and the name of a class or function in it


@cache
def _folder(package: str) -> Path | None:
    """Where a package lies; only the first is asked for, a part would be imported."""
    top, *parts = package.split('.')
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], *parts)


@cache
def _texts(package: str) -> dict[Path, str]:
    folder = _folder(package)
    files = sorted(folder.rglob('*.py')) if folder else ()
    return {f: f.read_text('utf-8', 'replace') for f in files if '.mim' not in f.parts}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text('utf-8', 'replace'))


@cache
def _registered(package: str) -> dict[str, list[Place]]:
    """Name -> what a package registers under it."""
    places: dict[str, list[Place]] = {}
    for path, text in _texts(package).items():
        for found in DECORATED.finditer(text):
            names = re.findall(r"'(\w+)'", found[1]) or [found[2]]
            for name in names:
                places.setdefault(name, []).append((path, found[2]))
        for found in CLASS.finditer(text) if package == OPTIMIZERS else ():
            places.setdefault(found[1], []).append((path, found[1]))
    return places


def registered_names() -> set[str]:
    """Names that this package and mmengine register by decorators."""
    return {*_registered('coavt_mm'), *_registered('mmengine')}


def may_be_registered(name: str) -> bool:
    """Whether a word stands anywhere in the sources that fill our registries.

    Args:
        name: The ``type`` of a config, without a scope.
    """
    word = re.compile(rf'\b{re.escape(name)}\b')
    sources = ('coavt_mm', 'mmengine', 'mmcv', 'torch.optim', 'torch.nn')
    return any(word.search(text) for p in sources for text in _texts(p).values())


@cache
def arguments_of(name: str, scope: str = 'coavt_mm') -> frozenset[str] | None:
    """Names that the constructor of a registered class, or a function, takes.

    Args:
        name: The ``type`` of a config.
        scope: Where it is looked for, if it does not say so itself.

    Returns:
        As :func:`coavt_mm.config_options.constructor_arguments` gives them; None where
        the sources don't tell.
    """
    own, _, plain = name.rpartition('.')
    packages = {
        'coavt_mm': ('coavt_mm', 'mmengine', OPTIMIZERS),
        'mmengine': ('mmengine', OPTIMIZERS),
    }.get(own or scope, ())
    for package in packages:
        places = _registered(package).get(plain, [])
        if places:
            return _taken(*places[0]) if len(places) == 1 else None
    return None


def is_own(name: str, scope: str = 'coavt_mm') -> bool:
    """Whether this package registers a class, or a function, of this name.

    Args:
        name: The ``type`` of a config.
        scope: Where it is looked for, if it does not say so itself.
    """
    own, _, plain = name.rpartition('.')
    return (own or scope) == 'coavt_mm' and plain in _registered('coavt_mm')


def method_arguments(package: str, file: str, name: str, method: str) -> set[str]:
    """Names that a method takes.

    Args:
        package: An installed package.
        file: Path within it.
        name: Of the class.
        method: Of the method.
    """
    folder = _folder(package)
    assert folder is not None, f'{package} is a requirement'
    (node,) = (n for n in _tree(folder / file).body if _is_class(n, name))
    functions = [f for f in ast.walk(node) if isinstance(f, ast.FunctionDef)]
    return _parameters(next(f for f in functions if f.name == method))[0]


def _is_class(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


def _taken(path: Path, name: str) -> frozenset[str] | None:
    names: set[str] = set()
    try:
        for function in _constructors(path, name):
            taken, passes_on = _parameters(function)
            names |= taken
            if not passes_on:
                break
    except LookupError:
        return None
    return frozenset(names)


def _parameters(function: ast.FunctionDef) -> tuple[set[str], bool]:
    """Names, and whether others are taken too."""
    a = function.args
    names = {arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
    for call in function.decorator_list:  # see `renamed`: it adds the old names
        names |= {k.arg or '' for k in getattr(call, 'keywords', [])}
    return names - {'self', 'args', 'kwargs'}, a.kwarg is not None


def _constructors(path: Path, name: str) -> Iterator[ast.FunctionDef]:
    """The constructors of a class and its bases, in the order of their search.

    Raises:
        LookupError: One can't be told from the text.
    """
    path, node = _definition(path, name)
    if isinstance(node, ast.FunctionDef):
        yield node
        return
    inits = [f for f in node.body if isinstance(f, ast.FunctionDef)]
    inits = [f for f in inits if f.name == '__init__']
    if not _are_known(node, 'register_module(') or len(inits) > 1:
        raise LookupError(name)
    if not all(_are_known(init, 'renamed(') for init in inits):
        raise LookupError(name)
    yield from inits
    for base in node.bases:
        base_name = ast.unparse(base).partition('[')[0]  # without its type's variables
        if base_name.rpartition('.')[2] not in PLAIN_BASES:
            yield from _constructors(path, base_name)


def _are_known(node: ast.ClassDef | ast.FunctionDef, decorator: str) -> bool:
    return all(decorator in ast.unparse(d) for d in node.decorator_list)


def _definition(path: Path, name: str) -> tuple[Path, ast.ClassDef | ast.FunctionDef]:
    """Where a name of a file is defined, there or in what it is imported from."""
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return path, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(_imported(node, path), alias.name)
    raise LookupError(name)


def _imported(node: ast.ImportFrom, path: Path) -> Path:
    parts = node.module.split('.') if node.module else []
    folder = path.parents[node.level - 1] if node.level else _folder(parts.pop(0))
    if folder is not None:
        module = folder.joinpath(*parts)
        for file in (module.with_suffix('.py'), module / '__init__.py'):
            if file.is_file():
                return file
    raise LookupError(path)
