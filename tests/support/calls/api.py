"""A client of the HTTP API that speaks for one user at a time."""

from typing import Any

import requests

TIMEOUT_SECONDS = 15


class Api:
    """One user's way to a stack. Paths are relative to it: `api.get("/api/threads")`."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._session = requests.Session()
        # A proxy or a netrc file of the environment has no business here.
        self._session.trust_env = False
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Any call; options are those of `requests`."""
        options.setdefault("timeout", TIMEOUT_SECONDS)
        options.setdefault("allow_redirects", False)
        return self._session.request(method, self.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)

    def patch(self, path: str, **options: Any) -> requests.Response:
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self.call("DELETE", path, **options)

    def send(self, thread_id: str, message: str, **body: Any) -> dict[str, Any]:
        """Posts a message and gives its acknowledgement."""
        reply = self.post(f"/api/threads/{thread_id}/messages", json={"message": message, **body})
        return ok(reply)

    def send_many(self, thread_id: str, count: int) -> list[dict[str, Any]]:
        """Posts numbered messages as one batch and gives them in order."""
        items = [{"thread_id": thread_id, "message": f"message {n}"} for n in range(count)]
        results = ok(self.post("/api/messages:batch", json={"messages": items}))["results"]
        assert all(result["status"] == 200 for result in results), results
        return [result["message"] for result in results]

    def page(self, thread_id: str, **query: Any) -> dict[str, Any]:
        """One page of a thread."""
        return ok(self.get(f"/api/threads/{thread_id}/messages", params=query))

    def walk(self, thread_id: str, **query: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """All pages of a thread from cursor to cursor: the messages and each page's source."""
        found: list[dict[str, Any]] = []
        sources: list[str] = []
        cursor = None
        while True:
            given = query if cursor is None else {**query, "cursor": cursor}
            page = self.page(thread_id, **given)
            found += page["messages"]
            sources.append(page["retrieval_source"])
            if page["next_cursor"] is None:
                return found, sources
            assert page["next_cursor"] != cursor, "the list goes in circles"
            cursor = page["next_cursor"]

    def receipt(self, message_id: str) -> dict[str, Any]:
        """Where a message is."""
        return ok(self.get(f"/api/messages/{message_id}/receipt"))


def ok(reply: requests.Response, status: int = 200) -> dict[str, Any]:
    """The body of an answer that must have this status."""
    assert reply.status_code == status, f"{reply.status_code}: {reply.text[:500]}"
    body: dict[str, Any] = reply.json()
    return body


def problem(reply: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The problem body (RFC 9457) of an answer that must have this status and code."""
    assert reply.status_code == status, f"{reply.status_code}: {reply.text[:500]}"
    assert reply.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"] == f"/docs/errors#{code}"
    assert body["detail"]
    assert body["request_id"] == reply.headers["X-Request-ID"]
    return body
