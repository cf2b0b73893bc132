"""Revoked tokens, and what becomes of all credentials when users go or servers are out."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jobs.transfer.backup.manifest import SIGNATURE
from models.message import InvalidMessage
from storage.errors import NotFound, TierUnavailable
from storage.identity import known as known_module
from storage.identity.credentials import hash_of
from storage.identity.known import KnownCredentials
from storage.identity.service import CredentialService
from support.calls.credentials import ADMIN, audited, refused, tokens_of
from support.data.users import fresh_user
from support.faults.outages import process, without
from webapp.identity.caller import InvalidToken
from wiring.process import Services


@pytest.fixture
def cut_off(alone: Services) -> Iterator[KnownCredentials]:
    """What a process knows whose PostgreSQL was never there."""
    yield without(alone, "database").tiers.credentials


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
