"""Tokens: only those that this secret signed with this algorithm, and not for longer than said."""

import base64
import hmac
import json
import subprocess
import sys
import time
from typing import Any

import jwt
import msgspec
import pytest

import settings
from settings import Settings
from support.stack.environment import COMPLETE
from support.waiting import eventually
from webapp.http.auth import Tokens
from webapp.identity.caller import InvalidToken, NotAllowed

CONFIGURED = settings.load(COMPLETE)
SECRET = CONFIGURED.jwt_secret
LONG_SECRET = SECRET * 2
LEEWAY_SECONDS = int(CONFIGURED.jwt_leeway_seconds)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(CONFIGURED)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "alice", "iat": now, "exp": now + 60} | changes
    return {name: value for name, value in made.items() if value is not None}


def signed(body: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(body, secret, algorithm=algorithm)


def signed_as_it_is(body: dict[str, Any]) -> str:
    """A token whose claims no library looked at before it signed them."""
    header = {"alg": "HS256", "typ": "JWT"}
    return jwt.api_jws.encode(json.dumps(body).encode(), SECRET, headers=header)


def unsigned(body: dict[str, Any], algorithm: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(body)}."


def configured(**changes: Any) -> Settings:
    return msgspec.structs.replace(CONFIGURED, **changes)


def test_an_issued_token_names_its_user(tokens: Tokens) -> None:
    token = tokens.issue("alice", is_admin=False, ttl_seconds=60)
    caller = tokens.verify(token)
    assert caller == tokens.verify(token)
    assert (caller.user_id, caller.is_admin, caller.scopes) == ("alice", False, None)
    # What it can be revoked by.
    assert len(caller.token_id) == 32
    assert abs(caller.issued_at - time.time()) < 5
    assert (
        caller.token_id
        != tokens.verify(tokens.issue("alice", is_admin=False, ttl_seconds=60)).token_id
    )


def test_only_the_role_admin_makes_an_admin(tokens: Tokens) -> None:
    assert tokens.verify(tokens.issue("a", is_admin=True, ttl_seconds=60)).is_admin
    for roles in (None, [], ["Admin"], ["administrator"], "admin", {"admin": True}, [["admin"]]):
        assert not tokens.verify(signed(claims(roles=roles))).is_admin, roles
    assert tokens.verify(signed(claims(roles=["reader", "admin"]))).is_admin


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a",
        "a.b.c",
        signed(claims(), secret="another secret of thirty-two bytes"),
        signed(claims(), LONG_SECRET, "HS384"),
        signed(claims(), LONG_SECRET, "HS512"),
        signed(claims(exp=int(time.time()) - LEEWAY_SECONDS - 5)),
        signed(claims(exp=None)),
        signed(claims(sub=None)),
        signed(claims(sub="")),
        signed(claims(sub="x" * 257)),
        signed(claims(sub="a\0b")),
        signed(claims(nbf=int(time.time()) + 3600)),
        unsigned(claims(), "none"),
        unsigned(claims(), "None"),
        unsigned(claims(), "HS256"),
        unsigned(claims(), "RS256"),
    ],
)
def test_a_wrong_token_is_refused(tokens: Tokens, wrong: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(wrong)


@pytest.mark.parametrize("subject", [1, True, ["alice"], {"alice": 1}])
def test_a_subject_that_is_no_text_is_refused(tokens: Tokens, subject: Any) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(signed_as_it_is(claims(sub=subject)))


def test_a_changed_token_is_refused(tokens: Tokens) -> None:
    header, _, signature = tokens.issue("alice", is_admin=False, ttl_seconds=60).split(".")
    body = unsigned(claims(sub="bob"), "HS256").split(".")[1]
    with pytest.raises(InvalidToken):
        tokens.verify(f"{header}.{body}.{signature}")


@pytest.mark.parametrize("named", ["RS256", "ES256", "PS256", "EdDSA", "HS384", "none"])
def test_a_token_may_not_choose_its_algorithm(tokens: Tokens, named: str) -> None:
    # Signed as this server signs, but naming another algorithm.
    body = unsigned(claims(), named).rstrip(".")
    digest = hmac.digest(SECRET.encode(), body.encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    with pytest.raises(InvalidToken):
        tokens.verify(f"{body}.{signature}")


def test_the_memory_does_not_outlive_the_token(tokens: Tokens) -> None:
    token = signed(claims(exp=int(time.time()) - LEEWAY_SECONDS + 4))
    assert tokens.verify(token).user_id == "alice"

    def is_refused() -> bool:
        try:
            tokens.verify(token)
        except InvalidToken:
            return True
        return False

    assert eventually(is_refused, 15)


def test_a_refused_token_is_not_remembered(tokens: Tokens) -> None:
    wrong = signed(claims(), secret="another secret of thirty-two bytes")
    for _ in range(2):
        with pytest.raises(InvalidToken):
            tokens.verify(wrong)


def test_issuer_and_audience_are_checked_where_configured() -> None:
    strict = Tokens(configured(jwt_issuer="https://issuer", jwt_audience="threadkeep"))
    assert strict.verify(strict.issue("alice", is_admin=False, ttl_seconds=60)).user_id == "alice"
    for wrong in (
        claims(),
        claims(iss="https://issuer"),
        claims(aud="threadkeep"),
        claims(iss="https://other", aud="threadkeep"),
        claims(iss="https://issuer", aud="other"),
    ):
        with pytest.raises(InvalidToken):
            strict.verify(signed(wrong))


def test_an_audience_nobody_asked_for_does_no_harm(tokens: Tokens) -> None:
    assert tokens.verify(signed(claims(aud="other", iss="other"))).user_id == "alice"


@pytest.mark.parametrize(
    "exp", [float("inf"), float("nan"), 10**400, -(10**400), 10**20, -1, True, "9999999999", [], {}]
)
def test_an_expiry_that_nobody_means_is_refused(tokens: Tokens, exp: Any) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(signed_as_it_is(claims(exp=exp)))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
@pytest.mark.parametrize("time_claim", [float("inf"), float("nan"), 10**400, [], {}, "soon"])
def test_a_beginning_that_nobody_means_is_refused(
    tokens: Tokens, claim: str, time_claim: Any
) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(signed_as_it_is(claims(**{claim: time_claim})))


def test_an_issue_before_all_time_is_refused(tokens: Tokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(signed_as_it_is(claims(iat=-(10**400))))


@pytest.mark.parametrize("typ", ["secevent+jwt", "dpop+jwt", "id_token", "JWS", "logout+jwt"])
def test_a_token_that_is_none_of_access_is_refused(tokens: Tokens, typ: str) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify(jwt.encode(claims(), SECRET, headers={"typ": typ}))


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_a_token_of_access_is_taken(tokens: Tokens, typ: str | None) -> None:
    assert tokens.verify(jwt.encode(claims(), SECRET, headers={"typ": typ})).user_id == "alice"


def test_a_token_for_longer_than_is_allowed_is_refused() -> None:
    short = Tokens(configured(jwt_most_seconds=600))
    assert short.verify(signed(claims(exp=int(time.time()) + 590))).user_id == "alice"
    with pytest.raises(InvalidToken, match="too long"):
        short.verify(signed(claims(exp=int(time.time()) + 700)))


def test_a_secret_is_changed_without_a_gap() -> None:
    old, new, other = "o" * 40, "n" * 40, "another secret of thirty-two bytes"
    before = Tokens(configured(jwt_secret=old))
    between = Tokens(configured(jwt_secret=f"{new},{old}"))
    after = Tokens(configured(jwt_secret=new))
    first = before.issue("alice", is_admin=False, ttl_seconds=60)
    second = between.issue("alice", is_admin=False, ttl_seconds=60)
    assert between.verify(first).user_id == between.verify(second).user_id == "alice"
    assert after.verify(second).user_id == "alice"
    for tokens, token in ((after, first), (before, second), (between, signed(claims(), other))):
        with pytest.raises(InvalidToken):
            tokens.verify(token)


def test_an_api_key_is_nobody_where_none_is_known(tokens: Tokens) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify("tk_" + "0" * 64)
    with pytest.raises(InvalidToken):
        tokens.verify_until("tk_" + "0" * 64)


def test_a_token_acts_for_nobody_else(tokens: Tokens) -> None:
    token = tokens.issue("alice", is_admin=True, ttl_seconds=60)
    with pytest.raises(NotAllowed) as caught:
        tokens.verify_until(token, "bob")
    assert caught.value.code == "on_behalf_of_refused"


def test_a_process_without_a_key_set_does_not_load_what_verifies_one() -> None:
    code = (
        "import sys, settings; from webapp.http.auth import Tokens;"
        f"Tokens(settings.load({COMPLETE!r}));"
        "assert 'jwt' in sys.modules; print('cryptography' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_clocks_may_be_as_far_apart_as_is_said() -> None:
    ahead = signed(claims(iat=int(time.time()) + 30, nbf=int(time.time()) + 30))
    assert Tokens(CONFIGURED).verify(ahead).user_id == "alice"
    with pytest.raises(InvalidToken):
        Tokens(configured(jwt_leeway_seconds=10.0)).verify(ahead)
    past = signed(claims(exp=int(time.time()) - 30))
    _, until = Tokens(CONFIGURED).verify_until(past)
    assert 0 < until - time.time() < 60
