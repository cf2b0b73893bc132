"""A secret that stands in an example, or is none, is refused; random ones never are."""

import secrets

import msgspec
import pytest

import settings
from storage.availability.checks.finding import Finding
from storage.availability.checks.secrets import fault_of, judge_secrets
from support.stack.environment import COMPLETE

SAMPLES = [
    "changeme-changeme-changeme-changeme",
    "CHANGE_ME_" * 4,
    "please-change-this-secret-before-production",
    "secret-secret-secret-secret-secret-1234",
    "your-256-bit-secret-goes-in-this-place",
    "a-string-secret-at-least-256-bits-long",
    "super secret key of this application 12",
    "default-jwt-secret-for-development-only",
    "password123password456password789!",
    "example-0f8a3c1b9d7e5f2a4c6b8d0e1f3a",
    "replace-me-with-32-random-bytes-or-more",
]
NO_SECRETS = [
    "x" * 64,
    "ab" * 20,
    "0123456789abcdef" * 4,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "qwertyuiop" * 4,
    "too short",
    "",
]


@pytest.mark.parametrize("secret", SAMPLES + NO_SECRETS)
def test_what_everybody_knows_or_guesses_is_no_secret(secret: str) -> None:
    fault = fault_of(secret)
    assert fault
    assert secret not in fault or not secret


def test_random_secrets_are_secrets() -> None:
    makers = (
        lambda: secrets.token_hex(32),
        lambda: secrets.token_hex(16),
        lambda: secrets.token_urlsafe(32),
        lambda: secrets.token_urlsafe(48),
    )
    for make in makers:
        for _ in range(500):
            secret = make()
            assert fault_of(secret) == "", secret


def judged(**changes: str) -> dict[str, Finding]:
    own = msgspec.structs.replace(settings.load(COMPLETE), **changes)
    return {one.check: one for one in judge_secrets(own)}


def test_a_key_set_without_issuer_and_audience_is_weaker() -> None:
    assert set(judged()) == {"secret"}
    provided = {"jwks_url": "https://login.example/keys", "jwt_secret": ""}
    both = {"jwt_issuer": "https://login.example/", "jwt_audience": "threadkeep"}
    assert judged(**provided)["secret"].ok
    for given in ({}, {"jwt_issuer": both["jwt_issuer"]}, {"jwt_audience": "threadkeep"}):
        found = judged(**provided, **given)["claims"]
        missing = [f"THREADKEEP_{name.upper()}" for name in both if name not in given]
        assert (found.severity, found.found) == ("weaker", f"{' and '.join(missing)} not set")
        assert found.promise
    assert judged(**provided, **both)["claims"].ok


def test_each_of_several_secrets_is_judged() -> None:
    good = [secrets.token_urlsafe(48) for _ in range(2)]
    assert judged(jwt_secret=",".join(good))["secret"].ok
    assert judged(jwt_secret=f"{good[0]},{SAMPLES[0]}")["secret"].severity == "refuse"


def test_a_phrase_of_many_words_is_a_secret() -> None:
    assert fault_of(COMPLETE["THREADKEEP_JWT_SECRET"]) == ""
