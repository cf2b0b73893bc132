"""Imports that overlap: each message is there once, at its own time, in the order of its source."""

import msgspec
import pytest
from sqlalchemy import text

from jobs.transfer.export import MessageExporter
from models import codec, ids
from storage.clickhouse.pages import Selection, archived_messages
from support.data.exporting import messages_of
from support.data.importing import counts, lines, run_import
from support.waiting import eventually
from wiring.process import Services

NOON = "2020-01-02T12:00:00Z"


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_files_that_overlap_are_written_once(
    services: Services, exporter: MessageExporter, user: str, batch: int
) -> None:
    rows = [{"id": f"src-{n}", "content": f"m{n}", "created_at": NOON} for n in range(6)]
    assert counts(run_import(services, lines(user, *rows[:4]), batch)) == (4, 0, 0)
    assert counts(run_import(services, lines(user, *rows[2:]), batch)) == (2, 2, 0)
    found = list(messages_of(exporter, Selection(user)))
    assert [one.content for one in found] == [f"m{n}" for n in range(6)]
    assert {one.created_at for one in found} == {"2020-01-02T12:00:00.000000Z"}


def test_a_file_that_begins_with_the_newest_keeps_every_time(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    moments = [f"2020-01-0{day}T12:00:00.000000Z" for day in (5, 4, 3)]
    rows = [{"content": moment, "created_at": moment} for moment in moments]
    assert counts(run_import(services, lines(user, *rows), 2)) == (3, 0, 0)
    found = [(one.created_at, one.content) for one in messages_of(exporter, Selection(user))]
    assert found == [(moment, moment) for moment in sorted(moments)]


def test_another_text_under_an_id_of_the_source_is_refused_where_it_stands(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    one, another = ({"id": "1", "content": text, "created_at": NOON} for text in ("one", "another"))
    done = run_import(services, lines(user, one, another, one))
    assert counts(done) == (1, 1, 0)
    assert [refusal.where for refusal in done.refusals] == ["line 2"]
    assert "differs from what is stored" in done.refusals[0].reason
    assert [one.content for one in messages_of(exporter, Selection(user))] == ["one"]


def test_what_was_imported_before_ids_were_their_own_is_known(
    services: Services, exporter: MessageExporter, user: str
) -> None:
    given = lines(user, *({"content": text, "created_at": NOON} for text in "abc"))
    before = []
    for one in given:
        moment = ids.timestamp(ids.time_us_of(one.earlier_id))
        fields = {"id": one.earlier_id, "created_at": moment, "updated_at": moment}
        before.append(codec.seal(msgspec.structs.replace(one.message, **fields)))
    assert [one.created_at[-8:] for one in before] == [
        ".000000Z",
        ".000001Z",
        ".000002Z",
    ]
    run_import(services, before)
    assert counts(run_import(services, given)) == (0, 3, 0)
    assert list(messages_of(exporter, Selection(user))) == before


def test_files_that_overlap_with_what_is_archived_are_written_once(
    services: Services, exporter: MessageExporter, boundary: str, user: str
) -> None:
    rows = [
        {"id": f"src-{n}", "content": f"m{n}", "created_at": "2018-01-02T12:00:00Z"}
        for n in range(6)
    ]
    run_import(services, lines(user, *rows[:4]))
    server = services.tiers.job_clickhouse
    eventually(lambda: len(list(archived_messages(server, Selection(user)))) == 4)
    drop = text("DELETE FROM messages WHERE user_id = :user AND id < :below")
    with services.tiers.job_engine.begin() as connection:
        connection.execute(drop, {"user": user, "below": boundary})
    assert counts(run_import(services, lines(user, *rows[2:]))) == (2, 2, 0)
    found = [one.content for one in messages_of(exporter, Selection(user))]
    assert found == [f"m{n}" for n in range(6)]
