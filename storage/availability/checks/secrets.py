"""Whether a secret is one: what stands in an example is known to everybody."""

import re
from itertools import pairwise

from settings import MINIMUM_SECRET_BYTES, Settings
from storage.availability.checks.finding import Finding, found

SETTINGS = "settings"
LEAST_VARIETY = MINIMUM_SECRET_BYTES // 4
"""So many different characters at least; 32 random hexadecimal digits have more but once in ten
million times."""

LEAST_LEAPS = MINIMUM_SECRET_BYTES // 4
"""So many neighbours at least that are no step along the alphabet or the digits."""

FOR_THIS = "only tokens that were made for this service are taken"

_SAMPLE = re.compile(
    "^((jwt|my|super|the|threadkeep|threadkeepjwt|top|your|your256bit|dev|test)?secret"
    "|astringsecretatleast256bitslong|(django)?insecure|default|dev(elopment|key)|example|password"
    "|placeholder|replace(me|with)|sample)"
    "|changeme|changethis|pleasechange|notsecret|donotuse|yourown"
)
"""What secrets of examples begin with or hold, letters and digits only, in lower case."""


def judge_secrets(settings: Settings) -> list[Finding]:
    """What the environment says of secrets; nothing in a program that may not read them."""
    if "jwt_secret" in settings.withheld:
        return []
    fault = next(filter(None, map(fault_of, settings.jwt_secrets)), "")
    advice = (
        f"give THREADKEEP_JWT_SECRET {MINIMUM_SECRET_BYTES} random bytes or more, as"
        " `openssl rand -base64 48` makes them: who guesses it is any user"
    )
    sizes = [f"{len(secret.encode())} bytes" for secret in settings.jwt_secrets]
    value = fault or ", ".join(sizes) or "none, and a key set"
    return [
        found(SETTINGS, "secret", not fault, value, advice, "refuse"),
        *(_judge_claims(settings) if settings.has_key_set else ()),
    ]


def _judge_claims(settings: Settings) -> list[Finding]:
    """Whether tokens that an identity provider makes for other services are refused."""
    wanted = {
        "THREADKEEP_JWT_ISSUER": settings.jwt_issuer,
        "THREADKEEP_JWT_AUDIENCE": settings.jwt_audience,
    }
    missing = [variable for variable, value in wanted.items() if not value]
    advice = f"set {' and '.join(missing)}: the provider signs tokens for other services too"
    value = f"{' and '.join(missing)} not set" if missing else "checked"
    return [found(SETTINGS, "claims", not missing, value, advice, "weaker", FOR_THIS)]


def fault_of(secret: str) -> str:
    """What is wrong with a secret, in words without it; empty where nothing is."""
    plain = re.sub(r"[^a-z0-9]", "", secret.casefold())
    if len(secret.encode()) < MINIMUM_SECRET_BYTES:
        return f"only {len(secret.encode())} bytes"
    if _SAMPLE.search(plain):
        return "a sample value, or made from one"
    if len(set(secret)) < LEAST_VARIETY:
        return f"only {len(set(secret))} different characters"
    if _repeats(secret):
        return "one piece over and over"
    if sum(abs(ord(other) - ord(one)) > 1 for one, other in pairwise(secret)) < LEAST_LEAPS:
        return "a row of neighbouring characters"
    return ""


def _repeats(text: str) -> bool:
    """Whether a text is a piece of at most half its length, repeated, the last one cut or not."""
    longest = len(text) // 2
    return any(text[size:] == text[:-size] for size in range(1, longest + 1))
