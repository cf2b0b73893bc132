"""Writes that PostgreSQL refuses, through every tier: listed, replayed, repaired, discarded."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models import codec
from storage.clickhouse.pages import Selection, archived_messages
from storage.redis import keys
from support.calls import commands
from support.calls.api import Api, ok, problem
from support.data.moving import wait_until
from support.data.samples import message
from support.faults.refusing import refusing
from support.stack.processes import Launched
from support.waiting import eventually
from wiring.process import Services

LETTERS = "/api/admin/dead-letters"
NOBODYS = f"{LETTERS}/999999999999"


def letters(admin_api: Api) -> list[dict[str, Any]]:
    """All of them, from cursor to cursor."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = ok(admin_api.get(LETTERS, params=query))
        found += page["dead_letters"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def letter_of(admin_api: Api, message_id: str) -> dict[str, Any]:
    """The letter of a message, once a worker has met it."""
    (letter,) = eventually(
        lambda: [one for one in letters(admin_api) if one["message_id"] == message_id]
    )
    return letter


def secret_content() -> str:
    return f"refused {secrets.token_hex(8)}"


@contextmanager
def refused(services: Services, api: Api, admin_api: Api) -> Iterator[tuple[str, dict[str, Any]]]:
    """The content of a message that was refused, and its letter; outside, it would be taken."""
    content = secret_content()
    with refusing(services, f"content <> '{content}'"):
        letter = letter_of(admin_api, api.send("t", content)["id"])
        yield content, letter


def threadkeep(folder: Path, stack: Launched, *arguments: str) -> tuple[int, str, str]:
    done = commands.threadkeep(folder, stack.env, "dead-letters", *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_poisoned_entry_among_many_is_a_letter_and_lands_once_when_replayed(
    services: Services, api: Api, admin_api: Api, user: str
) -> None:
    content = secret_content()
    with refusing(services, f"content <> '{content}'") as name:
        good = api.send_many("t", 250)
        poison = message(user, content=content)
        log = keys.pending(services.tiers.redis.slot_of_thread(user, "t"))
        services.tiers.redis_client.xadd(log, {"message": codec.encode(poison)})
        good += api.send_many("t", 249)
        letter = letter_of(admin_api, poison.id)
        wait_until(api, "persisted", good[-1:])
        assert (letter["user_id"], letter["thread_id"], letter["attempts"]) == (user, "t", 1)
        assert name in letter["reason"]
        assert content not in json.dumps(letters(admin_api))
        path = f"{LETTERS}/{letter['id']}"
        whole = ok(admin_api.get(path))
        assert (whole["record"], whole["record_base64"]) == (codec.encode(poison).decode(), None)
        detail = problem(admin_api.post(f"{path}/replay"), 409, "still_refused")["detail"]
        assert name in detail
        assert content not in detail
        assert letter_of(admin_api, poison.id)["attempts"] == 2
    done = ok(admin_api.post(f"{path}/replay"))
    assert (done["message_id"], done["written"], done["evictable"]) == (poison.id, True, True)
    problem(admin_api.post(f"{path}/replay"), 404, "not_found")
    wait_until(api, "archived", [good[0], good[-1], {"id": poison.id}])
    found, _ = api.walk("t", order="asc", limit=200)
    wanted = sorted([*(one["id"] for one in good), poison.id])
    assert [one["id"] for one in found] == wanted
    archived = archived_messages(services.tiers.job_clickhouse, Selection(user))
    assert sorted(one.id for one in archived) == wanted
    assert ok(api.get("/api/threads/t"))["message_count"] == 500


def test_a_repaired_message_is_what_its_owner_reads(
    services: Services, api: Api, admin_api: Api
) -> None:
    with refused(services, api, admin_api) as (content, letter):
        path = f"{LETTERS}/{letter['id']}"
        record = json.loads(ok(admin_api.get(path))["record"])
        wrong = record | {"user_id": "somebody-else", "content": "mended"}
        problem(admin_api.post(f"{path}/replay", json={"record": wrong}), 422, "record_mismatch")
        problem(admin_api.post(f"{path}/replay", json={"rekord": {}}), 422, "invalid_body")
        mended = record | {"content": "mended"}
        ok(admin_api.post(f"{path}/replay", json={"record": mended}))
    found = ok(api.get(f"/api/messages/{record['id']}"))
    assert (found["content"], found["version"]) == ("mended", 1)
    wait_until(api, "archived", [found])
    receipt = api.receipt(record["id"])
    for tier in ("redis", "postgresql", "clickhouse"):
        (copy,) = receipt["tiers"][tier]["copies"]
        assert (copy["content_hash"], copy["intact"]) == (found["content_hash"], True)
    assert content not in json.dumps(api.page("t"))


def test_a_discarded_message_is_not_found_any_more(
    services: Services, api: Api, admin_api: Api
) -> None:
    with refused(services, api, admin_api) as (_, letter):
        assert ok(api.get(f"/api/messages/{letter['message_id']}"))
        path = f"{LETTERS}/{letter['id']}"
        assert ok(admin_api.delete(path))["removed_from_redis"]
        problem(admin_api.delete(path), 404, "not_found")
        problem(api.get(f"/api/messages/{letter['message_id']}"), 404, "not_found")
        problem(api.get("/api/threads/t"), 404, "not_found")
    assert letter["id"] not in [one["id"] for one in letters(admin_api)]


def test_a_letter_that_nobody_has_is_not_found(admin_api: Api) -> None:
    problem(admin_api.get(NOBODYS), 404, "not_found")
    problem(admin_api.post(f"{NOBODYS}/replay"), 404, "not_found")
    problem(admin_api.delete(NOBODYS), 404, "not_found")


def test_health_and_doctor_say_that_there_are_letters(
    services: Services, api: Api, admin_api: Api, stack: Launched, tmp_path: Path
) -> None:
    with refused(services, api, admin_api) as (_, letter):
        state = ok(api.get("/health/persistence"))["tiers"]["postgresql"]
        assert state["dead_letters"] >= 1
        assert state["oldest_dead_letter_seconds"] > 0
        doctor = commands.threadkeep(tmp_path, stack.env, "doctor", "--json")
        found = {one["check"]: one for one in json.loads(doctor.stdout)}
        assert "threadkeep dead-letters list" in found["dead letters"]["advice"]
        ok(admin_api.delete(f"{LETTERS}/{letter['id']}"))


def test_the_log_of_the_worker_names_the_message_and_nothing_of_it(
    services: Services, api: Api, admin_api: Api, stack: Launched
) -> None:
    with refused(services, api, admin_api) as (content, letter):

        def told() -> list[str]:
            lines = stack.log_of("worker").splitlines()
            about = [line for line in lines if "dead_lettered" in line]
            return [line for line in about if letter["message_id"] in line]

        # The letter is there with its commit, and the line comes after it: twice where a second
        # drain read the entry before the log forgot it.
        line = eventually(told)[0]
        assert json.loads(line)["level"] == "error"
        assert letter["reason"] in json.loads(line)["refused"][0]["reason"]
        assert content not in stack.log_of("worker")
        ok(admin_api.delete(f"{LETTERS}/{letter['id']}"))


def test_the_commands_do_the_same(
    services: Services, api: Api, admin_api: Api, stack: Launched, tmp_path: Path
) -> None:
    with refused(services, api, admin_api) as (content, letter):
        number = str(letter["id"])
        status, out, _ = threadkeep(tmp_path, stack, "list", "--json")
        assert status == 0
        assert letter in json.loads(out)
        status, out, _ = threadkeep(tmp_path, stack, "list")
        assert (status, "Dead letters" in out, content in out) == (0, True, False)
        status, out, _ = threadkeep(tmp_path, stack, "show", number, "--json")
        assert (status, json.loads(out)["id"]) == (0, letter["id"])
        status, out, _ = threadkeep(tmp_path, stack, "show", number)
        assert (status, content in out) == (0, True)
        read = ok(admin_api.get("/api/admin/audit?action=dead_letter.read"))["entries"]
        assert [one["subject"] for one in read].count(f"dead_letter:{number}") >= 2
        status, _, error = threadkeep(tmp_path, stack, "replay", number)
        assert (status, "2 times in all" in error, content in error) == (1, True, False)
        record = tmp_path / "record.json"
        record.write_bytes(
            json.loads(threadkeep(tmp_path, stack, "show", number, "--json")[1])["record"]
            .replace(content, "mended")
            .encode()
        )
        status, out, _ = threadkeep(tmp_path, stack, "replay", number, "--record", str(record))
        assert (status, out) == (0, f"replayed {number}: written\n")
    assert ok(api.get(f"/api/messages/{letter['message_id']}"))["content"] == "mended"
    for command in (("show",), ("replay",), ("discard", "--yes")):
        status, _, error = threadkeep(tmp_path, stack, *command, number)
        assert (status, f"no dead letter {number}" in error) == (1, True)


def test_all_letters_are_replayed_by_one_command(
    services: Services, api: Api, admin_api: Api, stack: Launched, tmp_path: Path
) -> None:
    with refused(services, api, admin_api) as (_, first):
        with refused(services, api, admin_api) as (_, second):
            pass
        status, out, _ = threadkeep(tmp_path, stack, "replay", "--all")
        assert (status, f"replayed {second['id']}: written" in out) == (1, True)
        assert first["id"] in [one["id"] for one in letters(admin_api)]
    status, out, _ = threadkeep(tmp_path, stack, "replay", "--all")
    assert f"replayed {first['id']}: written" in out
    assert status == (1 if letters(admin_api) else 0)


def test_a_command_that_is_used_wrongly_says_so(stack: Launched, tmp_path: Path) -> None:
    for wrong in (("replay",), ("replay", "1", "--all"), ("show", "one"), ("discard",)):
        assert threadkeep(tmp_path, stack, *wrong)[0] == 2
    # Nobody is there to say yes.
    assert threadkeep(tmp_path, stack, "discard", "1")[0] not in {0, 2}
