"""Says who made a backup: an HMAC of its manifest, with a key that only the installation has.

The key comes from the secret that tokens are signed with, which is kept outside the servers already
and without which nobody is let in either.
"""

import hashlib
import hmac

NAME = "manifest.hmac"
_PURPOSE = b"threadkeep backup manifest"


def key_of(secret: str) -> bytes:
    """The key for backups of an installation with this secret."""
    return hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)


def signature(key: bytes, manifest: bytes) -> str:
    """The signature of a manifest's bytes, in hex."""
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()


def is_signed(key: bytes, manifest: bytes, found: str) -> bool:
    """Whether a signature is that of these bytes."""
    return hmac.compare_digest(signature(key, manifest).encode(), found.encode())
