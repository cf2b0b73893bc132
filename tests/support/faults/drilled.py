"""A stack on which drills are allowed, and whose traces are wanted."""

from collections.abc import Iterator
from contextlib import contextmanager

import settings as configuration
from support.calls.api import Api, ok
from support.data.users import fresh_user
from support.stack.processes import Launched
from support.stack.receiver import Receiver
from support.waiting import eventually
from webapp.http.auth import Tokens

SIMULATE = "/api/admin/simulate-disaster"
WEBHOOK_SECRET = "what only the two of them know, in a test"


class Drilled:
    """A stack on which drills are allowed, as a user and as an admin.

    `webhook` is told of its alerts, `collector` takes its traces.
    """

    def __init__(self, stack: Launched, webhook: Receiver, collector: Receiver) -> None:
        self.stack = stack
        self.webhook = webhook
        self.collector = collector
        tokens = Tokens(configuration.load(stack.env))
        self.token = tokens.issue(fresh_user(), is_admin=False, ttl_seconds=3600)
        admin_token = tokens.issue(fresh_user(), is_admin=True, ttl_seconds=3600)
        self.user = Api(stack.url, self.token)
        self.admin = Api(stack.url, admin_token)

    @contextmanager
    def drill(self, scenario: str) -> Iterator[None]:
        self.begin(scenario, 60)
        try:
            yield
        finally:
            self.begin("none", 60)

    def begin(self, scenario: str, seconds: float) -> None:
        body = {"scenario": scenario, "duration_seconds": seconds}
        begun = ok(self.admin.post(SIMULATE, json=body))
        assert (begun["scenario"], begun["duration_seconds"]) == (scenario, seconds)

    def wait_until_well(self) -> None:
        """Every process takes writes into Redis again, and all of them are where they belong."""
        eventually(self._is_well, 60)

    def _is_well(self) -> bool:
        posted = [self.user.send("well", "well?") for _ in range(4)]
        health = ok(self.user.get("/health/persistence"))["tiers"]
        return all(
            (one["tier_used"], one.get("warning")) == ("redis", None) for one in posted
        ) and (health["postgresql"].get("redis_lacks"), health["clickhouse"]["to_bring_home"]) == (
            0,
            0,
        )
