"""Tickets: each stands for a secret once, and for some seconds."""

import hashlib
import secrets

from storage.redis import keys
from storage.redis.driver import RedisGateway

TICKET_BYTES = 32
_PAD = b"threadkeep:ticket:"


class Tickets:
    """Issues tickets and redeems them.

    Redis has a hash of the ticket, and the secret sealed with the ticket itself: whoever reads
    Redis can use neither. Errors leave as `TierUnavailable` and `TierRejected`.
    """

    def __init__(self, door: RedisGateway) -> None:
        self._door = door

    def issue(self, secret: bytes, seconds: int) -> str:
        """A new ticket for a secret, valid for so long."""
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        with self._door.guarded() as client:
            client.set(_key(ticket), _sealed(ticket, secret), ex=seconds)
        return ticket

    def redeem(self, ticket: str) -> bytes | None:
        """The secret of a ticket, which is used up by this; None for one that is not valid."""
        with self._door.guarded() as client:
            found: bytes | None = client.getdel(_key(ticket))
        return None if found is None else _sealed(ticket, found)


def _key(ticket: str) -> str:
    return keys.ticket(hashlib.sha256(ticket.encode()).hexdigest())


def _sealed(ticket: str, text: bytes) -> bytes:
    """The text sealed, or a sealed one opened. A ticket is random and used for one text alone, so
    what SHAKE-256 makes of it is a pad that nobody else can make."""
    pad = hashlib.shake_256(_PAD + ticket.encode()).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, pad, strict=True))
