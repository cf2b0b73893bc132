"""The public keys of a JSON Web Key Set (RFC 7517), each with the one algorithm it verifies."""

from typing import Any, NamedTuple

import msgspec
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

LEAST_RSA_BITS = 2048
MOST_KEYS = 100


class PublicKey(NamedTuple):
    """A key that verifies signatures of one algorithm."""

    algorithm: str
    key: Any


class _Kind(NamedTuple):
    """How the keys of one type are read; `members` are the public ones."""

    algorithm: str
    reader: type[Algorithm]
    members: tuple[str, ...]


_KINDS: dict[Any, _Kind] = {
    ("RSA", None): _Kind("RS256", RSAAlgorithm, ("n", "e")),
    ("EC", "P-256"): _Kind("ES256", ECAlgorithm, ("x", "y")),
    ("OKP", "Ed25519"): _Kind("EdDSA", OKPAlgorithm, ("x",)),
}
ALGORITHMS = frozenset(kind.algorithm for kind in _KINDS.values())


class KeySet:
    """The keys of one set."""

    def __init__(self, keys: dict[str, PublicKey]) -> None:
        """`keys` are by their `kid`; one key of the set may be without, as the empty one."""
        self._keys = keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """The key of a token's header. A token without `kid` fits where one key alone has its
        algorithm."""
        if kid is not None:
            found = self._keys.get(kid)
            return found if found is not None and found.algorithm == algorithm else None
        fitting = [one for one in self._keys.values() if one.algorithm == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def parse(content: bytes) -> KeySet:
    """The keys of a set that are of use here; others are passed over. Raises `ValueError` where
    there is none."""
    try:
        listed = msgspec.json.decode(content)["keys"]
        keys: dict[str, PublicKey] = {}
        for given in listed[:MOST_KEYS]:
            key = _public_key(given)
            if key is not None:
                # The first key of a name stays: a name has one algorithm.
                keys.setdefault(given.get("kid", ""), key)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError) as error:
        raise ValueError(f"it is no JSON Web Key Set: {type(error).__name__}") from None
    except (TypeError, AttributeError):
        raise ValueError("it is no JSON Web Key Set: its keys are no objects") from None
    if not keys:
        raise ValueError("it has no key for RS256, ES256 or EdDSA")
    return KeySet(keys)


def _public_key(given: dict[str, Any]) -> PublicKey | None:
    """A key of the set, None for one that is for something else or cannot be read."""
    kind = _KINDS.get((given.get("kty"), given.get("crv")))
    if kind is None or not isinstance(given.get("kid", ""), str):
        return None
    is_for_signatures = given.get("use", "sig") == "sig" and "verify" in given.get(
        "key_ops", ["verify"]
    )
    if not is_for_signatures or given.get("alg", kind.algorithm) != kind.algorithm:
        return None
    public = {name: given.get(name) for name in ("kty", "crv", *kind.members) if name in given}
    try:
        key = kind.reader.from_jwk(public)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if kind.algorithm == "RS256" and key.key_size < LEAST_RSA_BITS:
        return None
    return PublicKey(kind.algorithm, key)
