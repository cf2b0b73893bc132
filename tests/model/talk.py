"""What is said to the API, and how its answers are taken."""

from typing import Any

from requests import Response

from model.world import Differs, Said


def said_of(given: dict[str, Any]) -> Said:
    return Said(given["label"], given["role"], given["content"], given["metadata"])


def key_of(kind: str, given: dict[str, Any]) -> str:
    """A key that is nobody else's and says nothing of what the message says."""
    return f"{kind} {given['label'].removeprefix('word')}"


def body_of(given: dict[str, Any]) -> dict[str, Any]:
    return {"message": given["content"], "role": given["role"], "metadata": given["metadata"]}


def shown(reply: Response) -> dict[str, Any]:
    said = Said("", "", "", {})
    said.take(reply.json())
    return said.record or {}


def must(reply: Response, status: int) -> None:
    if reply.status_code != status:
        request = reply.request
        text = f"{request.method} {request.path_url}: {reply.status_code}, not {status}"
        raise Differs(f"{text}\n  {reply.text[:500]}")
