"""The page on which the `type` of every problem has its paragraph, made from docs/errors.md."""

import html
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from flask import Blueprint, Response

from webapp.http.pages import guarded, tagged

blueprint = Blueprint("error_page", __name__)

_SOURCE = Path(__file__).parent / "static" / "errors.md"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Threadkeep: errors</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: auto; padding: 1rem }}
h3 {{ margin: 1.75rem 0 0.25rem; overflow-wrap: anywhere }}
p {{ margin: 0.25rem 0 }}
:target {{ outline: 2px solid; outline-offset: 0.25rem }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
_CODE = re.compile("`([^`]+)`")
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@blueprint.get("/docs/errors")
def errors() -> Response:
    """The page."""
    return guarded(tagged(Response(_page(), mimetype="text/html")), _POLICY)


@cache
def _page() -> str:
    return _PAGE.format(body="\n".join(_blocks(_SOURCE.read_text(encoding="utf-8"))))


def _blocks(text: str) -> Iterator[str]:
    """The HTML of a text of headings and paragraphs. A code in a heading is an anchor."""
    for block in text.strip().split("\n\n"):
        marks, _, rest = block.partition(" ")
        if marks in {"#", "##"}:
            yield f"<h{len(marks)}>{html.escape(rest)}</h{len(marks)}>"
        elif marks == "###":
            codes = [f'<code id="{code}">{code}</code>' for code in _CODE.findall(rest)]
            yield f"<h3>{' '.join(codes)}</h3>"
        else:
            # Links lead to other documents, which are not served.
            plain = html.escape(_LINK.sub(r"\1", block), quote=False)
            marked = _CODE.sub(r"<code>\1</code>", plain)
            yield f"<p>{marked}</p>"
