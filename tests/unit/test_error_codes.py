"""Every code that an error can have has its paragraph in the documentation, and its link there."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from flask import Flask

import settings
from support.stack.environment import COMPLETE
from webapp.app import create_app
from webapp.http.errors import code_of
from webapp.http.operation import operations

ROOT = Path(settings.__file__).parent
DOCUMENT = ROOT / "docs" / "errors.md"
FOLDERS = ("models", "storage", "webapp")
RAISED = frozenset({"InvalidMessage", "InvalidQuery", "NotAllowed", "StreamRefused"})
"""What takes its code first; everything else takes it after the status."""
HTTP = (400, 403, 404, 405, 414, 416, 417, 431, 501)
"""Statuses that the libraries around the application answer with, by themselves."""


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def text_of(node: ast.expr) -> str | None:
    """A code as it stands in the source, with the names of what is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
        )
        return "".join(map(str, parts))
    return None


def is_status(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return is_status(node.body)
    return isinstance(node, ast.Constant) and node.value in range(400, 600)


def codes_in(tree: ast.AST) -> Iterator[str]:
    """What stands where a code does: after a status, or first where there is none."""
    for node in ast.walk(tree):
        given = getattr(node, "args", None) if isinstance(node, ast.Call) else None
        given = node.elts if isinstance(node, ast.Tuple) else given
        if not given:
            continue
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED:
            places = given[:1]
        else:
            places = [code for status, code in pairwise(given) if is_status(status)]
        yield from (found for one in places if (found := text_of(one)) is not None)


@pytest.fixture(scope="module")
def app() -> Flask:
    return create_app(settings.load(COMPLETE))


@pytest.fixture(scope="module")
def codes(app: Flask) -> set[str]:
    """Every code of the sources, of the parameters, and of plain HTTP."""
    written = {one for path in sources() for one in codes_in(ast.parse(path.read_text()))}
    filled = {
        "invalid_{name}": {name for one in operations(app).values() for name in one.query},
        "{name}_number": {"metadata", "state"},
        "{name}_too_deep": {"metadata", "state"},
    }
    assert {one for one in written if "{" in one} == filled.keys()
    made = {code.format(name=name) for code, names in filled.items() for name in names}
    return (written - filled.keys()) | made | {code_of(status) for status in HTTP}


def anchors(app: Flask) -> list[str]:
    page = app.test_client().get("/docs/errors")
    assert page.status_code == 200
    return re.findall(r'<code id="([^"]+)">', page.text)


def test_the_sources_hold_the_codes_that_are_known_to_be_there(codes: set[str]) -> None:
    # Each in another way: an error, a tuple, a fault, a problem, and what is put together.
    known = {"nothing_to_change", "server_busy", "not_found", "no_progress", "invalid_limit"}
    assert known <= codes
    assert len(codes) > 70


def test_every_code_has_a_paragraph(app: Flask, codes: set[str]) -> None:
    assert codes - set(anchors(app)) == set()


def test_every_paragraph_is_of_a_code(app: Flask, codes: set[str]) -> None:
    assert set(anchors(app)) - codes == set()


def test_every_code_has_one_paragraph(app: Flask) -> None:
    found = anchors(app)
    assert len(found) == len(set(found))


def test_a_paragraph_says_which_status_it_is_and_what_to_do() -> None:
    blocks = DOCUMENT.read_text(encoding="utf-8").split("\n\n")
    for heading, text in pairwise(blocks):
        if heading.startswith("### "):
            assert re.match(r"[45]\d\d[ ,.]", text), heading
            assert len(text) > 40, heading


def test_the_type_of_a_problem_is_its_paragraph(app: Flask) -> None:
    problem = app.test_client().get("/api/threads").get_json()
    page, _, code = problem["type"].partition("#")
    assert (page, code) == ("/docs/errors", problem["code"])
    assert code in anchors(app)


def test_the_page_is_whole_and_asks_no_other_host(app: Flask) -> None:
    page = app.test_client().get("/docs/errors").text
    assert "`" not in page
    assert "http" not in page
    shown = re.sub(r"<[^>]+>", "", page)
    for status in ("400", "412", "503"):
        assert status in shown
