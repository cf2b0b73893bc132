"""Pages may set each header that is read here, and read each one that is set."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import settings
import webapp
from support.calls.pages import FOR_BROWSERS, SHOWN_ANYWAY
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.operation import operations
from webapp.http.origins import IGNORED, READ, SHOWN

ROOT = Path(webapp.__file__).parent
SET_BY_BROWSERS = {
    "content-length",
    "host",
    "origin",
    "transfer-encoding",
    "upgrade",
}
"""Headers of requests that no page sets."""
NAME = re.compile(r"[A-Z][A-Za-z]*(-[A-Z][A-Za-z]*)+|ETag|Link|Location|RateLimit|Vary")
"""What is written as headers are, and as nothing else here."""


def modules() -> Iterator[ast.AST]:
    """The parts of the program that answer requests."""
    for file in sorted(ROOT.rglob("*.py")):
        if file.relative_to(ROOT).parts[0] != "cli":
            yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def texts(*nodes: ast.AST | None) -> Iterator[str]:
    """The text that each of these is, if it is one."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def has_headers(node: ast.AST) -> bool:
    return ast.unparse(node).endswith("headers")


def read_in(node: ast.AST) -> Iterator[str]:
    """The headers of a request that are read here."""
    for text in texts(node):
        if found := re.fullmatch("HTTP_([A-Z_]+)", text):
            yield found[1].replace("_", "-")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "get" and has_headers(node.func.value):
            yield from texts(*node.args[:1])
    elif isinstance(node, ast.Compare) and has_headers(node.comparators[0]):
        yield from texts(node.left)


def set_in(node: ast.AST) -> Iterator[str]:
    """The headers of an answer that are set here."""
    if isinstance(node, ast.Subscript) and has_headers(node.value):
        yield from texts(node.slice)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if has_headers(node.func.value) and node.func.attr != "get":
            yield from texts(*node.args[:1])
    elif isinstance(node, ast.Dict):
        yield from filter(NAME.fullmatch, texts(*node.keys))
    elif isinstance(node, ast.Tuple):
        yield from filter(NAME.fullmatch, texts(*node.elts[:1]))


def lowered(*names: str) -> set[str]:
    return {name.lower() for name in names}


def test_every_header_that_is_read_may_be_set_by_pages() -> None:
    found = lowered(*(name for node in modules() for name in read_in(node)))
    for operation in operations(create_app(settings.load(COMPLETE))).values():
        found |= lowered(*operation.headers)
    assert {"authorization", "if-match", "last-event-id", "traceparent", "origin"} <= found
    # The last one is an answer's.
    assert found - lowered(*READ) - SET_BY_BROWSERS == {"cache-control"}


def test_every_header_that_is_set_may_be_read_by_pages() -> None:
    found = lowered(*(name for node in modules() for name in set_in(node)))
    assert {"etag", "idempotency-replayed", "retry-after", "x-request-id", "vary"} <= found
    # A list of those of requests begins with one of them.
    others = SHOWN_ANYWAY | FOR_BROWSERS | lowered(*READ, *IGNORED)
    assert found - lowered(*SHOWN) - others == set()
