"""Tells a server of alerts that are raised and cleared: signed, repeated, never waited for.

What is to be delivered waits in Redis, where any process finds it, or in this process where Redis
cannot be told. A delivery keeps its id however often it is tried, so that whoever gets it twice
can tell.
"""

import hashlib
import hmac
import threading
import time
from collections.abc import Sequence
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

LOOK_SECONDS = 1.0
PAUSES_SECONDS = (2.0, 5.0, 15.0, 60.0, 300.0, 900.0)
"""Between two attempts; the last of them goes on."""
GIVE_UP_SECONDS = 3 * 3_600.0
TIMEOUT_SECONDS = (2.0, 5.0)
"""To connect, and for each part of an answer."""
LEASE_MILLISECONDS = 20_000
"""Longer than an attempt takes: nobody else tries meanwhile."""
MOST_WAITING = 500


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be told. Times are seconds since 1970."""

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
        # A proxy of the environment might be told what only that server is to know.
        self._session.trust_env = False
        self._thread = PeriodicThread(
            "webhook",
            lambda: self.deliver_due(),
            lambda: LOOK_SECONDS,
            "webhook_stuck",
            on_failure=partial(instruments.round_failed, "webhook"),
            shows_traceback=False,
        )

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._url)

    def begin(self) -> None:
        """Delivers from now on, in a thread. Once a process, after any fork."""
        if self.is_wanted:
            self._thread.begin()

    def offer(self, delivery_id: str, body: bytes) -> None:
        """Has something delivered soon. Returns at once, raises nothing."""
        if self.is_wanted:
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
                # Whoever it points to was not named by the operator.
                allow_redirects=False,
                # The answer's body is nobody's concern, however long it is.
                stream=True,
            ) as reply:
                return None if 200 <= reply.status_code < 300 else f"status {reply.status_code}"
        except requests.RequestException as error:
            return type(error).__name__

    def _put(self, delivery: Delivery) -> None:
        """Where there is room in Redis, else here."""
        is_kept = False
        try:
            with translated():
                if self._client.hlen(keys.DELIVERIES) < MOST_WAITING:
                    pipeline = self._client.pipeline(transaction=True)
                    pipeline.hset(keys.DELIVERIES, delivery.id, msgspec.json.encode(delivery))
                    pipeline.delete(keys.delivery_lease(delivery.id))
                    pipeline.execute()
                    is_kept = True
        except TierError:
            pass
        with self._lock:
            self._own.pop(delivery.id, None)
            if not is_kept:
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
            # It is told once more when Redis is back, under the same id.
            log.warning("webhook_may_repeat", delivery=delivery.id)

    def _waiting(self) -> Sequence[Delivery]:
        with self._lock:
            own = dict(self._own)
        try:
            with translated():
                found = self._client.hgetall(keys.DELIVERIES)
        except TierError:
            return list(own.values())
        shared = filter(None, map(_delivery, found.values()))
        return [*own.values(), *(one for one in shared if one.id not in own)]

    def _mine(self, waiting: Delivery, now: float) -> Delivery | None:
        """A delivery as it is when nobody else can try it any more, if it is still due then."""
        if waiting.id in self._own:
            return waiting
        try:
            with translated():
                name = keys.delivery_lease(waiting.id)
                if not self._client.set(name, 1, nx=True, px=LEASE_MILLISECONDS):
                    return None
                delivery = _delivery(self._client.hget(keys.DELIVERIES, waiting.id))
        except TierError:
            return None
        return delivery if delivery and delivery.due <= now else None


def _delivery(found: Any) -> Delivery | None:
    """What somebody put down; None for what another version did otherwise, or nobody did."""
    try:
        return msgspec.json.decode(found, type=Delivery) if found else None
    except msgspec.MsgspecError:
        return None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What proves that a delivery is ours: HMAC-SHA256 over the timestamp, a dot and the body."""
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
