"""The OpenAPI 3.1 description, made from the operations of the routes and the shapes they name."""

import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask

from webapp.http.errors import Problem
from webapp.http.operation import GROUP_ABOUTS, KEY, Operation, operations
from webapp.http.schemas import BatchItem
from webapp.openapi.answers import answers_of, components
from webapp.openapi.examples import examples
from webapp.openapi.parameters import parameters_of
from webapp.openapi.shapes import reference, schemas_of

ORDER = (
    "create_thread", "list_threads", "get_thread", "change_thread", "delete_thread",
    "post_message", "open_stream", "append_chunk", "finish_stream", "list_messages", "post_batch",
    "get_message", "get_receipt", "edit_message", "delete_message",
    "search_messages", "get_analytics_summary", "get_analytics_series",
    "get_session", "put_session", "patch_session", "delete_session",
    "get_run_state", "put_run_state", "delete_run_state", "list_checkpoints", "get_checkpoint",
    "restore_checkpoint",
    "list_dead_letters", "get_dead_letter", "replay_dead_letter", "discard_dead_letter",
    "recover_redis_cache", "check_consistency", "get_consistency_report", "get_archive",
    "erase_user", "erase_user_of_any_name", "list_policies", "set_policy", "clear_policy",
    "create_key", "list_keys", "revoke_key",
    "revoke_tokens", "list_revocations", "lift_revocation",
    "list_audit", "get_operator_receipt",
    "initiate_disaster_recovery", "get_disaster_recovery_status", "simulate_disaster",
    "list_alerts", "acknowledge_alert", "silence_alert",
    "get_road", "get_storage_performance", "simulate_degradation",
    "create_ticket", "open_socket", "open_event_stream",
    "get_service_info", "get_console_facts", "healthz", "readyz", "get_persistence_health",
)  # fmt: skip
"""The operations by name, as the page shows them."""

_ABOUT = Path(__file__).with_name("introduction.md")


def document(app: Flask) -> dict[str, Any]:
    """The whole description of an application."""
    described = sorted(operations(app).values(), key=lambda one: ORDER.index(one.name))
    taken = [operation.body for operation in described if operation.body]
    given = [shape for one in described for shape in one.answers.values() if shape]
    paths: dict[str, dict[str, Any]] = {}
    for operation in described:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Threadkeep",
            "version": version("threadkeep"),
            "summary": "The open message store for chat and agent applications.",
            "description": _ABOUT.read_text(),
            "contact": {"name": "The Threadkeep maintainers"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The server that gave this description."}],
        "tags": [{"name": group, "description": about} for group, about in GROUP_ABOUTS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas_of([*taken, BatchItem], [Problem, *given]),
            **components(),
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
    example = examples().get(operation.name, {})
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.group],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters_of(operation),
        "responses": answers_of(operation, example.get("answer")),
    }
    if operation.refuses_key:
        described["description"] += f"\n\nRefuses {KEY} (400, idempotency_key_unsupported)."
    if operation.body is not None:
        content: dict[str, Any] = {"schema": reference(operation.body)}
        if "body" in example:
            content["example"] = example["body"]
        described["requestBody"] = {
            "description": inspect.cleandoc(operation.body.__doc__),
            "required": not operation.optional_body,
            "content": {"application/json": content},
        }
    if operation.public:
        described["security"] = []
    return described
