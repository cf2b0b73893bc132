"""What is wrong with a body: which field, what was given for it, and what is allowed.

A body that is right is read once and never comes here.
"""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, get_args

import msgspec

from webapp.http.errors import BadRequest, WrongField

MOST_CHARACTERS = 64
"""So many characters of a value or a name are shown."""
MOST_NAMED = 5
"""So many fields are named at once."""

_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip and zstd begin."""
_MARKED = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ITEM = re.compile(r" - at `\$\[(\d+)\]`$")
"""How the parser says that an item of a list is wrong."""
_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "object": "a JSON object",
    "array": "a list",
}
_LIMITS = (
    ("minimum", "maximum", "from {} to {}"),
    ("exclusiveMinimum", "maximum", "above {} and up to {}"),
    ("minItems", "maxItems", "of {} to {} items"),
    ("minimum", None, "of at least {}"),
    ("maxLength", None, "of at most {} characters"),
    ("maxItems", None, "of at most {} items"),
)
"""The limits that the shapes have, the first that fits."""
_SHOWN = frozenset({"integer", "number", "boolean", "word"})
"""Where one of these is expected what was given is shown, and never where it is a text, as that may
be a message's."""


def body_error(data: bytes, shape: Any, error: msgspec.ValidationError, at: str) -> BadRequest:
    """The error for JSON of another shape. `at` is where in the body the data stands."""
    try:
        found = list(islice(_wrong_fields(data, shape, at), MOST_NAMED))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # It is no JSON behind the place where the parser stopped.
        found = []
    told = "; ".join([one.detail for one in found])
    return BadRequest(422, "invalid_body", told or cut(str(error)), found)


def no_json(data: bytes, found: str, sent_as: str) -> str:
    """Why a body is no JSON. `sent_as` is its media type, where one was given."""
    if not data:
        return "the body is empty; a JSON body is expected"
    if data.startswith(_COMPRESSED):
        return "the body is compressed, and no Content-Encoding says so; send JSON as it is"
    if data.startswith(_MARKED):
        return "the body begins with a byte order mark; JSON is sent as UTF-8 without one"
    if b"\0" in data[:4]:
        return "the body is not UTF-8, which JSON is sent in (RFC 8259, section 8.1)"
    if sent_as and "json" not in sent_as:
        return f"expected JSON; you sent {cut(sent_as)}, and the body is not JSON"
    return f"the body is not JSON: {found}"


def is_json(data: bytes) -> bool:
    """Whether a laxer parser accepts it as UTF-8. Given bytes, that parser would guess at other
    encodings."""
    try:
        json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return False
    return True


def cut(text: str) -> str:
    """A value or a name, short enough to be shown."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """What is said of the name of a field, or of a parameter, that is not known."""
    meant = get_close_matches(name[:MOST_CHARACTERS], known, n=1)
    hint = f", did you mean {meant[0]}" if meant else ""
    return f"unknown {kind} {cut(name)!r}{hint}; known are {', '.join(known) or 'none'}"


def _wrong_fields(data: bytes, shape: Any, at: str) -> Iterator[WrongField]:
    structs = [one for one in (shape, *get_args(shape)) if _is_struct(one)]
    if not structs or not data.lstrip().startswith(b"{"):
        yield from _wrong_value(data, shape, at)
        return
    given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    struct = _meant(structs, given)
    if struct is None:
        tag, tags = _tags(structs)
        yield _wrong(f"{at}.{tag}", given.get(tag), {"enum": tags})
        return
    fields = {one.encode_name: one for one in msgspec.structs.fields(struct)}
    known = [*fields, *([struct.__struct_config__.tag_field or ""] if len(structs) > 1 else [])]
    for name in given:
        if name not in known and struct.__struct_config__.forbid_unknown_fields:
            shown = f"{at}.{cut(name)}"
            detail = unknown_name("field", name, [*fields])
            yield WrongField(field=shown, detail=detail, allowed=[*fields])
    for name, field in fields.items():
        if name in given:
            yield from _wrong_fields(bytes(given[name]), field.type, f"{at}.{name}")
        elif field.required:
            yield _wrong(f"{at}.{name}", None, _schema(field.type))


def _is_struct(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)


def _tags(structs: Sequence[Any]) -> tuple[str, list[Any]]:
    """The field that tells structs apart, and its values."""
    return (
        structs[0].__struct_config__.tag_field or "",
        [one.__struct_config__.tag for one in structs],
    )


def _meant(structs: Sequence[Any], given: dict[str, msgspec.Raw]) -> Any:
    """The one of several structs that an object names by its tag, None if it names none."""
    if len(structs) == 1:
        return structs[0]
    tag, tags = _tags(structs)
    named = msgspec.json.decode(given.get(tag, b"null"))
    return structs[tags.index(named)] if named in tags else None


def _wrong_value(data: bytes, shape: Any, at: str) -> Iterator[WrongField]:
    try:
        msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        schema = _schema(shape)
        item = _ITEM.search(str(error))
        items = [one["items"] for one in _alternatives(schema) if "items" in one]
        if item is not None and items:
            data = bytes(msgspec.json.decode(data, type=list[msgspec.Raw])[int(item[1])])
            at, schema = f"{at}[{item[1]}]", items[0]
        yield _wrong(at, data, schema)


def _wrong(at: str, given: bytes | None, schema: dict[str, Any]) -> WrongField:
    """One field for which something else is expected; `given` is None where it is missing."""
    expected, allowed = _expected(schema), schema.get("enum")
    place = "the body" if at == "$" else at
    if given is None:
        detail = f"{place} is missing, which must be {expected}"
        return WrongField(field=at, detail=detail, expected=expected, allowed=allowed)
    value = msgspec.json.decode(given)
    shown = _shown(value, schema)
    what = _kind(value) if shown is None else msgspec.json.encode(shown).decode()
    detail = f"{place} is {what}, and must be {expected}"
    return WrongField(field=at, detail=detail, given=shown, expected=expected, allowed=allowed)


def _schema(shape: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape])
    return schema


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return found


def _expected(schema: dict[str, Any]) -> str:
    """What a JSON Schema allows, in words."""
    return " or ".join(dict.fromkeys(_in_words(one) for one in _alternatives(schema)))


def _in_words(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kind = _KINDS[schema.get("type", "object")]
    for low, high, words in _LIMITS:
        limits = [schema[name] for name in (low, high) if name in schema]
        if len(limits) == words.count("{}"):
            return f"{kind} {words.format(*limits)}"
    return kind


def _shown(value: Any, schema: dict[str, Any]) -> Any:
    """The value that was given, cut short; None where it is not to be shown."""
    wanted = {"word" if "enum" in one else one.get("type") for one in _alternatives(schema)}
    if wanted.isdisjoint(_SHOWN):
        return None
    if isinstance(value, str):
        return cut(value)
    return value if isinstance(value, bool | int | float) else None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, list):
        return f"a list of {len(value)} items"
    return "a number" if isinstance(value, int | float) else "null"
