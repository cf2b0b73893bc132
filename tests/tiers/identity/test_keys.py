"""API keys: kept in PostgreSQL, known to every process, with an audit entry."""

import time

import pytest
from sqlalchemy import text

from models import ids
from models.message import InvalidMessage
from storage.errors import NotFound
from storage.identity import known as known_module
from storage.identity.credentials import SCOPES
from storage.identity.service import CredentialService
from support.calls.credentials import ADMIN, audited, refused, tokens_of
from support.data.users import fresh_user
from webapp.identity.caller import AskElsewhere, InvalidToken, NotAllowed
from wiring.process import Services


def test_a_key_acts_as_its_user_with_its_scopes(
    alone: Services, service: CredentialService
) -> None:
    user = fresh_user()
    made = service.create_key("bot", ["messages:read"], user_id=user, by=ADMIN)
    assert made.secret.startswith(made.key.prefix) and len(made.secret) == 67
    assert (made.key.user_id, made.key.scopes, made.key.created_by) == (
        user,
        ["messages:read"],
        ADMIN,
    )
    tokens = tokens_of(alone)
    caller, until = tokens.verify_until(made.secret)
    assert (caller.user_id, caller.is_admin, caller.scopes) == (user, False, {"messages:read"})
    assert (caller.key_id, until) == (made.key.id, float("inf"))
    assert caller.actor == f"key:{made.key.id} as {user}"
    assert len(audited(alone, "key.created", f"key:{made.key.id}")) == 1


def test_nobody_can_read_a_key_again(alone: Services, service: CredentialService) -> None:
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    assert made.key.user_id == f"key:{made.key.id}"
    with alone.tiers.job_engine.connect() as connection:
        for table in ("api_keys", "audit_trail", "token_revocations"):
            rows = connection.execute(text(f"SELECT row_to_json(t)::text FROM {table} t")).all()
            assert made.secret not in str(rows)
            assert made.secret[12:] not in str(rows)
    listed, _ = service.list_keys(limit=1)
    assert listed == [made.key]


def test_threads_that_must_not_wait_know_a_key_that_was_used(
    alone: Services, other: Services, service: CredentialService
) -> None:
    elsewhere = tokens_of(other)
    made = service.create_key("bot", ["messages:write"], by=ADMIN)
    with pytest.raises(AskElsewhere):
        elsewhere.verify(made.secret, "messages:write")
    assert elsewhere.verify_until(made.secret)[0].key_id == made.key.id
    assert elsewhere.verify(made.secret, "messages:write").key_id == made.key.id
    for scope in ("messages:read", None):
        with pytest.raises(AskElsewhere):
            elsewhere.verify(made.secret, scope)


def test_a_revoked_key_is_refused_by_every_process(
    alone: Services, other: Services, service: CredentialService
) -> None:
    here, there = tokens_of(alone), tokens_of(other)
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    callers = [tokens.verify_until(made.secret)[0] for tokens in (here, there)]
    revoked = service.revoke_key(made.key.id, by=ADMIN)
    assert revoked.revoked_at is not None and revoked.revoked_by == ADMIN
    refused(here, made.secret)
    assert not here.holds(callers[0], 0)
    # The other process hears of it by its next poll.
    assert there.verify_until(made.secret)
    generation = there.generation
    other.tiers.credentials.refresh()
    assert there.generation > generation
    refused(there, made.secret)
    assert not there.holds(callers[1], 0)
    assert service.revoke_key(made.key.id, by="somebody else").revoked_by == ADMIN
    with pytest.raises(NotFound):
        service.revoke_key("01a1fc1b-eb65-7fec-82e6-2aae62aa8097", by=ADMIN)
    assert audited(alone, "key.revoked", f"key:{made.key.id}")


def test_a_key_ends_when_it_was_to_end(alone: Services, service: CredentialService) -> None:
    soon = ids.timestamp(int((time.time() + 1.5) * 1_000_000))
    made = service.create_key("bot", ["messages:read"], expires_at=soon, by=ADMIN)
    past = service.create_key("bot", ["messages:read"], expires_at="2020-01-01T00:00:00Z", by=ADMIN)
    tokens = tokens_of(alone)
    assert tokens.verify_until(made.secret)[1] < time.time() + 2
    refused(tokens, past.secret)
    time.sleep(2)
    refused(tokens, made.secret)


def test_only_what_is_a_key_is_looked_for(alone: Services) -> None:
    tokens = tokens_of(alone)
    refused(tokens, "tk_" + "0" * 64)
    for odd in ("tk_", f"tk_{'G' * 64}", f"TK_{'0' * 64}", f"tk_{'0' * 65}", f"tk_{'0' * 64}."):
        with pytest.raises(InvalidToken, match="not valid"):
            tokens.verify_until(odd)


@pytest.mark.parametrize(
    ("name", "user_id", "scopes"),
    [
        ("", None, ["messages:read"]),
        (" ", None, ["messages:read"]),
        ("n" * 101, None, ["messages:read"]),
        ("a\0b", None, ["messages:read"]),
        ("bot", "", ["messages:read"]),
        ("bot", "u" * 257, ["messages:read"]),
        ("bot", None, []),
        ("bot", None, ["everything"]),
        ("bot", None, ["messages:read", "Admin"]),
    ],
)
def test_a_key_that_cannot_be_is_not_made(
    service: CredentialService, name: str, user_id: str | None, scopes: list[str]
) -> None:
    with pytest.raises(InvalidMessage):
        service.create_key(name, scopes, user_id=user_id, by=ADMIN)


def test_only_a_key_with_that_scope_acts_on_behalf_of_others(
    alone: Services, service: CredentialService
) -> None:
    tokens, user = tokens_of(alone), fresh_user()
    able = service.create_key("agent", list(SCOPES), by=ADMIN)
    unable = service.create_key("agent", sorted({*SCOPES} - {"on_behalf_of"}), by=ADMIN)
    caller, _ = tokens.verify_until(able.secret, user)
    # Never as an admin: what an admin does is done in the key's own name.
    assert (caller.user_id, caller.is_admin, caller.key_id) == (user, False, able.key.id)
    assert caller.actor == f"key:{able.key.id} as {user}"
    assert tokens.verify_until(able.secret)[0].is_admin
    with pytest.raises(NotAllowed) as caught:
        tokens.verify_until(unable.secret, user)
    assert caught.value.code == "insufficient_scope"
    for wrong in ("", "u" * 257, "a\0b"):
        with pytest.raises(NotAllowed):
            tokens.verify_until(able.secret, wrong)
    own = tokens.issue("admin", is_admin=True, ttl_seconds=60)
    with pytest.raises(NotAllowed):
        tokens.verify_until(own, user)


def test_the_use_of_a_key_is_written_down_now_and_then(
    alone: Services, service: CredentialService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_module, "USED_SECONDS", 0.0)
    tokens = tokens_of(alone)
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    assert service.list_keys(limit=1)[0][0].last_used_at is None
    generation = tokens.generation
    tokens.verify_until(made.secret)
    alone.tiers.credentials._poll()
    assert service.list_keys(limit=1)[0][0].last_used_at is not None
    # That is no change that anybody has to hear of.
    assert tokens.generation == generation
