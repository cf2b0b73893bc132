"""What an erasure leaves of a user's hash chains: how many there were, and a digest of their ends,
signed with a key that comes from the secret that tokens are signed with."""

import hashlib
import hmac
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from storage.postgres.driver import execute

_PURPOSE = b"threadkeep erased chains"
_HEADS = """
SELECT thread_id, length, link FROM thread_heads
WHERE user_id = :user_id ORDER BY thread_id COLLATE "C"
"""


class ChainStump(msgspec.Struct, kw_only=True, frozen=True):
    """The chains that were erased: `digest` is the SHA-256 of their ends, which the heads that were
    kept elsewhere give again; `signature` is empty where the installation signs nothing."""

    threads: int
    links: int
    digest: str
    signature: str


def take(connection: Connection, user_id: str, through: str, secret: str) -> ChainStump:
    """The stump of a user's chains as they are."""
    heads = execute(connection, _HEADS, user_id=user_id).all()
    lines = "".join(f"{row.thread_id} {row.length} {row.link}\n" for row in heads)
    stump = ChainStump(
        threads=len(heads),
        links=sum(row.length for row in heads),
        digest=hashlib.sha256(lines.encode()).hexdigest(),
        signature="",
    )
    signature = _signature(stump, user_id, through, secret) if secret else ""
    return msgspec.structs.replace(stump, signature=signature)


def is_signed(stump: ChainStump, user_id: str, through: str, secrets: Sequence[str]) -> bool:
    """Whether one of these secrets has signed a stump for the erasure of a user up to an id; where
    there are none, nothing is signed."""
    expected = [_signature(stump, user_id, through, secret) for secret in secrets] or [""]
    given = stump.signature.encode()
    return any(hmac.compare_digest(given, one.encode()) for one in expected)


def _signature(stump: ChainStump, user_id: str, through: str, secret: str) -> str:
    key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)
    said = f"{through} {stump.threads} {stump.links} {stump.digest} {user_id}"
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
