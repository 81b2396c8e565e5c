"""The rules of the design that an import can break, read from the syntax tree, deferred imports included."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(p for top in ("orchestrator", "trainer", "ami", "aliases") for p in (ROOT / top).rglob("*.py"))
OURS = ("orchestrator", "trainer", "ami", "aliases")

# A library, and the only places that may know it.
KEEPERS = {
    "click": ("orchestrator.cli",),
    "rich": ("orchestrator.cli",),
    "boto3": ("orchestrator.providers.aws",),
    "botocore": ("orchestrator.providers.aws",),
    "paramiko": ("orchestrator.remote",),
    "moto": ("orchestrator.sandbox",),
    "torch": ("trainer",),
    "torchvision": ("trainer",),
}
SENT_AHEAD = (
    "orchestrator.remote.agent",
    *(f"orchestrator.remote.{name}" for name in ("statcache", "tree", "wire")),
    *(f"trainer.{name}" for name in ("run_folder", "memory", "errors")),
)
FORBIDDEN_NAMES = {"utils.py", "common.py", "core.py", "helpers.py"}
TOP_LEVEL = {
    *("orchestrator", "trainer", "ami", "aliases", "tests", "setup.cfg", "README.md"),
    *("pyproject.toml", "Makefile", "constraints.txt", "CHANGELOG.md", "LICENSE"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names that a module imports anywhere, as deep as can be told apart from attributes."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dotted = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(dotted, package) if node.level else dotted
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if deeper in MODULES else base


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_libraries_stay_in_their_places(path: Path) -> None:
    for imported in imports(path):
        keepers = KEEPERS.get(imported.partition(".")[0])
        assert keepers is None or any(inside(module_name(path), k) for k in keepers), f"{path} imports {imported}"


def test_paramiko_is_known_where_connections_are_made() -> None:
    knowing = {module_name(p) for p in FILES if any(inside(i, "paramiko") for i in imports(p))}
    assert knowing == {"orchestrator.remote.login", "orchestrator.remote.ssh"}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_our_own_parts_keep_their_distance(path: Path) -> None:
    name = module_name(path)
    for imported in imports(path):
        if name == "orchestrator.errors":
            assert not imported.startswith(OURS), imported
        if inside(name, "trainer"):
            assert not inside(imported, "orchestrator") and not inside(imported, "ami"), imported
        if inside(name, "ami") or inside(name, "aliases"):
            assert not imported.startswith(tuple(top for top in OURS if not inside(name, top))), imported
        if inside(name, "orchestrator") and inside(imported, "trainer"):
            # The agent goes to the machine with the trainer, and asks what it will need there.
            agent = inside(name, "orchestrator.remote.agent") and imported == "trainer.memory"
            assert agent or imported == "trainer.run_folder", imported
        if inside(name, "orchestrator.providers"):
            assert not inside(imported, "orchestrator.remote"), imported
        if name != "orchestrator.__main__" and not inside(name, "orchestrator.cli"):
            assert not inside(imported, "orchestrator.cli"), imported


def test_providers_do_not_import_each_other() -> None:
    for name, path in MODULES.items():
        match = re.match(r"orchestrator\.providers\.(\w+)", name)
        if match is None or match[1] == "base":
            continue
        for imported in imports(path):
            other = re.match(r"orchestrator\.providers\.(\w+)", imported)
            assert other is None or other[1] in (match[1], "base"), f"{name} imports {imported}"


def test_only_the_standard_library_is_sent_ahead() -> None:
    """What is in `SENT_AHEAD` runs where nothing is installed."""
    import sys

    def sent(name: str) -> bool:
        return any(inside(name, module) for module in SENT_AHEAD)

    for name in filter(sent, MODULES):
        for imported in imports(MODULES[name]):
            top = imported.partition(".")[0]
            assert top in sys.stdlib_module_names or imported == "trainer" or sent(imported), f"{name}: {imported}"


def test_no_import_cycle() -> None:
    graph = {name: {i for i in imports(path) if i in MODULES and i != name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_provider_is_named_in_an_if() -> None:
    """Who has the machine is asked of the registry, never of an `if`."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                words = {s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str)}
                assert not words & {"aws", "server"}, f"{path}:{node.lineno}"


def test_no_catch_all_and_no_vague_names() -> None:
    for path in FILES:
        assert path.name not in FORBIDDEN_NAMES
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"everything"}
                assert not names & {"everything", "Exception"}, f"{path}:{node.lineno}"


def test_verbs_do_not_print() -> None:
    for path in FILES:
        if inside(module_name(path), "orchestrator") and "cli" not in path.parts:
            calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
            assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path


def test_the_top_level_tells_the_story() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    tops = {line.partition("/")[0] for line in listed.splitlines()}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL
