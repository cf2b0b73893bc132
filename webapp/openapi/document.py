"""The OpenAPI 3.1 description, made from the operations of the routes and the shapes they name."""

from importlib.metadata import version
from typing import Any

import msgspec
from flask import Flask

from models.message import ROLES
from storage.analytics.figures import BUCKETS, METRICS
from webapp.http import schemas
from webapp.http.errors import Problem
from webapp.http.operation import GROUPS, KEY, Operation, operations

ORDER = (
    "create_thread", "list_threads", "get_thread", "change_thread", "delete_thread",
    "post_message", "open_stream", "append_chunk", "finish_stream", "list_messages", "post_batch",
    "get_message", "get_receipt", "edit_message", "delete_message",
    "search", "summary", "series",
    "get_session", "put_session", "patch_session", "delete_session",
    "get_run_state", "put_run_state", "delete_run_state", "list_checkpoints", "get_checkpoint",
    "restore_checkpoint",
    "list_dead_letters", "get_dead_letter", "replay_dead_letter", "discard_dead_letter",
    "recover_redis_cache", "check_consistency", "last_consistency_report", "get_archive",
    "erase_user", "erase_user_of_any_name", "list_policies", "set_policy", "clear_policy",
    "create_key", "list_keys", "revoke_key",
    "revoke_tokens", "list_revocations", "lift_revocation",
    "list_audit", "initiate_disaster_recovery", "disaster_recovery_status", "simulate_disaster",
    "list_alerts", "acknowledge_alert", "silence_alert",
    "get_road", "get_storage_performance", "simulate_degradation",
    "socket", "events", "info", "console_facts", "healthz", "readyz", "persistence",
)  # fmt: skip
"""The operations by name, as the page shows them."""

_UUID = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_NAME = r"^(?!\.\.?$)[A-Za-z0-9._:-]{1,128}$"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50},
    "cursor": {"type": "string", "description": "A next_cursor of this list."},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
    "thread_id": {"type": "string", "pattern": _NAME},
    "message_id": {"type": "string", "format": "uuid", "pattern": _UUID},
    "run_id": {"type": "string", "pattern": _NAME},
    "version": {"type": "integer", "minimum": 1},
    "letter_id": {"type": "integer", "minimum": 0},
    "alert_id": {"type": "string", "format": "uuid"},
    "key_id": {"type": "string", "format": "uuid", "pattern": _UUID},
    "revocation_id": {"type": "string", "format": "uuid", "pattern": _UUID},
    "history": {"type": "boolean", "description": "Whether to list earlier alerts too."},
    "user_id": {"type": "string", "minLength": 1, "maxLength": 256},
    "is_archived": {"type": "boolean", "description": "Only threads with this mark, or without."},
    "is_pinned": {"type": "boolean", "description": "Only threads with this mark, or without."},
    "since": {"type": "string", "format": "date-time"},
    "until": {"type": "string", "format": "date-time", "description": "Itself not included."},
    "metric": {"type": "string", "enum": list(METRICS), "default": "messages"},
    "bucket": {"type": "string", "enum": list(BUCKETS), "default": "day"},
    "scope": {"type": "string", "enum": ["own", "everyone"], "default": "own"},
    "q": {"type": "string", "maxLength": 200, "description": "See docs/search.md."},
    "role": {"type": "string", "enum": list(ROLES)},
    "actor": {"type": "string", "minLength": 1},
    "program": {
        "type": "string",
        "enum": ["worker"],
        "description": "The program that probes itself.",
    },
    "action": {"type": "string", "minLength": 1, "description": "What was done, as `user.erased`."},
    KEY: {
        "type": "string",
        "description": "The same key in the same thread within 24 h gives the first message, unless"
        " that was deleted; with another message it is refused (422, idempotency_key_reused). In a"
        " batch it is a key of its own to each item that has none, by its place.",
    },
    "Last-Event-ID": {"type": "string", "description": "The event to resume after."},
    "If-Match": {
        "type": "string",
        "description": "ETags of the versions that may be replaced, or * for any.",
    },
    "If-None-Match": {
        "type": "string",
        "description": "For a read, ETags of what the caller has: 304 if it is unchanged."
        " For a write, *: only if nothing is there yet.",
    },
}


_ABOUT = """The open message store for chat and agent applications.

Nothing in a request is ignored: an unknown field or query parameter is refused with 422, a
condition (`If-Match`, `If-None-Match` and the like) that the call does not support with 400, a body
with a `Content-Encoding` with 415."""


def document(app: Flask) -> dict[str, Any]:
    """The whole description of an application."""
    described = sorted(operations(app).values(), key=lambda one: ORDER.index(one.name))
    shapes = [Problem, schemas.BatchItem]
    for operation in described:
        shapes += [shape for shape in (operation.body, *operation.answers.values()) if shape]
    _, components = msgspec.json.schema_components(
        dict.fromkeys(shapes), ref_template="#/components/schemas/{name}"
    )
    # The route reads its items one by one; the description shows their shape.
    components["PostBatch"]["properties"]["messages"]["items"] = _reference(schemas.BatchItem)
    paths: dict[str, dict[str, Any]] = {}
    for operation in described:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Threadkeep",
            "version": version("threadkeep"),
            "description": _ABOUT,
        },
        "tags": [{"name": group} for group in GROUPS],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A JSON Web Token, or an API key (tk_…). A key with the scope"
                    " on_behalf_of may name a user in the header Threadkeep-User.",
                }
            },
        },
        "security": [{"bearer": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {str(status): _answer(shape) for status, shape in operation.answers.items()},
    }
    if operation.method == "get" and "If-None-Match" in operation.headers:
        described["responses"]["304"] = {"description": "Unchanged since the caller's copy"}
    problems = _problems(operation)
    if operation.refuses_key:
        described["description"] = f"Refuses {KEY} (400, idempotency_key_unsupported)."
        problems.add(400)
    for status in sorted(problems):
        described["responses"][str(status)] = {
            "description": "A problem (RFC 9457)",
            "content": {"application/problem+json": {"schema": _reference(Problem)}},
        }
    if operation.body is not None:
        content = {"application/json": {"schema": _reference(operation.body)}}
        described["requestBody"] = {
            "required": not operation.optional_body,
            "content": content,
        }
    if operation.public:
        described["security"] = []
    return described


def _problems(operation: Operation) -> set[int]:
    """The statuses of its own errors, and those that every call of its kind may answer."""
    found = {400, 422, *operation.errors}
    if not operation.public:
        # 403 is for who is no admin, and for API keys without the scope.
        found |= {401, 403, 503}
    if operation.body is not None:
        found |= {413, 415}
    if "If-Match" in operation.headers:
        found.add(412)
    return found


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": place,
            "required": place == "path",
            "schema": {"type": "array", "items": _PARAMETERS[name]}
            if name in operation.repeated
            else _PARAMETERS[name],
        }
        for place, names in (
            ("path", in_path),
            ("query", operation.query),
            ("header", operation.headers),
        )
        for name in names
    ]


def _answer(shape: Any) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done"}
    return {
        "description": "Done",
        "content": {"application/json": {"schema": _reference(shape)}},
    }


def _reference(shape: Any) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}
