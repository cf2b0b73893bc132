"""Requests as httpx takes them."""

from typing import Any

import httpx

from threadkeep_client.core.effects import Request

TIMEOUT_SECONDS = 30.0
SILENCE_SECONDS = 45.0
"""An event stream says something every 15 s."""


def http_options(base_url: str, request: Request, timeout_seconds: float) -> dict[str, Any]:
    """The arguments of `httpx.Client.request` and `stream`."""
    return {
        "method": request.method,
        "url": httpx.URL(base_url).join(request.path),
        "params": request.query or None,
        "headers": request.headers,
        "content": request.body,
        "timeout": timeout_seconds,
    }
