"""The schemas of all shapes, as code generators read them best: msgspec makes them, and every
member gets its description from `properties.toml`."""

import inspect
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.inspect import StructType, Type, multi_type_info

from webapp.http import schemas

Schema = dict[str, Any]

PREFIX = "#/components/schemas/"
_WORDS = Path(__file__).with_name("properties.toml")
_NOT_BOTH_TEXTS = {"not": {"required": ["message", "content"]}}
# Generators take `oneOf` and `anyOf` beside members for a choice of other shapes.
_ONE_TEXT = {
    **_NOT_BOTH_TEXTS,
    "if": {"not": {"required": ["content"]}},
    "then": {"required": ["message"]},
}
_RULES: dict[str, Schema] = {
    "PostMessage": _ONE_TEXT,
    "BatchItem": _ONE_TEXT,
    "PatchMessage": {"minProperties": 1, **_NOT_BOTH_TEXTS},
    "OpenStream": _NOT_BOTH_TEXTS,
    "FinishStream": _NOT_BOTH_TEXTS,
    "PatchThread": {"minProperties": 1},
    "SetRetention": {
        "if": {"not": {"required": ["legal_hold"]}},
        "then": {"required": ["user_id", "keep_days"]},
    },
    # A generated class that is named like a member of its own has wrong types.
    "Checkpoint": {"title": "KeptCheckpoint"},
}
"""What a route checks of a body beyond its members, and what generators need."""


def reference(shape: Any) -> dict[str, str]:
    """Where the schema of a shape is."""
    return {"$ref": PREFIX + shape.__name__}


def words() -> dict[str, dict[str, Any]]:
    """The descriptions of members: by shape, then by member."""
    return tomllib.loads(_WORDS.read_text())


def schemas_of(taken: Iterable[Any], given: Iterable[Any]) -> dict[str, Schema]:
    """The schemas of what requests and answers name, and of all that these refer to."""
    taken, shapes = list(taken), dict.fromkeys((*taken, *given))
    _, found = msgspec.json.schema_components(shapes, ref_template=PREFIX + "{name}")
    in_requests = _reached(taken, found)
    structs = {struct.__name__: struct for struct in _structs(multi_type_info(shapes))}
    known = words()
    for name, schema in found.items():
        _settle_defaults(schema, structs[name], is_taken=name in in_requests)
        for member, described in schema.get("properties", {}).items():
            schema["properties"][member] = _described(described, member, structs[name], known)
        schema |= _RULES.get(name, {})
        _plain(schema)
    # The route reads its items one by one; the description shows their shape.
    found["PostBatch"]["properties"]["messages"]["items"] = reference(schemas.BatchItem)
    return found


def _structs(types: Iterable[Type]) -> Iterator[type[msgspec.Struct]]:
    """The structs in types, each once."""
    waiting: list[Any] = list(types)
    seen: set[type[msgspec.Struct]] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, StructType):
            if one.cls in seen:
                continue
            seen.add(one.cls)
            yield one.cls
            waiting += [field.type for field in one.fields]
        elif isinstance(one, Type):
            waiting += [getattr(one, field) for field in one.__struct_fields__]
        elif isinstance(one, tuple):
            waiting += one


def _reached(shapes: Iterable[Any], found: dict[str, Schema]) -> set[str]:
    """The names of the schemas that some shapes lead to."""
    waiting = [shape.__name__ for shape in shapes]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _references(found[name])
    return reached


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(PREFIX)
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def _settle_defaults(schema: Schema, struct: type[msgspec.Struct], *, is_taken: bool) -> None:
    """Takes defaults out, for generators take a member that has one as always there.

    In a request it may be left out. In an answer it is always there, unless the shape omits it.
    """
    required = schema.setdefault("required", [])
    for member, described in schema.get("properties", {}).items():
        has_default = "default" in described
        described.pop("default", None)
        if has_default and not is_taken and not struct.__struct_config__.omit_defaults:
            required.append(member)
    if not required:
        del schema["required"]


def _described(
    schema: Schema, member: str, struct: type[msgspec.Struct], known: dict[str, dict[str, Any]]
) -> Schema:
    """A member's schema with its description, and with what else is known of it."""
    own = next(
        (
            known[one.__name__][member]
            for one in struct.__mro__
            if member in known.get(one.__name__, {})
        ),
        None,
    )
    found = own if own is not None else known["any"].get(member, {})
    more = {"description": found} if isinstance(found, str) else dict(found)
    if own is None and "description" in schema:
        more.pop("description", None)
    description = more.pop("description", schema.get("description"))
    target = schema
    for branch in schema.get("anyOf", ()):
        if branch.get("type") != "null":
            target = branch
    target |= more
    if target is not schema:
        target.pop("description", None)
    return schema if description is None else {**schema, "description": description}


def _plain(schema: Any) -> None:
    """Writes a schema in the words that all generators know, and all that is within it."""
    if isinstance(schema, list):
        for inner in schema:
            _plain(inner)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("description"), str):
        schema["description"] = inspect.cleandoc(schema["description"])
    if "prefixItems" in schema:
        # Its items are all of one type.
        schema["items"] = schema.pop("prefixItems")[0]
    if schema.get("type") == "array":
        schema.setdefault("items", {})
    if schema.get("type") == "object" and "properties" not in schema:
        schema.setdefault("additionalProperties", {})
    if all(isinstance(value, str) for value in schema.get("enum", [None])):
        schema["type"] = "string"
    for inner in schema.values():
        _plain(inner)
