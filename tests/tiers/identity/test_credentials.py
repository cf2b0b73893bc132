"""API keys and revoked tokens: kept in PostgreSQL, known to every process, with an audit entry."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs.transfer.backup.manifest import SIGNATURE
from models import ids
from models.message import InvalidMessage
from storage.errors import NotFound, TierUnavailable
from storage.identity import known as known_module
from storage.identity.credentials import SCOPES, hash_of
from storage.identity.known import KnownCredentials
from storage.identity.service import CredentialService
from support.data.users import fresh_user
from support.faults.outages import process, without
from webapp.http.auth import Tokens
from webapp.identity.caller import AskElsewhere, InvalidToken, NotAllowed
from wiring.process import Services

ADMIN = "test:admin"


@pytest.fixture
def service(alone: Services) -> CredentialService:
    return alone.jobs.credentials


@pytest.fixture
def other(alone: Services) -> Services:
    """Another process, which hears of things by PostgreSQL alone."""
    return process(alone)


def tokens_of(own: Services) -> Tokens:
    """What a web process verifies with."""
    made = Tokens(own.settings, own.tiers.credentials)
    own.tiers.credentials.on_change.append(made.forget)
    own.tiers.credentials.refresh()
    return made


def refused(tokens: Tokens, token: str, **options: Any) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify_until(token, **options)


def audited(alone: Services, action: str, subject: str) -> list[Any]:
    entries = alone.jobs.audit.entries(action=action, actor=ADMIN, limit=100)
    return [one for one in entries if one.subject == subject]


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


def test_a_revoked_token_is_refused_and_the_others_are_not(
    alone: Services, other: Services, service: CredentialService
) -> None:
    here, there, user = tokens_of(alone), tokens_of(other), fresh_user()
    first, second = (here.issue(user, is_admin=False, ttl_seconds=600) for _ in range(2))
    caller = here.verify(first)
    assert there.verify(first) == caller
    made = service.revoke_token(caller.token_id, by=ADMIN)
    assert (made.token_id, made.user_id) == (caller.token_id, None)
    with pytest.raises(InvalidToken, match="revoked"):
        here.verify(first)
    assert here.verify(second).user_id == user
    assert there.verify(first) == caller
    other.tiers.credentials.refresh()
    refused(there, first)
    assert (there.holds(caller, 0), there.holds(there.verify(second), 0)) == (False, True)
    # It may be taken back.
    assert service.lift(made.id, by=ADMIN).token_id == caller.token_id
    assert here.verify(first) == caller
    with pytest.raises(NotFound):
        service.lift(made.id, by=ADMIN)
    for action in ("tokens.revoked", "tokens.restored"):
        assert len(audited(alone, action, f"token:{caller.token_id}")) == 1


def test_all_tokens_of_a_user_before_a_time_are_refused(
    alone: Services, service: CredentialService
) -> None:
    tokens, user = tokens_of(alone), fresh_user()
    old = tokens.issue(user, is_admin=True, ttl_seconds=600)
    neighbour = tokens.issue(fresh_user(), is_admin=False, ttl_seconds=600)
    caller = tokens.verify(old)
    time.sleep(1.1)
    service.revoke_user(user, by=ADMIN)
    refused(tokens, old)
    assert not tokens.holds(caller, 0)
    assert tokens.verify(neighbour)
    time.sleep(1.1)
    new = tokens.verify(tokens.issue(user, is_admin=False, ttl_seconds=600))
    assert tokens.holds(new, 0)
    # A socket whose token does not say when it was issued ends if it was open before.
    bare = new._replace(issued_at=0.0)
    assert not tokens.holds(bare, time.time() - 60)
    assert tokens.holds(bare, time.time() + 60)


@pytest.mark.parametrize("token_id", ["", "a\0b", "x" * 1025])
def test_what_is_no_token_is_not_revoked(service: CredentialService, token_id: str) -> None:
    with pytest.raises(InvalidMessage):
        service.revoke_token(token_id, by=ADMIN)


def test_an_erased_user_has_no_keys_and_revoked_tokens_stay_so(
    alone: Services, service: CredentialService
) -> None:
    tokens, user, neighbour = tokens_of(alone), fresh_user(), fresh_user()
    keys = [
        service.create_key("bot", ["messages:read"], user_id=one, by=ADMIN)
        for one in (user, neighbour)
    ]
    token = tokens.issue(user, is_admin=False, ttl_seconds=600)
    time.sleep(1.1)
    service.revoke_user(user, by=ADMIN)
    alone.jobs.user_erasure.request(user, by=ADMIN)
    while (receipt := alone.jobs.user_erasure.carry_on(user)) and receipt.state == "pending":
        time.sleep(0.1)
    alone.tiers.credentials.refresh()
    refused(tokens, token)
    refused(tokens, keys[0].secret)
    assert tokens.verify_until(keys[1].secret)[0].user_id == neighbour


def test_a_backup_has_keys_and_revocations(
    alone: Services, service: CredentialService, tmp_path: Path
) -> None:
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    tokens = tokens_of(alone)
    token = tokens.issue(fresh_user(), is_admin=False, ttl_seconds=600)
    revocation = service.revoke_token(tokens.verify(token).token_id, by=ADMIN)
    alone.jobs.backup.write(tmp_path / "backup", ADMIN)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM api_keys"))
        connection.execute(text("DELETE FROM token_revocations"))
    alone.tiers.credentials.refresh()
    refused(tokens, made.secret)
    assert tokens.verify(token)
    alone.jobs.restore.restore(tmp_path / "backup", ADMIN, merge=True)
    alone.tiers.credentials.refresh()
    assert tokens.verify_until(made.secret)[0].key_id == made.key.id
    refused(tokens, token)
    assert revocation in service.list_revocations(limit=1000)[0]
    # One that nobody has signed may have a key of whoever wrote it.
    service.revoke_key(made.key.id, by=ADMIN)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM api_keys"))
    (tmp_path / "backup" / SIGNATURE).unlink()
    alone.jobs.restore.restore(tmp_path / "backup", ADMIN, merge=True, trust=True)
    alone.tiers.credentials.refresh()
    refused(tokens, made.secret)


def test_lists_go_page_by_page(service: CredentialService) -> None:
    made = [service.create_key(f"k{n}", ["messages:read"], by=ADMIN).key for n in range(3)][::-1]
    page, cursor = service.list_keys(limit=2)
    assert page == made[:2]
    assert service.list_keys(limit=1, cursor=cursor)[0] == made[2:]
    gone = [service.revoke_user(fresh_user(), by=ADMIN) for _ in range(3)][::-1]
    shown, cursor = service.list_revocations(limit=2)
    assert shown == gone[:2]
    assert service.list_revocations(limit=1, cursor=cursor)[0] == gone[2:]


def test_what_redis_does_matters_to_nobody(alone: Services) -> None:
    own = without(alone, "redis")
    tokens = tokens_of(own)
    made = own.jobs.credentials.create_key("bot", ["messages:read"], by=ADMIN)
    assert tokens.verify_until(made.secret)
    own.jobs.credentials.revoke_key(made.key.id, by=ADMIN)
    refused(tokens, made.secret)


@pytest.fixture
def cut_off(alone: Services) -> Iterator[KnownCredentials]:
    """What a process knows whose PostgreSQL was never there."""
    yield without(alone, "database").tiers.credentials


def test_a_process_that_knows_no_key_says_that_it_is_temporary(
    cut_off: KnownCredentials,
) -> None:
    cut_off.begin()
    with pytest.raises(TierUnavailable):
        cut_off.key(hash_of("tk_"), may_wait=True)
    assert cut_off.key(hash_of("tk_"), may_wait=False) is None


def test_without_postgresql_known_keys_go_on_for_a_while_and_revocations_for_ever(
    alone: Services, service: CredentialService, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = process(alone)
    tokens, user = tokens_of(own), fresh_user()
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    token = tokens.issue(user, is_admin=False, ttl_seconds=600)
    service.revoke_token(tokens.verify(token).token_id, by=ADMIN)
    own.tiers.credentials.refresh()
    own.tiers.breakers.postgresql.open("a test")
    nowhere = without(alone, "database").tiers.watch_engine
    monkeypatch.setattr(own.tiers.credentials, "_engine", nowhere)
    own.tiers.credentials._poll()
    assert tokens.verify_until(made.secret)[0].key_id == made.key.id
    refused(tokens, token)
    monkeypatch.setattr(known_module, "KEYS_SECONDS", 0.0)
    own.tiers.credentials._poll()
    with pytest.raises(TierUnavailable):
        tokens.verify_until(made.secret)
    refused(tokens, token)


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


def test_whatever_changes_the_tables_is_heard(alone: Services, service: CredentialService) -> None:
    tokens = tokens_of(alone)
    made = service.create_key("bot", ["messages:read"], by=ADMIN)
    assert tokens.verify_until(made.secret)
    with alone.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM api_keys WHERE id = :id"), {"id": made.key.id})
    alone.tiers.credentials.refresh()
    refused(tokens, made.secret)


def test_what_is_verified_while_something_is_revoked_is_not_remembered(alone: Services) -> None:
    tokens = tokens_of(alone)
    token = tokens.issue(fresh_user(), is_admin=False, ttl_seconds=600)
    decode = tokens._decode

    def slowly(*given: Any) -> Any:
        found = decode(*given)
        tokens.forget()
        return found

    tokens._decode = slowly  # type: ignore[method-assign]
    assert tokens.verify(token)
    assert token not in tokens._verified
    tokens._decode = decode  # type: ignore[method-assign]
    assert tokens.verify(token)
    assert token in tokens._verified
