"""A header that promises something is heeded or refused, never passed over.

Which call heeds `Idempotency-Key` stands in the API's description, and the door goes by that.
"""

from flask import Flask, request

from webapp.errors import BadRequest
from webapp.openapi import OPERATIONS
from webapp.operation import KEY


def register(app: Flask) -> None:
    """Has every write refuse the key that does not heed it."""
    refusing = frozenset(operation.name for operation in OPERATIONS if operation.refuses_key)

    @app.before_request
    def refuse() -> None:
        if KEY in request.headers and (request.endpoint or "").rpartition(".")[2] in refusing:
            raise BadRequest(400, "idempotency_key_unsupported", f"this call takes no {KEY}")
