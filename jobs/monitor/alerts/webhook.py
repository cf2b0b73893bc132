"""Notifies a server of alerts that are raised and cleared. A delivery waits in Redis, where any
process finds it, or in this process while Redis is down. It keeps its id, so that a receiver can
tell a repetition."""

import hashlib
import hmac
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import requests
import structlog
from redis import Redis

from storage.errors import TierError
from storage.redis import keys
from storage.redis.driver import translated
from storage.resilience.periodic import PeriodicThread
from storage.telemetry.instruments import Instruments

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
PAUSES_SECONDS = (2.0, 5.0, 15.0, 60.0, 300.0, 900.0)
"""Between two attempts; the last of them goes on."""
GIVE_UP_SECONDS = 3 * 3_600.0
TIMEOUT_SECONDS = (2.0, 5.0)
"""To connect, and for each part of an answer."""
LEASE_MILLISECONDS = 20_000
"""Longer than an attempt takes: nobody else tries meanwhile."""
MOST_WAITING = 500


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A notification to deliver. Times are seconds since 1970."""

    id: str
    body: str
    since: float
    due: float
    attempts: int = 0


class WebhookSink:
    """Delivers to one address. Does nothing where there is none."""

    def __init__(self, url: str, secret: str, client: Redis, instruments: Instruments) -> None:
        self._url = url
        self._secret = secret.encode()
        self._client = client
        self._lock = threading.Lock()
        self._own: dict[str, Delivery] = {}
        self._session = requests.Session()
        # A proxy of the environment could read what is meant for that server alone.
        self._session.trust_env = False
        self._thread = PeriodicThread(
            "webhook",
            lambda: self.deliver_due(),
            lambda: POLL_SECONDS,
            "webhook_stuck",
            on_failure=partial(instruments.round_failed, "webhook"),
            shows_traceback=False,
        )

    def begin(self) -> None:
        """Delivers from now on, in a thread. Once a process, after any fork."""
        if self._url:
            self._thread.begin()

    def offer(self, delivery_id: str, body: bytes) -> None:
        """Has something delivered soon. Returns at once, raises nothing."""
        if self._url:
            now = time.time()
            self._put(Delivery(id=delivery_id, body=body.decode(), since=now, due=now))

    def deliver_due(self) -> None:
        """Tries once each delivery that is due."""
        now = time.time()
        for waiting in self._waiting():
            if waiting.due <= now and (delivery := self._mine(waiting, now)):
                self._try(delivery)

    def _try(self, delivery: Delivery) -> None:
        trouble = self._trouble(delivery)
        now, attempts = time.time(), delivery.attempts + 1
        if trouble is None:
            log.info("webhook_delivered", delivery=delivery.id, attempts=attempts)
            self._drop(delivery)
        elif now - delivery.since > GIVE_UP_SECONDS:
            log.error("webhook_given_up", delivery=delivery.id, attempts=attempts, reason=trouble)
            self._drop(delivery)
        else:
            log.warning("webhook_failed", delivery=delivery.id, attempts=attempts, reason=trouble)
            pause = PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS)) - 1]
            self._put(msgspec.structs.replace(delivery, attempts=attempts, due=now + pause))

    def _trouble(self, delivery: Delivery) -> str | None:
        """Tries; gives why it failed. Nothing of the address, which may hold a secret."""
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Threadkeep-Delivery": delivery.id,
            "Threadkeep-Timestamp": timestamp,
            "Threadkeep-Signature": signature(self._secret, timestamp, delivery.body.encode()),
        }
        try:
            with self._session.post(
                self._url,
                data=delivery.body.encode(),
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                # The operator did not name the target of a redirect.
                allow_redirects=False,
                # The answer's body is not read, however long it is.
                stream=True,
            ) as reply:
                return None if 200 <= reply.status_code < 300 else f"status {reply.status_code}"
        except requests.RequestException as error:
            return type(error).__name__

    def _put(self, delivery: Delivery) -> None:
        """Keeps a delivery in Redis where there is room, else here."""
        is_shared = False
        with suppress(TierError), translated():
            if self._client.hlen(keys.DELIVERIES) < MOST_WAITING:
                pipeline = self._client.pipeline(transaction=True)
                pipeline.hset(keys.DELIVERIES, delivery.id, msgspec.json.encode(delivery))
                pipeline.delete(keys.delivery_lease(delivery.id))
                pipeline.execute()
                is_shared = True
        with self._lock:
            self._own.pop(delivery.id, None)
            if not is_shared:
                self._own[delivery.id] = delivery
            while len(self._own) > MOST_WAITING:
                self._own.pop(next(iter(self._own)))

    def _drop(self, delivery: Delivery) -> None:
        with self._lock:
            self._own.pop(delivery.id, None)
        try:
            with translated():
                self._client.hdel(keys.DELIVERIES, delivery.id)
        except TierError:
            # It is sent once more when Redis is back, under the same id.
            log.warning("webhook_may_repeat", delivery=delivery.id)

    def _waiting(self) -> Iterable[Delivery]:
        with self._lock:
            own = dict(self._own)
        found: dict[Any, Any] = {}
        with suppress(TierError), translated():
            found = self._client.hgetall(keys.DELIVERIES)
        shared = {one.id: one for one in map(_delivery, found.values()) if one is not None}
        return (shared | own).values()

    def _mine(self, waiting: Delivery, now: float) -> Delivery | None:
        """A delivery as it is once no other process can try it, if it is still due then."""
        if waiting.id in self._own:
            return waiting
        with suppress(TierError), translated():
            name = keys.delivery_lease(waiting.id)
            if self._client.set(name, 1, nx=True, px=LEASE_MILLISECONDS):
                delivery = _delivery(self._client.hget(keys.DELIVERIES, waiting.id))
                return delivery if delivery and delivery.due <= now else None
        return None


def _delivery(found: Any) -> Delivery | None:
    """A delivery that Redis has; None where it has none, or one of another version."""
    try:
        return msgspec.json.decode(found, type=Delivery) if found else None
    except msgspec.MsgspecError:
        return None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What proves that a delivery is ours: HMAC-SHA256 over the timestamp, a dot and the body."""
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
