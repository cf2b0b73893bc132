"""Tokens of an identity provider: only what one of its keys signed, with that key's own algorithm;
and a provider that changes its keys, or is down."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

import settings
from settings import Settings, SettingsError
from support.stack.environment import COMPLETE
from support.stack.identity_provider import (
    EC,
    KINDS,
    OTHER_RSA,
    RSA,
    Provider,
    claims,
    of_all_kinds,
    published,
    signed,
)
from webapp.http.auth import Tokens
from webapp.identity import key_source
from webapp.identity.caller import AskElsewhere, InvalidToken
from webapp.identity.key_set import parse
from webapp.identity.loading import KeysUnavailable

CONFIGURED = settings.load(COMPLETE)


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.end()


def configured(**changes: Any) -> Settings:
    return msgspec.structs.replace(CONFIGURED, jwt_secret="", **changes)


@pytest.fixture
def tokens(provider: Provider) -> Tokens:
    return Tokens(configured(jwks_url=provider.url))


def refused(tokens: Tokens, token: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        tokens.verify_until(token)
    assert not isinstance(caught.value, AskElsewhere)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_token_of_the_provider_names_its_user(tokens: Tokens, algorithm: str) -> None:
    token = signed(algorithm, algorithm, roles=["admin"])
    caller, until = tokens.verify_until(token)
    assert (caller.user_id, caller.is_admin, caller.scopes) == ("alice", True, None)
    assert until > time.time()
    assert tokens.verify(token) == caller


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_token_without_a_kid_fits_the_only_key_of_its_algorithm(
    provider: Provider, tokens: Tokens, algorithm: str
) -> None:
    assert tokens.verify_until(signed(None, algorithm))[0].user_id == "alice"
    provider.keys += [{**one, "kid": f"{one['kid']}-2"} for one in of_all_kinds()]
    refused(Tokens(configured(jwks_url=provider.url)), signed(None, algorithm))


def forged_with_the_public_key() -> list[str]:
    """HS256 with what everybody knows: the public key, in each form."""
    public = RSA.public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(published("RS256", *KINDS["RS256"])).encode(),
    ]

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    made = []
    for key in forms:
        body = part({"alg": "HS256", "typ": "JWT", "kid": "RS256"}) + b"." + part(claims())
        digest = base64.urlsafe_b64encode(hmac.digest(key, body, "sha256")).rstrip(b"=")
        made.append((body + b"." + digest).decode())
    return made


ODD = {
    "another key": signed("RS256", "RS256", OTHER_RSA),
    "another key of the set": signed("ES256", "RS256"),
    "RS384 with the right key": signed("RS256", "RS384", RSA),
    "RS512 with the right key": signed("RS256", "RS512", RSA),
    "PS256 with the right key": signed("RS256", "PS256", RSA),
    "another curve": signed("ES256", "ES384", ec.generate_private_key(ec.SECP384R1())),
    "a stranger's curve": signed("ES256", "ES256", ec.generate_private_key(ec.SECP256R1())),
    "a path as kid": signed("../../../../dev/null", "RS256"),
    "a statement as kid": signed("RS256' OR '1'='1", "RS256"),
    "an address as kid": signed("http://127.0.0.1/keys", "RS256"),
    "an empty kid": signed("", "RS256"),
    "none": jwt.encode(claims(), None, "none", headers={"kid": "RS256"}),
    "expired": signed("RS256", "RS256", exp=int(time.time()) - 3600),
    "no user": signed("RS256", "RS256", sub=""),
    "the key in the token": jwt.encode(
        claims(), OTHER_RSA, "RS256", headers={"jwk": published("x", OTHER_RSA, RSAAlgorithm)}
    )
    + "",
    "no access": jwt.encode(claims(), RSA, "RS256", headers={"kid": "RS256", "typ": "logout+jwt"}),
} | {f"the public key as secret {n}": one for n, one in enumerate(forged_with_the_public_key())}


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("secret", ["", "a secret of this service, beside the key set"])
def test_a_forged_token_is_refused(provider: Provider, how: str, secret: str) -> None:
    tokens = Tokens(msgspec.structs.replace(configured(jwks_url=provider.url), jwt_secret=secret))
    assert tokens.verify_until(signed("RS256", "RS256"))
    refused(tokens, ODD[how])


def test_a_token_of_our_own_is_taken_beside_a_key_set(provider: Provider) -> None:
    both = Tokens(msgspec.structs.replace(CONFIGURED, jwks_url=provider.url))
    own = both.issue("bob", is_admin=False, ttl_seconds=60)
    assert both.verify_until(own)[0].user_id == "bob"
    assert both.verify_until(signed("ES256", "ES256"))[0].user_id == "alice"
    alone = Tokens(configured(jwks_url=provider.url))
    refused(alone, own)
    with pytest.raises(SettingsError, match="THREADKEEP_JWT_SECRET"):
        alone.issue("bob", is_admin=False, ttl_seconds=60)


def test_issuer_and_audience_are_checked(provider: Provider) -> None:
    wanted = {"iss": "https://login.example/", "aud": "threadkeep"}
    tokens = Tokens(
        configured(jwks_url=provider.url, jwt_issuer=wanted["iss"], jwt_audience=wanted["aud"])
    )
    assert tokens.verify_until(signed("EdDSA", "EdDSA", **wanted))
    assert tokens.verify_until(signed("EdDSA", "EdDSA", **wanted | {"aud": ["a", "threadkeep"]}))
    for wrong in ({}, {"aud": "other"}, {"iss": "https://login.example"}, {"iss": None}):
        changed = {name: one for name, one in (wanted | wrong).items() if one is not None}
        refused(tokens, signed("EdDSA", "EdDSA", **(changed if wrong else {})))


def test_a_storm_of_unknown_keys_has_the_set_read_once(provider: Provider, tokens: Tokens) -> None:
    assert tokens.verify_until(signed("RS256", "RS256"))
    assert provider.asked == 1
    provider.pause_seconds = 0.2
    # The first token had it read, so it is a while until an unknown key has.
    tokens = Tokens(configured(jwks_url=provider.url))
    unknown = [signed(f"unknown-{number}", "RS256") for number in range(200)]
    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(lambda token: refused(tokens, token), unknown))
    assert provider.asked == 2


def test_a_key_is_changed_without_a_gap(provider: Provider, tokens: Tokens) -> None:
    old = signed("RS256", "RS256")
    assert tokens.verify_until(old)
    tokens.begin()
    provider.keys.append(published("next", OTHER_RSA, RSAAlgorithm))
    new = signed("next", "RS256", OTHER_RSA)
    # A thread that must not wait leaves it to one that may.
    with pytest.raises(AskElsewhere):
        tokens.verify(new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_source, "LEAST_SECONDS", 0.0)
        assert tokens.verify_until(new)[0].user_id == "alice"
        assert tokens.verify_until(old)[0].user_id == "alice"
        # The old key is withdrawn, and with it what was remembered of it.
        provider.keys = provider.keys[1:]
        refused(tokens, signed("a third", "RS256", OTHER_RSA))
    refused(tokens, old)
    assert tokens.verify_until(new)[0].user_id == "alice"


def test_the_last_good_set_stays_while_the_provider_is_down(
    provider: Provider, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_source, "LEAST_SECONDS", 0.0)
    assert tokens.verify_until(signed("RS256", "RS256"))
    for provider.status in (500, 404, 302):
        refused(tokens, signed("next", "RS256"))
        assert tokens.verify_until(signed("RS256", "RS256", jti=str(provider.status)))
    provider.status, kept = 200, provider.keys
    for keys in ([], "keys", [{"kty": "oct", "k": "c2VjcmV0", "kid": "RS256"}], ["RS256"]):
        provider.keys = keys  # type: ignore[assignment]
        refused(tokens, signed("next", "RS256"))
        assert tokens.verify_until(signed("RS256", "RS256", jti=str(keys)))
    provider.keys = [*kept, published("next", OTHER_RSA, RSAAlgorithm)]
    assert tokens.verify_until(signed("next", "RS256", OTHER_RSA))


def test_a_process_starts_without_the_provider_and_says_that_it_lacks_the_keys(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_source, "LEAST_SECONDS", 0.0)
    provider.status = 503
    tokens = Tokens(configured(jwks_url=provider.url))
    tokens.begin()
    token = signed("RS256", "RS256")
    with pytest.raises(KeysUnavailable, match="temporary"):
        tokens.verify_until(token)
    with pytest.raises(AskElsewhere):
        tokens.verify(token)
    provider.status = 200
    assert tokens.verify_until(token)[0].user_id == "alice"


def test_a_set_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "LEAST_SECONDS", 0.0)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": of_all_kinds()}), encoding="utf-8")
    tokens = Tokens(configured(jwks_file=str(file)))
    assert tokens.verify(signed("ES256", "ES256")).user_id == "alice"
    file.write_text("{", encoding="utf-8")
    refused(tokens, signed("next", "ES256"))
    assert tokens.verify(signed("ES256", "ES256", jti="2")).user_id == "alice"
    for content in ("{", "[]", '{"keys": []}', '{"keys": [1]}', "\xff"):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(SettingsError, match="THREADKEEP_JWKS_FILE"):
            Tokens(configured(jwks_file=str(file)))
    with pytest.raises(SettingsError, match="THREADKEEP_JWKS_FILE"):
        Tokens(configured(jwks_file=str(tmp_path / "none")))


@pytest.mark.parametrize(
    "address",
    [
        "http://login.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://127.0.0.1@evil.example/keys",
        "http://localhost:80@evil.example/keys",
        "https://user:password@login.example/keys",
        "ftp://login.example/keys",
        "file:///etc/passwd",
        "login.example",
    ],
)
def test_a_set_is_not_read_from_an_unsafe_address(address: str) -> None:
    with pytest.raises(SettingsError, match="THREADKEEP_JWKS_URL"):
        Tokens(configured(jwks_url=address))


def test_a_set_has_one_source() -> None:
    with pytest.raises(SettingsError, match="exclude"):
        Tokens(configured(jwks_url="https://login.example/keys", jwks_file="/keys"))


def test_only_keys_that_verify_such_tokens_are_used() -> None:
    small = rsa.generate_private_key(65537, 1024)
    other_curve = ec.generate_private_key(ec.SECP384R1())
    unusable = [
        published("small", small, RSAAlgorithm),
        published("curve", other_curve, ECAlgorithm),
        published("encryption", RSA, RSAAlgorithm, use="enc"),
        published("signing alone", RSA, RSAAlgorithm, key_ops=["sign"]),
        published("RS512", RSA, RSAAlgorithm, alg="RS512"),
        published("broken", RSA, RSAAlgorithm, n="!"),
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": ["RSA"], "kid": "odd"} | {"kty": "odd"},
    ]
    with pytest.raises(ValueError, match="no key"):
        parse(json.dumps({"keys": unusable}).encode())
    found = parse(json.dumps({"keys": [*unusable, *of_all_kinds()]}).encode())
    for one in unusable:
        assert all(found.find(one["kid"], algorithm) is None for algorithm in KINDS)
    for algorithm in KINDS:
        key = found.find(algorithm, algorithm)
        assert key is not None and key.algorithm == algorithm
        assert all(found.find(algorithm, other) is None for other in KINDS if other != algorithm)
    # The first key of a name stays.
    twice = [published("one", RSA, RSAAlgorithm), published("one", EC, ECAlgorithm)]
    assert parse(json.dumps({"keys": twice}).encode()).find("one", "ES256") is None
