"""Sends the heads of hash chains that grew to a server elsewhere, which keeps them as proof."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import requests
import structlog

from jobs.monitor.alerts.webhook import TIMEOUT_SECONDS, signature
from jobs.verify.kept_heads import KeptHead, heads_since
from models import ids
from storage.postgres import thread_heads
from storage.postgres.driver import transact
from storage.resilience.bites import batches
from storage.tiers import Tiers

log = structlog.get_logger(__name__)

HEADS_AT_ONCE = 1_000
LATE_SECONDS = 60
"""A head is visible so long after its moment at most: that of a shipment's commit."""


class HeadsNotTaken(Exception):
    """The server elsewhere did not take the heads; the text says why, nothing of the address."""


@dataclass(eq=False)
class HeadsWebhook:
    """Sends to one address; nowhere where there is none."""

    _tiers: Tiers

    def send(self) -> int:
        """Sends the heads that were moved since the last time, signed as alerts are; gives how
        many. Raises `HeadsNotTaken`: they are sent again with the next ones, so a receiver may get
        some twice; and `TierError`."""
        settings, engine = self._tiers.settings, self._tiers.job_engine
        if not settings.heads_webhook_url:
            return 0
        since = transact(engine, thread_heads.sent_through)
        count, through = 0, since
        for some in batches(heads_since(engine, self._tiers.clock, _late(since)), HEADS_AT_ONCE):
            self._post(some)
            count += len(some)
            through = some[-1].kept_at
        if through is not None and through != since:
            transact(engine, thread_heads.note_sent, through)
        if count:
            log.info("heads_sent", heads=count)
        return count

    def _post(self, heads: list[KeptHead]) -> None:
        settings = self._tiers.settings
        body = msgspec.json.encode({"event": "heads", "heads": heads})
        timestamp = str(int(time.time()))
        proof = signature(settings.alert_webhook_secret.encode(), timestamp, body)
        headers = {
            "Content-Type": "application/json",
            "Threadkeep-Timestamp": timestamp,
            "Threadkeep-Signature": proof,
        }
        try:
            with requests.Session() as session:
                # A proxy of the environment could read what is meant for that server alone.
                session.trust_env = False
                reply = session.post(
                    settings.heads_webhook_url,
                    data=body,
                    headers=headers,
                    timeout=TIMEOUT_SECONDS,
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            raise HeadsNotTaken(type(error).__name__) from None
        if not 200 <= reply.status_code < 300:
            raise HeadsNotTaken(f"status {reply.status_code}")


def _late(since: str | None) -> str | None:
    if since is None:
        return None
    moment = datetime.fromisoformat(since) - timedelta(seconds=LATE_SECONDS)
    return ids.timestamp(ids.time_us(moment))
