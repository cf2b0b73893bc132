"""A backup holds everything of all tiers, says when it is damaged, and brings everything back."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from jobs.transfer.backup.manifest import MESSAGES, key_of
from jobs.transfer.backup.verify import verify
from models import codec, ids
from storage.errors import Refused
from support.calls import disasters
from support.calls.disasters import carry_on, exported, live_a_little, post, rows, settle
from support.data import backups
from support.data.everywhere import places
from support.stack.servers import servers
from support.stack.tiers import tiers
from wiring.process import Services


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Servers that nobody else uses: two users with threads of the same names, carried on."""
    with servers(tmp_path_factory.mktemp("kept") / "data") as env, tiers(env) as own:
        disasters.begin_anew(own)
        live_a_little(own, "ann", "bob")
        carry_on(own)
        yield own


@pytest.fixture
def store(kept: Services) -> Services:
    """The same, as the test before left it."""
    settle(kept)
    return kept


def test_a_wiped_store_comes_back_to_the_byte(store: Services, tmp_path: Path) -> None:
    post(store, "ann", "titled", "still in the log")
    folder = tmp_path / "backup"
    made = store.jobs.backup.write(folder, "an operator")
    carry_on(store)
    before, export = rows(store), exported(store)
    assert made.rows[MESSAGES] == len(before["messages"])
    disasters.begin_anew(store)
    store.jobs.restore.restore(folder, "an operator")
    after = rows(store)
    for name in ("messages", "threads", "dead_letters", "lost_acknowledgements"):
        assert after[name] == before[name]
    assert exported(store) == export
    # And ClickHouse has it all again.
    with store.tiers.job_clickhouse.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT uniqExact(id) FROM messages").scalar_one()
    assert int(found) == len(before["messages"])


def test_what_was_archived_comes_back_to_the_archive_alone(store: Services, tmp_path: Path) -> None:
    # As the archiver sets it: a bound between ids, which is none itself.
    boundary = (
        f"{sorted(row.id for row in rows(store)['messages'])[40][:13]}-0000-0000-000000000000"
    )
    with store.tiers.job_engine.begin() as connection:
        below = {"below": boundary}
        archived = connection.execute(
            text("DELETE FROM messages WHERE id < :below"), below
        ).rowcount
        connection.execute(text("UPDATE archive_boundary SET below = :below"), below)
    assert archived
    carry_on(store)
    before, export = rows(store), exported(store)
    folder = tmp_path / "backup"
    made = store.jobs.backup.write(folder, "an operator")
    assert made.rows[MESSAGES] == len(before["messages"]) + archived
    disasters.begin_anew(store)
    store.jobs.restore.restore(folder, "an operator")
    after = rows(store)
    assert [(name, after[name]) for name in ("messages", "threads", "archive_boundary")] == [
        (name, before[name]) for name in ("messages", "threads", "archive_boundary")
    ]
    assert exported(store) == export


def test_newer_versions_stay_and_it_may_be_repeated(store: Services, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    store.jobs.backup.write(folder, "an operator")
    page = store.failover.retrieval.page("ann", "edited", limit=9, cursor=None, order="asc")
    name = page.messages[0].id
    store.messages.edit("ann", name, content="newer", metadata=None, if_version=None)
    store.threads.change("ann", "titled", title="newer", metadata={})
    post(store, "bob", "new", "newer")
    carry_on(store)
    before, export = rows(store), exported(store)
    with pytest.raises(Refused, match="threads already: --merge"):
        store.jobs.restore.restore(folder, "an operator")
    for _ in range(2):
        store.jobs.restore.restore(folder, "an operator", merge=True)
        assert exported(store) == export
        after = rows(store)
        assert after["messages"] == before["messages"]
        assert after["threads"] == before["threads"]
    assert store.messages is not None
    found = store.failover.retrieval.page("ann", "edited", limit=9, cursor=None, order="asc")
    assert found.messages[0].content == "newer"


def test_damage_is_noticed(store: Services, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    made = store.jobs.backup.write(folder, "an operator")
    key = key_of(store.settings.jwt_secret)
    assert verify(folder, key) == (made, True)
    file = folder / made.parts[MESSAGES].file
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content.replace(b"message 1", b"message 2")))
    with pytest.raises(Refused, match="is damaged"):
        store.jobs.restore.restore(folder, "an operator", merge=True)
    file.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        verify(folder, key)
    with pytest.raises(Refused, match="is there already"):
        store.jobs.backup.write(folder, "an operator")
    with pytest.raises(Refused, match="is not a backup"):
        verify(tmp_path, key)


def test_a_backup_of_somebody_else_needs_trust_and_brings_no_audit(
    store: Services, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    store.jobs.audit.note("somebody", "user.erase", "user:ann")
    before = exported(store)
    made = store.jobs.backup.write(folder, "an operator")
    table = folder / made.parts["audit_trail"].file
    entries = gzip.decompress(table.read_bytes()).splitlines()
    forged = [one.replace(b"somebody", b"honest-admin") for one in entries]
    assert forged != entries
    backups.forge(folder, "audit_trail", forged)
    disasters.begin_anew(store)
    with pytest.raises(Refused, match="is not signed"):
        store.jobs.restore.restore(folder, "an operator")
    assert rows(store)["messages"] == []
    assert not store.jobs.restore.restore(folder, "an operator", trust=True).is_signed
    assert exported(store) == before
    found = store.jobs.audit.entries(limit=100)
    assert [(one.action, one.details) for one in found] == [
        ("backup.restored", {"is_signed": False})
    ]


def test_nothing_is_written_of_a_backup_with_a_forged_message(
    store: Services, tmp_path: Path
) -> None:
    genuine, folder = tmp_path / "genuine", tmp_path / "forged"
    before = exported(store)
    made = store.jobs.backup.write(genuine, "an operator")
    shutil.copytree(genuine, folder)
    lines = gzip.decompress((folder / made.parts[MESSAGES].file).read_bytes()).splitlines()
    forged = codec.decode(lines[-1])
    lines[-1] = codec.encode(msgspec.structs.replace(forged, content="FORGED"))
    backups.forge(folder, MESSAGES, lines)
    disasters.begin_anew(store)
    with pytest.raises(Refused, match="does not match its hash"):
        store.jobs.restore.restore(folder, "an operator", trust=True)
    after = rows(store)
    assert (after["messages"], after["threads"]) == ([], [])
    store.jobs.restore.restore(genuine, "an operator")
    assert exported(store) == before


def test_whoever_was_erased_stays_out(store: Services, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    store.jobs.backup.write(folder, "an operator")
    newest = max(row.id for row in rows(store)["messages"])
    disasters.begin_anew(store)
    with store.tiers.job_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO user_erasures (user_id, erased_through, erased_at, requested_by,"
                " requested_at, receipt) VALUES ('ann', :newest, clock_timestamp(), 'an admin',"
                " clock_timestamp(), '{}')"
            ),
            {"newest": newest},
        )
    store.jobs.restore.restore(folder, "an operator")
    assert {row.user_id for row in rows(store)["messages"]} == {"bob"}
    assert {row.user_id for row in rows(store)["threads"]} == {"bob"}
    with store.tiers.job_clickhouse.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT DISTINCT user_id FROM messages").scalars()
        assert list(found) == ["bob"]


def test_what_was_damaged_before_is_kept_and_comes_back(store: Services, tmp_path: Path) -> None:
    name = str(rows(store)["messages"][0].id)
    damage = text("UPDATE messages SET content = 'not what was hashed' WHERE id = :id")
    with store.tiers.job_engine.begin() as connection:
        connection.execute(damage, {"id": name})
    before = rows(store)["messages"]
    folder = tmp_path / "backup"
    assert store.jobs.backup.write(folder, "an operator").damaged == 1
    disasters.begin_anew(store)
    store.jobs.restore.restore(folder, "an operator")
    assert rows(store)["messages"] == before
    with pytest.raises(Refused, match="does not match its hash"):
        verify(folder, None, trust=True)


@pytest.mark.parametrize("place", ["clickhouse: messages.content", "postgresql: messages"])
def test_what_was_deleted_since_leaves_once_more(
    store: Services, tmp_path: Path, place: str
) -> None:
    marker = f"deleted after the backup, restored to {place}"
    name = post(store, "ann", "deleted", marker)[0]
    carry_on(store)
    is_archived = place.startswith("clickhouse")
    with store.tiers.job_engine.begin() as connection:
        below = ids.mint(ids.time_us_of(name) + 2_000, 0) if is_archived else ids.LOWEST
        connection.execute(text("UPDATE archive_boundary SET below = :below"), {"below": below})
        if is_archived:
            connection.execute(text("DELETE FROM messages WHERE id < :below"), {"below": below})
    store.jobs.backup.write(tmp_path / "backup", "an operator")
    store.threads.delete("ann", "deleted")
    carry_on(store)
    store.jobs.physical_erasure.purge()
    with store.tiers.job_engine.begin() as connection:
        connection.execute(text("DELETE FROM messages WHERE id = :name"), {"name": name})
    assert found_in(store, marker, place) == []
    store.jobs.restore.restore(tmp_path / "backup", "an operator", merge=True)
    assert found_in(store, marker, place) != []
    page = store.failover.retrieval.page("ann", "deleted", limit=9, cursor=None, order="asc")
    assert page.messages == []
    carry_on(store)
    store.jobs.physical_erasure.purge()
    assert found_in(store, marker, place) == []


def found_in(store: Services, marker: str, place: str) -> list[str]:
    return [found for found in places(store, marker) if found.startswith(place)]
