"""The AWS actions a function can come to, found in its code: no module, adapter or port is named in here.

It walks the imports from the function's ``app.py`` through the layer, follows every function that is mentioned on the
way, and collects the calls on ports. What an adapter does for a port's method is read from the adapter, which is found
where the ports are put together: as the argument that is made with a client of boto3.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import boto3

from tests.template import REGION, ROOT, properties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEARCH_PATH = ROOT / "layers" / "element_rekey"
TRANSACTED = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem"}  # what IAM asks of the parts of a transaction
NO_OPERATION = {"get_paginator", "exceptions", "meta"}  # members of a client that call nothing

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One file: what it defines, and what it imports when it runs."""

    path: Path
    package: str  # what its relative imports begin from
    tree: ast.Module = field(compare=False, repr=False)

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Functions and classes of the module itself, by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, Definition)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """For each name that is imported: from which module of the layer, and what; "" for the module itself."""
        found: dict[str, tuple[str, str]] = {}
        for node in _running_nodes(self.tree):
            match node:
                case ast.ImportFrom(module=name, names=names, level=level):
                    above = self.package.split(".")[: len(self.package.split(".")) - level + 1] if level else []
                    source = ".".join([*above, *([name] if name else [])])
                    for alias in names:
                        submodule = f"{source}.{alias.name}"
                        known = (submodule, "") if module_named(submodule) else (source, alias.name)
                        found[alias.asname or alias.name] = known
                case ast.Import(names=names):
                    for alias in names:
                        found[alias.asname or alias.name] = (alias.name, "")
        return {name: (source, what) for name, (source, what) in found.items() if module_named(source)}

    def resolve(self, name: str) -> tuple[Module, Definition] | None:
        """The function or class behind a name, wherever it is defined; None for everything else."""
        if name in self.definitions:
            return self, self.definitions[name]
        source, what = self.imports.get(name, ("", ""))
        module = module_named(source)
        return module.resolve(what) if module and what else None

    def resolve_expression(self, node: ast.AST) -> tuple[Module, Definition] | None:
        """As ``resolve``, for a name or a member of an imported module such as ``rotation.start``."""
        match node:
            case ast.Name(id=name):
                return self.resolve(name)
            case ast.Attribute(value=value, attr=name):
                source, what = self.imports.get(ast.unparse(value), ("", ""))
                module = module_named(source)
                return module.resolve(name) if module and not what else None
        return None


def _running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A tree without what only type checkers see."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    yield node
    for inner in ast.iter_child_nodes(node):
        yield from _running_nodes(inner)


@lru_cache
def module_named(name: str) -> Module | None:
    """The layer's module or package of this dotted name."""
    path = SEARCH_PATH.joinpath(*name.split("."))
    if name and path.with_suffix(".py").is_file():
        return Module(path.with_suffix(".py"), name.rpartition(".")[0], _parsed(path.with_suffix(".py")))
    if name and (path / "__init__.py").is_file():
        return Module(path / "__init__.py", name, _parsed(path / "__init__.py"))
    return None


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def entry_module(function: str) -> Module:
    """The ``app.py`` of a function of the template."""
    path = ROOT / properties(function)["CodeUri"] / "app.py"
    return Module(path, "", _parsed(path))


def imported_modules(entry: Module) -> list[Module]:
    """The module itself, and every module of the layer that it imports, directly or not, with their packages."""
    found: dict[Path, Module] = {}
    todo = [entry]
    while todo:
        module = todo.pop()
        if module.path in found:
            continue
        found[module.path] = module
        for source, _ in module.imports.values():
            parts = source.split(".")
            names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
            todo += [known for name in names if (known := module_named(name))]
    return list(found.values())


# -- ports and adapters -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adapter:
    """What stands behind a port in AWS."""

    module: Module
    definition: ast.ClassDef
    service: str
    client: str  # the attribute that keeps the client, such as "self._client"
    protocol: str  # the port's type

    @cached_property
    def methods(self) -> dict[str, ast.FunctionDef]:
        """Its methods and those it inherits."""
        return _methods_of(self.module, self.definition)

    def actions(self, called: set[str]) -> set[str]:
        """The AWS actions its methods can come to."""
        client = boto3.client(self.service, region_name=REGION).meta
        known, prefix = client.method_to_api_mapping, client.service_model.signing_name  # which IAM calls it by
        reached, todo, operations, parts = set[str](), set(called), set[str](), set[str]()
        assert todo <= set(self.methods), f"{self.definition.name} has no {todo - set(self.methods)}"
        while todo:
            name = todo.pop()
            reached.add(name)
            for node in ast.walk(self.methods[name]):
                if isinstance(node, ast.Constant) and node.value in TRANSACTED:
                    parts.add(TRANSACTED[node.value])
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == self.client:
                    operations.add(node.attr)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{self.client}.get_paginator":
                    operations.add(ast.literal_eval(node.args[0]))
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
                    todo |= {node.attr} & set(self.methods) - reached
            self._client_stays(self.methods[name])
        found = {f"{prefix}:{known[operation]}" for operation in operations - NO_OPERATION}
        if "dynamodb:TransactWriteItems" in found:
            found = found - {"dynamodb:TransactWriteItems"} | {f"dynamodb:{action}" for action in parts}
        return found

    def _client_stays(self, method: ast.FunctionDef) -> None:
        """What another function did with the client would go unseen here."""
        uses = sum(ast.unparse(node) == self.client for node in ast.walk(method) if isinstance(node, ast.Attribute))
        seen = sum(
            isinstance(node, ast.Attribute) and ast.unparse(node.value) == self.client for node in ast.walk(method)
        )
        assert uses == seen, f"{self.definition.name}.{method.name} hands its client on"


def _methods_of(module: Module, definition: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    found: dict[str, ast.FunctionDef] = {}
    for base in definition.bases:
        match module.resolve_expression(base):
            case (where, ast.ClassDef() as above):
                found |= _methods_of(where, above)
    return found | {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef)}


def adapters_in(modules: list[Module]) -> dict[str, Adapter]:
    """The adapters, by the member of the ports they are put into."""
    found: dict[str, Adapter] = {}
    for module in modules:
        for call in ast.walk(module.tree):
            match call:
                case ast.Call(func=callee, keywords=keywords):
                    made = module.resolve_expression(callee)
                case _:
                    continue
            if made and isinstance(made[1], ast.ClassDef):
                types = {
                    node.target.id: ast.unparse(node.annotation)
                    for node in made[1].body
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
                }
                for keyword in keywords:
                    adapter = _adapter(module, keyword.value, types.get(keyword.arg or "", ""))
                    if keyword.arg and adapter:
                        found[keyword.arg] = adapter
    return found


def _adapter(module: Module, value: ast.expr, protocol: str) -> Adapter | None:
    """The adapter that an expression such as ``Ledger(boto3.client("dynamodb"), …)`` makes; None for any other."""
    if not isinstance(value, ast.Call):
        return None
    match module.resolve_expression(value.func):
        case (where, ast.ClassDef() as definition):
            pass
        case _:
            return None
    given = [*enumerate(value.args), *((keyword.arg, keyword.value) for keyword in value.keywords)]
    for parameter, argument in given:
        match argument:
            case ast.Call(func=callee, args=[ast.Constant(value=str(service)), *_]) if (
                ast.unparse(callee).rpartition(".")[2].strip("_") == "client"
            ):
                return Adapter(where, definition, service, _client_of(where, definition, parameter), protocol)
    return None


def _client_of(module: Module, definition: ast.ClassDef, parameter: int | str | None) -> str:
    """The attribute in which an adapter keeps the argument of a parameter, given by its position or name."""
    init = _methods_of(module, definition)["__init__"]
    name = init.args.args[parameter + 1].arg if isinstance(parameter, int) else parameter  # the first one is self
    for node in ast.walk(init):
        match node:
            case ast.Assign(targets=[ast.Attribute() as target], value=ast.Name(id=assigned)) if assigned == name:
                return ast.unparse(target)
    raise AssertionError(f"{definition.name} does not keep its client")


# -- use cases --------------------------------------------------------------------------------------------------------


def reached_functions(entry: Module) -> list[ast.AST]:
    """The function's own module, and every function and method of the layer that is mentioned on the way from there."""
    found: dict[int, ast.AST] = {}
    todo: list[tuple[Module, ast.AST]] = [(entry, entry.tree)]
    while todo:
        module, body = todo.pop()
        if id(body) in found:
            continue
        found[id(body)] = body
        for node in _running_nodes(body):
            mentioned = module.resolve_expression(node)
            if mentioned:
                todo.append(mentioned)
    return list(found.values())


def port_calls(body: ast.AST, adapters: dict[str, Adapter]) -> Iterator[tuple[str, str]]:
    """Every call on a port in a body: the port, and its method. A port is a member of the ports, or typed as one."""
    ports = dict(_ports_by_name(body, adapters))
    for node in ast.walk(body):
        match node:
            case ast.Attribute(value=ast.Attribute(value=owner, attr=port), attr=method) if port in adapters and (
                ast.unparse(owner).rpartition(".")[2].lower() == "ports"
            ):
                yield port, method
            case ast.Attribute(value=ast.Name(id=name), attr=method) if name in ports:
                yield ports[name], method


def _ports_by_name(body: ast.AST, adapters: dict[str, Adapter]) -> Iterator[tuple[str, str]]:
    """Names of a body that stand for a port: parameters of its type, and what was assigned from the ports."""
    by_type = {adapter.protocol: port for port, adapter in adapters.items()}
    for node in ast.walk(body):
        match node:
            case ast.arg(arg=name, annotation=annotation) if annotation and ast.unparse(annotation) in by_type:
                yield name, by_type[ast.unparse(annotation)]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(value=owner, attr=port)) if (
                port in adapters and ast.unparse(owner).lower() == "ports"
            ):
                yield name, port


@lru_cache
def actions_of(function: str) -> frozenset[str]:
    """The AWS actions a function of the template can come to."""
    entry = entry_module(function)
    adapters = adapters_in(imported_modules(entry))
    called: dict[str, set[str]] = {port: set() for port in adapters}
    for body in reached_functions(entry):
        for port, method in port_calls(body, adapters):
            called[port].add(method)
    return frozenset(action for port, methods in called.items() for action in adapters[port].actions(methods))
