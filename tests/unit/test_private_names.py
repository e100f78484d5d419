"""Private names of libraries are used only in the modules listed here (docs/adr/0018)."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import isfunction
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
PRIVATE = re.compile(r"_[a-zA-Z]\w*")
DOCUMENTED = {"_replace"}
"""Public API of named tuples."""

COMMON, INGEST = "libs/common/src/districam_common", "services/ingest/src/districam_ingest"
PRIVATE_NAMES: dict[str, set[str]] = {
    f"{COMMON}/kafka/internals.py": {
        "_client", "_conns", "_partitions", "_wait_on_metadata",
        "_subscription", "_fetch_count",
        "_coordinator", "_do_heartbeat", "_coordination_task", "_fetcher", "_fetch_task", "_pending_tasks",
        "_latest_partition_movements",
        "_message_accumulator", "_sender",
    },
    f"{COMMON}/kafka/skipping_fetcher.py": {
        "_client", "_fetcher", "_subscription", "_partitions",
        "_fetch_max_bytes", "_isolation_level", "_loop", "_max_partition_fetch_bytes", "_prefetch_backoff", "_records",
        "_retry_backoff", "_default_reset_strategy", "_set_error", "_proc_fetch_request", "_select_read_replica",
    },
    f"{INGEST}/output/single_copy_producer.py": {"_batch_size", "_message_accumulator", "_builder", "_set_producer_state"},
    f"{COMMON}/s3/s3_requests.py": {"_execute"},
}  # fmt: skip


def is_library(name: str) -> bool:
    top = name.partition(".")[0]
    return top not in sys.stdlib_module_names and not top.startswith("districam_")


@cache
def nodes_of(path: Path) -> Sequence[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """Local name → dotted name, for imports of libraries."""
    out: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            out |= {one.asname or one.name.partition(".")[0]: one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return {name: stands_for for name, stands_for in out.items() if is_library(stands_for)}


def is_of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}


def defined(nodes: Sequence[ast.AST]) -> set[str]:
    """Functions, classes, variables, and attributes assigned to `self`."""
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()) if is_of_self(node):
                names.add(name)
            case _:
                pass
    return names


def accessed(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Attributes of objects other than `self` that the module does not define, and imported names."""
    own = defined(nodes) | DOCUMENTED
    for node in nodes:
        match node:
            case ast.Attribute(attr=name) if name not in own and not is_of_self(node):
                yield name
            case ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name
            case _:
                pass
    for stands_for in imports(nodes).values():
        yield from stands_for.split(".")


def inherited(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Names of a library's class that a subclass overrides, assigns, or uses on `self` without defining them."""
    libraries = imports(nodes)
    for node in nodes:
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            head, _, rest = ast.unparse(base).partition("[")[0].partition(".")
            if head in libraries:
                inner = list(ast.walk(node))
                own, used = defined(inner), (one for one in inner if isinstance(one, ast.Attribute))
                yield from {one.attr for one in used if is_of_self(one)} - own
                yield from own & members(f"{libraries[head]}.{rest}".rstrip("."))


def members(dotted: str) -> set[str]:
    """The names of a class, and those its constructors assign."""
    module, _, name = dotted.rpartition(".")
    kind: Any = getattr(importlib.import_module(module), name)
    constructors = [one.__dict__.get("__init__") for one in cast("type", kind).__mro__]
    return set(dir(kind)).union(*(one.__code__.co_names for one in constructors if isfunction(one)))


def private_names(path: Path) -> set[str]:
    nodes = nodes_of(path)
    return {name for name in (*accessed(nodes), *inherited(nodes)) if PRIVATE.fullmatch(name)}


def patches(path: Path) -> list[str]:
    """Assignments to members of a library's modules or classes, which have process-wide effect."""
    libraries = imports(nodes_of(path))
    written = [
        ast.unparse(node)
        for node in nodes_of(path)
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    ]
    return [text for text in written if re.split(r"\W", text)[0] in libraries]


def test_private_names_of_libraries_are_used_only_in_listed_modules() -> None:
    found = {str(path.relative_to(ROOT)): names for path in SOURCES if (names := private_names(path))}
    assert found == PRIVATE_NAMES


def test_no_library_is_patched_process_wide() -> None:
    assert [(str(path), line) for path in SOURCES for line in patches(path)] == []


@pytest.mark.parametrize("module", PRIVATE_NAMES)
def test_each_listed_module_checks_the_library_version_at_import(module: str) -> None:
    calls = [ast.unparse(node) for node in ast.parse((ROOT / module).read_text()).body if isinstance(node, ast.Expr)]
    assert f"require('{'minio' if 's3' in module else 'aiokafka'}')" in calls


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("consumer._client.send()", {"_client"}),
        ("from aiokafka.util import _x", {"_x"}),
        ("from aiokafka._private import x", {"_private"}),
        ("getattr(consumer, '_fetcher', None)", {"_fetcher"}),
        ("import aiokafka\nclass A(aiokafka.AIOKafkaProducer):\n def f(self): return self._sender", {"_sender"}),
        ("from aiokafka import AIOKafkaConsumer as C\nclass A(C):\n def _wait_topics(self): ...", {"_wait_topics"}),
        ("from aiokafka import AIOKafkaConsumer as C\nclass A(C):\n def f(self): self._fetcher = 1", {"_fetcher"}),
        ("class A:\n def __init__(self, b): self._x = b._x", set[str]()),
        ("parts._replace(a=1)", set[str]()),
    ],
)
def test_uses_of_private_names_are_found(tmp_path: Path, source: str, expected: set[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert private_names(path) == expected


@pytest.mark.parametrize("line", ["consumer.Fetcher = Mine", "consumer.AIOKafkaConsumer.seek = mine"])
def test_process_wide_patches_are_found(tmp_path: Path, line: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"from aiokafka.consumer import consumer\n{line}\nours = consumer.Fetcher\n")
    assert patches(path) == [line.partition(" = ")[0]]
