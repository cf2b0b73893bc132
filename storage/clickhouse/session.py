"""HTTP to ClickHouse: what is sent must be small enough, and what comes back must be ClickHouse's.
A statement travels in the body, since a request line takes little; ClickHouse reads 256 KiB of it
and no more, so a longer one is never sent."""

from typing import Any

import requests

from storage.errors import TierRejected, TierUnavailable
from storage.resilience import budget

MOST_BYTES = 200 * 1024
"""Of one statement; rows of an INSERT do not count."""

SETTINGS = {"date_time_output_format": "simple"}
"""What reading relies on, whatever a profile of the server says."""

# A proxy that says so has refused this request alone, and would again.
_REFUSED = {400, 411, 413, 414, 415, 431}


class ClickHouseSession(requests.Session):
    """Connections to one server. Waits for no answer longer than there is time."""

    def __init__(self) -> None:
        super().__init__()
        # A proxy of the environment has no business between a process and its own store.
        self.trust_env = False

    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Raises `TierRejected` for a statement that is too long, and `TierError` for an answer
        that is not ClickHouse's; errors of ClickHouse are given to the caller."""
        seconds = budget.bounded(options["timeout"])
        options["timeout"] = (min(1.0, seconds), seconds)
        rows_follow = "query" in (options.get("params") or {})
        check_length(options["params"]["query"] if rows_follow else options.get("data") or b"")
        response = super().request(method, url, **options)
        if not _is_of_clickhouse(response):
            response.close()
            raise _misled(response)
        return response


def check_length(statement: str | bytes) -> None:
    """Raises `TierRejected` for a statement that ClickHouse may not read to its end."""
    size = len(statement.encode() if isinstance(statement, str) else statement)
    if size > MOST_BYTES:
        raise TierRejected(
            "clickhouse", f"a statement of {size:,} bytes is longer than {MOST_BYTES:,}: not sent"
        )


def _is_of_clickhouse(response: requests.Response) -> bool:
    if any(name.lower().startswith("x-clickhouse-") for name in response.headers):
        return True
    # Something in between may have taken the headers away.
    if "html" in response.headers.get("Content-Type", ""):
        return False
    return response.status_code == 200 or "Code: " in response.text[:1_000]


def _misled(response: requests.Response) -> TierRejected | TierUnavailable:
    form = response.headers.get("Content-Type", "").partition(";")[0] or "nothing"
    reason = f"HTTP {response.status_code} with {form}, which is not ClickHouse's answer"
    if response.status_code in _REFUSED:
        return TierRejected("clickhouse", reason)
    return TierUnavailable("clickhouse", f"{reason}: CLICKHOUSE_URL may lead to something else")
