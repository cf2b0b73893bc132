"""The parameters that operations name, and how each is described."""

from typing import Any

from models.message import ROLES
from storage.analytics.figures import BUCKETS, METRICS
from webapp.http.operation import KEY, Operation

_UUID = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_NAME = "^[A-Za-z0-9._:-]{1,128}$"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 50,
        "description": "How many to give at most.",
    },
    "cursor": {"type": "string", "description": "A `next_cursor` of this list."},
    "order": {
        "type": "string",
        "enum": ["asc", "desc"],
        "default": "desc",
        "description": "`asc` for the oldest first, `desc` for the newest.",
    },
    "thread_id": {
        "type": "string",
        "pattern": _NAME,
        "description": "The id of a thread of the caller's.",
        "example": "weekend",
    },
    "message_id": {
        "type": "string",
        "format": "uuid",
        "pattern": _UUID,
        "description": "The id of a message of the caller's.",
        "example": "01a1fc13-2a0f-788d-90e0-8acba3010624",
    },
    "run_id": {
        "type": "string",
        "pattern": _NAME,
        "description": "The id of a run of the caller's, chosen by the caller.",
        "example": "research-1",
    },
    "version": {
        "type": "integer",
        "minimum": 1,
        "description": "The version of the checkpoint.",
        "example": 1,
    },
    "letter_id": {
        "type": "integer",
        "minimum": 0,
        "description": "The number of the dead letter.",
        "example": 1,
    },
    "alert_id": {
        "type": "string",
        "format": "uuid",
        "description": "The id of the alert.",
        "example": "01a1fc13-2a0f-788d-90e0-8acba3010624",
    },
    "key_id": {
        "type": "string",
        "format": "uuid",
        "pattern": _UUID,
        "description": "The id of the key.",
        "example": "01a1fc13-2a0f-788d-90e0-8acba3010624",
    },
    "revocation_id": {
        "type": "string",
        "format": "uuid",
        "pattern": _UUID,
        "description": "The id of the revocation.",
        "example": "01a1fc13-2a0f-788d-90e0-8acba3010624",
    },
    "history": {"type": "boolean", "description": "Whether to list earlier alerts too."},
    "user_id": {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": "The user, as in the `sub` of their tokens.",
        "example": "ann",
    },
    "is_archived": {"type": "boolean", "description": "Only threads with this mark, or without."},
    "is_pinned": {"type": "boolean", "description": "Only threads with this mark, or without."},
    "since": {
        "type": "string",
        "format": "date-time",
        "description": "Only what is not older, in RFC 3339 with its zone.",
    },
    "until": {
        "type": "string",
        "format": "date-time",
        "description": "Only what is older, in RFC 3339 with its zone.",
    },
    "metric": {
        "type": "string",
        "enum": list(METRICS),
        "default": "messages",
        "description": "The figure.",
    },
    "bucket": {
        "type": "string",
        "enum": list(BUCKETS),
        "default": "day",
        "description": "The width of the buckets, in UTC.",
    },
    "scope": {
        "type": "string",
        "enum": ["own", "everyone"],
        "default": "own",
        "description": "Whose messages are counted; everyone's for admins only.",
    },
    "q": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": 'Words that all occur; `"…"` for a phrase, `word*` for a beginning.',
    },
    "role": {"type": "string", "enum": list(ROLES), "description": "Only messages of this role."},
    "actor": {"type": "string", "minLength": 1, "description": "Only what this actor did."},
    "program": {
        "type": "string",
        "enum": ["worker"],
        "description": "The program that probes itself.",
    },
    "action": {"type": "string", "minLength": 1, "description": "What was done, as `user.erased`."},
    KEY: {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": "The same key in the same thread within 24 h gives the first message, unless"
        " that was deleted; with another message it is refused (422, idempotency_key_reused). In a"
        " batch it is a key of its own to each item that has none, by its place.",
    },
    "Last-Event-ID": {"type": "string", "description": "The event to resume after."},
    "last_event_id": {
        "type": "string",
        "minLength": 1,
        "description": "Likewise, for pages, whose `EventSource` sets no header.",
    },
    "ticket": {
        "type": "string",
        "minLength": 1,
        "description": "A ticket (`POST /api/tickets`) in place of the token, for pages, which set"
        " no header here.",
    },
    "If-Match": {
        "type": "string",
        "minLength": 1,
        "description": "ETags of the versions that may be replaced, or * for any.",
    },
    "If-None-Match": {
        "type": "string",
        "minLength": 1,
        "description": "For a read, ETags of what the caller has: 304 if it is unchanged."
        " For a write, *: only if nothing is there yet.",
    },
}


def parameters_of(operation: Operation) -> list[dict[str, Any]]:
    """The parameters of an operation, in path, query and headers."""
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [
        _parameter(operation, name, place)
        for place, names in (
            ("path", in_path),
            ("query", operation.query),
            ("header", operation.headers),
        )
        for name in names
    ]


def _parameter(operation: Operation, name: str, place: str) -> dict[str, Any]:
    """A parameter; only one of a path has an example, for the page fills it in."""
    schema = dict(_PARAMETERS[name])
    described = {
        "name": name,
        "in": place,
        "required": place == "path" or name in operation.required,
        "description": schema.pop("description", ""),
    }
    example = schema.pop("example", None)
    if place == "path":
        described["example"] = example
    is_repeated = name in operation.repeated
    described["schema"] = {"type": "array", "items": schema} if is_repeated else schema
    return described
