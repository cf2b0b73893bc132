"""A new message as a caller gives it, checked the same way for HTTP and sockets."""

from typing import Any

from models.message import (
    check_content,
    check_idempotency_key,
    check_metadata,
    check_new_thread_id,
)
from storage.messages.posts import Draft


def checked_draft(
    thread_id: str, role: str, content: str | None, metadata: dict[str, Any], key: str | None
) -> Draft:
    """The checked message. Raises `InvalidMessage`."""
    check_new_thread_id(thread_id)
    content = content or ""
    check_content(content, metadata)
    check_metadata(metadata)
    if key is not None:
        check_idempotency_key(key)
    return Draft(role, content, metadata, key)
